"""What every data set is turned into, and what the readers of their layouts share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.sources.inputs import VIDEO_SUFFIXES

Kind = Literal[
    "auto",
    "ffpp",
    "celebdf",
    "dfdc",
    "dfdc-preview",
    "deeperforensics",
    "wilddeepfake",
    "df40",
    "srdf",
    "web",
    "index",
    "folder",
    "real",
    "fake",
]

NO_SPLIT = ""
"""Split of the items of a set that has none."""


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """One labelled item of a data set.

    paths: one video file; or the pictures of one sequence of one face in order of time; or one picture.
    name: of the item inside of its data set, for reports. method: how the fake was made; "" where unknown or real.
    group: the source that the item comes from. What shares one is not independent.
    mask: video of the forged region that runs beside a fake (white = forged). original: the picture that a fake picture
    was made from. Both None where the data set does not say.
    """

    paths: tuple[Path, ...]
    name: str
    fake: bool
    split: str
    group: str
    method: str = ""
    mask: Path | None = None
    original: Path | None = None

    @property
    def is_video(self) -> bool:
        return self.paths[0].suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class ClipSelection:
    """Which part of a data set: official split, methods of forgery (all if empty), compression (FaceForensics++)."""

    split: str = "test"
    methods: tuple[str, ...] = ()
    compression: str = "c23"


def read_text(path: Path, fix: str) -> str:
    """Content of a data set's list file. Raises SourceNotFound with `fix`, ConfigError where it is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror})", fix) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text", fix) from None


def read_json(path: Path, fix: str) -> Any:
    """The JSON document of a data set. Raises as `read_text`, and ConfigError where it is not JSON."""
    try:
        return json.loads(read_text(path, fix))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON ({error})", fix) from None


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with such a suffix anywhere below a folder, sorted by path; links to folders are followed."""
    wanted = frozenset(suffixes)
    return sorted(path for path in _walk(folder) if path.suffix.lower() in wanted)


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def check_files(clips: Sequence[LabelledClip], fix: str) -> None:
    """Raise SourceNotFound where a listed file is not there: a part of a split must not pass for the whole."""
    missing = [path for clip in clips for path in clip.paths if not path.is_file()]
    if missing:
        total = sum(len(clip.paths) for clip in clips)
        raise SourceNotFound(f"{missing[0]}: listed but missing ({len(missing)} of {total} files)", fix)


def of_split(clips: Sequence[LabelledClip], split: str, folder: Path) -> list[LabelledClip]:
    """Those of one split; all where the set has none. Raises ConfigError naming the splits that there are."""
    present = Counter(clip.split for clip in clips)
    if set(present) <= {NO_SPLIT}:
        return list(clips)
    if split not in present:
        names = ", ".join(sorted(present))
        raise ConfigError(f"{folder}: has no split {split!r}", f"its splits: {names} (--split)")
    return [clip for clip in clips if clip.split == split]


class Labelled(Protocol):
    """An item that is fake or not, and by which method."""

    @property
    def fake(self) -> bool: ...

    @property
    def method(self) -> str: ...


Item = TypeVar("Item", bound=Labelled)


def of_methods(clips: Sequence[Item], methods: Sequence[str], folder: Path) -> list[Item]:
    """All real items, and the fakes of these methods, whatever their case. Raises ConfigError for an unknown one."""
    if not methods:
        return list(clips)
    present = {clip.method.lower(): clip.method for clip in clips if clip.fake and clip.method}
    unknown = [name for name in methods if name.lower() not in present]
    if unknown:
        names = ", ".join(sorted(present.values())) or "not named in this set"
        raise ConfigError(f"{folder}: has no fakes by {', '.join(unknown)}", f"its methods: {names} (--method)")
    chosen = {name.lower() for name in methods}
    return [clip for clip in clips if not clip.fake or clip.method.lower() in chosen]


def balanced_subset(clips: Sequence[LabelledClip], limit: int) -> list[LabelledClip]:
    """At most `limit` items, half of each class, in the order of the set; a set of one class gives `limit` of it.

    The draw goes by a hash of the items' names: the same at every call, and larger limits contain smaller ones. A class
    with fewer items than its half gives all it has.
    """
    classes = [[clip for clip in clips if clip.fake is fake] for fake in (False, True)]
    filled = [members for members in classes if members]
    chosen: set[str] = set()
    for members in filled:
        ranked = sorted(members, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())
        chosen.update(clip.name for clip in ranked[: limit // len(filled)])
    return [clip for clip in clips if clip.name in chosen]
