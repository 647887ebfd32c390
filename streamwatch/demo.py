"""A first look, offline: a clip with a forged span in it, scanned by the real pipeline.

The clip is made from one public-domain portrait (NASA's of Eileen Collins, see NOTICE) with a moving camera
and sensor noise. In the forged span every frame is self-blended (Shiohara & Yamasaki, "Detecting Deepfakes
with Self-Blended Images", CVPR 2022): a changed copy of the face is blended onto itself, with what a swap
leaves behind: a blending border, other colour, other resolution, a slight misfit, all drifting over time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.config import FaceSettings, Settings
from streamwatch.drawing.annotate import annotate
from streamwatch.drawing.muxing import Mp4Writer
from streamwatch.errors import ConfigError, WeightsError
from streamwatch.faces import load_face_detector
from streamwatch.files import make_private_folder
from streamwatch.records import FloatArray, ImageArray, Label, Span, VideoVerdict

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of it that is done, 0..1."""


@dataclass(frozen=True)
class ClipPlan:
    """What the demo's clip looks like. Times in seconds; `forged` is the span (start, end) that is forged. live: coded
    as cameras do it (see `Mp4Writer`).
    """

    seconds: float = 12.0
    fps: int = 25
    size: tuple[int, int] = (640, 360)
    forged: tuple[float, float] = (4.0, 8.0)
    noise: float = 2.0
    seed: int = 1995
    live: bool = False

    def forges(self, time: float) -> bool:
        return self.forged[0] <= time < self.forged[1]


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: the clip, where it was forged, what was found, and where everything lies."""

    plan: ClipPlan
    verdict: VideoVerdict
    clip: Path
    annotated: Path
    store: str

    @property
    def found(self) -> tuple[Span, ...]:
        """The spans that looked forged, in order of time."""
        return tuple(sorted((s for t in self.verdict.tracks for s in t.spans), key=lambda s: s.start))

    def share_found(self) -> float:
        """How much of the forged span was found, 0..1."""
        start, end = self.plan.forged
        return self._covered() / (end - start)

    def excess(self) -> float:
        """Seconds that look forged to the model and are not."""
        return sum(span.end - span.start for span in self.found) - self._covered()

    def _covered(self) -> float:
        start, end = self.plan.forged
        return sum(max(0.0, min(span.end, end) - max(span.start, start)) for span in self.found)


def run_demo(
    folder: Path,
    settings: Settings,
    plan: ClipPlan | None = None,
    progress: Progress = lambda what, share: None,
) -> DemoResult:
    """Make the clip in `folder`, scan it, store the result, write the annotated clip.

    Raises ConfigError where the folder cannot be written, and what `iter_scan` raises.
    """
    from streamwatch.archive.scan import iter_scan

    plan = plan or ClipPlan()
    clip, annotated = folder / "clip.mp4", folder / "annotated.mp4"
    try:
        make_private_folder(folder)
        make_clip(clip, plan, lambda share: progress("making the clip", share))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})", "name another --out") from None
    progress("scanning it", 0.0)
    found = iter_scan(
        [str(clip)],
        settings,
        progress=lambda state: progress("scanning it", state.done / state.total),
        resume=False,
        trace=True,
        command="demo",
    )
    (analysis,) = found
    if analysis.verdict.label is not Label.ERROR:
        progress("annotating it", 0.0)
        annotate(clip, analysis.traces, analysis.verdict, annotated)
    progress("done", 1.0)
    return DemoResult(plan, analysis.verdict, clip, annotated, settings.store.url)


def portrait() -> ImageArray:
    """The portrait, 512×512×3 RGB."""
    data = (resources.files("streamwatch") / "assets" / "astronaut.png").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise WeightsError("the demo's portrait is damaged", "install streamwatch again")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def find_landmarks(picture: ImageArray) -> FloatArray:
    """The five landmarks of the one face in `picture`, 5×2 in pixels: eyes, nose, mouth corners."""
    found = load_face_detector(FaceSettings()).detect([picture])[0]
    if not found:
        raise WeightsError("the face detector does not find the demo's face", "run streamwatch doctor")
    return np.array(max(found, key=lambda face: face.confidence).landmarks, np.float32)


def make_clip(path: Path, plan: ClipPlan, progress: Callable[[float], None] = lambda share: None) -> None:
    """Write the clip as H.264 in MP4. The same plan gives the same pictures, before encoding."""
    picture = portrait()
    landmarks = find_landmarks(picture)
    noise, jitter = (np.random.default_rng(seed) for seed in np.random.SeedSequence(plan.seed).spawn(2))
    with Mp4Writer(path, plan.size, crf=21, live=plan.live) as writer:
        frames = round(plan.seconds * plan.fps)
        for index in range(frames):
            time = index / plan.fps
            camera = camera_at(time, landmarks, plan.size)
            frame = film(picture, camera, plan, noise)
            if plan.forges(time):
                frame = forge(frame, move(landmarks, camera), swap_at(time - plan.forged[0], jitter))
            writer.write(frame, time)
            progress((index + 1) / frames)


def camera_at(time: float, landmarks: FloatArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """The 2×3 matrix from the portrait's pixels to the frame's: a hand-held camera that breathes and pans."""
    width, height = size
    zoom = 1.45 * (1 + 0.04 * math.sin(2 * math.pi * time / 9.0))
    tilt = math.radians(0.8 * math.sin(2 * math.pi * time / 7.0))
    centre_x, centre_y = landmarks.mean(axis=0)
    centre_x += 9.0 * math.sin(2 * math.pi * time / 6.0) + 0.5 * math.sin(2 * math.pi * time * 1.7)
    centre_y += 5.0 * math.cos(2 * math.pi * time / 8.0) + 0.4 * math.sin(2 * math.pi * time * 2.3)
    cosine, sine = zoom * math.cos(tilt), zoom * math.sin(tilt)
    return np.array(
        [
            [cosine, -sine, width / 2 - cosine * centre_x + sine * centre_y],
            [sine, cosine, height * 0.52 - sine * centre_x - cosine * centre_y],
        ]
    )


def film(picture: ImageArray, camera: NDArray[np.float64], plan: ClipPlan, rng: np.random.Generator) -> ImageArray:
    """One frame: what the camera sees of the portrait, with sensor noise."""
    seen = cv2.warpAffine(picture, camera, plan.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    noise = rng.standard_normal(seen.shape, np.float32) * np.float32(plan.noise)
    return _to_uint8(seen + noise)


def move(points: FloatArray, camera: NDArray[np.float64]) -> FloatArray:
    """Points (N×2) of the portrait in the frame's pixels."""
    return np.asarray(points @ camera[:, :2].T + camera[:, 2], np.float32)


