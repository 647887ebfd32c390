"""Labelled clips through the stages of serving, in this process: sampling, faces, crops, detector, fusion."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from streamwatch.config import SamplingSettings, Settings
from streamwatch.detectors import Detector
from streamwatch.errors import SourceUnreadable, StreamwatchError
from streamwatch.evaluation.datasets.clip import LabelledClip
from streamwatch.evaluation.forged_regions import forged_region
from streamwatch.evaluation.metrics import intersection_over_union, roc_auc
from streamwatch.evaluation.robustness import Degradation
from streamwatch.faces import FaceDetector, crop_face, load_face_detector, measure_quality
from streamwatch.faces.crops import crop_mask
from streamwatch.faces.cutouts import face_of_cutout
from streamwatch.fusion import SourceFusion, Subject
from streamwatch.fusion.regions import covered
from streamwatch.pipeline.analyser import batches
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import score_crops
from streamwatch.records import (
    Box,
    FaceCrop,
    FaceQuality,
    FaceScore,
    Failure,
    FloatArray,
    Frame,
    FrameCounts,
    ImageArray,
    Label,
    VideoVerdict,
)
from streamwatch.sources.pictures import read_image
from streamwatch.sources.video import VideoSource

logger = logging.getLogger(__name__)

PICTURES_AT_ONCE = 16
"""Single pictures whose faces share a call of the detector."""

SEQUENCE_RATE = 25.0
"""Frames per second that a folder of pictures is taken for: none of the data sets says."""

GAP_SLACK = 1.5
"""Sampling intervals that a track may miss: evenly spread samples of a long file lie far apart."""


@dataclass(frozen=True, slots=True)
class MaskAgreement:
    """How well the mask of one face shows its forged region. pixel_auc is None where all or nothing of it is forged."""

    iou: float
    pixel_auc: float | None


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """What was said of one clip.

    label: the verdict; of a single picture by the card's thresholds. score: probability of fake, None without a face,
    with faces too small to be used, or on failure. faces: probability of every scored face. tracks: score of every
    track that has one. masks: of the faces whose forged region is known. qualities: of every face of `faces`.
    """

    clip: LabelledClip
    label: Label
    score: float | None
    faces: tuple[float, ...] = ()
    tracks: tuple[float, ...] = ()
    masks: tuple[MaskAgreement, ...] = ()
    reason: str = ""
    failure: Failure | None = None
    qualities: tuple[FaceQuality, ...] = ()


@dataclass
class Costs:
    """Wall seconds by stage, and what they were spent on."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    pictures: int = 0
    faces: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass(slots=True, eq=False)
class _Work:
    """A clip on its way. interval: seconds between the samples of a video."""

    clip: LabelledClip
    frames: list[Frame] = field(default_factory=list)
    interval: float = 0.0
    counts: FrameCounts = field(default_factory=FrameCounts)
    duration: float | None = None
    truths: dict[int, FloatArray] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def single(self) -> bool:
        return not self.clip.is_video and len(self.clip.paths) == 1


