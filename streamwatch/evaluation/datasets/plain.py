"""Layouts of one's own: folders `real` and `fake`, a folder of one class, a folder with an `index.csv`; and SR-DF.

    real/**, fake/<method>/** or fake/*          videos and pictures; the same name in both means the same source
    index.csv + <split>/<label>/<file>           columns split, label, file, source_video; more columns are allowed;
                                                 with those of the kind `web` (`datasets.web`) also label `enhanced`

SR-DF (Wang et al., ICMR 2022) was announced with four generators and never released; a copy is expected as
`real/*` and `fake/<generator>/*`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets.clip import (
    NO_SPLIT,
    ClipSelection,
    LabelledClip,
    check_files,
    files_below,
    of_split,
    read_text,
)
from streamwatch.sources.inputs import IMAGE_SUFFIXES, VIDEO_SUFFIXES

INDEX = "index.csv"
COLUMNS = ("split", "label", "file", "source_video")
WEB_COLUMNS = ("clip", "scene", "frame", "aligned", "method", "origin")
"""What a set of the kind `web` has beside them (`datasets.web`)."""

CLASSES = ("real", "fake")
ENHANCED = "enhanced"
"""Honest footage after a restoration of its faces: neither class, and known in sets of the kind `web` alone."""

_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES


def recognises(folder: Path) -> bool:
    return any((folder / label).is_dir() for label in ("real", "fake"))


def recognises_index(folder: Path) -> bool:
    return (folder / INDEX).is_file() and set(COLUMNS) <= set(_rows(folder)[0]) and not has_web_columns(folder)


def has_web_columns(folder: Path) -> bool:
    """Whether a folder's `index.csv` has every column of the kind `web`."""
    return (folder / INDEX).is_file() and set(COLUMNS + WEB_COLUMNS) <= set(_rows(folder)[0])


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """What lies in `real/` and `fake/`; one of them is enough. The method is the folder inside of `fake/`."""
    parts = [(folder / label, label == "fake") for label in ("real", "fake") if (folder / label).is_dir()]
    if not parts:
        raise SourceNotFound(
            f"{folder}: has neither a folder real/ nor fake/",
            "sort the files into them, or say --kind real or --kind fake for a folder of one class",
        )
    return [clip for part, fake in parts for clip in _below(folder, part, fake)]


def read_srdf(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """As `read`, and every fake must lie in the folder of its generator."""
    clips = read(folder, wanted)
    loose = next((clip for clip in clips if clip.fake and not clip.method), None)
    if loose is not None:
        raise ConfigError(f"{folder / loose.name}: expected at fake/<generator>/", "move it there")
    return clips


def read_real(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """Everything below the folder is real."""
    return list(_below(folder, folder, fake=False))


def read_fake(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """Everything below the folder is fake."""
    return list(_below(folder, folder, fake=True))


def read_index(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """Pictures or videos listed in `index.csv`; a fake picture knows its original, the only real one of its source."""
    rows = index_rows(folder)
    reals = [row for row in rows if row["label"] == "real"]
    count = Counter(row["source_video"] for row in reals)
    originals = {row["source_video"]: place(folder, row) for row in reals if count[row["source_video"]] == 1}
    clips = [_listed(folder, row, originals) for row in rows]
    chosen = of_split(clips, wanted.split, folder)
    check_files(chosen, f"fix {folder / INDEX} or bring the files")
    return chosen


def index_rows(folder: Path) -> list[dict[str, str]]:
    """The lines of a folder's `index.csv` that belong to a class: label `real` or `fake`.

    Lines labelled `enhanced` of a set with the columns of the kind `web` belong to none and are left out. Raises
    ConfigError for missing columns or an unknown label.
    """
    return [row for row in labelled_rows(folder) if row["label"] in CLASSES]


def labelled_rows(folder: Path) -> list[dict[str, str]]:
    """All lines of a folder's `index.csv`, those labelled `enhanced` too. Raises as `index_rows`."""
    rows = _rows(folder)
    path = folder / INDEX
    if not set(COLUMNS) <= set(rows[0]):
        raise ConfigError(f"{path}: needs the columns {', '.join(COLUMNS)}")
    known = (*CLASSES, ENHANCED) if set(WEB_COLUMNS) <= set(rows[0]) else CLASSES
    wrong = next((n for n, row in enumerate(rows, start=2) if row["label"] not in known), None)
    if wrong is not None:
        label = rows[wrong - 2]["label"]
        why = f"; that label needs the columns {', '.join(WEB_COLUMNS)} too" if label == ENHANCED else ""
        raise ConfigError(f"{path}, line {wrong}: label {label!r} is none of {', '.join(known)}{why}")
    return rows


def place(folder: Path, row: dict[str, str]) -> Path:
    """Where the file of a line lies."""
    return folder / row["split"] / row["label"] / row["file"]


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / INDEX
    rows = list(csv.DictReader(read_text(path, f"it needs the columns {', '.join(COLUMNS)}").splitlines()))
    if not rows:
        raise ConfigError(f"{path}: lists nothing", f"it needs a line per file with the columns {', '.join(COLUMNS)}")
    return rows


def _listed(folder: Path, row: dict[str, str], originals: dict[str, Path]) -> LabelledClip:
    path, fake = place(folder, row), row["label"] == "fake"
    return LabelledClip(
        paths=(path,),
        name=path.relative_to(folder).as_posix(),
        fake=fake,
        split=row["split"],
        group=row["source_video"],
        method=row.get("method") or "" if fake else "",
        original=originals.get(row["source_video"]) if fake and path.suffix.lower() in IMAGE_SUFFIXES else None,
    )


def _below(folder: Path, part: Path, fake: bool) -> Iterator[LabelledClip]:
    found = files_below(part, _SUFFIXES)
    if not found:
        raise SourceNotFound(f"{part}: no video (.mp4, .mkv, …) and no picture (.jpg, .png) below it")
    for path in found:
        inside = path.relative_to(part).parts
        method = inside[0] if fake and part.name == "fake" and len(inside) > 1 else ""
        group = Path(*inside[1:] if method else inside).with_suffix("").as_posix()
        yield LabelledClip((path,), path.relative_to(folder).as_posix(), fake, NO_SPLIT, group, method)
