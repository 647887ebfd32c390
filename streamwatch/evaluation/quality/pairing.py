"""Which fake was made from which original, by the names of the files."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from streamwatch.errors import ConfigError
from streamwatch.sources.inputs import expand_inputs

_TARGET_AND_SOURCE = re.compile(r"(\d+)_\d+")


@dataclass(frozen=True, slots=True)
class VideoPair:
    """A fake and the video that it was made from."""

    real: str
    fake: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Every video of both sides, each once, and the pairs among them. An original may have several fakes."""

    reals: tuple[str, ...]
    fakes: tuple[str, ...]
    pairs: tuple[VideoPair, ...]

    @property
    def unpaired(self) -> tuple[str, ...]:
        """Videos without a partner, originals first."""
        paired = {name for pair in self.pairs for name in (pair.real, pair.fake)}
        return tuple(name for name in (*self.reals, *self.fakes) if name not in paired)


def match(real: str, fake: str) -> Matching:
    """Two files are a pair, whatever their names; the videos below two folders are paired by stem.

    A fake belongs to the original of the same stem, or else, as in FaceForensics++, `000_003` to `000`: the face of
    003 on the video 000. Raises SourceNotFound for what does not exist, ConfigError for a file beside a folder
    or originals that share a stem.
    """
    reals, fakes = ([found.text for found in expand_inputs([name])] for name in (real, fake))
    folders = [Path(name).is_dir() for name in (real, fake)]
    if not any(folders):
        return Matching(tuple(reals), tuple(fakes), (VideoPair(reals[0], fakes[0]),))
    if not all(folders):
        raise ConfigError(f"{real} and {fake}: one is a file, the other a folder", "give two files or two folders")
    originals = _by_stem(reals)
    pairs = [
        VideoPair(original, name) for name in fakes if (original := _original(Path(name).stem, originals)) is not None
    ]
    return Matching(tuple(reals), tuple(fakes), tuple(pairs))


def _by_stem(names: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[Path(name).stem].append(name)
    for stem, same in found.items():
        if len(same) > 1:
            raise ConfigError(f"{same[0]} and {same[1]}: two originals are named {stem}", "rename or remove one")
    return {stem: same[0] for stem, same in found.items()}


def _original(stem: str, originals: dict[str, str]) -> str | None:
    if stem in originals:
        return originals[stem]
    target = _TARGET_AND_SOURCE.fullmatch(stem)
    return originals.get(target[1]) if target else None
