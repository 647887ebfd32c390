"""Whether this machine can run streamwatch: what it has, what is broken, and the fix for each.

Light to import: what is examined is imported when it is examined, so that the examination of a broken
installation ends with a line, not with a traceback.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import ParamSpec, TypeVar

from streamwatch.config import Settings
from streamwatch.cpu import cpu_features
from streamwatch.errors import LibraryMissing, StreamwatchError
from streamwatch.extensions import POINTS
from streamwatch.local_runtime import LOOPBACK, check_loopback, private_folder

P = ParamSpec("P")
R = TypeVar("R")

OPENCV_FIX = "apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu; as root)"
DISK_NEEDED = 2 * 2**30
"""Free bytes that a run may want: Ray's session folder, annotated clips, the store."""

SHARED_MEMORY_NEEDED = 256 * 2**20
"""Bytes of /dev/shm for Ray's object store; batches of crops are small."""


class Status(str, Enum):
    """`fail` is something that streamwatch needs, `warn` something that it can do without, `info` a fact."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination; `fix` says what to do about it, empty where nothing is wrong."""

    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        return {**asdict(self), "status": self.status.value}


def require_opencv() -> None:
    """Raise LibraryMissing with the fix where OpenCV cannot be imported."""
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        raise library_missing(error) from None


