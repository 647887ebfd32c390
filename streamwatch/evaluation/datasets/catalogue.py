"""Every layout by name, and which one lies in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets import celebdf, deeperforensics, df40, dfdc, ffpp, plain, web, wilddeepfake
from streamwatch.evaluation.datasets.clip import ClipSelection, Kind, LabelledClip, of_methods


@dataclass(frozen=True, slots=True)
class Layout:
    """read: the wanted part of a folder. recognises: whether a folder looks like it; None if it is never guessed."""

    read: Callable[[Path, ClipSelection], list[LabelledClip]]
    recognises: Callable[[Path], bool] | None = None


LAYOUTS: dict[Kind, Layout] = {
    "deeperforensics": Layout(deeperforensics.read, deeperforensics.recognises),
    "ffpp": Layout(ffpp.read, ffpp.recognises),
    "celebdf": Layout(celebdf.read, celebdf.recognises),
    "dfdc-preview": Layout(dfdc.read_preview, dfdc.recognises_preview),
    "dfdc": Layout(dfdc.read, dfdc.recognises),
    "wilddeepfake": Layout(wilddeepfake.read, wilddeepfake.recognises),
    "df40": Layout(df40.read, df40.recognises),
    "web": Layout(web.read, web.recognises),
    "index": Layout(plain.read_index, plain.recognises_index),
    "srdf": Layout(plain.read_srdf),
    "folder": Layout(plain.read, plain.recognises),
    "real": Layout(plain.read_real),
    "fake": Layout(plain.read_fake),
}


def list_clips(folder: Path, kind: Kind, wanted: ClipSelection) -> tuple[Kind, list[LabelledClip]]:
    """The wanted items of a data set, and its kind. Raises SourceNotFound and ConfigError with the fix."""
    found = kind_of(folder, kind)
    clips = of_methods(LAYOUTS[found].read(folder, wanted), wanted.methods, folder)
    if not clips:
        raise SourceNotFound(f"{folder}: the {found} data set has no items in the part asked for")
    return found, clips


def kind_of(folder: Path, kind: Kind) -> Kind:
    """The kind as it is, or for `auto` the one that the folder has. Raises SourceNotFound, ConfigError as `detect`."""
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder", "name the folder that a data set was unpacked to")
    return detect(folder) if kind == "auto" else kind


def detect(folder: Path) -> Kind:
    """The one layout that a folder has. Raises ConfigError where it is none or more than one.

    `real/` and `fake/` lie inside of other layouts too, so they count only where no other one fits.
    """
    fits: list[Kind] = [kind for kind, layout in LAYOUTS.items() if layout.recognises and layout.recognises(folder)]
    if len(fits) > 1 and "folder" in fits:
        fits.remove("folder")
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(LAYOUTS)
    what = f"looks like {' and '.join(fits)}" if fits else "is no data set that is known by its files"
    raise ConfigError(f"{folder}: {what}", f"say which with --kind ({names})")
