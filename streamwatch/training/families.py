"""Families of forgery, each made from real faces: the breadth that a detector needs for tools it has never seen.

Every family gives a pair: a real picture, and a fake that differs from it by what this kind of tool leaves behind.
What else was done to one of the two was done to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from streamwatch.evaluation.degradations import rescale
from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.compositing import composite, draw_blend, match_colours
from streamwatch.training.forgeries import HULLS, SCATTERED, Forgery, hull_mask, self_blend, soften
from streamwatch.training.resynthesis import Resynthesiser

Family = Literal["whole_face", "hull", "region", "swap", "reenactment", "resynthesis", "upsampling"]
FAMILIES: tuple[Family, ...] = get_args(Family)

INNER = ("below_brows", "inner", "lower", SCATTERED)
REGIONS = ("eyes", "mouth", "nose", "lower")
SWAPPED = ("face", "below_brows", "inner")

LEAST_CHANGE = 1.0
"""Mean difference of real and fake inside the mask, of 255: what changes less teaches that honest pictures are fake."""

_TRIES = 5
_KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True, slots=True, eq=False)
class FaceImage:
    """A picture (H×W×3) and the 468 mesh landmarks of its face, pixels."""

    image: ImageArray
    landmarks: FloatArray

    @property
    def size(self) -> float:
        """Diagonal of the landmarks' bounding box, pixels."""
        return float(np.linalg.norm(np.ptp(self.landmarks, axis=0)))


@dataclass(frozen=True, slots=True)
class Forger:
    """Makes forgeries of every family.

    resynthesisers: needed by `resynthesis`, used by `reenactment` if given. transplants: whether `region` and
    `resynthesis` may lay in parts of another face, as `swap` always does.
    """

    resynthesisers: Sequence[Resynthesiser] = ()
    transplants: bool = True

    def can(self, family: Family) -> bool:
        """Whether this forger has what the family needs."""
        return family != "resynthesis" or bool(self.resynthesisers)

    def forge(
        self, family: Family, face: FaceImage, partner: Callable[[], FaceImage], rng: np.random.Generator
    ) -> Forgery:
        """A pair of one family from one face.

        partner: another person's face of similar pose, asked for by the families that need one. The draw is
        `rng`'s alone. Raises ValueError for `resynthesis` without resynthesisers.
        """
        if family == "whole_face":
            return self_blend(face.image, face.landmarks, rng, hulls=("face",))
        if family == "hull":
            return self_blend(face.image, face.landmarks, rng, hulls=INNER)
        if family == "region":
            if rng.random() < 0.5 or not self.transplants:
                return self_blend(face.image, face.landmarks, rng, hulls=REGIONS)
            return transplant(face, partner(), REGIONS, rng)
        if family == "swap":
            return transplant(face, partner(), SWAPPED, rng)
        if family == "upsampling":
            return self._redrawn(face, upsample_badly(face.image, rng), rng)
        if family == "resynthesis":
            return self._resynthesis(face, partner, rng)
        return self._reenactment(face, rng)

    def forge_visibly(
        self, family: Family, face: FaceImage, partner: Callable[[], FaceImage], rng: np.random.Generator
    ) -> Forgery:
        """As `forge`, drawn again, a few times at most, while it changes the picture by less than `LEAST_CHANGE`."""
        for _ in range(_TRIES):
            made = self.forge(family, face, partner, rng)
            if visible_change(made) >= LEAST_CHANGE:
                break
        return made

    def _resynthesis(self, face: FaceImage, partner: Callable[[], FaceImage], rng: np.random.Generator) -> Forgery:
        if not self.resynthesisers:
            raise ValueError("re-synthesis needs trained auto-encoders")
        draw = self._draw(rng)
        if rng.random() < 0.3 and self.transplants:
            other = partner()
            return transplant(face, FaceImage(draw(other.image), other.landmarks), SWAPPED, rng)
        return self._redrawn(face, draw(face.image), rng)

    def _draw(self, rng: np.random.Generator) -> Callable[[ImageArray], ImageArray]:
        """One decoder at one resolution, since tools draw at their own size and resize."""
        chosen = self.resynthesisers[int(rng.integers(len(self.resynthesisers)))]
        scale, kernel = float(rng.uniform(0.5, 1.2)), int(rng.choice(_KERNELS))
        detail = float(rng.uniform(0.0, 0.6))

        def draw(image: ImageArray) -> ImageArray:
            height, width = image.shape[:2]
            down = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            sized = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=down)
            drawn = cv2.resize(chosen(np.asarray(sized, np.uint8)), (width, height), interpolation=kernel)
            return _recoloured(np.asarray(drawn, np.uint8), image, detail)

        return draw

    def _reenactment(self, face: FaceImage, rng: np.random.Generator) -> Forgery:
        """The face moves: its pixels are warped, or the code of an auto-encoder that draws it again."""
        shape = face.image.shape[:2]
        motion = draw_motion(face, rng)
        if self.resynthesisers and rng.random() < 0.5:
            chosen = self.resynthesisers[int(rng.integers(len(self.resynthesisers)))]
            rows, columns = _grid(shape)
            warped = _remap(face.image, columns + motion[..., 0], rows + motion[..., 1], cv2.INTER_LINEAR)
            moved = _recoloured(chosen(face.image, motion), warped, float(rng.uniform(0.0, 0.6)))
            return self._redrawn(face, moved, rng)
        kernel = int(rng.choice(_KERNELS))
        rows, columns = _small_affine(shape, rng)
        real = _remap(face.image, columns, rows, kernel)
        moved = _remap(face.image, columns + motion[..., 0], rows + motion[..., 1], kernel)
        length = np.linalg.norm(motion, axis=2)
        mask = np.clip(length / max(1.0, 0.3 * float(length.max())), 0, 1).astype(np.float32)
        return Forgery(real, moved, mask)

    def _redrawn(self, face: FaceImage, drawn: ImageArray, rng: np.random.Generator) -> Forgery:
        """The whole picture drawn again as talking heads are, or only the face laid over it as swaps are.

        Where the whole is drawn, the real partner is mostly blurred to the same softness: honest video is soft too.
        """
        if rng.random() < 0.4:
            real = as_soft_as(face.image, drawn) if rng.random() < 0.6 else face.image
            return Forgery(real, drawn, np.ones(face.image.shape[:2], np.float32))
        mask = draw_mask(face.landmarks, face.image.shape[:2], SWAPPED, rng)
        return Forgery(face.image, composite(drawn, face.image, mask), mask)


