"""The data of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from streamwatch.config import Settings
from streamwatch.detectors import ModelCard, ReasoningDetector
from streamwatch.fusion import Policy
from streamwatch.provenance import Provenance
from streamwatch.records import VideoVerdict
from streamwatch.store import AlertRow


@dataclass(frozen=True, slots=True, eq=False)
class VideoReport:
    """A verdict, complete with scores and evidence, and all that a reader needs to judge it.

    card_sha256: of the file that holds `card`. reviews: what people said of alerts, by the alerts' ids.
    analysed_at: UTC; None where the analysis failed. written_at: of the page, UTC. version: of streamwatch.
    reasoner: the model of the verdict, where it can say in words why; it scores the strongest faces again.
    """

    verdict: VideoVerdict
    settings: Settings
    card: ModelCard
    card_sha256: str
    policy: Policy
    provenance: Provenance
    reviews: Mapping[str, AlertRow]
    analysed_at: datetime | None
    written_at: datetime
    version: str
    reasoner: ReasoningDetector | None = None
