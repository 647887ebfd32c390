"""How fast the pipeline is, against what its stages cost and against a loop written by hand.

Three measurements over the same clips:

1. Stages alone. One pass in one thread, one stage at a time; each stage's own CPU and wall seconds are taken.
   `decode` reads every picture and converts the sampled ones, `detect` finds faces, `crop` tracks, cuts and
   measures them, `score` runs the model on batches of `detector.max_batch` faces.
2. End to end, through the engine. Its start-up (Ray, processes, models) is measured on one clip for each worker, of a
   second with a face, and taken off: it is the same for a minute and for a night.
3. The user's loop, on the same cores: OpenCV reads, the face detector sees every sampled frame by itself, the
   same model scores one face at a time, every library threads as it likes.

What the measured stage costs allow. With N cores the run cannot end before

    max( Σ over clips and stages of CPU seconds ÷ N,
         max over clips of the CPU seconds of decode + detect + crop )

that is, when all cores are busy to the end, or when the longest clip is through the one worker that it has.
On a GPU the score stage takes no part in the sum, but the run cannot be shorter than its wall seconds. The bound
knows no transfer between processes, no waiting and no scheduling. **Efficiency** is this bound ÷ the measured
end-to-end time: 1 means that the engine costs nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from streamwatch.config import Settings
from streamwatch.demo import ClipPlan, make_clip
from streamwatch.detectors import Detector, load_detector
from streamwatch.errors import SourceUnreadable
from streamwatch.faces import FaceDetector, FaceFinder, crop_face, load_face_detector
from streamwatch.records import Face, FaceCrop, ImageArray, Label
from streamwatch.sources.location import Location
from streamwatch.sources.video import VideoSource

STAGES = ("decode", "detect", "crop", "score")


@dataclass(frozen=True)
class StageCost:
    """items: frames (decode: decoded, detect: sampled) or faces (crop, score). Seconds over all clips."""

    name: str
    items: int
    unit: str
    cpu_seconds: float
    wall_seconds: float

    @property
    def per_second(self) -> float:
        """Items per wall second, alone on one core."""
        return self.items / self.wall_seconds if self.wall_seconds else 0.0


@dataclass(frozen=True)
class PipelineResult:
    """What `bench_pipeline` measured. Seconds of wall time unless said otherwise.

    bound: what the stage costs allow, see the module. start_up: not part of end_to_end. loop_frames and
    loop_faces: what the loop sampled and scored, for a check that it did the same work.
    """

    cores: int
    clips: int
    media_seconds: float
    frames: int
    faces: int
    stages: tuple[StageCost, ...]
    bound: float
    start_up: float
    end_to_end: float
    loop: float
    loop_frames: int
    loop_faces: int

    @property
    def efficiency(self) -> float:
        return self.bound / self.end_to_end

    @property
    def speed_up(self) -> float:
        """The loop's time ÷ the engine's."""
        return self.loop / self.end_to_end


def bench_pipeline(
    clips: Sequence[Location], settings: Settings, progress: Callable[[str], None] = lambda what: None
) -> PipelineResult:
    """Measure all three on `clips`. Nothing is stored. Raises what the stages raise."""
    from streamwatch.cluster.connection import usable_cores

    cores = usable_cores()
    progress("the stages alone")
    costs = measure_stages(clips, settings)
    progress("the user's loop")
    loop = run_loop(clips, settings, cores)
    progress("the engine's start-up")
    start_up = _start_up(settings, cores)
    progress("end to end")
    whole = _end_to_end(clips, settings)
    return PipelineResult(
        cores=cores,
        clips=len(clips),
        media_seconds=costs.media_seconds,
        frames=costs.items["detect"],
        faces=costs.items["score"],
        stages=costs.stages(),
        bound=costs.bound(cores),
        start_up=start_up,
        end_to_end=whole - start_up,
        loop=loop.seconds,
        loop_frames=loop.frames,
        loop_faces=loop.faces,
    )


class StageClock:
    """Wall and CPU seconds (of the process) of named stages. A stage inside of another counts for itself."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = (0.0, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def _charge(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._running:
            self.wall[self._running[-1]] += now[0] - self._since[0]
            self.cpu[self._running[-1]] += now[1] - self._since[1]
        self._since = now


@dataclass
class StageCosts:
    """The stages' costs, gathered clip by clip."""

    clock: StageClock = field(default_factory=StageClock)
    items: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    media_seconds: float = 0.0
    longest_worker: float = 0.0
    on_gpu: bool = False

    def stages(self) -> tuple[StageCost, ...]:
        units = {"decode": "frames", "detect": "frames", "crop": "faces", "score": "faces"}
        return tuple(
            StageCost(name, self.items[name], units[name], self.clock.cpu[name], self.clock.wall[name])
            for name in STAGES
        )

    def bound(self, cores: int) -> float:
        """The least seconds that the run can take, see the module."""
        if self.on_gpu:
            return max(self.worker_seconds() / cores, self.longest_worker, self.clock.wall["score"])
        return max(sum(self.clock.cpu[name] for name in STAGES) / cores, self.longest_worker)

    def worker_seconds(self) -> float:
        """CPU seconds of the stages that a worker runs."""
        return sum(self.clock.cpu[name] for name in ("decode", "detect", "crop"))