def needs_opencv(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command check OpenCV before it starts."""

    @functools.wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        require_opencv()
        return command(*args, **kwargs)

    return checked


def library_missing(error: ImportError) -> LibraryMissing:
    """What is missing and how to get it."""
    text = " ".join(str(error).split())
    if "cannot open shared object file" in text:
        library = text.split(":", 1)[0]
        if library.startswith(("libGL", "libglib", "libgthread")):
            return LibraryMissing(f"OpenCV needs the system library {library}, which is missing", OPENCV_FIX)
        return LibraryMissing(f"the system library {library} is missing", "install the package that holds it")
    package = error.name or text
    return LibraryMissing(f"the package {package} cannot be imported ({text})", "install streamwatch again with pip")


def examine(settings: Settings, folder: Path) -> Iterator[Check]:
    """Look at everything that a run with `settings` in `folder` needs, cheapest first."""
    yield _python()
    yield opencv()
    yield _pyav()
    yield from _torch()
    yield _package("onnxruntime", "runs the face detector")
    yield _package("ray", "runs the stages")
    yield face_detector(settings)
    yield model(settings)
    yield store(settings)
    yield from extensions()
    yield disk(folder)
    yield shared_memory()
    yield run_folder()
    yield loopback()


def _python() -> Check:
    system = f"{platform.system()} {platform.machine()}"
    detail = f"{platform.python_version()} on {system}, {os.cpu_count()} cores"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Check("python", Status.OK, detail)
    return Check("python", Status.FAIL, detail, "install Python 3.10 to 3.13")


def opencv() -> Check:
    """Whether OpenCV can be imported."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        return _broken("opencv", error)
    return Check("opencv", Status.OK, str(cv2.__version__))


def _pyav() -> Check:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        return _broken("pyav", error)
    detail = f"{av.__version__}, FFmpeg {getattr(av, 'ffmpeg_version_info', 'unknown')}"
    missing = [name for name in ("h264", "hevc", "libx264") if name not in av.codecs_available]
    if missing:
        detail += f", without {', '.join(missing)}"
        return Check("pyav", Status.FAIL, detail, "pip install --force-reinstall av")
    return Check("pyav", Status.OK, detail)


def _torch() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield _broken("torch", error)
        return
    yield Check("torch", Status.OK, str(torch.__version__))
    features = cpu_features()
    bf16 = [name for name in ("avx512_bf16", "amx_bf16", "bf16") if name in features]
    known = [name for name in ("avx2", "avx512f", "asimd") if name in features]
    vectors = ", ".join(known) or "no vector extension known"
    yield Check("cpu", Status.INFO, f"{vectors}; bfloat16: {', '.join(bf16) or 'not in hardware'}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("gpu", Status.OK, ", ".join(names))
    else:
        yield Check("gpu", Status.INFO, "none that torch can use; the CPU does the work")


def _package(name: str, purpose: str) -> Check:
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        return _broken(name, error)
    return Check(name, Status.OK, f"{importlib.metadata.version(name)}, {purpose}")


def _broken(name: str, error: ImportError | OSError) -> Check:
    otherwise = f"pip install --force-reinstall {name}"
    if isinstance(error, ImportError):
        return _failed(name, library_missing(error), otherwise)
    return Check(name, Status.FAIL, " ".join(str(error).split()), otherwise)


def face_detector(settings: Settings) -> Check:
    """Whether the face detector loads."""
    name = settings.faces.detector
    try:
        from streamwatch.faces import load_face_detector

        load_face_detector(settings.faces)
    except StreamwatchError as error:
        return _failed("face detector", error, "give faces.detector: retinaface-mobilenet")
    except ImportError as error:
        return _broken("face detector", error)
    return Check("face detector", Status.OK, f"{name}, weights found and loaded")


def model(settings: Settings) -> Check:
    """Whether the forgery detector loads and is the one on its card."""
    name = settings.detector.model
    try:
        from streamwatch.detectors import load_detector

        card = load_detector(name, "cpu").card
    except StreamwatchError as error:
        return _failed("model", error, "set detector.model to a name of `streamwatch models list`")
    except (ImportError, OSError) as error:
        return _broken("model", error)
    return Check("model", Status.OK, f"{name}, SHA-256 {card.sha256[:12]}… as on its card of {card.date}")


def store(settings: Settings) -> Check:
    """Whether the store can be reached; nothing is made or changed."""
    try:
        from streamwatch.store import database, schema

        url = database.parse_url(settings.store.url)
        file = database.sqlite_file(url)
        if file is not None and not file.exists():
            if os.access(file.parent, os.W_OK):
                return Check("store", Status.OK, f"{database.shown(url)}, made at the first run")
            fix = "choose a folder that can be written: store.url or --store"
            return Check("store", Status.FAIL, f"{file.parent} cannot be written, or is no folder", fix)
        engine = database.create_store_engine(url, read_only=True)
        try:
            revision = schema.current(engine)
        finally:
            engine.dispose()
        schema.check_known(url, revision)
        if revision not in (None, schema.head()):
            detail = f"{database.shown(url)}, schema {revision}, this version needs {schema.head()}"
            return Check("store", Status.WARN, detail, "streamwatch db upgrade (or the next run does it)")
    except StreamwatchError as error:
        return _failed("store", error, "set store.url")
    except ImportError as error:
        return _broken("store", error)
    return Check("store", Status.OK, f"{database.shown(url)}, schema {revision or 'not made yet'}")


def extensions() -> Iterator[Check]:
    """Whether what other distributions add can be loaded; nothing where they add nothing."""
    for point in POINTS:
        for name in (*point.added(), *point.builtin, *point.reserved):
            try:
                point.check(name)
                if name in point.added():
                    point.load(name)
                    yield Check("extension", Status.OK, f"{name} of {point.group}")
            except StreamwatchError as error:
                yield _failed("extension", error, "remove its distribution")


def disk(folder: Path) -> Check:
    """Whether there is room for a run."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", Status.FAIL, f"{folder}: {error.strerror}", "run in a folder that exists")
    detail = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < DISK_NEEDED:
        return Check("disk", Status.WARN, detail, f"free some space: {DISK_NEEDED // 2**30} GiB are wanted")
    return Check("disk", Status.OK, detail)


def shared_memory(place: Path = Path("/dev/shm")) -> Check:
    """Whether Ray has room for its object store in memory."""
    if not place.is_dir():
        return Check("shared memory", Status.INFO, f"no {place}; Ray uses the disk")
    total = shutil.disk_usage(place).total
    detail = f"{total / 2**20:.0f} MiB at {place}"
    if total < SHARED_MEMORY_NEEDED:
        fix = "in a container: --shm-size 2g (Ray falls back to the disk, slower)"
        return Check("shared memory", Status.WARN, detail, fix)
    return Check("shared memory", Status.OK, detail)


def run_folder() -> Check:
    """Whether Ray has a folder for its sockets: writable, private, with a short path."""
    try:
        with private_folder() as folder:
            return Check("run folder", Status.OK, f"{folder.parent}, for the sockets of a run")
    except StreamwatchError as error:
        return _failed("run folder", error, "set TMPDIR")


def loopback() -> Check:
    """Whether the processes of a run can reach each other."""
    try:
        check_loopback()
    except StreamwatchError as error:
        return _failed("loopback", error, "bring up the loopback interface")
    return Check("loopback", Status.OK, f"{LOOPBACK}, where the processes of a run listen")


def _failed(name: str, error: StreamwatchError, otherwise: str) -> Check:
    return Check(name, Status.FAIL, error.problem, error.fix or otherwise)
