"""What is left of a segment of a file once its faces are scored, and the verdict on the file from all its segments.

Decoding, finding and scoring faces look at each frame by itself, so segments can have them done anywhere and in any
order. Tracking and fusion look at all of time, but need little of each frame: they are done again, over all segments,
when the last one is there. So the verdict does not depend on where the file was cut.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamwatch.faces import Tracker
from streamwatch.faces.tracking import View
from streamwatch.fusion import SourceFusion, face_weight
from streamwatch.fusion.evidence import EncodedCandidate
from streamwatch.pipeline.plan import Plan
from streamwatch.records import (
    Box,
    Evidence,
    Face,
    FaceQuality,
    FaceTrace,
    FrameCounts,
    FrameRecord,
    MaskCoverage,
    Point,
    UnseenCause,
)

Arrays = dict[str, NDArray[Any]]

VERSION = 2
"""Of the bytes of a segment: raised whenever what is in them changes; what another one has left is done again."""

_MARK = b"SWSG"
_HEADER = struct.Struct("<4sHI")


@dataclass(frozen=True, slots=True, eq=False)
class SegmentScores:
    """Everything about a segment that the verdict on its file rests on.

    counts: of its frames. views: of every sampled frame, in order of time. records: of every face, in the order of the
    views; frames are counted from the beginning of the segment, and track ids mean nothing beyond it. pictures: the
    faces that may become evidence, as crops and masks. traces: none, or one for each record, with its ids; their masks
    are all of one size. end: media seconds at which its last picture ends; None where it has none.
    """

    counts: FrameCounts
    views: Sequence[View]
    records: Sequence[FrameRecord]
    pictures: Sequence[Evidence]
    traces: Sequence[FaceTrace] = ()
    end: float | None = None

    def without(self, times: Container[float]) -> SegmentScores:
        """The same without the frames at these media seconds, and without traces; the counts stay."""
        rows = iter(self.records)
        of_views = [(view, list(itertools.islice(rows, len(view.faces)))) for view in self.views]
        kept = [(view, records) for view, records in of_views if view.pts not in times]
        records = [record for _, of_view in kept for record in of_view]
        known = {(record.frame_index, record.track_id) for record in records}
        pictures = [picture for picture in self.pictures if (picture.frame_index, picture.track_id) in known]
        return SegmentScores(self.counts, [view for view, _ in kept], records, pictures, end=self.end)

    def to_bytes(self) -> bytes:
        """For the store, and for the way between processes: a mark, the version and a checksum, then a compressed NumPy
        archive (.npz).
        """
        faces = [face for view in self.views for face in view.faces]
        counts = self.counts
        arrays: Arrays = {
            "counts": np.array([counts.decoded, counts.sampled, counts.analysed, counts.corrupt]),
            "remarks": np.array(sorted(counts.remarks), np.str_),
            "unseen": np.array([counts.unseen.get(cause, 0.0) for cause in UnseenCause]),
            "end": np.array([np.nan if self.end is None else self.end]),
            "times": np.array([view.pts for view in self.views]),
            "scenes": np.array([view.scene for view in self.views]),
            "overlooked": np.array([view.overlooked for view in self.views], np.int64),
            "turned": np.array([view.turned for view in self.views], bool),
            "faces": np.array([len(view.faces) for view in self.views], np.int64),
            "thumbnails": np.concatenate([np.zeros((0, 8, 8, 3), np.uint8), *(view.thumbnails for view in self.views)]),
            "boxes": np.array([face.box for face in faces]).reshape(-1, 4),
            "landmarks": np.array([face.landmarks for face in faces]).reshape(-1, 5, 2),
            "confidences": np.array([face.confidence for face in faces]),
            "frames": np.array([record.frame_index for record in self.records], np.int64),
            "tracks": np.array([record.track_id for record in self.records], np.int64),
            "logits": np.array([record.logit for record in self.records]),
            "probabilities": np.array([record.probability for record in self.records]),
            "qualities": np.array([astuple(record.quality) for record in self.records]).reshape(-1, 4),
            **_pack(self.pictures),
            **_pack_traces(self.traces),
        }
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        body = file.getvalue()
        return _HEADER.pack(_MARK, VERSION, zlib.crc32(body)) + body

    @staticmethod
    def can_read(data: bytes) -> bool:
        """Whether `to_bytes` of this version gave it, undamaged."""
        if len(data) < _HEADER.size:
            return False
        mark, version, checksum = _HEADER.unpack_from(data)
        return (mark, version) == (_MARK, VERSION) and checksum == zlib.crc32(data[_HEADER.size :])

    @classmethod
    def from_bytes(cls, data: bytes) -> SegmentScores:
        """What `to_bytes` gave. Raises ValueError for anything that `can_read` refuses."""
        if not cls.can_read(data):
            raise ValueError(f"not a segment of version {VERSION}, or damaged")
        with np.load(io.BytesIO(data[_HEADER.size :]), allow_pickle=False) as file:
            arrays: Arrays = dict(file)
        decoded, sampled, analysed, corrupt = arrays["counts"].tolist()
        boxes = [_box(box) for box in arrays["boxes"].tolist()]
        faces = [
            Face(box, (left, right, nose, left_corner, right_corner), confidence)
            for box, (left, right, nose, left_corner, right_corner), confidence in zip(
                boxes, map(_points, arrays["landmarks"].tolist()), arrays["confidences"].tolist(), strict=True
            )
        ]
        ends = np.cumsum(arrays["faces"]).tolist()
        times = arrays["times"].tolist()
        views = [
            View(pts, scene, faces[start:end], arrays["thumbnails"][start:end], overlooked, turned)
            for pts, scene, (start, end), overlooked, turned in zip(
                times,
                arrays["scenes"],
                itertools.pairwise([0, *ends]),
                arrays["overlooked"].tolist(),
                arrays["turned"].tolist(),
                strict=True,
            )
        ]
        columns = ("frames", "tracks", "logits", "probabilities", "qualities")
        rows = zip(*(arrays[name].tolist() for name in columns), strict=True)
        records = [
            FrameRecord(track, frame, view.pts, face.box, face.confidence, logit, probability, FaceQuality(*quality))
            for (view, face), (frame, track, logit, probability, quality) in zip(_faces(views), rows, strict=True)
        ]
        unseen = {cause: lost for cause, lost in zip(UnseenCause, arrays["unseen"].tolist(), strict=True) if lost}
        remarks = frozenset(arrays["remarks"].tolist())
        counts = FrameCounts(decoded, sampled, analysed, corrupt=corrupt, unseen=unseen, remarks=remarks)
        (end,) = arrays["end"].tolist()
        pictures, traces = _unpack(arrays, records), _unpack_traces(arrays, records)
        return cls(counts, views, records, pictures, traces, None if np.isnan(end) else end)


class FusedSegments(NamedTuple):
    """Tracks and scores of a file; the sum of the counts of its segments; media seconds at which the last picture ends,
    None where there is none; the traces, where the segments have them.
    """

    fusion: SourceFusion
    counts: FrameCounts
    end: float | None
    traces: list[FaceTrace]


def fuse(
    segments: Iterable[SegmentScores], plan: Plan, *, firsts: Sequence[int | None] = (), gap: float = 0.0
) -> FusedSegments:
    """What all segments of a file give, which are given in order.

    firsts: the index in the file of the first picture of each; None, or no number: that after the one before. Segments
    whose index is known may lie within others' time. gap: seconds for which a track may not be seen, where that is more
    than the settings say.
    """
    tracker = Tracker(plan.settings.tracks)
    tracker.relax(gap)
    fusion = SourceFusion(plan.policy)
    total = FrameCounts()
    end: float | None = None
    traces: list[FaceTrace] = []

    def in_order() -> Iterator[_Seen]:
        """One segment at a time is held in memory."""
        nonlocal total, end
        for segment, first in itertools.zip_longest(segments, firsts):
            assert segment is not None
            yield from _seen(segment, total.decoded if first is None else first)
            total += segment.counts
            if segment.end is not None:
                end = max(segment.end, end or 0.0)

    nested = any(first is not None for first in firsts)
    for each in sorted(in_order(), key=lambda each: each.view.pts) if nested else in_order():
        rows = zip(tracker.follow(each.view), each.records, each.pictures, each.traces, strict=True)
        for face, record, picture, trace in rows:
            assert face.track_id is not None
            weight = face_weight(replace(face, quality=record.quality), plan.policy.limits)
            candidate = None if picture is None else EncodedCandidate(replace(picture, track_id=face.track_id))
            fusion.add_record(replace(record, track_id=face.track_id), weight, candidate)
            if trace is not None:
                traces.append(replace(trace, track_id=face.track_id))
    return FusedSegments(fusion, total, end, traces)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A frame: its faces' records, counted within the file, those that are pictures, and the traces if there are."""

    view: View
    records: Sequence[FrameRecord]
    pictures: Sequence[Evidence | None]
    traces: Sequence[FaceTrace | None]


