"""Face pictures of web clips: an `index.csv` that says which clip, scene and method each picture comes from.

    index.csv + <split>/<label>/<file>     columns split, label, file, source_video, clip, scene, frame, aligned,
                                           method, origin; labels real, fake, enhanced

Pictures are crops around one face, wider than a detector's. `scene` joins a fake with the footage that it came from;
where `aligned` is 1 the fake shows the same frame in the same crop as the real pictures with its `source_video`.
`enhanced` is honest footage after a restoration of its faces: neither class.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.clips import FaceLabel
from streamwatch.evaluation.datasets.clip import ClipSelection, LabelledClip
from streamwatch.evaluation.datasets.plain import ENHANCED, INDEX, WEB_COLUMNS, has_web_columns, labelled_rows, place

_FILLED = ("split", "file", "source_video", "clip", "scene")


@dataclass(frozen=True, slots=True)
class WebPicture:
    """One line of the index. method: "" where real. frame: place in the clip. origin: who published it."""

    path: Path
    split: str
    label: FaceLabel
    source: str
    clip: str
    scene: str
    frame: int
    aligned: bool
    method: str
    origin: str

    @property
    def fake(self) -> bool:
        """Whether it is forged; enhanced pictures are not."""
        return self.label == "fake"


def recognises(folder: Path) -> bool:
    return has_web_columns(folder)


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """The pictures of the two classes, each an item of its own, grouped by scene; none of those labelled `enhanced`."""
    pictures = [picture for picture in read_pictures(folder, wanted.split) if picture.label != ENHANCED]
    known = originals(pictures)
    return [
        LabelledClip(
            paths=(picture.path,),
            name=picture.path.relative_to(folder).as_posix(),
            fake=picture.fake,
            split=picture.split,
            group=picture.scene,
            method=picture.method,
            original=known[picture.path][0] if len(known.get(picture.path, ())) == 1 else None,
        )
        for picture in pictures
    ]


def read_pictures(folder: Path, split: str | None = None) -> list[WebPicture]:
    """The pictures of one split, or of all. Raises ConfigError naming the line that is wrong, or the splits that there
    are; SourceNotFound where a listed picture is missing.
    """
    path = folder / INDEX
    rows = labelled_rows(folder)
    missing = [column for column in WEB_COLUMNS if column not in rows[0]]
    if missing:
        raise ConfigError(f"{path}: the kind web needs the columns {', '.join(missing)} too", "try --kind index")
    pictures = [_picture(folder, row, number) for number, row in enumerate(rows, start=2)]
    _check_clips(path, pictures)
    splits = sorted({picture.split for picture in pictures})
    if split is not None and split not in splits:
        raise ConfigError(f"{folder}: has no split {split!r}", f"its splits: {', '.join(splits)} (--split)")
    chosen = [picture for picture in pictures if split is None or picture.split == split]
    absent = [picture.path for picture in chosen if not picture.path.is_file()]
    if absent:
        raise SourceNotFound(
            f"{absent[0]}: listed but missing ({len(absent)} of {len(chosen)} files)",
            f"correct {path} or bring the files",
        )
    return chosen


def originals(pictures: Iterable[WebPicture]) -> dict[Path, tuple[Path, ...]]:
    """The real pictures that show the same frame in the same crop, of every aligned picture that has any."""
    real: dict[tuple[str, str], list[Path]] = defaultdict(list)
    aligned = []
    for picture in pictures:
        if picture.label == "real":
            real[picture.scene, picture.source].append(picture.path)
        elif picture.aligned:
            aligned.append(picture)
    return {p.path: tuple(real[p.scene, p.source]) for p in aligned if (p.scene, p.source) in real}


def whole_scenes(pictures: Sequence[WebPicture], limit: int) -> list[WebPicture]:
    """The pictures of at most `limit` clips, half of each class, with no scene torn apart; enhanced clips of these
    scenes come on top. In the given order.

    Scenes are taken in the order of a hash of their names, the same at every call; one that would exceed a half is left
    out.
    """
    scenes: dict[str, dict[str, str]] = defaultdict(dict)
    for picture in pictures:
        scenes[picture.scene][picture.clip] = picture.label
    kept, room = set(), Counter({"real": limit // 2, "fake": limit // 2})
    for scene in sorted(scenes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        needed = Counter(label for label in scenes[scene].values() if label != ENHANCED)
        if all(count <= room[label] for label, count in needed.items()):
            room.subtract(needed)
            kept.add(scene)
    return [picture for picture in pictures if picture.scene in kept]


def few_per_clip(pictures: Sequence[WebPicture], most: int) -> list[WebPicture]:
    """At most `most` pictures of each clip, spread evenly over its frames; in the given order."""
    members: dict[str, list[WebPicture]] = defaultdict(list)
    for picture in pictures:
        members[picture.clip].append(picture)
    kept: set[Path] = set()
    for own in members.values():
        ranked = sorted(own, key=lambda picture: picture.frame)
        places = np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int)
        kept.update(ranked[place].path for place in places)
    return [picture for picture in pictures if picture.path in kept]


def _picture(folder: Path, row: dict[str, str], number: int) -> WebPicture:
    where = f"{folder / INDEX}, line {number}"
    empty = [column for column in _FILLED if not row[column]]
    if empty:
        raise ConfigError(f"{where}: {', '.join(empty)} is empty; every picture needs it")
    if row["aligned"] not in ("0", "1"):
        raise ConfigError(f"{where}: aligned is {row['aligned']!r}", "write 1 (same frame, same crop) or 0")
    if not (row["frame"] or "").isdecimal():
        raise ConfigError(f"{where}: frame is {row['frame']!r}", "write its place in the clip, 0, 1, 2, …")
    if row["label"] == "fake" and not row["method"]:
        raise ConfigError(f"{where}: a fake without a method", "name it, or write unknown")
    return WebPicture(
        path=place(folder, row),
        split=row["split"],
        label=cast(FaceLabel, row["label"]),
        source=row["source_video"],
        clip=row["clip"],
        scene=row["scene"],
        frame=int(row["frame"]),
        aligned=row["aligned"] == "1",
        method=row["method"] or "",
        origin=row["origin"] or "",
    )


def _check_clips(path: Path, pictures: Sequence[WebPicture]) -> None:
    first: dict[str, WebPicture] = {}
    seen: set[Path] = set()
    for number, picture in enumerate(pictures, start=2):
        if picture.path in seen:
            raise ConfigError(f"{path}, line {number}: {picture.path.name} is listed twice", "take one line out")
        seen.add(picture.path)
        other = first.setdefault(picture.clip, picture)
        for name in ("split", "label", "scene", "method"):
            if getattr(other, name) != getattr(picture, name):
                raise ConfigError(
                    f"{path}, line {number}: clip {picture.clip} has {name} {getattr(picture, name)!r} here and "
                    f"{getattr(other, name)!r} before; a clip has one"
                )
