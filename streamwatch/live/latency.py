"""How long faces were on their way from their capture to a stored verdict."""

from __future__ import annotations

from datetime import datetime

from streamwatch.records import VideoVerdict


class FaceAges:
    """Ages of the faces in the verdicts of a watch; a face that stands in several verdicts counts once."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}

    def new_ages(self, verdict: VideoVerdict, now: datetime) -> list[float]:
        """Seconds since the capture of those faces that no verdict on this source had before."""
        newest = self._newest.get(verdict.source, -1)
        fresh = [score for score in verdict.scores if score.frame_index > newest]
        self._newest[verdict.source] = max((score.frame_index for score in fresh), default=newest)
        return [(now - score.wall_time).total_seconds() for score in fresh if score.wall_time is not None]
