"""The records that stages hand to each other.

All are frozen. Arrays are numpy uint8 RGB unless said; boxes and landmarks are in pixels of the full-resolution
frame; times are seconds. A score is the calibrated probability of "fake": 1 means fake, everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamwatch.enums import StrEnum

Box = tuple[float, float, float, float]
Point = tuple[float, float]
ImageArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


class Label(StrEnum):
    """The only labels there are. A failure is never a score, an empty video is never `real`."""

    REAL = "real"
    FAKE = "fake"
    INCONCLUSIVE = "inconclusive"
    NO_FACE = "no_face"
    ERROR = "error"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One sampled picture of a source.

    `index` counts decoded frames from 0; `pts` is media time in seconds from the start of the source;
    `wall_time` is the UTC instant of capture for live sources, None for files. `image` is H×W×3 RGB, upright.
    """

    source_id: str
    index: int
    pts: float
    wall_time: datetime | None
    image: ImageArray


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How much the pixels of a face can carry.

    short_side: shorter side of the face box, in frame pixels.
    sharpness: variance of the Laplacian of the grey face crop at the detector's input size (≥ 0).
    pose: 0 for a frontal face, growing to 1 for a profile (from the landmarks; a proxy, not degrees).
    upscaling: crop pixels ÷ frame pixels along one side; above 1 the crop was enlarged.
    """

    short_side: float
    sharpness: float
    pose: float
    upscaling: float


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face: box (x0, y0, x1, y1), five landmarks (eyes, nose, mouth corners), confidence 0..1."""

    box: Box
    landmarks: tuple[Point, Point, Point, Point, Point]
    confidence: float
    track_id: int | None = None
    quality: FaceQuality | None = None

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def short_side(self) -> float:
        return min(self.width, self.height)


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """An S×S×3 crop, the face in it, and where it came from. `region` is the crop's square in frame pixels."""

    image: ImageArray
    face: Face
    region: Box
    frame_index: int
    pts: float
    wall_time: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FaceScore:
    """The detector's output for one crop.

    logit: z_fake − z_real, uncalibrated. probability: calibrated, 0..1, 1 = fake. feature: 1-D float32.
    mask: h×w uint8 in 0..255 (255 = forged), the forged region in crop coordinates, or None for a model without a mask
    decoder.
    """

    logit: float
    probability: float
    feature: FloatArray
    mask: ImageArray | None
    crop: FaceCrop | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of media time that looked forged: seconds, peak and mean probability over its faces."""

    start: float
    end: float
    peak: float
    mean: float


@dataclass(frozen=True, slots=True)
class MaskCoverage:
    """What share of a face, and of each of its parts, its mask covers, 0..1.

    threshold: the mask value (0..1) from which on it covers. The rest are shares of what the crop shows; None for a
    part that it does not show.
    """

    threshold: float
    face: float
    eyes: float | None
    nose: float | None
    mouth: float | None
    skin: float | None
    border: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One face that speaks for a verdict. `crop_jpeg` and `mask_png` are encoded bytes; mask may be absent.

    region: the crop's square in frame pixels. coverage: of the face by the mask, None without a mask. track_id: None
    where it is that of the verdict or alert that it belongs to.
    """

    frame_index: int
    pts: float
    box: Box
    score: float
    crop_jpeg: bytes
    mask_png: bytes | None
    wall_time: datetime | None = None
    region: Box | None = None
    coverage: MaskCoverage | None = None
    track_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """The stored trace of one scored face: what an analyst can plot and filter later."""

    track_id: int
    frame_index: int
    pts: float
    box: Box
    confidence: float
    logit: float
    probability: float
    quality: FaceQuality
    wall_time: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrace:
    """One scored face as a picture of the result needs it: for annotated clips and overlays.

    `box` and `region` (the crop's square) are in frame pixels, `probability` is calibrated, 1 = fake. `mask` is
    h×w uint8 in 0..255, the forged region in crop coordinates, or None for a model without a mask decoder.
    coverage: of the face by the mask, for faces that the policy calls fake; else None.
    """

    frame_index: int
    pts: float
    track_id: int
    box: Box
    region: Box
    probability: float
    mask: ImageArray | None = None
    coverage: MaskCoverage | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrackVerdict:
    """One face followed over time. `faces` counts the scored faces that the fusion used."""

    track_id: int
    start: float
    end: float
    label: Label
    score: float | None
    faces: int
    spans: tuple[Span, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""


class DropReason(StrEnum):
    """Why a sampled frame was not analysed.

    `stale`: its turn came too late (live). `frozen`, `black`: the picture had not moved, or shown anything, for a while
    (live). `failed`: an error ended the analysis.
    """

    STALE = "stale"
    FROZEN = "frozen"
    BLACK = "black"
    FAILED = "failed"


class UnseenCause(StrEnum):
    """Why there is nothing to sample for a while.

    `damaged`: data are lost or broken, and so is every picture up to the next one that needs no other. `missing`: there
    are no pictures.
    """

    DAMAGED = "damaged"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Every frame is accounted for: decoded = not_sampled + analysed + dropped, once all is done; `dropped` is the sum
    of `dropped_by`. `corrupt`: damaged packets and pictures. `unseen`: media seconds with nothing to sample, by cause;
    they are not stored. `remarks` say what was done to frames beside decoding them: the verdict's reason repeats them,
    and the store keeps them only there.
    """

    decoded: int = 0
    sampled: int = 0
    analysed: int = 0
    dropped: int = 0
    corrupt: int = 0
    dropped_by: Mapping[DropReason, int] = field(default_factory=dict)
    remarks: frozenset[str] = frozenset()
    unseen: Mapping[UnseenCause, float] = field(default_factory=dict)

    @property
    def not_sampled(self) -> int:
        """Frames between those that were to be analysed."""
        return self.decoded - self.sampled

    def __add__(self, other: FrameCounts) -> FrameCounts:
        """Those of two parts of a source together."""
        return FrameCounts(
            decoded=self.decoded + other.decoded,
            sampled=self.sampled + other.sampled,
            analysed=self.analysed + other.analysed,
            dropped=self.dropped + other.dropped,
            corrupt=self.corrupt + other.corrupt,
            dropped_by=dict(Counter(self.dropped_by) + Counter(other.dropped_by)),
            remarks=self.remarks | other.remarks,
            unseen={
                cause: self.unseen.get(cause, 0.0) + other.unseen.get(cause, 0.0)
                for cause in UnseenCause
                if cause in self.unseen or cause in other.unseen
            },
        )


class AlertKind(StrEnum):
    """What an alert is about.

    `forgery`: a face. The others are operational: while they last, nothing is known of what the stream shows. `down`:
    no pictures come. `frozen`, `black`: the picture stands still, or is black. `unanalysed`: pictures come, and are not
    analysed.
    """

    FORGERY = "forgery"
    DOWN = "down"
    FROZEN = "frozen"
    BLACK = "black"
    UNANALYSED = "unanalysed"


class AlertPhase(StrEnum):
    """The phase of an alert."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """Something that a person should see. `end` None means still open.

    `start`, `end` and `seen` (the newest moment that speaks for it) are media seconds; `started_at` and `ended_at` are
    UTC instants for live sources. `track_id`, `peak`, `mean` and `faces` (how many it rests on; None where that was not
    counted) are those of a forgery, None for operational alerts. `revision` counts its reported versions, from 1.
    """

    id: str
    source: str
    track_id: int | None
    start: float
    end: float | None
    peak: float | None
    mean: float | None
    label: Label
    revision: int = 1
    evidence: tuple[Evidence, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    kind: AlertKind = AlertKind.FORGERY
    reason: str = ""
    faces: int | None = None
    seen: float | None = None

    @property
    def phase(self) -> AlertPhase:
        """`new` at its first revision, `end` once it has an end, `update` in between."""
        if self.revision == 1:
            return AlertPhase.NEW
        return AlertPhase.UPDATE if self.end is None else AlertPhase.END


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceClip:
    """What a live source showed around the opening of an alert: an MP4 file, or None with the reason in `failure`.

    start, end: UTC instants at which its first and last packets came in; None without a file.
    """

    source: str
    alert_id: str
    data: bytes | None
    start: datetime | None = None
    end: datetime | None = None
    failure: str = ""


class ResultKey(NamedTuple):
    """What the result of a file belongs to: its content, the model, the settings that can change a score."""

    sha256: str
    model_sha256: str
    config_sha256: str


Metadata = Mapping[str, str | int | float | bool]
"""The further columns of an input in a manifest."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentResult:
    """What was found in a part of a content. place: where it lies there. data: see `SegmentScores.to_bytes`."""

    key: ResultKey
    place: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What a file or an object held when it was read. path: absolute, or a URL. modified_ns: a file's time of change,
    nanoseconds since 1970; for an object a negative number, which is another one after each change.
    """

    path: str
    bytes: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which weights gave a result."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When a frame was captured, received by its worker, its faces found, all of them scored, its verdict delivered."""

    frame_index: int
    faces: int
    captured: datetime
    taken: datetime
    found: datetime
    scored: datetime
    delivered: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed failure of one source: `kind` is the error class's name, `message` is for a person."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class VideoVerdict:
    """The result of analysing one source.

    `source` is the path or the URL with its credentials masked; `sha256` is the content hash of a file, None for a
    live source. `score` is None unless the label is `real`, `fake` or `inconclusive` with scored faces.
    `policy` names the fusion rule and its thresholds. `times` are those of frames that are traced; they are not stored.
    """

    source: str
    sha256: str | None
    label: Label
    score: float | None
    duration: float | None
    frames: FrameCounts
    tracks: tuple[TrackVerdict, ...]
    alerts: tuple[Alert, ...]
    model: ModelRef
    config_sha256: str
    policy: str
    failure: Failure | None = None
    reason: str = ""
    scores: tuple[FrameRecord, ...] = field(default=(), repr=False)
    started_at: datetime | None = None
    times: tuple[FrameTimes, ...] = field(default=(), repr=False)


def sigmoid(logit: float) -> float:
    """Numerically safe logistic function."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    z = math.exp(logit)
    return z / (1.0 + z)
