"""Tracks with a known answer: real clips, and the same clips forged throughout by one forgery that drifts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamwatch.detectors import Detector
from streamwatch.faces.crops import crop_face
from streamwatch.records import FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.augment import degrade
from streamwatch.training.families import FaceImage, Family, Forger
from streamwatch.training.prepare import Picture

JITTER = 0.004
"""Standard deviation of a landmark's tremble from picture to picture, in sizes of the face."""
DRIFT = 0.7
"""Share of the last picture's displacement that is still there in the next (first-order autoregression)."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackScores:
    """T scored faces of one track. source: its clip. kind: family of forgery, for both of a pair.

    logits: T, calibrated. features: T×D.
    """

    source: str
    kind: str
    fake: bool
    logits: FloatArray
    features: FloatArray


def clips_of(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Pictures by clip, in order of time (of name)."""
    clips: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda p: p.path.name):
        clips[picture.source].append(picture)
    return dict(clips)


def forge_track(
    forger: Forger, family: Family, faces: Sequence[FaceImage], partner: Callable[[], FaceImage], seed: int
) -> list[tuple[ImageArray, ImageArray]]:
    """(real, fake) of every picture of a track, one forgery throughout: the same draw, on landmarks that tremble."""
    trembling = np.random.default_rng([seed, 1])
    displacement = np.zeros_like(faces[0].landmarks)
    found = []
    for face in faces:
        noise = trembling.normal(0, JITTER * face.size, displacement.shape).astype(np.float32)
        displacement = DRIFT * displacement + noise
        moved = FaceImage(face.image, face.landmarks + displacement)
        forgery = forger.forge(family, moved, partner, np.random.default_rng(seed))
        found.append((forgery.real, forgery.fake))
    return found


def score_tracks(
    detector: Detector,
    pictures: Sequence[Picture],
    forger: Forger,
    families: Sequence[Family],
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[TrackScores]:
    """A real and a forged track of every clip and family, each pair under one draw of lost quality.

    Clips of a single picture are passed over. Another clip's face of the same number lends the partner.
    """
    clips = {source: part for source, part in clips_of(pictures).items() if len(part) > 1}
    names = list(clips)
    for number, source in enumerate(names):
        part = clips[source]
        faces = [FaceImage(read_image(p.path), p.landmarks) for p in part]
        lender = clips[names[(number + 1) % len(names)]][0]
        partner = FaceImage(read_image(lender.path), lender.landmarks)
        for index, family in enumerate(families):
            draw = int(np.random.default_rng([seed, number, index]).integers(2**31))
            pairs = forge_track(forger, family, faces, lambda lent=partner: lent, draw)  # type: ignore[misc]
            crops: tuple[list[ImageArray], list[ImageArray]] = ([], [])
            for picture, pair in zip(part, pairs, strict=True):
                region = detector.geometry.region(picture.box)
                cut = [crop_face(image, region, detector.input_size) for image in pair]
                for crop, into in zip(degrade(cut, np.random.default_rng(draw)), crops, strict=True):
                    into.append(crop)
            for fake, images in enumerate(crops):
                scores = detector.score_arrays(np.stack(images))
                p = scores.probabilities.clip(1e-6, 1 - 1e-6)
                logits = np.log(p / (1 - p)).astype(np.float32)
                yield TrackScores(source, family, bool(fake), logits, scores.features)
        progress(number + 1, len(names))
