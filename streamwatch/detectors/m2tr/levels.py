"""Statistics of feature maps of several depths, in the face and around it: what a linear classifier can read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLIP = 4.0
"""Standard deviations beyond which a statistic counts as that far."""

_HALF_WIDTH = 0.85  # of the face, in halves of its box's side; its height is the whole side
_AROUND = 1.2  # where the surroundings begin, in radii of the face
_LEAST = 1e-3


class LevelStatistics(nn.Module):
    """Six numbers of every channel of some maps, standardised: mean and standard deviation in the face and around it,
    the difference of the means, and that of the logarithms of the standard deviations.

    The face is the ellipse in the middle of the map, `face_share` of its side high; its surroundings begin at 1.2 times
    its radius. channels: of each map. mean, scale: D numbers that training sets, D = `size` = 6 · Σ channels.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: Sequence[int], face_share: float) -> None:
        super().__init__()
        self.size = 6 * sum(channels)
        self.face_share = face_share
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """N×D of maps N×C×h×w, clipped to ±`CLIP`."""
        return self.standardise(self.measure(maps))

    def standardise(self, rows: Tensor) -> Tensor:
        """The output of `forward` for N×D that `measure` gave."""
        return ((rows - self.mean) / self.scale).clamp(-CLIP, CLIP)

    def measure(self, maps: Sequence[Tensor]) -> Tensor:
        """N×D as they are, in float32."""
        with torch.autocast(maps[0].device.type, enabled=False):
            return torch.cat([self._measure(one.float()) for one in maps], dim=1)

    def _measure(self, values: Tensor) -> Tensor:
        parts = torch.stack(regions(values.shape[-2], values.shape[-1], self.face_share, values.device)).flatten(1)
        cells = values.permute(0, 2, 3, 1).flatten(1, 2)  # N×hw×C, as it lies in memory
        mean, mean_around = (parts @ cells).unbind(1)
        difference = mean - mean_around
        squares, squares_around = (parts @ (cells - mean[:, None]).square()).unbind(1)  # about the mean of the face
        spread, spread_around = _root(squares), _root(squares_around - difference.square())
        ratio = torch.log((spread + _LEAST) / (spread_around + _LEAST))
        return torch.cat([mean, spread, mean_around, spread_around, difference, ratio], dim=1)


def regions(height: int, width: int, face_share: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weights h×w, each of sum 1, of the face and of its surroundings."""
    down = (torch.arange(height, device=device) + 0.5) / height - 0.5
    across = (torch.arange(width, device=device) + 0.5) / width - 0.5
    radius = torch.hypot(across / _HALF_WIDTH, down[:, None]) / (face_share / 2)
    face, around = (radius <= 1).float(), (radius > _AROUND).float()
    return face / face.sum(), around / around.sum()


def _root(variance: Tensor) -> Tensor:
    return variance.clamp_min(1e-12).sqrt()