@dataclass(frozen=True)
class Swap:
    """What sets the blended copy apart from the face below it.

    colour: added to R, G, B (levels). scale, shift: about the face's centre; shift in eye distances (x, y).
    blur: the copy is shrunk by this factor and enlarged again. opacity: 0..1. border: softness of the mask's
    border, in eye distances.
    """

    colour: tuple[float, float, float]
    scale: float
    shift: tuple[float, float]
    blur: float
    opacity: float = 1.0
    border: float = 0.12


def swap_at(time: float, rng: np.random.Generator) -> Swap:
    """The swap at `time` seconds after its beginning: slow drift, and a little jitter from frame to frame."""
    slow, slower = math.sin(2 * math.pi * time / 2.6), math.sin(2 * math.pi * time / 4.1 + 1.0)
    jitter = rng.normal(0.0, 0.004, 2)
    return Swap(
        colour=(9.0 + 3.0 * slow, -3.0 + 2.0 * slower, -9.0 - 3.0 * slow),
        scale=1.035 + 0.01 * slower,
        shift=(0.04 * slow + jitter[0], 0.03 * slower + jitter[1]),
        blur=2.2 + 0.4 * slower,
    )


def face_mask(landmarks: FloatArray, shape: tuple[int, int], border: float) -> FloatArray:
    """The inner face from five landmarks as a soft ellipse, H×W in 0..1.

    It is centred between eyes and mouth, as tall as from brows to chin, as wide as from cheek to cheek.
    `border` is the softness in eye distances.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    down = float(np.linalg.norm(mouth - eyes))
    centre = eyes + 0.55 * (mouth - eyes)
    angle = math.degrees(math.atan2(*(landmarks[1] - landmarks[0])[::-1].tolist()))
    mask = np.zeros(shape, np.float32)
    axes = (round(0.95 * across), round(1.25 * down))
    middle = (round(float(centre[0])), round(float(centre[1])))
    cv2.ellipse(mask, middle, axes, angle, 0, 360, 1.0, cv2.FILLED, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, border * across)), np.float32)


def forge(frame: ImageArray, landmarks: FloatArray, swap: Swap) -> ImageArray:
    """`frame` with the face at `landmarks` (5×2) blended onto itself as `swap` says."""
    height, width = frame.shape[:2]
    across = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    x, y = (float(value) for value in landmarks.mean(axis=0))
    rest = 1 - swap.scale
    matrix = np.array(
        [
            [swap.scale, 0, rest * x + swap.shift[0] * across],
            [0, swap.scale, rest * y + swap.shift[1] * across],
        ]
    )
    copy = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    small = (max(1, round(width / swap.blur)), max(1, round(height / swap.blur)))
    copy = cv2.resize(cv2.resize(copy, small, interpolation=cv2.INTER_AREA), (width, height))
    weight = swap.opacity * face_mask(landmarks, (height, width), swap.border)[..., None]
    return _to_uint8(weight * (copy + np.array(swap.colour, np.float32)) + (1 - weight) * frame)


def _to_uint8(picture: NDArray[Any]) -> ImageArray:
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
