"""The Deepfake Detection Challenge data (Dolhansky et al., 2020) and its preview (2019).

dfdc_train_part_<N>/metadata.json     {"aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"}}
test/labels.csv, test/*.mp4           columns filename, label (1 = fake)
dataset.json                          preview: {"method_A/…/x.mp4": {"label": "fake", "set": "test", …}}
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets.clip import (
    ClipSelection,
    LabelledClip,
    check_files,
    of_split,
    read_json,
    read_text,
)

PREVIEW = "dataset.json"
_FIX = "take the file of the official download"
_COMPLETE = "complete the download"


def recognises(folder: Path) -> bool:
    return bool(_metadata(folder)) or _labels(folder) is not None


def recognises_preview(folder: Path) -> bool:
    return (folder / PREVIEW).is_file()


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """`train`: the parts that lie there, each whole. `test`: the published test videos."""
    labels = _labels(folder)
    clips = [clip for path in _metadata(folder) for clip in _part(folder, path)]
    if labels is not None:
        clips += _test(folder, labels)
    if not clips:
        raise SourceNotFound(f"{folder}: neither dfdc_train_part_*/metadata.json nor test/labels.csv", _COMPLETE)
    chosen = of_split(clips, wanted.split, folder)
    check_files(chosen, _COMPLETE)
    return chosen


def read_preview(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """The preview set; the method is the folder, the group the person in the target video."""
    path = folder / PREVIEW
    clips = []
    for name, entry in _entries(path):
        label = _label(path, name, entry)
        clips.append(
            LabelledClip(
                paths=(folder / name,),
                name=name,
                fake=label,
                split=str(entry.get("set", "")),
                group=str(entry.get("target_id", name)),
                method=name.split("/")[0] if label else "",
            )
        )
    chosen = of_split(clips, wanted.split, folder)
    check_files(chosen, _COMPLETE)
    return chosen


def _metadata(folder: Path) -> list[Path]:
    own = folder / "metadata.json"
    return [own] if own.is_file() else sorted(folder.glob("dfdc_train_part_*/metadata.json"))


def _labels(folder: Path) -> Path | None:
    return next((p for p in (folder / "labels.csv", folder / "test" / "labels.csv") if p.is_file()), None)


def _part(folder: Path, path: Path) -> Iterator[LabelledClip]:
    for name, entry in _entries(path):
        video = path.parent / name
        yield LabelledClip(
            paths=(video,),
            name=video.relative_to(folder).as_posix(),
            fake=_label(path, name, entry),
            split=str(entry.get("split", "train")),
            group=str(entry.get("original") or name),
        )


def _test(folder: Path, path: Path) -> Iterator[LabelledClip]:
    rows = csv.DictReader(read_text(path, _FIX).splitlines())
    if not {"filename", "label"} <= set(rows.fieldnames or ()):
        raise ConfigError(f"{path}: needs the columns filename, label", _FIX)
    for row in rows:
        if row["label"] not in ("0", "1"):
            raise ConfigError(f"{path}, line {rows.line_num}: label {row['label']!r} is neither 0 nor 1", _FIX)
        video = path.parent / row["filename"]
        if not video.is_file() and (path.parent / "videos" / row["filename"]).is_file():
            video = path.parent / "videos" / row["filename"]
        name = video.relative_to(folder).as_posix()
        yield LabelledClip((video,), name, fake=row["label"] == "1", split="test", group=row["filename"])


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    document = read_json(path, _FIX)
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise ConfigError(f"{path}: must map the name of each video to its label", _FIX)
    yield from document.items()


def _label(path: Path, name: str, entry: dict[str, Any]) -> bool:
    label = str(entry.get("label", "")).lower()
    if label not in ("real", "fake"):
        raise ConfigError(f"{path}: {name}: label {entry.get('label')!r} is neither real nor fake", _FIX)
    return label == "fake"
