"""M2TR as a `Detector`: numpy crops in, scores out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamwatch.allocator import keep_freed_memory
from streamwatch.cpu import cpu_features
from streamwatch.detectors.card import InputSpec, ModelCard
from streamwatch.detectors.checkpoints import load_checkpoint
from streamwatch.detectors.m2tr.explain import grad_cam
from streamwatch.detectors.m2tr.folding import fold_batch_norms
from streamwatch.detectors.m2tr.model import M2TR
from streamwatch.detectors.memory import ran_out_of_memory
from streamwatch.detectors.protocol import Precision, ScoreArrays
from streamwatch.errors import DetectorError, DetectorExhausted
from streamwatch.records import FaceScore, FloatArray, ImageArray

_MAX_BATCH = 32
_MAX_CPU_BATCH = 4  # more at once outgrow the caches: 31 instead of 41 faces/s in fp32 on two cores

Batch = tuple[FloatArray, FloatArray, ImageArray | None]


class M2TRDetector:
    """A trained network with its card.

    precision: `fp32` or `bf16`, as resolved from the argument. device: such as `cpu` or `cuda:0`.
    Larger batches than `max_batch`, or four on a CPU, are split.
    """

    def __init__(
        self,
        model: M2TR,
        card: ModelCard,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "auto",
        max_batch: int = _MAX_BATCH,
    ) -> None:
        self._device = resolve_device(device)
        if threads:
            torch.set_num_threads(threads)
        if self._device.type == "cpu":
            keep_freed_memory()
        self.name = card.name
        self.card = card
        self.input_size = card.input.size
        self.geometry = card.geometry
        self.device = str(self._device)
        native = "bf16" if _has_native_bf16(self._device) else "fp32"
        self.precision = native if precision == "auto" else precision
        self.max_batch = max_batch if self._device.type == "cuda" else min(max_batch, _MAX_CPU_BATCH)
        self._feature_size = model.feature_size
        self._mask_side = model.mask_side
        folded = fold_batch_norms(model).requires_grad_(False)
        self._model = folded.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, weights: Path, *, device: str, threads: int | None, precision: Precision) -> M2TRDetector:
        """See `LoadableDetector`."""
        return cls(*load_checkpoint(weights), device=device, threads=threads, precision=precision)

    def score(self, crops: ImageArray) -> list[FaceScore]:
        """One record per crop; see `Detector`."""
        return self.score_arrays(crops).scores()

    def score_arrays(self, crops: ImageArray) -> ScoreArrays:
        """The same as arrays; see `Detector`."""
        self._check(crops)
        batches = [self._infer(crops[i : i + self.max_batch]) for i in range(0, len(crops), self.max_batch)]
        logits = _join([batch[0] for batch in batches], ())
        if not np.isfinite(logits).all():
            raise DetectorError(f"{self.name} gave scores that are not finite; its weights are unusable")
        features = _join([batch[1] for batch in batches], (self._feature_size,))
        masks = None
        if self._mask_side is not None:
            found = [batch[2] for batch in batches if batch[2] is not None]
            masks = np.concatenate([np.empty((0, self._mask_side, self._mask_side), np.uint8), *found])
        return ScoreArrays(logits, self.card.calibration.probability(logits), features, masks)

    def explain(self, crops: ImageArray) -> FloatArray:
        """What speaks for "fake" in each crop, by Grad-CAM in fp32; see `ExplainingDetector`."""
        self._check(crops)
        inputs = (to_input(crop[None], self.card.input, self._device) for crop in crops)
        return _join([_to_numpy(grad_cam(self._model, x)) for x in inputs], crops.shape[1:3])

    def _check(self, crops: ImageArray) -> None:
        side = self.input_size
        if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
            raise DetectorError(f"{self.name} needs N×{side}×{side}×3 uint8 crops, not {crops.shape} {crops.dtype}")

    def _infer(self, crops: ImageArray) -> Batch:
        try:
            return self._forward(crops)
        except (MemoryError, RuntimeError) as error:
            if ran_out_of_memory(error):
                raise DetectorExhausted(
                    f"{self.name}: not enough memory on {self.device} for {len(crops)} faces at once ({error})",
                    "free some, lower detector.max_batch, or set detector.device to cpu",
                ) from error
            raise

    def _forward(self, crops: ImageArray) -> Batch:
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            output = self._model(to_input(crops, self.card.input, self._device))
            logits = output.logits[:, 1] - output.logits[:, 0]
            masks = None
            if output.mask_logits is not None:
                levels = output.mask_logits.float().sigmoid().squeeze(1) * 255 + 0.5
                masks = levels.to(torch.uint8).cpu().numpy()
            return _to_numpy(logits), _to_numpy(output.feature), masks


def to_input(crops: ImageArray, spec: InputSpec, device: torch.device) -> Tensor:
    """N×S×S×3 uint8 to the normalised N×3×S×S float32, channels last in memory."""
    pixels = torch.tensor(crops, device=device).float()
    mean, std = (torch.tensor(values, device=device) for values in (spec.mean, spec.std))
    return ((pixels - mean) / std).permute(0, 3, 1, 2)


def _to_numpy(values: Tensor) -> FloatArray:
    array: FloatArray = values.float().cpu().numpy()
    return array


def _join(parts: list[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    return np.concatenate([np.empty((0, *shape), np.float32), *parts])


def resolve_device(device: str) -> torch.device:
    """The device of that name; `auto`: a GPU where there is one. Raises DetectorError where there is none."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise DetectorError(f"device {device!r}: unknown", "use auto, cpu or cuda") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise DetectorError(f"device {device!r}: torch finds no such GPU", "use auto or cpu")
    return resolved


def _has_native_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is in hardware; emulated, it would be slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16"} & cpu_features())