class _TimedFaceDetector:
    def __init__(self, detector: FaceDetector, clock: StageClock) -> None:
        self._detector = detector
        self._clock = clock

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        with self._clock.stage("detect"):
            return self._detector.detect(images)


def _load_detector(settings: Settings, threads: int) -> Detector:
    """The detector of these settings, in the precision that the engine gives it."""
    wanted = settings.detector
    return load_detector(wanted.model, wanted.device, threads=threads, precision=wanted.precision)


def measure_stages(clips: Sequence[Location], settings: Settings) -> StageCosts:
    """One pass over the clips in one thread, stage by stage."""
    cv2.setNumThreads(1)
    detector = _load_detector(settings, threads=1)
    costs = StageCosts(on_gpu=detector.device != "cpu")
    faces = _TimedFaceDetector(load_face_detector(settings.faces.model_copy(update={"threads": 1})), costs.clock)
    _warm_up(detector, settings.detector.max_batch)
    for clip in clips:
        before = costs.worker_seconds()
        _measure_clip(clip, settings, detector, faces, costs)
        costs.longest_worker = max(costs.longest_worker, costs.worker_seconds() - before)
    return costs


def _measure_clip(
    clip: Location, settings: Settings, detector: Detector, faces: FaceDetector, costs: StageCosts
) -> None:
    clock = costs.clock
    finder = FaceFinder(settings.faces, settings.tracks, detector.geometry, detector.input_size, detector=faces)
    waiting: list[FaceCrop] = []

    def score(count: int) -> None:
        with clock.stage("score"):
            detector.score_arrays(np.stack([crop.image for crop in waiting[:count]]))
        del waiting[:count]

    with clock.stage("decode"):
        video = VideoSource(clip, settings.decode.model_copy(update={"threads": 1}), settings.sampling)
    with video:
        frames = video.frames()
        while True:
            with clock.stage("decode"):
                batch = [frame for _, frame in zip(range(settings.faces.batch), frames, strict=False)]
            if not batch:
                break
            with clock.stage("crop"):
                found = [crop for crops in finder.find(batch) for crop in crops]
            costs.items["detect"] += len(batch)
            costs.items["crop"] += len(found)
            costs.items["score"] += len(found)
            waiting.extend(found)
            while len(waiting) >= settings.detector.max_batch:
                score(settings.detector.max_batch)
        if waiting:
            score(len(waiting))
        costs.items["decode"] += video.counts.decoded
        costs.media_seconds += video.duration or 0.0


def _warm_up(detector: Detector, batch: int) -> None:
    """The first batches choose kernels and grow memory pools."""
    blank = np.zeros((batch, detector.input_size, detector.input_size, 3), np.uint8)
    detector.score_arrays(blank[:1])
    detector.score_arrays(blank)


@dataclass(frozen=True)
class LoopResult:
    """The user's loop: seconds, frames analysed, faces scored."""

    seconds: float
    frames: int
    faces: int


def run_loop(clips: Sequence[Location], settings: Settings, threads: int) -> LoopResult:
    """What one would write: read, pick a frame now and then, find its faces, score them one by one."""
    cv2.setNumThreads(threads)
    detector = _load_detector(settings, threads=threads)
    faces = load_face_detector(settings.faces.model_copy(update={"threads": threads}))
    _warm_up(detector, 1)
    looked = scored = 0
    start = time.perf_counter()
    for clip in clips:
        capture = cv2.VideoCapture(clip.text)
        if not capture.isOpened():
            raise SourceUnreadable(f"{clip}: OpenCV cannot open it", "leave it out of the benchmark")
        rate = capture.get(cv2.CAP_PROP_FPS) or settings.sampling.fps
        read = taken = 0
        while True:
            there, picture = capture.read()
            if not there:
                break
            if read / rate >= taken / settings.sampling.fps:
                taken += 1
                image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
                for face in faces.detect([image])[0]:
                    crop = crop_face(image, detector.geometry.region(face.box), detector.input_size)
                    detector.score(crop[None])
                    scored += 1
            read += 1
        looked += taken
        capture.release()
    return LoopResult(time.perf_counter() - start, looked, scored)


def _start_up(settings: Settings, cores: int) -> float:
    """Seconds that a scan of next to nothing takes: a clip of a second per worker, no two the same. They have a face,
    so that it is not over before all models are loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"{number}.mp4" for number in range(settings.engine.workers or cores)]
        for number, clip in enumerate(clips):
            make_clip(clip, ClipPlan(seconds=1.0, forged=(0.0, 0.0), seed=number))
        return _end_to_end([Location(clip) for clip in clips], settings)


def _end_to_end(clips: Sequence[Location], settings: Settings) -> float:
    from streamwatch.archive.scan import iter_scan

    start = time.perf_counter()
    for analysis in iter_scan(list(clips), settings, store=False):
        verdict = analysis.verdict
        if verdict.label is Label.ERROR and verdict.failure is not None:
            raise SourceUnreadable(verdict.failure.message)
    return time.perf_counter() - start
