"""From scored faces to verdicts: quality weights, track fusion, spans, evidence, labels, alerts."""

from streamwatch.fusion.alerts import AlertRules, SourceAlerts
from streamwatch.fusion.policy import Policy
from streamwatch.fusion.quality import face_weight
from streamwatch.fusion.spans import find_spans
from streamwatch.fusion.track import TrackFusion
from streamwatch.fusion.video import SourceFusion, Subject, error_verdict

__all__ = [
    "AlertRules",
    "Policy",
    "SourceAlerts",
    "SourceFusion",
    "Subject",
    "TrackFusion",
    "error_verdict",
    "face_weight",
    "find_spans",
]