def visible_change(made: Forgery) -> float:
    """Mean absolute difference of real and fake over the forged pixels, of 255; 0 where the mask is empty."""
    forged = made.mask > 0.05
    if not forged.any():
        return 0.0
    return float(np.abs(made.real[forged].astype(np.int16) - made.fake[forged]).mean())


def transplant(target: FaceImage, source: FaceImage, hulls: Sequence[str], rng: np.random.Generator) -> Forgery:
    """Part of another face, moved into its place by an affine map of the landmarks, colours matched, blended in."""
    height, width = target.image.shape[:2]
    name = hulls[int(rng.integers(len(hulls)))]
    points = np.unique(np.array(HULLS[name]))
    ones = np.ones((len(points), 1), np.float32)
    design = np.hstack([source.landmarks[points], ones])
    matrix, *_ = np.linalg.lstsq(design, target.landmarks[points], rcond=None)
    moved = cv2.warpAffine(
        source.image,
        matrix.T.astype(np.float32),
        (width, height),
        flags=int(rng.choice(_KERNELS)),
        borderMode=cv2.BORDER_REFLECT,
    )
    hull = hull_mask(target.landmarks[list(HULLS[name])], (height, width), rng)
    matched = match_colours(np.asarray(moved, np.uint8), target.image, hull, float(rng.uniform(0.5, 1.0)))
    mask = soften(hull, rng)
    return Forgery(target.image, draw_blend(rng)(matched, target.image, mask), mask)


def draw_mask(
    landmarks: FloatArray, shape: tuple[int, int], hulls: Sequence[str], rng: np.random.Generator
) -> FloatArray:
    """A softened hull, one of `hulls`; H×W, 0..1."""
    name = hulls[int(rng.integers(len(hulls)))]
    return soften(hull_mask(landmarks[list(HULLS[name])], shape, rng), rng)


def draw_motion(face: FaceImage, rng: np.random.Generator) -> FloatArray:
    """A smooth displacement H×W×2 (x, y; pixels): mouth, eyes, brows and head move, each by chance, at least one."""
    height, width = face.image.shape[:2]
    rows, columns = _grid((height, width))
    field = np.zeros((height, width, 2), np.float32)

    def push(centre: FloatArray, spread: float, vector: tuple[float, float]) -> None:
        sigma = spread * face.size
        weight = np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * sigma**2))
        field[...] += weight[..., None] * np.array(vector, np.float32) * face.size

    parts = rng.random(4) < (0.7, 0.4, 0.4, 0.5)
    if not parts.any():
        parts[0] = True
    points = face.landmarks
    if parts[0]:
        opening, pull = float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.03, 0.03))
        push(points[13], 0.06, (pull, opening / 2))
        push(points[17], 0.08, (pull, -opening))
    if parts[1]:
        lid = float(rng.uniform(-0.02, 0.02))
        for centre in (points[159], points[386]):
            push(centre, 0.04, (0.0, lid))
    if parts[2]:
        raised = float(rng.uniform(-0.03, 0.03))
        for centre in (points[105], points[334]):
            push(centre, 0.07, (0.0, raised))
    if parts[3]:
        push(points[4], 0.22, (float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.05, 0.05))))
    return field


