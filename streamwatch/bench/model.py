"""How fast the detectors are, and how much memory they take, by batch size.

Each case runs in a process of its own (`python -m streamwatch.bench.model CASE`, JSON in, JSON
out), so that no case inherits another's memory. The weights of networks are random: they do not change the work.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.m2tr.attention import materialised_attention
from streamwatch.detectors.m2tr.detector import M2TRDetector
from streamwatch.detectors.m2tr.model import build
from streamwatch.detectors.protocol import Precision
from streamwatch.detectors.registry import load_detector
from streamwatch.detectors.statistics.detector import StatisticsDetector
from streamwatch.errors import DetectorError
from streamwatch.faces.crops import CropGeometry

MEBIBYTE = 2**20
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to CLEAR_REFS it sets VmHWM, the peak, back to the present; see proc(5)."""

STATISTICS = "statistics"
"""The detector that ships under this name, in the place of a preset."""

WARM_UP_BATCHES = 1
LEAST_BATCHES = 2


@dataclass(frozen=True)
class ModelCase:
    """One case. preset: of a network, or STATISTICS.

    materialised: attention builds its whole map in memory, as the released code does.

    seconds: least duration of the measurement. threads: CPU threads, 0 for torch's default.
    """

    preset: str
    batch: int
    materialised: bool = False
    precision: Precision = "auto"
    device: str = "auto"
    threads: int = 0
    seconds: float = 3.0


@dataclass(frozen=True)
class ModelResult:
    """What was measured.

    faces_per_second: mean over all batches but the first, with normalisation and the transfer of the results.
    peak_mib: largest resident memory of the process while it scored. working_mib: by how much that is above
    the process with the model loaded, before its first batch. On a GPU both are what torch allocated there.
    precision: what `auto` came to.
    """

    case: ModelCase
    input_size: int
    precision: str
    faces_per_second: float
    peak_mib: float
    working_mib: float


def bench_model(cases: Sequence[ModelCase]) -> Iterator[ModelResult]:
    """Measure one case after another. Raises DetectorError where a case's process fails."""
    for case in cases:
        done = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(asdict(case))],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["killed: out of memory?"])[-1]
            raise DetectorError(f"bench of {case.preset} with {case.batch} faces a batch failed: {last}")
        values = json.loads(done.stdout)
        yield ModelResult(**{**values, "case": case})


def measure(case: ModelCase) -> ModelResult:
    """Measure a case in this very process."""
    detector = _shipped_statistics() if case.preset == STATISTICS else _random_detector(case)
    crops = np.random.default_rng(0).integers(
        0, 256, (case.batch, detector.input_size, detector.input_size, 3), np.uint8
    )
    memory = _Memory(detector.device)
    attention = materialised_attention() if case.materialised else contextlib.nullcontext()
    with attention:
        for _ in range(WARM_UP_BATCHES):
            detector.score_arrays(crops)
        batches, start = 0, time.perf_counter()
        while batches < LEAST_BATCHES or time.perf_counter() - start < case.seconds:
            detector.score_arrays(crops)
            batches += 1
        elapsed = time.perf_counter() - start
    peak, working = memory.peak()
    return ModelResult(
        case=case,
        input_size=detector.input_size,
        precision=detector.precision,
        faces_per_second=batches * case.batch / elapsed,
        peak_mib=peak / MEBIBYTE,
        working_mib=working / MEBIBYTE,
    )


def _shipped_statistics() -> StatisticsDetector:
    detector = load_detector(STATISTICS)
    if not isinstance(detector, StatisticsDetector):
        raise DetectorError(f"the weights named {STATISTICS} are not of a statistics detector")
    return detector


def _random_detector(case: ModelCase) -> M2TRDetector:
    model = build(case.preset)
    card = ModelCard(
        name=case.preset,
        preset=model.config,
        input=InputSpec(model.config.input_size, mean=(127.5,) * 3, std=(127.5,) * 3),
        geometry=CropGeometry(),
        calibration=Calibration(temperature=1.0, bias=0.0),
        thresholds=Thresholds(real=0.5, fake=0.5),
        limits=Limits(min_face_side=0.0),
        data="none",
        date="none",
        recipe="random weights",
        metrics={},
        licence="none",
    )
    return M2TRDetector(
        model,
        card,
        device=case.device,
        threads=case.threads,
        precision=case.precision,
        max_batch=case.batch,
    )


class _Memory:
    """Peak memory from now on: resident memory of the process, or torch's on a GPU."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device != "cpu"
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            with contextlib.suppress(OSError):
                CLEAR_REFS.write_text(RESET_PEAK, encoding="ascii")
            self._before = resident("VmRSS")

    def peak(self) -> tuple[int, int]:
        """Bytes at the peak, and how much that is above the start."""
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else resident("VmHWM")
        return peak, peak - self._before


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (at the peak) of this process in bytes, as Linux counts it."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS} has no {field}: memory can only be measured on Linux")


if __name__ == "__main__":
    print(json.dumps(asdict(measure(ModelCase(**json.loads(sys.argv[1]))))))
