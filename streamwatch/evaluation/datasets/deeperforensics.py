"""DeeperForensics-1.0 (Jiang et al., CVPR 2020).

    manipulated_videos/<variant>/<target>_<actor>.mp4       variants such as end_to_end, end_to_end_level_3
    lists/splits/train.txt, val.txt, test.txt               one manipulated video a line
    original_sequences/youtube/c23/videos/<target>.mp4      the real part: FaceForensics++'s, put or linked there

The set's own `source_videos` are studio footage of the actors and not its real part, as its authors say.
"""

from __future__ import annotations

from pathlib import Path

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets import ffpp
from streamwatch.evaluation.datasets.clip import ClipSelection, LabelledClip, check_files, read_text

VARIANT = "end_to_end"
"""The standard set; the other variants are distorted copies, measured when they are asked for as --method."""

SPLITS = ("train", "val", "test")


def recognises(folder: Path) -> bool:
    return (folder / "manipulated_videos").is_dir()


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """The fakes of the split, and the real videos that they were made from where those lie there."""
    if wanted.split not in SPLITS:
        raise ConfigError(
            f"{folder}: DeeperForensics has no split {wanted.split!r}", f"its splits: {', '.join(SPLITS)}"
        )
    listed = read_text(folder / "lists" / "splits" / f"{wanted.split}.txt", "complete the download (lists)")
    names = [Path(line.strip()).name for line in listed.splitlines() if line.strip()]
    clips = [_fake(folder, variant, name, wanted.split) for variant in wanted.methods or (VARIANT,) for name in names]
    for variant in wanted.methods:
        if not (folder / "manipulated_videos" / variant).is_dir():
            raise SourceNotFound(f"{folder / 'manipulated_videos' / variant}: no such variant (--method)")
    if (folder / "original_sequences").is_dir():
        targets = dict.fromkeys(name.split("_")[0] for name in names)
        clips += ffpp.originals(folder, wanted, list(targets))
    check_files(clips, "complete the download")
    return clips


def _fake(folder: Path, variant: str, name: str, split: str) -> LabelledClip:
    path = folder / "manipulated_videos" / variant / name
    return LabelledClip(
        (path,),
        path.relative_to(folder).as_posix(),
        fake=True,
        split=split,
        group=name.split("_")[0],
        method=variant,
    )
