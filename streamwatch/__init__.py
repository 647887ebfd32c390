"""Watches video streams and archives for manipulated faces.

    import streamwatch as sw

    detector = sw.load_detector("m2tr-lite")
    scores = detector.score(crops)  # uint8 N×S×S×3 RGB -> list[FaceScore]
    for verdict in sw.scan(["clip.mp4", "archive/"]):
        print(verdict.source, verdict.label, verdict.score)

Nothing heavy is loaded before it is used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamwatch.config import Settings, load_settings
from streamwatch.distribution import __version__
from streamwatch.errors import StreamwatchError
from streamwatch.records import Alert, Face, FaceCrop, FaceScore, Frame, Label, TrackVerdict, VideoVerdict

if TYPE_CHECKING:
    from streamwatch.detectors import Detector

# onnxruntime reports to its maker unless this is set before it is imported; every process of a run imports this package
# first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Alert",
    "Face",
    "FaceCrop",
    "FaceScore",
    "Frame",
    "Label",
    "Settings",
    "StreamwatchError",
    "TrackVerdict",
    "VideoVerdict",
    "__version__",
    "load_detector",
    "load_settings",
    "scan",
]


def load_detector(name_or_path: str | Path, device: str = "auto") -> Detector:
    """A forgery detector by registered name, or by the path of a .safetensors file with its card beside it.

    device: auto (CUDA where there is one), cpu, cuda or cuda:N. Raises WeightsError, or DetectorError for a
    device that is not there.
    """
    from streamwatch.detectors import load_detector as load

    return load(name_or_path, device)


def scan(
    paths: Sequence[str | Path],
    *,
    settings: Settings | None = None,
    store: str | None = None,
    resume: bool = True,
) -> Iterator[VideoVerdict]:
    """Analyse files, directories, globs and URLs; yields a verdict for each file as it is finished.

    settings: default: those of the `archive` pipeline and the environment
    (`load_settings(pipeline="archive")`).
    store: URL of a store that keeps the results, and spares what it holds already while `resume` is true;
    None: no store. What fails on one file is its verdict `error`. Raises SourceNotFound, ConfigError,
    WeightsError or StoreError where nothing can be done at all.
    """
    from streamwatch.archive.scan import iter_scan
    from streamwatch.sources import expand_inputs

    wanted = settings or load_settings(pipeline="archive")
    if store is not None:
        wanted = wanted.model_copy(update={"store": wanted.store.model_copy(update={"url": store})})
    inputs = expand_inputs([str(path) for path in paths])
    for analysis in iter_scan(inputs, wanted, store=store is not None, resume=resume):
        yield analysis.verdict
