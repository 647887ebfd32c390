"""The configuration of an M2TR network, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args, get_type_hints

from streamwatch.errors import ConfigError

BackboneName = Literal["efficientnet-b4", "efficientnet-lite0", "efficientnet-lite2"]
Arrangement = Literal["serial", "parallel"]
Frequency = Literal["fft", "dct", "none"]
Fusion = Literal["cma", "cmf", "add"]

MOST_LAYERS, MOST_CHANNELS = 64, 4096
"""Of a decoder: what a card may ask for is to fit into memory."""


@dataclass(frozen=True)
class M2TRConfig:
    """Architecture and switches of one network; the defaults are the released configuration.

    backbone: the convolutional trunk.
    input_size: side S of the square input in pixels. Other sizes run too (the frequency filter is
        interpolated), as long as the feature map can be cut by every patch divisor.
    insert_after: index of the backbone block whose output, the "texture" map, the M2TR layers work on.
    depth: number of M2TR layers.
    patch_divisors: one per attention head; a head sees square patches of side (map side ÷ divisor).
    multi_scale: False gives every head the patches of the last divisor.
    arrangement: `serial` feeds the frequency block with the transformer's output (released code), `parallel`
        with the layer's input (the paper's figure). Without effect on `dct`, whose input is the picture.
    frequency: `fft` learnable filter on the feature map (ICMR paper), `dct` three fixed bands of the picture
        (first version of the paper), `none` leaves frequency and fusion out.
    fusion: `cma` attention, projection and residual (released code); `cmf` 3×3 convolution over the sum of
        layer input, transformer output and attention (first version); `add` is `cma` without attention.
    decoder: predict the forged region.
    decoder_stages: output channels of each stage's 3×3 convolutions; every stage doubles the side first.
    decoder_context: index of a later block whose features join the decoder's input; None: texture map alone.
    drop_connect: rate at which residual branches drop out, growing linearly from 0 over the blocks to this.
    dropout: rate in front of the classifier.
    identity_init: start with M2TR layers that pass the texture map unchanged: pretrained features survive.
    levels: indices of blocks. Given any, the classifier reads the statistics of their maps in the face and around it
        (`LevelStatistics`), in place of the pooled last map. The M2TR layers then stand beside the backbone, which goes
        on with the texture map as it was; a classifier of its own reads their output. There may be none (depth 0).
    face_share: side of the face's box ÷ side of the crop, for `levels`.
    """

    backbone: BackboneName = "efficientnet-b4"
    input_size: int = 320
    insert_after: int = 5
    depth: int = 4
    patch_divisors: tuple[int, ...] = (1, 2, 4, 8)
    multi_scale: bool = True
    arrangement: Arrangement = "serial"
    frequency: Frequency = "fft"
    fusion: Fusion = "cma"
    decoder: bool = False
    decoder_stages: tuple[tuple[int, ...], ...] = ((32, 16), (16, 1))
    decoder_context: int | None = None
    drop_connect: float = 0.2
    dropout: float = 0.5
    identity_init: bool = False
    levels: tuple[int, ...] = ()
    face_share: float = 1 / 1.8

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for key in ("backbone", "arrangement", "frequency", "fusion"):
            allowed = get_args(hints[key])
            if getattr(self, key) not in allowed:
                raise ConfigError(f"{key}: {getattr(self, key)!r} is not one of {', '.join(allowed)}")
        for key, least, most in (("input_size", 1, 4096), ("depth", 0 if self.levels else 1, 64)):
            if not least <= getattr(self, key) <= most:
                raise ConfigError(f"{key}: {getattr(self, key)} must be {least} to {most}")
        widths = [width for stage in self.decoder_stages for width in stage]
        if len(widths) > MOST_LAYERS or not all(1 <= width <= MOST_CHANNELS for width in widths):
            raise ConfigError(f"decoder_stages: at most {MOST_LAYERS} layers of 1 to {MOST_CHANNELS} channels each")
        if len(self.patch_divisors) > MOST_LAYERS:
            raise ConfigError(f"patch_divisors: at most {MOST_LAYERS} heads")
        if any(after <= before for before, after in pairwise((-1, *self.levels))):
            raise ConfigError(f"levels: {self.levels} must be indices of backbone blocks in rising order")
        if not 0.1 <= self.face_share <= 1:
            raise ConfigError(f"face_share: {self.face_share} must be in [0.1, 1]")
        if self.insert_after < 0:
            raise ConfigError(f"insert_after: {self.insert_after} must be the index of a backbone block")
        if not self.patch_divisors or min(self.patch_divisors) < 1:
            raise ConfigError(f"patch_divisors: {self.patch_divisors} must be one or more whole numbers from 1 up")
        for key in ("drop_connect", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"{key}: {getattr(self, key)} must be in [0, 1)")
        if self.decoder and (not self.decoder_stages or not all(self.decoder_stages)):
            raise ConfigError("decoder_stages: needs one or more stages of one or more channels each")
        if self.decoder and self.decoder_stages[-1][-1] != 1:
            raise ConfigError(f"decoder_stages: {self.decoder_stages} must end in 1 channel, the mask")
        if self.decoder_context is not None and self.decoder_context <= self.insert_after:
            raise ConfigError(f"decoder_context: {self.decoder_context} must be a block after insert_after")

    @property
    def head_divisors(self) -> tuple[int, ...]:
        """The patch divisor of each head, after the `multi_scale` switch."""
        if self.multi_scale:
            return self.patch_divisors
        return (self.patch_divisors[-1],) * len(self.patch_divisors)


_LITE = M2TRConfig(
    backbone="efficientnet-lite0",
    input_size=256,
    drop_connect=0.05,
    dropout=0.2,
    insert_after=4,
    depth=2,
    decoder=True,
    decoder_stages=((16, 16, 1),),
    decoder_context=10,
    identity_init=True,
)

_BESIDE = replace(_LITE, depth=1, levels=(0, 2, 4, 7, 10, 14))

PRESETS: dict[str, M2TRConfig] = {
    "m2tr-b4": M2TRConfig(),
    "m2tr-lite": _LITE,
    "m2tr-beside": _BESIDE,
    "texture": replace(_BESIDE, depth=0, decoder=False, decoder_context=None, identity_init=False),
    "m2tr-lite2": replace(_LITE, backbone="efficientnet-lite2", insert_after=6, decoder_context=14),
}


def resolve(preset: str | M2TRConfig) -> M2TRConfig:
    """The configuration behind a preset's name. Raises ConfigError naming the presets."""
    if isinstance(preset, M2TRConfig):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"no architecture {preset!r}", f"there are {', '.join(PRESETS)}")
    return PRESETS[preset]