def upsample_badly(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """What generators' up-sampling leaves: phases of the enlarged grid that differ, and spectral replicas.

    Odena et al., "Deconvolution and Checkerboard Artifacts" (Distill 2016); Durall et al., CVPR 2020. The picture
    is halved (or quartered), enlarged by transposed convolution with an imperfect kernel, by repetition or with
    unequal phases, and part of the lost detail is put back so that blur alone shows nothing.
    """
    factor = 2 if rng.random() < 0.75 else 4
    height, width = image.shape[:2]
    down = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    small = cv2.resize(image, (width // factor, height // factor), interpolation=down).astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        side = 2 * factor
        ramp = 1 - np.abs((np.arange(side) + 0.5) / factor - 1)
        kernel = np.outer(ramp, ramp) * rng.normal(1, rng.uniform(0.01, 0.08), (side, side))
        spread = np.zeros((small.shape[0] * factor, small.shape[1] * factor, 3), np.float32)
        spread[factor // 2 :: factor, factor // 2 :: factor] = small
        large = cv2.filter2D(
            spread, -1, kernel.astype(np.float32) * factor**2 / kernel.sum(), anchor=(factor - 1, factor - 1)
        )
    elif kind == 1:
        large = np.repeat(np.repeat(small, factor, axis=0), factor, axis=1)
        if rng.random() < 0.7:
            large = cv2.filter2D(large, -1, _imperfect(3, rng))
    else:
        large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        gains = rng.normal(1, rng.uniform(0.004, 0.025), (factor, factor, 1)).astype(np.float32)
        large = large * np.tile(gains, (small.shape[0], small.shape[1], 1))
    large = cv2.resize(large, (width, height), interpolation=cv2.INTER_LINEAR)
    detail = image.astype(np.float32) - rescale(image, factor)
    drawn = large + np.float32(rng.uniform(0.0, 0.8)) * detail
    return np.asarray(np.clip(np.rint(drawn), 0, 255), np.uint8)


def as_soft_as(image: ImageArray, other: ImageArray) -> ImageArray:
    """The image under the weakest of a few Gaussian blurs that leaves no more fine detail than `other` has."""
    wanted = _detail(other)
    for sigma in (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0):
        soft = image if sigma == 0 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
        if _detail(soft) <= wanted:
            break
    return soft


def _detail(image: ImageArray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _recoloured(drawn: ImageArray, image: ImageArray, detail: float) -> ImageArray:
    """The drawn picture with the colours (low frequencies) of `image`, and a share of its finest detail.

    A generator trained for days keeps both better than ours does; what remains is the decoder's own texture.
    """
    difference = image.astype(np.float32) - drawn
    sigma = 0.04 * max(image.shape[:2])
    colours = np.asarray(cv2.GaussianBlur(difference, (0, 0), sigma), np.float32)
    mixed = drawn + colours + np.float32(detail) * (difference - colours)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _imperfect(side: int, rng: np.random.Generator) -> FloatArray:
    kernel = np.outer(*[np.hanning(side + 2)[1:-1]] * 2) * rng.normal(1, rng.uniform(0.02, 0.2), (side, side))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _small_affine(shape: tuple[int, int], rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows and columns from which a slightly turned and scaled picture is read."""
    height, width = shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-4, 4)), float(rng.uniform(0.96, 1.04)))
    rows, columns = _grid(shape)
    x = turn[0, 0] * columns + turn[0, 1] * rows + turn[0, 2]
    y = turn[1, 0] * columns + turn[1, 1] * rows + turn[1, 2]
    return y.astype(np.float32), x.astype(np.float32)


def _grid(shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Row and column of every pixel."""
    columns, rows = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    return rows, columns


def _remap(image: ImageArray, columns: FloatArray, rows: FloatArray, kernel: int) -> ImageArray:
    moved = cv2.remap(image, columns.astype(np.float32), rows.astype(np.float32), kernel, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)
