"""The mask decoder: where in the crop is the forgery?"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from streamwatch.detectors.m2tr.transformer import SLOPE


class MaskDecoder(nn.Module):
    """Stages over the texture map: each doubles the side (bilinear), then runs its 3×3 convolutions.

    stages: output channels of the convolutions of each stage; LeakyReLU after all but the very last.
    context: channels of a deeper map that is projected (1×1), resized and added to the input, None for none.
        The paper's decoder has none; a shallow trunk needs it to know what part of a face it looks at.
    """

    def __init__(self, channels: int, stages: tuple[tuple[int, ...], ...], context: int | None = None) -> None:
        super().__init__()
        self.context = None if context is None else nn.Conv2d(context, channels, 1)
        self.stages = nn.ModuleList()
        inputs = channels
        for index, widths in enumerate(stages):
            convolutions: list[nn.Module] = []
            for outputs in widths:
                convolutions += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
                inputs = outputs
            if index == len(stages) - 1:
                convolutions.pop()
            self.stages.append(nn.Sequential(*convolutions))

    def forward(self, texture: Tensor, context: Tensor | None = None) -> Tensor:
        """N×C×h×w -> logits N×1×(h·2^stages)×(w·2^stages)."""
        x = texture
        if self.context is not None and context is not None:
            x = x + _resize(self.context(context), x.shape[-2], x.shape[-1])
        for stage in self.stages:
            x = stage(_resize(x, 2 * x.shape[-2], 2 * x.shape[-1]))
        return x


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
