"""The strongest faces of each track as pictures that a page can carry in itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from streamwatch.config import DecodeSettings
from streamwatch.detectors import Reason, ReasoningDetector
from streamwatch.drawing.evidence import decode_crop, masked_crop
from streamwatch.errors import SourceError
from streamwatch.faces.crops import crop_face
from streamwatch.fusion.regions import describe
from streamwatch.records import Evidence, ImageArray, Label, TrackVerdict, VideoVerdict
from streamwatch.report.plot import by_strength
from streamwatch.sources import Location, picture_at
from streamwatch.times import media_time

TRACKS, FAKES = 6, 12
"""Tracks whose faces are shown, the strongest first: so many, and so many if those beyond are fake."""

FACES = 6
"""Faces shown of a track."""

REASONS = 5
"""Reasons shown of a track's strongest face."""

SCENE = 720
"""Longer side of a whole frame on the page, pixels."""

ANOTHER = 4.0
"""Mean difference (of 255) from the stored face from which on a frame is taken for another one. On ten faces of five
clips the right frame differed by 1.0 at most, for JPEG's sake, and the frame half a second later by 12 and more."""

_QUALITY = 88


@dataclass(frozen=True, slots=True)
class ReportPicture:
    """A face, and the same under its mask (None without one), as `data:` URLs; words say where the mask lies."""

    time: str
    score: float
    frame_index: int
    box: str
    face: str
    masked: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The whole frame of a face as a `data:` URL, and where the face's box lies in it, per cent of its sides."""

    time: str
    frame: str
    width: int
    height: int
    box: str


@dataclass(frozen=True, slots=True)
class FaceReasons:
    """What moved the score of a stored face, the strongest reason first. score: of its crop, which JPEG has changed a
    little since the verdict, scored again: calibrated probability of "fake".
    """

    score: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """A track with its strongest faces. scene, face_reasons: of the strongest; None where the scene cannot be read from
    the file, or the model gives no reasons.
    """

    track: TrackVerdict
    pictures: tuple[ReportPicture, ...]
    scene: Scene | None
    face_reasons: FaceReasons | None = None


def galleries(
    verdict: VideoVerdict, decode: DecodeSettings, reasoner: ReasoningDetector | None = None
) -> list[Gallery]:
    """Of the strongest tracks that have evidence. Raises StoreError where a stored picture is damaged."""
    found = []
    for rank, track in enumerate(by_strength(verdict.tracks)[:FAKES]):
        chosen = _strongest(track, verdict) if rank < TRACKS or track.label is Label.FAKE else []
        if chosen:
            owner = f"{verdict.source}, track {track.track_id}"
            pictures = tuple(_picture(item, owner) for item in chosen)
            scene = _scene(verdict.source, chosen[0], owner, decode)
            found.append(Gallery(track, pictures, scene, _reasons(chosen[0], owner, reasoner)))
    return found


def _strongest(track: TrackVerdict, verdict: VideoVerdict) -> list[Evidence]:
    """One face of each forged span first, then whatever else is strongest."""
    of_alerts = [alert.evidence for alert in verdict.alerts if alert.track_id == track.track_id and alert.evidence]
    firsts = [max(items, key=_score) for items in of_alerts]
    rest = [*track.evidence, *(item for items in of_alerts for item in items)]
    ordered = [*sorted(firsts, key=_score, reverse=True), *sorted(rest, key=_score, reverse=True)]
    chosen = list({item.frame_index: item for item in reversed(ordered)}.values())[::-1][:FACES]
    return sorted(chosen, key=_score, reverse=True)


def _score(item: Evidence) -> float:
    return item.score


def _picture(item: Evidence, owner: str) -> ReportPicture:
    decode_crop(item, owner)
    masked = masked_crop(item, owner)
    return ReportPicture(
        time=media_time(item.pts),
        score=item.score,
        frame_index=item.frame_index,
        box=" ".join(f"{side:.0f}" for side in item.box),
        face=_data_url(item.crop_jpeg),
        masked=None if masked is None else _data_url(_jpeg(masked)),
        words=describe(item.coverage) if item.coverage is not None else "",
    )


def _reasons(item: Evidence, owner: str, reasoner: ReasoningDetector | None) -> FaceReasons | None:
    """None without a model that gives reasons, or where its crops are of another size than the stored one."""
    if reasoner is None:
        return None
    crops = decode_crop(item, owner)[np.newaxis]
    if crops.shape[1:] != (reasoner.input_size, reasoner.input_size, 3):
        return None
    (reasons,) = reasoner.reasons(crops)
    return FaceReasons(float(reasoner.score_arrays(crops).probabilities[0]), reasons[:REASONS])


def _scene(source: str, item: Evidence, owner: str, decode: DecodeSettings) -> Scene | None:
    """The frame of a face, if the file still shows the stored face there."""
    location = Location(source)
    if item.region is None or location.is_url:
        return None
    try:
        frame = picture_at(location, item.pts, decode)
    except SourceError:
        return None
    if frame is None:
        return None
    stored = decode_crop(item, owner)
    again = crop_face(frame, item.region, stored.shape[0])
    if float(np.abs(again.astype(np.int16) - stored).mean()) > ANOTHER:
        return None
    height, width = frame.shape[:2]
    scale = min(1.0, SCENE / max(width, height))
    small = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = np.clip(np.array(item.box) / (width, height, width, height), 0.0, 1.0) * 100
    return Scene(
        time=media_time(item.pts),
        frame=_data_url(_jpeg(np.asarray(small, np.uint8))),
        width=small.shape[1],
        height=small.shape[0],
        box=f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%",
    )


def _jpeg(image: ImageArray) -> bytes:
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"OpenCV could not encode a {image.shape} picture as JPEG")
    return data.tobytes()


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
