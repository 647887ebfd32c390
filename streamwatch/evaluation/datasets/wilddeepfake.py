"""WildDeepfake (Zi et al., ACM MM 2020): sequences of face pictures, its archives unpacked where they lie.

real_train/<archive>/real/<sequence>/*.png, fake_train/…, real_test/…, fake_test/…
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from streamwatch.errors import SourceNotFound
from streamwatch.evaluation.datasets.clip import ClipSelection, LabelledClip, files_below, of_split
from streamwatch.sources.inputs import IMAGE_SUFFIXES

PARTS = {f"{label}_{split}": (label == "fake", split) for label in ("real", "fake") for split in ("train", "test")}


def recognises(folder: Path) -> bool:
    return any((folder / part).is_dir() for part in PARTS)


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """A clip per folder of pictures; the group is the archive, which holds the sequences of one video."""
    clips = []
    for part, (fake, split) in PARTS.items():
        if (folder / part).is_dir():
            clips += _sequences(folder, part, fake, split)
    if not clips:
        raise SourceNotFound(f"{folder}: none of {', '.join(PARTS)}", "name the folder that holds them")
    return of_split(clips, wanted.split, folder)


def _sequences(folder: Path, part: str, fake: bool, split: str) -> list[LabelledClip]:
    sequences: dict[Path, list[Path]] = defaultdict(list)
    for path in files_below(folder / part, IMAGE_SUFFIXES):
        sequences[path.parent].append(path)
    if not sequences:
        raise SourceNotFound(f"{folder / part}: holds no pictures", "unpack its archives (*.tar.gz) where they lie")
    return [
        LabelledClip(
            paths=tuple(sorted(paths, key=frame_number)),
            name=sequence.relative_to(folder).as_posix(),
            fake=fake,
            split=split,
            group="/".join(sequence.relative_to(folder).parts[:2]),
        )
        for sequence, paths in sequences.items()
    ]


def frame_number(path: Path) -> tuple[int, str]:
    """Order of the pictures of a sequence: `2.png` before `10.png`."""
    return (int(path.stem) if path.stem.isdecimal() else -1, path.name)
