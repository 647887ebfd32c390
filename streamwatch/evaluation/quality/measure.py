"""The metrics over the videos of a data set: which frames are looked at, and what comes of each video and pair."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from streamwatch.errors import SourceError, SourceUnreadable
from streamwatch.evaluation.quality.pairing import Matching, VideoPair
from streamwatch.evaluation.quality.perceptual import GEOMETRY, INPUT_SIZE, ImageNetFeatures
from streamwatch.evaluation.quality.structure import head_mask, mask_ssim
from streamwatch.evaluation.quality.tsne import LEAST_POINTS, tsne
from streamwatch.evaluation.quality.warping import MIN_SIDE, warping_error
from streamwatch.faces import FaceDetector, crop_face
from streamwatch.records import Box, Failure, FloatArray, ImageArray, Point
from streamwatch.sources.video import VideoSource

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class VideoQuality:
    """One video. frames: pictures in it. steps: pairs of consecutive frames in the mean `warping_error`.

    embedding: of one face (1280 values). Either is None where it could not be measured, and `notes` or `failure` says
    why.
    """

    path: str
    fake: bool
    frames: int = 0
    steps: int = 0
    warping_error: float | None = None
    embedding: FloatArray | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class PairQuality:
    """A fake against its original. frames: common length. faces: frames in the means, those that show a face.

    The metrics are None where no frame shows a face, or with a `failure`.
    """

    pair: VideoPair
    frames: int = 0
    faces: int = 0
    mask_ssim: float | None = None
    perceptual: float | None = None
    notes: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over `count` videos or pairs; None over none."""

    value: float | None
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class QualityReport:
    """Everything measured.

    places: spots looked at in each video, at the most. feature_map: of each of `videos` its point in the t-SNE
    plot, or None without an embedding; all are None with too few for a plot.
    """

    places: int
    videos: tuple[VideoQuality, ...]
    pairs: tuple[PairQuality, ...]
    unpaired: tuple[str, ...]
    feature_map: tuple[Point | None, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Each once: a video that cannot be read fails its pairs, too."""
        failures = [video.failure for video in self.videos] + [pair.failure for pair in self.pairs]
        return tuple(dict.fromkeys(failure for failure in failures if failure is not None))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of single videos and pairs, each once and with its name."""
        named = [(video.path, note) for video in self.videos for note in video.notes]
        named += [(pair.pair.fake, note) for pair in self.pairs for note in pair.notes]
        return tuple(dict.fromkeys(f"{name}: {note}" for name, note in named))

    def mean_mask_ssim(self) -> Mean:
        return _mean([pair.mask_ssim for pair in self.pairs])

    def mean_perceptual(self) -> Mean:
        return _mean([pair.perceptual for pair in self.pairs])

    def mean_warping_error(self, fake: bool) -> Mean:
        return _mean([video.warping_error for video in self.videos if video.fake is fake])


class QualityMeter:
    """Measures videos and pairs at `places` spots spread evenly over each, with these two networks."""

    def __init__(self, faces: FaceDetector, features: ImageNetFeatures, places: int) -> None:
        self._faces = faces
        self._features = features
        self._places = places
        self._length = functools.cache(count_frames)

    def measure(self, matching: Matching, progress: Progress = lambda done: None) -> QualityReport:
        """Measure all videos and pairs; one that cannot be used becomes a `failure`. `progress` is called with each
        name.
        """
        videos, pairs = [], []
        for fake, names in ((False, matching.reals), (True, matching.fakes)):
            for name in names:
                videos.append(self.video(name, fake))
                progress(name)
        for pair in matching.pairs:
            pairs.append(self.pair(pair))
            progress(pair.fake)
        return QualityReport(self._places, tuple(videos), tuple(pairs), matching.unpaired, feature_map(videos))

    def video(self, path: str, fake: bool) -> VideoQuality:
        """E_warp, mean over the places, and the embedding of the first face from the middle of the video on."""
        try:
            length = self._length(path)
            places = spread(length.frames - 1, self._places)
            errors: list[float] = []
            embedding = None
            for before, after in _steps(path, places, length.frames):
                if embedding is None and before.index >= (length.frames - 1) // 2:
                    embedding = self._embedding(before.image)
                if after is not None:
                    errors += _step_error(path, before, after)
        except SourceError as error:
            return VideoQuality(path, fake, failure=_failure(error))
        notes = length.notes
        if not errors:
            notes += ("no two consecutive frames to compare" if length.frames < 2 else "all of it is occluded",)
        if embedding is None:
            notes += ("no face in the second half",)
        warping = float(np.mean(errors)) if errors else None
        return VideoQuality(path, fake, length.frames, len(errors), warping, embedding, notes)

    def pair(self, pair: VideoPair) -> PairQuality:
        """Mask-SSIM and perceptual distance, means over the places where the original shows a face."""
        try:
            lengths = [self._length(path) for path in (pair.real, pair.fake)]
            common = min(length.frames for length in lengths)
            similarities: list[float] = []
            distances: list[float] = []
            places = spread(common, self._places)
            for real, fake in zip(pictures(pair.real, places), pictures(pair.fake, places), strict=True):
                _check_sizes(pair, real.image, fake.image)
                box = self._largest_face(real.image)
                if box is None:
                    continue
                similarity = mask_ssim(real.image, fake.image, head_mask(real.image.shape[:2], box))
                if similarity is not None:
                    similarities.append(similarity)
                    distances.append(self._distance(real.image, fake.image, box))
        except SourceError as error:
            return PairQuality(pair, failure=_failure(error))
        notes: tuple[str, ...] = ()
        if lengths[0].frames != lengths[1].frames:
            notes += (f"{lengths[0].frames} and {lengths[1].frames} frames: the first {common} are compared",)
        if not similarities:
            return PairQuality(pair, common, notes=(*notes, "no face in the original"))
        means = float(np.mean(similarities)), float(np.mean(distances))
        return PairQuality(pair, common, len(similarities), *means, notes=notes)

    def _largest_face(self, image: ImageArray) -> Box | None:
        """The box of the largest face (frame pixels)."""
        (faces,) = self._faces.detect([image])
        return max(faces, key=lambda face: face.width * face.height).box if faces else None

    def _embedding(self, image: ImageArray) -> FloatArray | None:
        box = self._largest_face(image)
        if box is None:
            return None
        embedding: FloatArray = self._features.embeddings(crop_face(image, GEOMETRY.region(box), INPUT_SIZE)[None])[0]
        return embedding

    def _distance(self, real: ImageArray, fake: ImageArray, box: Box) -> float:
        region = GEOMETRY.region(box)
        faces = [crop_face(image, region, INPUT_SIZE)[None] for image in (real, fake)]
        return float(self._features.distances(*faces)[0])


@dataclass(frozen=True, slots=True)
class Length:
    """frames: pictures that a video gives."""

    frames: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPicture:
    """index: counted from 0 over the pictures of its video."""

    index: int
    image: ImageArray


def count_frames(path: str) -> Length:
    """Decode a video to its end. Raises a SourceError."""
    with VideoSource(path) as source:
        frames = sum(1 for _ in source.decoded())
        damaged = source.counts.corrupt
    note = f"{damaged} damaged packets or pictures were skipped, frames after them may be compared with the wrong ones"
    return Length(frames, (note,) if damaged else ())


def spread(length: int, places: int) -> list[int]:
    """The middles of up to `places` equal parts of 0 … length − 1, ascending; [0] for a length below 1."""
    length = max(length, 1)
    count = min(places, length)
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def pictures(path: str, indices: Sequence[int]) -> Iterator[MeasuredPicture]:
    """The pictures at these indices (ascending). Raises a SourceError, also where the video ends before the last."""
    wanted = set(indices)
    with VideoSource(path) as source:
        for frame in source.decoded():
            if frame.index in wanted:
                yield MeasuredPicture(frame.index, frame.to_image())
                wanted.discard(frame.index)
            if not wanted:
                return
    raise SourceUnreadable(f"{path}: ended before frame {min(wanted)}, which it gave at first; is it being written?")


def feature_map(videos: Sequence[VideoQuality]) -> tuple[Point | None, ...]:
    """t-SNE of the embeddings, a point for each video that has one; none for fewer than a map needs."""
    known = [video.embedding for video in videos if video.embedding is not None]
    if len(known) < LEAST_POINTS:
        return (None,) * len(videos)
    points = iter(tsne(np.stack(known)).tolist())
    return tuple(None if video.embedding is None else _point(next(points)) for video in videos)


def _steps(path: str, places: Sequence[int], frames: int) -> Iterator[tuple[MeasuredPicture, MeasuredPicture | None]]:
    """Each place's picture with the one after it; None after the only picture of a video."""
    if frames < 2:
        yield from ((picture, None) for picture in pictures(path, places))
        return
    starts = set(places)
    for before, after in pairwise(pictures(path, sorted({i + d for i in places for d in (0, 1)}))):
        if before.index in starts:
            yield before, after


def _step_error(path: str, before: MeasuredPicture, after: MeasuredPicture) -> list[float]:
    if before.image.shape != after.image.shape:
        raise SourceError(f"{path}: its pictures change their size at frame {after.index}", "encode it at one size")
    if min(before.image.shape[:2]) < MIN_SIDE:
        raise SourceError(f"{path}: {_size(before.image)} is too small for optical flow; {MIN_SIDE} pixels are needed")
    error = warping_error(before.image, after.image)
    return [] if error is None else [error]


def _check_sizes(pair: VideoPair, real: ImageArray, fake: ImageArray) -> None:
    if real.shape != fake.shape:
        raise SourceError(
            f"{pair.fake}: {_size(fake)}, but its original {pair.real} has {_size(real)}",
            "they are compared pixel by pixel: scale one to the size of the other",
        )


def _point(values: list[float]) -> Point:
    x, y = values
    return x, y


def _size(image: ImageArray) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"


def _failure(error: SourceError) -> Failure:
    return Failure(type(error).__name__, str(error))


def _mean(values: Sequence[float | None]) -> Mean:
    known = [value for value in values if value is not None]
    return Mean(float(np.mean(known)) if known else None, len(known))
