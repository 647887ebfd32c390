"""FaceForensics++ (Rössler et al., ICCV 2019), with FaceShifter (Li et al., CVPR 2020).

original_sequences/youtube/<compression>/videos/NNN.mp4
manipulated_sequences/<method>/<compression>/videos/<target>_<source>.mp4
manipulated_sequences/<method>/masks/videos/<target>_<source>.mp4       (where published)
splits/train.json, val.json, test.json       lists of pairs of ids, from the project's repository
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets.clip import ClipSelection, LabelledClip, check_files, read_json

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
COMPRESSIONS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
"""What a user may ask for, and the folders that it lies in: uncompressed videos were `c0` first and `raw` later."""

SPLITS = ("train", "val", "test")
_COMPLETE = "complete the download"
_LISTS = "put train.json, val.json and test.json of the repository ondyari/FaceForensics (dataset/splits) there"


def recognises(folder: Path) -> bool:
    return (folder / "original_sequences").is_dir() and (folder / "manipulated_sequences").is_dir()


def read(folder: Path, wanted: ClipSelection) -> list[LabelledClip]:
    """The wanted split. Methods of which nothing lies there are left out, unless they were asked for by name."""
    ids = split_pairs(folder, wanted.split)
    methods = _methods(folder, wanted)
    clips = [*originals(folder, wanted, [i for pair in ids for i in pair])]
    for method in methods:
        base = folder / "manipulated_sequences" / method
        videos = base / _compression(base, wanted) / "videos"
        for first, second in ids:
            for target, source in ((first, second), (second, first)):
                name = f"{target}_{source}.mp4"
                mask = base / "masks" / "videos" / name
                clips.append(
                    LabelledClip(
                        paths=(videos / name,),
                        name=(videos / name).relative_to(folder).as_posix(),
                        fake=True,
                        split=wanted.split,
                        group=target,
                        method=method,
                        mask=mask if mask.is_file() else None,
                    )
                )
    check_files(clips, _COMPLETE)
    return clips


def originals(folder: Path, wanted: ClipSelection, ids: list[str]) -> Iterator[LabelledClip]:
    """The untouched YouTube videos with these ids."""
    base = folder / "original_sequences" / "youtube"
    videos = base / _compression(base, wanted) / "videos"
    for name in ids:
        path = videos / f"{name}.mp4"
        yield LabelledClip((path,), path.relative_to(folder).as_posix(), fake=False, split=wanted.split, group=name)


def split_pairs(folder: Path, split: str) -> list[tuple[str, str]]:
    """The pairs of ids of an official split. Raises ConfigError, SourceNotFound."""
    if split not in SPLITS:
        raise ConfigError(
            f"{folder}: FaceForensics++ has no split {split!r}", f"its splits: {', '.join(SPLITS)} (--split)"
        )
    nested, flat = folder / "splits" / f"{split}.json", folder / f"{split}.json"
    path = flat if flat.is_file() and not nested.is_file() else nested
    pairs = read_json(path, _LISTS)
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise ConfigError(f'{path}: must be a list of pairs of ids such as [["953", "974"]]', _LISTS)
    return [(str(first), str(second)) for first, second in pairs]


def _methods(folder: Path, wanted: ClipSelection) -> list[str]:
    by_name = {method.lower(): method for method in METHODS}
    unknown = [name for name in wanted.methods if name.lower() not in by_name]
    if unknown:
        raise ConfigError(f"--method {unknown[0]}: FaceForensics++ has {', '.join(METHODS)}")
    if wanted.methods:
        return [by_name[name.lower()] for name in wanted.methods]
    present = [method for method in METHODS if (folder / "manipulated_sequences" / method).is_dir()]
    if not present:
        raise SourceNotFound(f"{folder / 'manipulated_sequences'}: has none of {', '.join(METHODS)}", _COMPLETE)
    return present


def _compression(base: Path, wanted: ClipSelection) -> str:
    names = COMPRESSIONS.get(wanted.compression)
    if names is None:
        raise ConfigError(f"--compression {wanted.compression}: use raw, c23 or c40")
    found = next((name for name in names if (base / name / "videos").is_dir()), None)
    if found is None:
        raise SourceNotFound(
            f"{base / names[0] / 'videos'}: no such folder", f"{_COMPLETE}, or choose another --compression"
        )
    return found