def _seen(segment: SegmentScores, first: int) -> Iterator[_Seen]:
    pictures = {(picture.frame_index, picture.track_id): picture for picture in segment.pictures}
    records = iter(segment.records)
    traces = iter(segment.traces)
    for view in segment.views:
        of_view = list(itertools.islice(records, len(view.faces)))
        traced = list(itertools.islice(traces, len(view.faces))) if segment.traces else [None] * len(of_view)
        found = [pictures.get((record.frame_index, record.track_id)) for record in of_view]
        yield _Seen(
            view,
            [replace(record, frame_index=first + record.frame_index) for record in of_view],
            [None if each is None else replace(each, frame_index=first + each.frame_index) for each in found],
            [None if each is None else replace(each, frame_index=first + each.frame_index) for each in traced],
        )


def _faces(views: Sequence[View]) -> Iterator[tuple[View, Face]]:
    return ((view, face) for view in views for face in view.faces)


def _pack(pictures: Sequence[Evidence]) -> Arrays:
    """Pictures as arrays: which face each is of, where its crop lies, the encoded bytes one after the other."""
    blobs = [blob for picture in pictures for blob in (picture.crop_jpeg, picture.mask_png or b"")]
    return {
        "picture_of": np.array([(picture.frame_index, picture.track_id) for picture in pictures], np.int64),
        "regions": np.array([picture.region for picture in pictures], float).reshape(-1, 4),
        "coverages": _coverage_rows(pictures),
        "lengths": np.array([len(blob) for blob in blobs], np.int64),
        "blobs": np.frombuffer(b"".join(blobs), np.uint8),
    }


