"""Celeb-DF v2 (Li et al., CVPR 2020).

    Celeb-real/id<A>_<NNNN>.mp4 · YouTube-real/<NNNNN>.mp4 · Celeb-synthesis/id<A>_id<B>_<NNNN>.mp4
    List_of_testing_videos.txt      lines such as `1 YouTube-real/00170.mp4`

In the list **1 means real**: it is turned round here.
"""

from __future__ import annotations

from pathlib import Path

from streamwatch.errors import ConfigError
from streamwatch.evaluation.datasets.clip import (
    ClipSelection,
    LabelledClip,
    check_files,
    files_below,
    of_split,
    read_text,
)
from streamwatch.sources.inputs import VIDEO_SUFFIXES

LIST = "List_of_testing_videos.txt"
REAL, FAKE = ("Celeb-real", "YouTube-real"), ("Celeb-synthesis",)
_FIX = "take the list of the official download"


def recognises(folder: Path) -> bool:
    return (folder / LIST).is_file() or (folder / FAKE[0]).is_dir()


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """`test` is the official list, `train` all other videos."""
    tested = testing_videos(folder / LIST)
    listed = [_clip(folder, name, "test") for name in tested]
    check_files(listed, "complete the download")
    others = (
        path.relative_to(folder).as_posix()
        for part in (*REAL, *FAKE)
        if (folder / part).is_dir()
        for path in files_below(folder / part, VIDEO_SUFFIXES)
    )
    taken = set(tested)
    return of_split(
        [*listed, *(_clip(folder, name, "train") for name in others if name not in taken)], wanted.split, folder
    )


def testing_videos(path: Path) -> list[str]:
    """The names in the official list. Raises ConfigError for a line whose label contradicts its folder."""
    names = []
    for number, line in enumerate(read_text(path, _FIX).splitlines(), start=1):
        if not line.strip():
            continue
        label, _, name = line.strip().partition(" ")
        if label not in ("0", "1") or name.split("/")[0] not in (REAL if label == "1" else FAKE):
            raise ConfigError(
                f"{path}, line {number}: {line.strip()!r} is not `1 Celeb-real/…`, `1 YouTube-real/…` or "
                "`0 Celeb-synthesis/…`",
                _FIX,
            )
        names.append(name)
    return names


def _clip(folder: Path, name: str, split: str) -> LabelledClip:
    path = folder / name
    parts = path.stem.split("_")
    group = f"{parts[0]}_{parts[-1]}" if len(parts) == 3 else path.stem
    return LabelledClip((path,), name, fake=name.split("/")[0] in FAKE, split=split, group=group)
