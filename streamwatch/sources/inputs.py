"""From what a user names (paths, directories, globs, URLs, manifests) to a list of sources."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from streamwatch.errors import SourceNotFound
from streamwatch.records import Metadata
from streamwatch.sources.location import Location
from streamwatch.sources.manifests import Entry, read_manifest, read_stream
from streamwatch.sources.objects import exists, matching, objects_below

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .asf .avi .dav .divx .dv .f4v .flv .h264 .h265 .hevc .ivf .m1v .m2p .m2t .m2ts .m2v .m4v .mjpeg .mjpg
    .mkv .mod .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogg .ogv .qt .rm .rmvb .tod .trp .ts .vob .webm .wmv .wtv
    """.split()  # noqa: SIM905 - one suffix a line would hide the rest of the module
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

STDIN = "-"
"""The input that means the list on standard input."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a scan. metadata: its further columns in the manifest; they come back in results.
    failure: why there is nothing to look at, for an entry of a manifest.
    """

    source: Location
    metadata: Metadata = field(default_factory=dict)
    failure: SourceNotFound | None = None


def read_inputs(inputs: Sequence[str], manifest: str | Path | None = None) -> list[Input]:
    """List every source that `inputs` and `manifest` name, in order, each once.

    A URL stands for itself, but that of an object store may be a prefix (it ends with `/`, or has no suffix of a video
    and is no object) or a glob, too. A directory gives the files below it with a suffix of `VIDEO_SUFFIXES`, sorted
    by path; links to directories are not followed. A name with `*`, `?` or `[` that is not itself a file is a
    glob (`**` crosses directories). `-` is a list on standard input, one input a line or JSON Lines. A manifest names
    its inputs as `read_manifest` reads them, paths relative to its own directory. All files of a directory or glob have
    its metadata.

    An entry of a manifest or of standard input that gives nothing is an input with a failure, and the rest goes on.
    Raises SourceNotFound naming one of `inputs` that gives nothing, what `read_manifest` raises, and any SourceError or
    LibraryMissing where an object store cannot be listed.
    """
    found: dict[Location, Input] = {}
    for entry in _entries(inputs, manifest):
        try:
            for source in _expand(entry.place, entry.origin):
                found.setdefault(_identity(source), Input(source, entry.metadata))
        except SourceNotFound as error:
            if not entry.origin:
                raise
            found.setdefault(_identity(entry.place), Input(entry.place, entry.metadata, error))
    if not found:
        where = f"{manifest}: names no input" if manifest is not None else "no input given"
        raise SourceNotFound(where, "give paths, directories, globs or URLs")
    return list(found.values())


def expand_inputs(inputs: Sequence[str], manifest: str | Path | None = None) -> list[Location]:
    """The sources of `read_inputs`. Raises SourceNotFound for an entry of a manifest that gives nothing, too."""
    found = read_inputs(inputs, manifest)
    for each in found:
        if each.failure is not None:
            raise each.failure
    return [each.source for each in found]


def _entries(inputs: Sequence[str], manifest: str | Path | None) -> Iterator[Entry]:
    for item in inputs:
        if item == STDIN:
            yield from read_stream(sys.stdin, "standard input")
        else:
            yield Entry(Location(item), "")
    if manifest is not None:
        listed = Location(manifest)
        for entry in read_manifest(listed):
            yield replace(entry, place=_beside(listed, entry.place))


def _beside(manifest: Location, place: Location) -> Location:
    if place.is_url or place.path.is_absolute():
        return place
    if manifest.is_object:
        return Location(f"{manifest.text.rpartition('/')[0]}/{place.text}")
    return Location(manifest.path.parent / place.path)


def _expand(item: Location, origin: str) -> Iterator[Location]:
    if item.is_object:
        yield from _objects(item, origin)
    elif item.is_url:
        yield item
    elif item.path.is_dir():
        yield from _videos_below(item, origin)
    elif item.path.exists():
        yield item
    elif glob.has_magic(item.text):
        matches = sorted(_matching(item.text))
        if not matches:
            raise SourceNotFound(f"{origin}{item}: no file matches this pattern")
        for match in map(Location, matches):
            yield from _videos_below(match, origin) if match.path.is_dir() else (match,)
    else:
        raise SourceNotFound(f"{origin}{item}: no such file or directory")


def _matching(pattern: str) -> set[str]:
    """Files and directories that match; `**` crosses directories, hidden ones and links to directories not."""
    before, star, after = pattern.partition("**")
    if not star:
        return set(glob.glob(pattern))  # noqa: PTH207 - Path.glob takes no absolute pattern
    after = after.lstrip("/")
    found: set[str] = set()
    for top in glob.glob(before) if before else [""]:  # noqa: PTH207
        for folder, folders, names in os.walk(top or "."):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = "" if not top and folder == "." else folder if top else folder.removeprefix("./")
            if after:
                found |= _matching(str(Path(glob.escape(below)) / after))
            else:
                found |= {str(Path(below) / name) for name in names if not name.startswith(".")}
    return found


def _videos_below(directory: Location, origin: str) -> list[Location]:
    walk = os.walk(directory.text)
    found = [str(Path(folder) / name) for folder, _, names in walk for name in names if _is_video(name)]
    if not found:
        raise SourceNotFound(
            f"{origin}{directory}: no video file below this directory (by suffix: .mp4, .mkv, .mov, .ts, …)",
            "name files with an unusual suffix themselves",
        )
    return [Location(path) for path in sorted(found)]


def _objects(url: Location, origin: str) -> list[Location]:
    """One whose name ends as that of a video is not looked for before its turn: a manifest may name a million."""
    if glob.has_magic(url.text):
        objects, prefixes = ([url], []) if exists(url) else matching(url)
        if not objects and not prefixes:
            raise SourceNotFound(f"{origin}{url}: no object matches this pattern")
        return objects + [video for prefix in prefixes for video in _videos_in(prefix)]
    if not url.text.endswith("/") and (_is_video(url.text) or exists(url)):
        return [url]
    found = _videos_in(url)
    if not found:
        raise SourceNotFound(
            f"{origin}{url}: no video below this prefix (by suffix: .mp4, .mkv, .mov, .ts, …), nor an object "
            "of this name"
        )
    return found


def _videos_in(prefix: Location) -> list[Location]:
    return [url for url in objects_below(prefix) if _is_video(url.text)]


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def _identity(source: Location) -> Location:
    return source if source.is_url else Location(os.path.realpath(source.text))
