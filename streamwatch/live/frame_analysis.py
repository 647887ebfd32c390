"""From the frames of a stream to scored faces."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from streamwatch.faces import FaceDetector
from streamwatch.faces.tracking import View
from streamwatch.fusion.overlooked import FrameFaces, face_notes
from streamwatch.live.frame_times import FrameTraces
from streamwatch.live.stillness import PictureState, StillnessMonitor
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient, ScoringQueue
from streamwatch.records import DropReason, FaceScore, Frame, FrameCounts, FrameTimes

_DROPPED = {PictureState.FROZEN: DropReason.FROZEN, PictureState.BLACK: DropReason.BLACK}
_STILL = {
    PictureState.FROZEN: "the picture has stood still for {:.0f} s",
    PictureState.BLACK: "the picture has been black for {:.0f} s",
}


class FrameAnalysis:
    """Finds the faces of one frame after another and has them scored; frames of a picture that stands still, or is
    black, are left out and counted.

    live: whether pictures may stand still at all; those of a file are all analysed. deliver: receives every score, with
    its crop, in order.
    now: media seconds of the newest frame.
    """

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        face_detector: FaceDetector,
        *,
        first_track: int,
        live: bool,
        deliver: Callable[[FaceScore], None],
    ) -> None:
        engine = plan.settings.engine
        self.now = 0.0
        self._deliver = deliver
        self._horizon = plan.settings.live.horizon
        self._faces: deque[FrameFaces] = deque()
        self._finder = plan.face_finder(face_detector, first_track, self._note_faces)
        self._queue = ScoringQueue(client, engine.batch_faces, engine.in_flight, self._receive)
        self._stillness = StillnessMonitor(plan.settings.live.still_after) if live else None
        self._left_out: Counter[DropReason] = Counter()
        self._traces = FrameTraces(plan.settings.tracing.every)

    def analyse(self, frame: Frame) -> None:
        """Take the next frame in. Raises DetectorError."""
        self.now = frame.pts
        picture = PictureState.MOVING if self._stillness is None else self._stillness.see(frame)
        if picture is not PictureState.MOVING:
            self._left_out[_DROPPED[picture]] += 1
            return
        self._traces.start(frame)
        (crops,) = self._finder.find([frame])
        self._traces.record_faces(frame.index, len(crops))
        self._queue.put(crops)
        self._queue.flush()

    def collect(self) -> None:
        """Deliver the scores that are there. Raises DetectorError."""
        self._queue.collect()

    def drain(self) -> None:
        """Wait for all scores, and deliver them. Raises DetectorError."""
        self._queue.drain()

    @property
    def full(self) -> bool:
        """Whether as many faces are being scored as may be."""
        return self._queue.full

    def wait(self, timeout: float) -> None:
        """Wait until some score is there, or `timeout` seconds are over."""
        self._queue.wait(timeout)

    def relax(self, gap: float) -> None:
        """Let a track go without its face for so many seconds, where that is longer than the settings' gap."""
        self._finder.relax(gap)

    @property
    def counts(self) -> FrameCounts:
        """Frames that were analysed, and that were left out."""
        left_out = dict(self._left_out)
        return FrameCounts(analysed=self._queue.finished_frames, dropped=sum(left_out.values()), dropped_by=left_out)

    @property
    def picture(self) -> PictureState:
        """What the newest frame shows."""
        return PictureState.MOVING if self._stillness is None else self._stillness.state

    @property
    def stillness(self) -> str | None:
        """What is wrong with the picture, in words; None where it moves."""
        if self._stillness is None or self.picture is PictureState.MOVING:
            return None
        return _STILL[self.picture].format(self.now - self._stillness.since)

    def face_notes(self, since: float) -> list[str]:
        """What to say of the faces of the last `live.horizon` seconds that were not looked at, or are not upright.
        since: media seconds from which on.
        """
        return face_notes(frame for frame in self._faces if frame.pts >= since)

    def times(self) -> tuple[FrameTimes, ...]:
        """The traced frames that are through since the last call."""
        return self._traces.finished()

    def _note_faces(self, view: View) -> None:
        self._faces.append(FrameFaces.of(view))
        while self._faces[0].pts < view.pts - self._horizon:
            self._faces.popleft()

    def _receive(self, score: FaceScore) -> None:
        self._deliver(score)
        if score.crop is not None:
            self._traces.record_score(score.crop.frame_index)
