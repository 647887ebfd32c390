"""DF40 (Yan et al., NeurIPS 2024): its archives unpacked side by side, the real frames in `real/`.

    <method>/<ff|cdf>/frames/<video>/*.png       swaps and reenactments: sequences
    <method>/…/*.png                             generators: single pictures; below a folder `real`, real ones
    real/…/<video>/*.png                         the real part, FaceForensics++'s and Celeb-DF's frames

All of that may lie in `train/` and `test/`, which then are its splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from streamwatch.errors import SourceNotFound
from streamwatch.evaluation.datasets.clip import NO_SPLIT, ClipSelection, LabelledClip, files_below, of_split
from streamwatch.evaluation.datasets.wilddeepfake import frame_number
from streamwatch.sources.inputs import IMAGE_SUFFIXES

ASIDE = {"landmarks", "masks"}
DOMAINS = ("ff", "cdf")


def recognises(folder: Path) -> bool:
    return any(path for domain in DOMAINS for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{domain}/frames"))


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """A clip per sequence or single picture. A real part common to all splits belongs to each of them."""
    splits = [name for name in ("train", "test") if (folder / name).is_dir()]
    clips: list[LabelledClip] = []
    for split in splits or [NO_SPLIT]:
        clips += _read(folder, folder / split, split)
    if splits and (folder / "real").is_dir():
        clips += [clip for split in splits for clip in _method(folder, folder / "real", split)]
    if not clips:
        raise SourceNotFound(f"{folder}: no pictures below it", "unpack the archives of DF40 there")
    return of_split(clips, wanted.split, folder)


def _read(folder: Path, part: Path, split: str) -> Iterator[LabelledClip]:
    for method in sorted(path for path in part.iterdir() if path.is_dir()):
        yield from _method(folder, method, split)


def _method(folder: Path, method: Path, split: str) -> Iterator[LabelledClip]:
    sequences: dict[Path, list[Path]] = defaultdict(list)
    for path in files_below(method, IMAGE_SUFFIXES):
        inside = path.relative_to(method).parts[:-1]
        if not ASIDE & set(inside):
            in_sequence = "frames" in inside[:-1] or (method.name == "real" and inside)
            sequences[path.parent if in_sequence else path].append(path)
    for item, paths in sequences.items():
        inside = item.relative_to(method).parts
        fake = method.name != "real" and "real" not in inside[:-1]
        domain = next((part for part in inside if part in DOMAINS), "")
        yield LabelledClip(
            paths=tuple(sorted(paths, key=frame_number)),
            name=item.relative_to(folder).as_posix(),
            fake=fake,
            split=split,
            group=f"{domain}/{item.stem}",
            method=method.name if fake else "",
        )
