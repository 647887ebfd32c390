"""How every source of a run is analysed: settings, model card, policy. Small, picklable, without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from streamwatch.config import Settings
from streamwatch.detectors import ModelCard, read_card, weights_path
from streamwatch.faces import FaceDetector, FaceFinder
from streamwatch.faces.tracking import View
from streamwatch.fusion import AlertRules, Policy, Subject
from streamwatch.records import ModelRef


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings with the weights that they name (absolute path), their card, and the policy and the rules of alerts that
    follow.
    """

    settings: Settings
    card: ModelCard
    policy: Policy
    alert_rules: AlertRules
    weights: Path

    @classmethod
    def resolve(cls, settings: Settings) -> Plan:
        """Raises WeightsError where there is no such model, ConfigError where its card contradicts the
        settings.
        """
        weights = weights_path(settings.detector.model).absolute()
        card = read_card(weights)
        policy = Policy.resolve(settings.fusion, card)
        return cls(settings, card, policy, AlertRules.resolve(settings.alerts, policy), weights)

    @property
    def model(self) -> ModelRef:
        """Name and digest of the weights."""
        return ModelRef(self.card.name, self.card.sha256)

    def subject(
        self, source: str, sha256: str | None, started_at: datetime | None = None, *, scan: str = ""
    ) -> Subject:
        """What a verdict on `source` is about; the credentials in its name are masked already. scan: see `Subject`."""
        return Subject(
            source=source,
            sha256=sha256,
            model=self.model,
            config_sha256=self.settings.digest(),
            policy=self.policy.name + (" triage" if self.settings.sampling.triage else ""),
            started_at=started_at,
            scan="" if sha256 else scan,
        )

    def face_finder(
        self, detector: FaceDetector, first_track: int = 1, on_view: Callable[[View], None] = lambda view: None
    ) -> FaceFinder:
        """A finder for one source, with crops as the model wants them."""
        return FaceFinder(
            self.settings.faces,
            self.settings.tracks,
            self.card.geometry,
            self.card.input.size,
            detector=detector,
            first_track=first_track,
            on_view=on_view,
        )