def _unpack(arrays: Arrays, records: Sequence[FrameRecord]) -> list[Evidence]:
    of = {(record.frame_index, record.track_id): record for record in records}
    data, ends = arrays["blobs"].tobytes(), np.cumsum(arrays["lengths"]).tolist()
    blobs = [data[start:end] for start, end in itertools.pairwise([0, *ends])]
    pictures = []
    rows = zip(*(arrays[name].tolist() for name in ("picture_of", "regions", "coverages")), strict=True)
    for ((frame, track), region, coverage), jpeg, png in zip(rows, blobs[::2], blobs[1::2], strict=True):
        record = of[frame, track]
        pictures.append(
            Evidence(
                frame_index=frame,
                pts=record.pts,
                box=record.box,
                score=record.probability,
                crop_jpeg=jpeg,
                mask_png=png or None,
                region=_box(region),
                coverage=_coverage(coverage),
                track_id=track,
            )
        )
    return pictures


def _pack_traces(traces: Sequence[FaceTrace]) -> Arrays:
    """What traces have beside the records that they are of."""
    if not traces:
        return {}
    masks = [trace.mask for trace in traces if trace.mask is not None]
    return {
        "trace_regions": np.array([trace.region for trace in traces]),
        "trace_coverages": _coverage_rows(traces),
        "trace_masked": np.array([trace.mask is not None for trace in traces]),
        "trace_masks": np.stack(masks) if masks else np.zeros((0, 0, 0), np.uint8),
    }


def _unpack_traces(arrays: Arrays, records: Sequence[FrameRecord]) -> list[FaceTrace]:
    if "trace_regions" not in arrays:
        return []
    masks = iter(arrays["trace_masks"])
    rows = zip(*(arrays[name].tolist() for name in ("trace_regions", "trace_coverages", "trace_masked")), strict=True)
    return [
        FaceTrace(
            frame_index=record.frame_index,
            pts=record.pts,
            track_id=record.track_id,
            box=record.box,
            region=_box(region),
            probability=record.probability,
            mask=next(masks) if masked else None,
            coverage=_coverage(coverage),
        )
        for record, (region, coverage, masked) in zip(records, rows, strict=True)
    ]


def _coverage_rows(of: Sequence[Evidence | FaceTrace]) -> NDArray[Any]:
    """A row for each; NaN for what is not there."""
    nothing = (float("nan"),) * 7
    rows = [nothing if item.coverage is None else astuple(item.coverage) for item in of]
    return np.array(rows, float).reshape(-1, 7)


def _coverage(row: Sequence[float]) -> MaskCoverage | None:
    threshold, face, *parts = (None if np.isnan(value) else value for value in row)
    return None if threshold is None or face is None else MaskCoverage(threshold, face, *parts)


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = values
    return x0, y0, x1, y1


def _points(values: Sequence[Sequence[float]]) -> list[Point]:
    return [(x, y) for x, y in values]
