"""The rule and the thresholds by which scores become labels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from streamwatch.config import FusionSettings
from streamwatch.detectors.card import Limits
from streamwatch.errors import ConfigError

if TYPE_CHECKING:
    from streamwatch.detectors import ModelCard


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings and model card, resolved: every number that a verdict and its evidence rest on.

    fake, real: probabilities; a score ≥ `fake` is fake, ≤ `real` is real, between them inconclusive.
    min_faces: usable faces that a verdict or a span needs. limits: faces beyond them carry no weight.
    window, min_span, merge_gap: seconds. evidence: faces kept per span and per track.
    unseen_share: 0..1; what looks real is inconclusive where more of the source was not analysed.
    mask_threshold: 0..1, where a mask begins to count as forged; no verdict rests on it.
    """

    rule: str
    fake: float
    real: float
    min_faces: int
    limits: Limits
    window: float
    min_span: float
    merge_gap: float
    unseen_share: float
    evidence: int
    mask_threshold: float

    @property
    def name(self) -> str:
        """What verdicts carry, such as `mean_logit fake>=0.80 real<=0.50 min_faces=4 min_face_side=48 …`."""
        return (
            f"{self.rule} fake>={self.fake:.2f} real<={self.real:.2f} min_faces={self.min_faces} "
            f"min_face_side={self.limits.min_face_side:g} min_sharpness={self.limits.min_sharpness:g} "
            f"max_pose={self.limits.max_pose:g} window={self.window:g}s min_span={self.min_span:g}s "
            f"merge_gap={self.merge_gap:g}s unseen_share={self.unseen_share:g}"
        )

    @classmethod
    def resolve(cls, settings: FusionSettings, card: ModelCard) -> Policy:
        """Settings where they are given, the model card where they are null.

        Raises ConfigError where a threshold set by hand contradicts the card's other one.
        """
        fake = card.thresholds.fake if settings.fake is None else settings.fake
        real = card.thresholds.real if settings.real is None else settings.real
        if real > fake:
            raise ConfigError(
                f"fusion.real ({real:g}) is above fusion.fake ({fake:g}) with the thresholds of model {card.name}",
                "set both, with real ≤ fake",
            )
        names = [field.name for field in fields(Limits)]
        given = {name: value for name in names if (value := getattr(settings, name)) is not None}
        return cls(
            rule=settings.rule,
            fake=fake,
            real=real,
            min_faces=settings.min_faces,
            limits=replace(card.limits, **given),
            window=settings.window,
            min_span=settings.min_span,
            merge_gap=settings.merge_gap,
            unseen_share=settings.unseen_share,
            evidence=settings.evidence,
            mask_threshold=card.mask_threshold,
        )
