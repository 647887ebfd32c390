"""Triage: which parts of a file have to be analysed in full, judged by its key frames alone.

A key frame leaves doubt where a usable face in it scores above the policy's threshold for real, or where it could not
be decoded. A track with too few usable faces for a verdict leaves doubt in all of its key frames, unless another track
has enough: such a track decides nothing about the file. So do parts between key frames that lie far apart. Around each
doubt the file is analysed as without triage, from the key frame before it to the one after it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamwatch.fusion import Policy
from streamwatch.fusion.quality import unusable
from streamwatch.records import FrameRecord
from streamwatch.sources.keyframes import KeyFrame
from streamwatch.sources.segments import Segment

FAR = 12.0
"""Seconds between two key frames that are not left unseen: encoders set one every ten seconds or more often."""

GAP = 1.5
"""Share of the longest time between two key frames for which a track may not be seen."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a file that is to be analysed in full, from one key frame up to another (None: to the end)."""

    start: KeyFrame
    end: KeyFrame | None

    def holds(self, frame_index: int) -> bool:
        """Whether a picture lies in it."""
        return self.start.index <= frame_index and (self.end is None or frame_index < self.end.index)

    def seconds(self, duration: float) -> float:
        """Its length. duration: of the file, seconds."""
        return (duration if self.end is None else self.end.pts) - self.start.pts

    def segment(self, origin: float, first: float) -> Segment:
        """The window as a segment. origin, first: of the file, see `Segment`."""
        end = None if self.end is None else self.end.ticks
        start = None if self.start.index == 0 else self.start.ticks
        return Segment(start, end, origin, first, self.start.before, self.start.index)


def sample_key_frames(frames: Sequence[KeyFrame], fps: float) -> list[KeyFrame]:
    """The key frames to analyse: no more of them than `fps` per second."""
    chosen: list[KeyFrame] = []
    for frame in frames:
        if not chosen or frame.pts - chosen[-1].pts >= 1 / fps:
            chosen.append(frame)
    return chosen


def doubtful_windows(
    frames: Sequence[KeyFrame],
    seen: Collection[int],
    records: Sequence[FrameRecord],
    policy: Policy,
    duration: float,
    seconds: float,
) -> list[Window]:
    """The windows that leave doubt, in order, each of about `seconds` at most (0: as long as may be).

    frames: key frames, in order. seen: indices of those whose pictures were analysed. records: of all faces in them,
    with the ids of tracks over the key frames alone. duration: of the file, seconds.
    """
    usable = [record for record in records if unusable(record.quality, policy.limits) is None]
    faces = Counter(record.track_id for record in usable)
    decided = any(number >= policy.min_faces for number in faces.values())
    doubtful = {frame.index for frame in frames} - set(seen)
    for record in usable:
        if record.probability > policy.real or (not decided and faces[record.track_id] < policy.min_faces):
            doubtful.add(record.frame_index)
    ends = [*(frame.pts for frame in frames[1:]), duration]
    parts: set[int] = set()
    for number, (frame, end) in enumerate(zip(frames, ends, strict=True)):
        if frame.index in doubtful:
            parts |= {number, max(0, number - 1)}
        if end - frame.pts > FAR:
            parts.add(number)
    return _join(frames, sorted(parts), seconds)


def _join(frames: Sequence[KeyFrame], parts: Sequence[int], seconds: float) -> list[Window]:
    """Neighbouring parts together, as long as they are not too long."""
    windows: list[Window] = []
    for number in parts:
        end = frames[number + 1] if number + 1 < len(frames) else None
        last = windows[-1] if windows else None
        if last is not None and last.end is frames[number] and not 0 < seconds <= frames[number].pts - last.start.pts:
            windows[-1] = Window(last.start, end)
        else:
            windows.append(Window(frames[number], end))
    return windows


def longest_gap(frames: Sequence[KeyFrame]) -> float:
    """Seconds for which a track that is only seen in key frames may not be seen."""
    gaps = [later.pts - earlier.pts for earlier, later in itertools.pairwise(frames)]
    return GAP * min(FAR, max(gaps, default=0.0))