class Evaluator:
    """Scores clips with one detector.

    Videos and picture sequences: `frames` samples spread evenly over the whole, faces tracked and fused as `scan` does;
    a track may miss one and a half sampling intervals (or `tracks.max_gap`, whichever is longer). Single pictures hold
    one face, which is looked for with the picture's border repeated outwards (`faces.cutouts`).

    costs: of the clean passes only. face_detector: one to use instead of loading the one of the settings.
    """

    def __init__(
        self, plan: Plan, detector: Detector, *, frames: int = 16, face_detector: FaceDetector | None = None
    ) -> None:
        self._plan = plan
        self._settings: Settings = plan.settings
        self._detector = detector
        self._faces = face_detector or load_face_detector(plan.settings.faces)
        self._frames = frames
        self._mask_threshold = plan.card.mask_threshold
        self.costs = Costs()

    def run(
        self,
        clips: Sequence[LabelledClip],
        degradations: Sequence[Degradation] = (),
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[list[ClipOutcome]]:
        """The outcomes of the clips as they are, then those under each degradation, each list in the clips' order.

        Every clip is decoded once. What fails is an outcome with its failure, never an exception of a clip.
        """
        results: list[list[ClipOutcome]] = [[] for _ in range(1 + len(degradations))]
        for group in _groups(clips):
            works = [self._load(clip) for clip in group]
            results[0] += self._score(works, None)
            for index, degradation in enumerate(degradations, start=1):
                results[index] += self._score(works, degradation)
            progress(len(results[0]))
        return results

    def _load(self, clip: LabelledClip) -> _Work:
        work = _Work(clip)
        try:
            with self.costs.stage("decode"):
                (self._read_video if clip.is_video else self._read_pictures)(work)
            self._read_truth(work)
        except StreamwatchError as error:
            work.failure = Failure(type(error).__name__, str(error))
        self.costs.pictures += len(work.frames)
        return work

    def _read_video(self, work: _Work) -> None:
        path = str(work.clip.paths[0])
        even = SamplingSettings(fps=1e-3, min_frames=self._frames, max_frames=self._frames)
        with VideoSource(path, self._settings.decode, even) as video:
            if video.duration is not None:
                work.frames = list(video.frames())
                work.interval = video.duration / self._frames
            work.counts, work.duration = video.counts, video.duration
        if work.duration is None:
            usual = self._settings.sampling.model_copy(update={"max_frames": self._frames})
            with VideoSource(path, self._settings.decode, usual) as video:
                work.frames, work.counts = list(video.frames()), video.counts
        if not work.frames:
            raise SourceUnreadable(f"{path}: no frame could be decoded")

    def _read_pictures(self, work: _Work) -> None:
        paths = work.clip.paths
        chosen = np.unique(np.linspace(0, len(paths) - 1, min(self._frames, len(paths))).round().astype(int))
        work.frames = [
            Frame(work.clip.name, int(index), index / SEQUENCE_RATE, None, read_image(paths[index])) for index in chosen
        ]
        work.counts = FrameCounts(decoded=len(chosen), sampled=len(chosen))
        work.duration = None if work.single else len(paths) / SEQUENCE_RATE

    def _read_truth(self, work: _Work) -> None:
        """The forged regions, H×W in 0..1 by frame index, where the data set gives them."""
        clip = work.clip
        if clip.original is not None:
            region = forged_region(work.frames[0].image, read_image(clip.original))
            if region is not None:
                work.truths[work.frames[0].index] = region
        elif clip.mask is not None:
            wanted = {frame.index for frame in work.frames}
            work.truths = dict(_mask_frames(clip.mask, wanted, self._settings))

    def _score(self, works: Sequence[_Work], degradation: Degradation | None) -> list[ClipOutcome]:
        """Outcomes of clips that share a call of the detector."""
        costs = self.costs if degradation is None else Costs()
        crops = [self._find(work, degradation, costs) for work in works]
        together = [crop for part in crops for crop in part]
        scores: list[FaceScore] = []
        failure: Failure | None = None
        if together:
            try:
                with costs.stage("score"):
                    scores = self._scored(together)
            except StreamwatchError as error:
                logger.exception("the detector failed on %d faces", len(together))
                failure = Failure(type(error).__name__, str(error))
        costs.faces += len(scores)
        outcomes, start = [], 0
        for work, part in zip(works, crops, strict=True):
            found = work.failure or (failure if part else None)
            if found is not None:
                outcomes.append(ClipOutcome(work.clip, Label.ERROR, None, failure=found))
            else:
                outcomes.append(
                    self._outcome(work, scores[start : start + len(part)], measure_masks=degradation is None)
                )
            start += len(part)
        return outcomes

    def _find(self, work: _Work, degradation: Degradation | None, costs: Costs) -> list[FaceCrop]:
        if work.failure is not None:
            return []
        frames = work.frames
        if degradation is not None:
            frames = [replace(frame, image=degradation.apply(frame.image)) for frame in frames]
        with costs.stage("find"):
            if work.clip.is_video:
                return self._tracked(frames, work.interval)
            return [crop for frame in frames if (crop := self._cutout(frame)) is not None]

    def _tracked(self, frames: Sequence[Frame], interval: float) -> list[FaceCrop]:
        gap = max(self._settings.tracks.max_gap, GAP_SLACK * interval)
        tracks = self._settings.tracks.model_copy(update={"max_gap": gap})
        settings = self._settings.model_copy(update={"tracks": tracks})
        finder = replace(self._plan, settings=settings).face_finder(self._faces)
        return [
            crop
            for batch in batches(frames, self._settings.faces.batch)
            for crops in finder.find(batch)
            for crop in crops
        ]

    def _cutout(self, frame: Frame) -> FaceCrop | None:
        face = face_of_cutout(self._faces, frame.image)
        if face is None:
            return None
        region = self._plan.card.geometry.region(face.box)
        image = crop_face(frame.image, region, self._detector.input_size)
        face = replace(face, track_id=1, quality=measure_quality(image, face, region))
        return FaceCrop(image, face, region, frame.index, frame.pts)

    def _scored(self, crops: Sequence[FaceCrop]) -> list[FaceScore]:
        return score_crops(self._detector, np.stack([crop.image for crop in crops])).scores(crops)

    def _outcome(self, work: _Work, scores: Sequence[FaceScore], *, measure_masks: bool) -> ClipOutcome:
        masks = tuple(self._masks(work, scores)) if measure_masks else ()
        faces = tuple(score.probability for score in scores)
        qualities = tuple(s.crop.face.quality for s in scores if s.crop is not None and s.crop.face.quality is not None)
        if work.single:
            label, reason = self._judge(faces)
            score = faces[0] if faces else None
            return ClipOutcome(work.clip, label, score, faces, masks=masks, reason=reason, qualities=qualities)
        verdict = self._fuse(work, scores)
        tracks = tuple(track.score for track in verdict.tracks if track.score is not None)
        return ClipOutcome(
            work.clip, verdict.label, verdict.score, faces, tracks, masks, verdict.reason, qualities=qualities
        )

    def _judge(self, faces: Sequence[float]) -> tuple[Label, str]:
        policy = self._plan.policy
        if not faces:
            return Label.NO_FACE, "no face was found"
        if faces[0] >= policy.fake:
            return Label.FAKE, ""
        return (Label.REAL, "") if faces[0] <= policy.real else (Label.INCONCLUSIVE, "score between the thresholds")

    def _fuse(self, work: _Work, scores: Sequence[FaceScore]) -> VideoVerdict:
        fusion = SourceFusion(replace(self._plan.policy, evidence=0))
        for score in scores:
            fusion.add(score)
        subject: Subject = self._plan.subject(work.clip.name, None)
        counts = replace(work.counts, analysed=len(work.frames))
        return fusion.verdict(subject, counts, work.duration)

    def _masks(self, work: _Work, scores: Sequence[FaceScore]) -> Iterator[MaskAgreement]:
        for score in scores:
            if score.mask is None or score.crop is None or score.crop.frame_index not in work.truths:
                continue
            whole = work.truths[score.crop.frame_index]
            yield mask_agreement(score.mask, whole, score.crop.region, self._mask_threshold)


def mask_agreement(mask: ImageArray, truth: FloatArray, region: Box, threshold: float) -> MaskAgreement:
    """How well the mask of a crop (h×h uint8, 255 = forged) shows the forged region of its picture (H×W, 0..1).

    region: of the crop in the picture. threshold: 0..1, from which the mask counts as forged, for the IoU.
    """
    inside = crop_mask(truth, region, mask.shape[-1]) >= 0.5
    iou = intersection_over_union(covered(mask, threshold), inside)
    mixed = bool(inside.any() and not inside.all())
    return MaskAgreement(iou, roc_auc(inside.ravel(), mask.ravel()) if mixed else None)


def _groups(clips: Sequence[LabelledClip]) -> Iterator[list[LabelledClip]]:
    """Single pictures in groups, everything else by itself, in order."""
    group: list[LabelledClip] = []
    for clip in clips:
        single = not clip.is_video and len(clip.paths) == 1
        if group and (not single or len(group) == PICTURES_AT_ONCE):
            yield group
            group = []
        if single:
            group.append(clip)
        else:
            yield [clip]
    if group:
        yield group


def _mask_frames(path: Path, wanted: set[int], settings: Settings) -> Iterator[tuple[int, FloatArray]]:
    """Frames of a mask video by index, H×W in 0..1. Raises a SourceError."""
    with VideoSource(str(path), settings.decode) as video:
        last = max(wanted)
        for picture in video.decoded():
            if picture.index in wanted:
                yield picture.index, np.asarray(picture.to_image().max(axis=2) / 255.0, np.float32)
            if picture.index >= last:
                return
