"""What decoding a live stream costs, beside FFmpeg's own program on the same file.

Ours is the decoding process of `watch`, as it runs for a stream: it decodes every picture, keeps the packets for clips,
converts the sampled pictures to RGB and hands them over. Processor time counts from the first picture on. FFmpeg's is
`ffmpeg -threads 1 -i FILE -f null -`, which decodes every picture and drops it. Both read as fast as they can, in turn.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamwatch.config import Settings
from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing
from streamwatch.sources.location import Location
from streamwatch.sources.process import Closed, DecodingProcess, DecodingProgress, Opened
from streamwatch.sources.recorder import Recording


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """Processor seconds per second of the clip, that is, cores a stream takes; medians. ffmpeg: None without it."""

    codec: str
    width: int
    height: int
    seconds: float
    ours: float
    ffmpeg: float | None

    @property
    def ratio(self) -> float | None:
        """Ours ÷ FFmpeg's."""
        return None if self.ffmpeg is None else self.ours / self.ffmpeg


def bench_decode(clip: Path, settings: Settings, times: int = 3) -> DecodeResult:
    """Decode a clip `times` times with each. Raises what opening it raises, LibraryMissing without psutil."""
    try:
        import psutil
    except ImportError:
        raise LibraryMissing("psutil is missing", install_extra("bench")) from None
    ffmpeg = shutil.which("ffmpeg")
    ours, theirs = [], []
    for _ in range(times):
        opened, media, spent = _decode(clip, settings, psutil)
        ours.append(spent / media)
        if ffmpeg is not None:
            theirs.append(_run(ffmpeg, clip) / media)
    median = statistics.median
    return DecodeResult(
        opened.codec, opened.width, opened.height, media, median(ours), median(theirs) if theirs else None
    )


def _decode(clip: Path, settings: Settings, psutil: Any) -> tuple[Opened, float, float]:
    """What it is, its media seconds, processor seconds from the first picture on."""
    alerts = settings.alerts
    recording = Recording(alerts.clip_before + alerts.clip_after, alerts.clip_max_bytes)
    process = DecodingProcess()
    try:
        usage = psutil.Process(process.pid).cpu_times
        process.open(Location(clip), settings.decode, settings.sampling, live=True, recording=recording)
        opened, begun, reached = None, 0.0, 0.0
        while True:
            message = process.receive(settings.decode.open_timeout)
            if isinstance(message, Opened):
                opened, begun = message, sum(usage()[:2])
            elif isinstance(message, DecodingProgress):
                reached = message.pts
            elif isinstance(message, Closed):
                if message.error is not None:
                    raise message.error
                assert opened is not None
                return opened, opened.duration or reached, sum(usage()[:2]) - begun
    finally:
        process.kill()


def _run(ffmpeg: str, clip: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [ffmpeg, "-v", "error", "-nostdin", "-threads", "1", "-i", f"file:{clip}", "-f", "null", "-"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
