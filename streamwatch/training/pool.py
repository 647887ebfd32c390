"""Made pairs kept on disk while they may still be asked for, so that forging one pays for several items."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from streamwatch.files import replacing
from streamwatch.training.data import MadePair, PairSource


class PairPool:
    """A source of made pairs that keeps the newest of another source in a folder.

    Only a cache: what is missing, of another source or damaged is made again, and is the same. Several processes may
    share it. key: names the source; pairs that were stored under another one are not taken. capacity: pairs kept.
    """

    def __init__(self, source: PairSource, folder: Path, key: str, capacity: int) -> None:
        self._source = source
        self._folder = folder
        self._key = key
        self._capacity = capacity
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, number: int) -> MadePair:
        """See `PairSource`."""
        slot = self._folder / f"{number % self._capacity}.npz"
        kept = self._read(slot, number)
        if kept is not None:
            return kept
        made = self._source.make(number)
        arrays = {"real": made.real, "fake": made.fake}
        if made.mask is not None:
            arrays["mask"] = made.mask
        note = json.dumps({"key": self._key, "number": number, **facts(made)})
        with replacing(slot, durable=False) as draft, draft.open("wb") as stream:
            np.savez(stream, note=np.frombuffer(note.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        return made

    def _read(self, slot: Path, number: int) -> MadePair | None:
        try:
            with slot.open("rb") as stream, np.load(stream) as stored:
                note = json.loads(stored["note"].tobytes())
                if (note["key"], note["number"]) != (self._key, number):
                    return None
                return from_facts(note, stored["real"], stored["fake"], stored.get("mask"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


def facts(made: MadePair) -> dict[str, Any]:
    """All of a pair but its pictures, as JSON has it."""
    return {
        "kind": made.kind,
        "boxes": made.boxes,
        "zooms": made.zooms,
        "source": made.source,
        "related": made.related,
        "files": [str(file) for file in made.files],
    }


def from_facts(values: dict[str, Any], real: np.ndarray, fake: np.ndarray, mask: np.ndarray | None) -> MadePair:
    """The pair of `facts` and its pictures."""
    real_box, fake_box = (tuple(box) for box in values["boxes"])
    first, second = values["files"]
    return MadePair(
        values["kind"],
        real,
        fake,
        mask,
        (real_box, fake_box),
        tuple(values["zooms"]),
        values["source"],
        values["related"],
        (Path(first), Path(second)),
    )
