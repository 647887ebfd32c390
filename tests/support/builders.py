"""Records with sensible values, each of which a keyword replaces.

`make_…` gives the plain record, `full_…` one with a value in every field that a store keeps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import cv2

from streamwatch.config import SinkSettings
from streamwatch.records import (
    Alert,
    AlertKind,
    Evidence,
    FaceQuality,
    Failure,
    FrameCounts,
    FrameRecord,
    ImageArray,
    Label,
    MaskCoverage,
    ModelRef,
    Span,
    TrackVerdict,
    VideoVerdict,
)
from streamwatch.sources.states import Cause, StreamState, Transition

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)
FILE, CAMERA = "/archive/clip.mp4", "rtsp://***@camera.example/1"
MODEL = ModelRef("m2tr-lite", "a" * 64)
CONFIG = "c" * 64
SINK = SinkSettings(name="desk", kind="webhook", url="https://desk.example/alerts", secret="key")
BOX = (10.5, 20.25, 110.0, 140.0)


def make_evidence(frame: int = 100, **changes: Any) -> Evidence:
    """A face at 25 frames a second with a mask; its pictures are bytes that no decoder takes."""
    evidence = Evidence(
        frame_index=frame,
        pts=frame / 25,
        box=BOX,
        score=0.97,
        crop_jpeg=b"jpeg %d" % frame,
        mask_png=b"png",
        region=(-5.0, 5.0, 125.0, 135.0),
        coverage=MaskCoverage(0.15, 0.38, None, 0.5, 0.9, 0.25, 0.0),
        track_id=1,
    )
    return replace(evidence, **changes)


def pictured_evidence(crop: ImageArray, mask: ImageArray | None, frame: int = 100, **changes: Any) -> Evidence:
    """As `make_evidence`, with pictures: the crop is S×S×3 RGB, the mask h×w (255 = forged)."""
    pictures = {
        "crop_jpeg": cv2.imencode(".jpg", crop[..., ::-1])[1].tobytes(),
        "mask_png": None if mask is None else cv2.imencode(".png", mask)[1].tobytes(),
    }
    return make_evidence(frame, **{**pictures, **changes})


def make_record(frame: int = 0, **changes: Any) -> FrameRecord:
    """The score of a face at 25 frames a second."""
    record = FrameRecord(
        track_id=1,
        frame_index=frame,
        pts=frame / 25,
        box=BOX,
        confidence=0.99,
        logit=2.5,
        probability=0.9,
        quality=FaceQuality(short_side=99.5, sharpness=310.0, pose=0.1, upscaling=0.8),
    )
    return replace(record, **changes)


def make_track(**changes: Any) -> TrackVerdict:
    """A fake from 0 to 12.4 s, forged from 3.2 to 9.8 s."""
    spans = (Span(3.2, 9.8, 0.99, 0.95),)
    return replace(TrackVerdict(1, 0.0, 12.4, Label.FAKE, 0.9, 25, spans), **changes)


def make_alert(alert_id: str = "alert-1", source: str = FILE, **changes: Any) -> Alert:
    """A forgery from 3.2 to 9.8 s, without evidence."""
    return replace(Alert(alert_id, source, 1, 3.2, 9.8, 0.99, 0.95, Label.FAKE), **changes)


def make_outage(alert_id: str = "down-1", source: str = CAMERA, **changes: Any) -> Alert:
    """A stream that is down since second 0, and still is."""
    outage = Alert(
        alert_id, source, None, 0.0, None, None, None, Label.ERROR, kind=AlertKind.DOWN, reason="refused: no"
    )
    return replace(outage, **changes)


def make_verdict(source: str = FILE, **changes: Any) -> VideoVerdict:
    """A fake of 12.4 s with one track, without alerts and scores."""
    verdict = VideoVerdict(
        source=source,
        sha256="f" * 64,
        label=Label.FAKE,
        score=0.9,
        duration=12.4,
        frames=FrameCounts(310, 25, 25),
        tracks=(make_track(),),
        alerts=(),
        model=MODEL,
        config_sha256=CONFIG,
        policy="mean_logit",
    )
    return replace(verdict, **changes)


def make_transition(minute: int = 0, source: str = CAMERA, state: StreamState = StreamState.BACKING_OFF) -> Transition:
    """A running stream's change to another state, so many minutes after noon."""
    at = NOON + timedelta(minutes=minute)
    return Transition(at, source, StreamState.RUNNING, state, Cause.ENDED, "the server ended the stream", 0.25)


def full_alert(alert_id: str = "alert-1", source: str = FILE, **changes: Any) -> Alert:
    """As `make_alert`, with evidence."""
    evidence = make_evidence(100, score=0.99), _without_mask(120, score=0.98)
    return make_alert(alert_id, source, **{"evidence": evidence, **changes})


def full_verdict(source: str = FILE, sha256: str | None = "f" * 64, **changes: Any) -> VideoVerdict:
    """A fake file with two tracks, spans, evidence, an alert and ten scores."""
    first = make_track(
        score=0.97,
        faces=24,
        spans=(Span(3.2, 9.8, 0.99, 0.95), Span(11.0, 12.0, 0.91, 0.88)),
        evidence=(
            make_evidence(100, score=0.99),
            _without_mask(120, score=0.98),
            make_evidence(280, score=0.6),
        ),
    )
    second = TrackVerdict(2, 1.0, 2.0, Label.INCONCLUSIVE, None, 1, reason="1 usable face, 4 are needed")
    values = {
        "sha256": sha256,
        "score": 0.97,
        "frames": FrameCounts(decoded=310, sampled=25, analysed=24, dropped=1, corrupt=2),
        "tracks": (first, second),
        "alerts": (full_alert(source=source),),
        "policy": "mean_logit fake>=0.80 real<=0.50 min_faces=4",
        "scores": tuple(make_record(frame) for frame in range(0, 250, 25)),
    }
    return make_verdict(source, **{**values, **changes})


def failed_verdict(**changes: Any) -> VideoVerdict:
    """On a file that could not be read."""
    values = {
        "label": Label.ERROR,
        "failure": Failure("SourceUnreadable", f"{FILE}: not a video"),
        "score": None,
        "duration": None,
        "frames": FrameCounts(),
        "tracks": (),
        "alerts": (),
        "scores": (),
    }
    return full_verdict(**{**values, **changes})


def live_verdict(*alerts: Alert, frames: range = range(0, 250, 25), **changes: Any) -> VideoVerdict:
    """As `full_verdict` on a camera that was opened at eleven, with the scores of these frames."""
    return full_verdict(
        CAMERA,
        None,
        alerts=alerts,
        started_at=NOON - timedelta(hours=1),
        scores=tuple(make_record(frame) for frame in frames),
        **changes,
    )


def _without_mask(frame: int, **changes: Any) -> Evidence:
    return make_evidence(frame, mask_png=None, coverage=None, **changes)
