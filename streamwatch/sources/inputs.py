"""From what a user names (paths, directories, globs, URLs, manifests) to a list of sources."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamwatch.errors import SourceNotFound, SourceRefused, SourceUnreadable
from streamwatch.sources.redact import is_url

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .h264 .h265 .hevc .ivf .m1v .m2ts .m2v .m4v .mjpeg .mjpg .mkv .mov
    .mp4 .mpeg .mpg .mts .mxf .nut .ogg .ogv .rm .rmvb .ts .vob .webm .wmv .wtv
    """.split()  # noqa: SIM905 - one suffix a line would hide the rest of the module
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_HASH_BLOCK = 1 << 20


def expand_inputs(inputs: Sequence[str], manifest: Path | None = None) -> list[str]:
    """List every source that `inputs` and `manifest` name, in order, each once.

    A URL stands for itself. A directory gives the files below it with a suffix of `VIDEO_SUFFIXES`, sorted
    by path; links to directories are not followed. A name with `*`, `?` or `[` that is not itself a file is a
    glob (`**` crosses directories). A manifest holds one input a line, paths relative to the manifest's own
    directory; empty lines and lines that start with `#` are skipped.

    Raises SourceNotFound naming the item that gives nothing, or the manifest and line it stands on, and
    SourceUnreadable for a manifest that is not UTF-8 text.
    """
    sources: dict[str, str] = {}
    for item in inputs:
        for source in _expand(item, origin=""):
            sources.setdefault(_identity(source), source)
    if manifest is not None:
        for number, item in _manifest_items(manifest):
            for source in _expand(item, origin=f"{manifest}, line {number}: "):
                sources.setdefault(_identity(source), source)
    if not sources:
        where = f"{manifest}: names no input" if manifest is not None else "no input given"
        raise SourceNotFound(f"{where}; give paths, directories, globs or URLs")
    return list(sources.values())


def content_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read in blocks. Raises SourceNotFound or SourceRefused."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise SourceRefused(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _expand(item: str, origin: str) -> Iterator[str]:
    if is_url(item):
        yield item
    elif Path(item).is_dir():
        yield from _videos_below(item, origin)
    elif Path(item).exists():
        yield item
    elif glob.has_magic(item):
        matches = sorted(glob.glob(item, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise SourceNotFound(f"{origin}{item}: no file matches this pattern")
        for match in matches:
            yield from _videos_below(match, origin) if Path(match).is_dir() else (match,)
    else:
        raise SourceNotFound(f"{origin}{item}: no such file or directory")


def _videos_below(directory: str, origin: str) -> list[str]:
    found = [
        str(Path(folder) / name)
        for folder, _, names in os.walk(directory)
        for name in names
        if Path(name).suffix.lower() in VIDEO_SUFFIXES
    ]
    if not found:
        raise SourceNotFound(
            f"{origin}{directory}: no video file below this directory (by suffix: .mp4, .mkv, .mov, .ts, …); "
            "name files with an unusual suffix themselves"
        )
    return sorted(found)


def _manifest_items(manifest: Path) -> Iterator[tuple[int, str]]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SourceNotFound(f"{manifest}: no such manifest") from error
    except OSError as error:
        raise SourceRefused(f"{manifest}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SourceUnreadable(f"{manifest}: not UTF-8 text with one path or URL a line") from error
    for number, line in enumerate(text.splitlines(), start=1):
        item = line.strip()
        if item and not item.startswith("#"):
            yield number, item if is_url(item) else str(manifest.parent / item)


def _identity(source: str) -> str:
    return source if is_url(source) else str(Path(source).resolve())
