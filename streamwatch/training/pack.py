"""Made pairs packed into shards, for a machine without the data sets: cut to the windows that training looks at.

    pack.json             what the pack is: format, pairs, side of the windows, geometry, SHA-256 of the shards
    pairs-00000.tar       per pair NUMBER.real.jpg, NUMBER.fake.jpg, NUMBER.mask.png where the forged region is known,
                          and NUMBER.json

Both pictures of a pair are coded alike (JPEG, full colour), so that coding says nothing of the class.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.faces.crops import CropGeometry, crop_face, crop_mask
from streamwatch.records import Box, ImageArray
from streamwatch.training.augment import code_as_video
from streamwatch.training.data import MadePair, PairSource, as_coarse_as_each_other, jitter
from streamwatch.training.pool import facts, from_facts

FORMAT = 1
SHARD = 512
"""Pairs in a shard."""

QUALITY = 95
VIDEO_SHARE = 0.35
"""Of the pairs that are coded as video before they are packed, both pictures alike."""

_ROOM = 1.1  # of the widest crop's side: crops are shifted by up to 4 % either way
_NOTE = "pack.json"


@dataclass(frozen=True, slots=True)
class _Shard:
    name: str
    pairs: int
    sha256: str


def write_pack(
    source: PairSource,
    folder: Path,
    count: int,
    geometry: CropGeometry,
    side: int,
    *,
    quality: int = QUALITY,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the pairs 0 … count−1 of a source to an empty or new folder; returns it.

    geometry: of the served crop; the windows are the widest crop that training makes around it, side×side. Raises
    ConfigError where the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--pack {folder}: not empty", "name another folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, count, SHARD):
        name = f"pairs-{start // SHARD:05d}.tar"
        numbers = range(start, min(start + SHARD, count))
        with tarfile.open(folder / name, "w") as shard:
            for number in numbers:
                made = window_pair(source.make(number), geometry, side)
                rng = np.random.default_rng(number)
                if rng.random() < VIDEO_SHARE:
                    real, fake = code_as_video([made.real, made.fake], rng)
                    made = replace(made, real=real, fake=fake)
                for suffix, content in _coded(made, quality):
                    _add(shard, f"{number:08d}.{suffix}", content)
                progress(number + 1, count)
        shards.append(_Shard(name, len(numbers), hashlib.sha256((folder / name).read_bytes()).hexdigest()))
    note = {
        "format": FORMAT,
        "pairs": count,
        "side": side,
        "geometry": asdict(geometry),
        "shards": [asdict(shard) for shard in shards],
    }
    (folder / _NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return folder


def window_pair(made: MadePair, geometry: CropGeometry, side: int) -> MadePair:
    """The pair cut to what training may look at, both pictures and the mask side×side; boxes moved along."""
    zoom = made.zooms[1] * _ROOM
    regions = [jitter(geometry.region(box), zoom, (0.0, 0.0)) for box in made.boxes]
    if made.mask is not None:
        regions[0] = regions[1]
    images = [crop_face(image, region, side) for image, region in zip((made.real, made.fake), regions, strict=True)]
    mask = None
    if made.mask is not None:
        mask = np.asarray(np.rint(255 * crop_mask(made.mask / np.float32(255), regions[1], side)), np.uint8)
    else:
        images = as_coarse_as_each_other(images, [region[2] - region[0] for region in regions])
    boxes = tuple(_moved(box, region, side) for box, region in zip(made.boxes, regions, strict=True))
    return MadePair(
        made.kind, images[0], images[1], mask, (boxes[0], boxes[1]), made.zooms, made.source, made.related, made.files
    )


class PackedPairs:
    """The pairs of a pack, over and over. Raises SourceNotFound or ConfigError for a folder that is no whole pack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        note = _read_note(folder)
        self.side: int = note["side"]
        self.geometry = CropGeometry(**note["geometry"])
        self._places: list[tuple[Path, dict[str, tuple[int, int]]]] = []
        for shard in note["shards"]:
            self._places += _places(folder / shard["name"], shard)
        if len(self._places) != note["pairs"]:
            raise ConfigError(f"{folder}: has {len(self._places)} of {note['pairs']} pairs", "copy or write it again")

    def __len__(self) -> int:
        return len(self._places)

    def make(self, number: int) -> MadePair:
        """See `PairSource`; after the last pair the first comes again."""
        path, places = self._places[number % len(self)]
        with path.open("rb") as stream:

            def read(suffix: str) -> bytes:
                offset, size = places[suffix]
                stream.seek(offset)
                return stream.read(size)

            mask = None
            if "mask.png" in places:
                mask = np.asarray(cv2.imdecode(np.frombuffer(read("mask.png"), np.uint8), cv2.IMREAD_GRAYSCALE))
            return from_facts(json.loads(read("json")), _picture(read("real.jpg")), _picture(read("fake.jpg")), mask)


def _coded(made: MadePair, quality: int) -> Iterator[tuple[str, bytes]]:
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    for name, image in (("real", made.real), ("fake", made.fake)):
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        yield f"{name}.jpg", data.tobytes()
    if made.mask is not None:
        yield "mask.png", cv2.imencode(".png", made.mask)[1].tobytes()
    note = facts(made)
    note["files"] = [Path(file).name for file in note["files"]]
    yield "json", json.dumps(note).encode()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def _picture(content: bytes) -> ImageArray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2RGB), np.uint8)


def _moved(box: Box, region: Box, side: int) -> Box:
    scale = side / (region[2] - region[0])
    x0, y0, x1, y1 = box
    left, top = region[:2]
    return (x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale


def _read_note(folder: Path) -> dict[str, Any]:
    path = folder / _NOTE
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceNotFound(
            f"{path}: cannot be read ({error.strerror})", "name a folder that `streamwatch train --pack` wrote"
        ) from None
    except ValueError:
        raise ConfigError(f"{path}: not JSON", "copy or write the pack again") from None
    if note.get("format") != FORMAT:
        raise ConfigError(f"{path}: format {note.get('format')!r}, and this version reads {FORMAT}", "write it again")
    return note


def _places(path: Path, shard: dict[str, Any]) -> list[tuple[Path, dict[str, tuple[int, int]]]]:
    """Where in its file each part of each pair of a shard lies: (offset, size) by suffix."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror})", "copy the pack again") from None
    if hashlib.sha256(content).hexdigest() != shard["sha256"]:
        raise ConfigError(f"{path}: damaged (its SHA-256 is not that of {_NOTE})", "copy the pack again")
    found: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as members:
        for member in members:
            number, suffix = member.name.split(".", 1)
            found.setdefault(number, {})[suffix] = (member.offset_data, member.size)
    return [(path, found[number]) for number in sorted(found)]
