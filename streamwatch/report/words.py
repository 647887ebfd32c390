"""What the page says in sentences. Every figure is of the verdict, of its policy, or of the model's card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from streamwatch.detectors import ModelCard
from streamwatch.fusion.quality import Unusable, unusable
from streamwatch.provenance import Provenance, ProvenanceState
from streamwatch.records import DropReason, Label
from streamwatch.report.subject import VideoReport
from streamwatch.times import media_time

HEADLINES = {
    Label.FAKE: "Looks forged",
    Label.REAL: "No sign of forgery found",
    Label.INCONCLUSIVE: "Inconclusive",
    Label.NO_FACE: "No face found",
    Label.ERROR: "Could not be analysed",
}

PROVENANCE = {
    ProvenanceState.TRUSTED: "Manifest valid, signer trusted",
    ProvenanceState.VALID: "Manifest valid, signer not verified",
    ProvenanceState.INVALID: "Manifest does not agree with the file",
    ProvenanceState.ELSEWHERE: "Manifest on a server, not fetched",
    ProvenanceState.NONE: "No manifest",
    ProvenanceState.UNREADABLE: "Could not be read",
    ProvenanceState.UNSUPPORTED: "Not looked for",
    ProvenanceState.NOT_LOOKED: "Not looked for",
}

_DROPPED = {
    DropReason.STALE: "their turn came too late",
    DropReason.FROZEN: "the picture stood still",
    DropReason.BLACK: "the picture was black",
    DropReason.FAILED: "an error ended the analysis before",
}


def meaning(report: VideoReport) -> str:
    """What the label means, and what it does not."""
    fake, real, faces = report.policy.fake, report.policy.real, report.policy.min_faces
    match report.verdict.label:
        case Label.FAKE:
            return (
                f"At least one face reaches the threshold for fake ({fake:.2f}), over its whole time or in a span. "
                "It is a reason to look, not proof: judge the faces below with your own eyes and find the source."
            )
        case Label.REAL:
            return (
                f"The faces that could be judged stay at or below the threshold for real ({real:.2f}). It is no proof "
                "of authenticity: forgeries of other kinds than the model knows are often called real."
            )
        case Label.INCONCLUSIVE:
            return (
                f"The score lies between the thresholds ({real:.2f} and {fake:.2f}), or fewer than {faces} faces were "
                "usable. Nothing is said for or against the video."
            )
        case Label.NO_FACE:
            return (
                "No face was found in the frames that were looked at, so nothing was judged. "
                "That does not make the video real."
            )
        case _:
            return "There is no verdict: an error ended the analysis. Nothing is said for or against the video."


def where(report: VideoReport) -> str:
    """The spans that look forged, in a line; empty without any."""
    spans = sorted((span.start, span.end, track.track_id) for track in report.verdict.tracks for span in track.spans)
    shown = [f"{media_time(start)}–{media_time(end)} (track {track})" for start, end, track in spans[:4]]
    more = f" and {len(spans) - 4} more spans" if len(spans) > 4 else ""
    return ", ".join(shown) + more


def basis(report: VideoReport) -> str:
    """What the verdict rests on, in numbers."""
    verdict = report.verdict
    length = "of unknown length" if verdict.duration is None else f"{media_time(verdict.duration)} long"
    frames = counted(verdict.frames.analysed, "frame", "frames")
    faces = counted(sum(track.faces for track in verdict.tracks), "usable face", "usable faces")
    tracks = counted(len(verdict.tracks), "track", "tracks")
    return f"The video is {length}; {frames} of {grouped(verdict.frames.decoded)} analysed; {faces} in {tracks}."


def weaknesses(card: ModelCard) -> list[str]:
    """What the model is known to be weak at, from the figures of its card."""
    found = list(_weaknesses(card.metrics))
    if not found:
        found = ["Its card holds no figures: how far its scores can be relied on is not known."]
    found.append("A tool or a kind of forgery that came after its training may pass unseen.")
    return found


def _weaknesses(metrics: dict[str, float]) -> Iterator[str]:
    auc, missed = metrics.get("unseen_blends_auc"), metrics.get("unseen_blends_called_real")
    if auc is not None and missed is not None:
        yield (
            f"Of forged faces blended in ways that no training showed it, it calls {percent(missed)} real "
            f"(AUC {auc:.2f}, where 1 is perfect and 0.5 is chance)."
        )
    families = [
        (value, found["name"].replace("_", " "))
        for name, value in metrics.items()
        if (found := re.fullmatch(r"held_back_(?P<name>\w+)_auc", name))
    ]
    if families:
        auc, name = min(families)
        yield f"Of the forgeries that it was trained on, it recognises “{name}” worst (AUC {auc:.2f})."
    found_at_1 = metrics.get("val_tpr_at_1_percent_fpr")
    if found_at_1 is not None:
        yield (
            f"At one false alarm in a hundred real faces it finds {percent(found_at_1)} of forged faces like those "
            "of its training."
        )
    clips, matched = metrics.get("auc"), metrics.get("auc_matched")
    if clips is not None and matched is not None:
        yield (
            f"Of clips forged by methods that no training showed it, it separates forged from real with AUC "
            f"{clips:.2f}, and with {matched:.2f} where size and bit rate of the files do not help it."
        )
    iou, ellipse = metrics.get("val_mask_iou"), metrics.get("val_mask_iou_of_centred_ellipse")
    if iou is not None and ellipse is not None:
        yield (
            f"Its masks are coarse: they overlap the forged region by {iou:.2f} (IoU), "
            f"where a plain ellipse on the face has {ellipse:.2f}."
        )


def not_analysed(report: VideoReport) -> list[str]:
    """What was not analysed, and why, in sentences."""
    settings, limits, frames = report.settings, report.policy.limits, report.verdict.frames
    lines = [
        f"Of each second about {settings.sampling.fps:g} frames are looked at, more in very short files: "
        "a forgery that shows between them is not seen.",
        f"Faces with a shorter side under {settings.faces.min_side:g} px, those that the face finder is less sure of "
        f"than {settings.faces.threshold:g}, and all but the {settings.faces.max_faces} largest of a frame go unseen.",
        f"Faces under {limits.min_face_side:g} px, blurred (sharpness under {limits.min_sharpness:g}) or turned away "
        f"(pose over {limits.max_pose:g}) are scored, and carry no weight.",
        "Sound, the match of lips and speech, bodies, text and scenes are not judged at all.",
    ]
    if settings.sampling.max_frames is not None and frames.sampled >= settings.sampling.max_frames:
        lines.insert(1, f"Sampling stopped after {settings.sampling.max_frames} frames (sampling.max_frames).")
    return lines


def frame_counts(report: VideoReport) -> list[tuple[str, int, str]]:
    """Name, number and remark: what became of the frames."""
    frames = report.verdict.frames
    empty = frames.analysed - len({record.frame_index for record in report.verdict.scores})
    rows = [
        ("decoded", frames.decoded, ""),
        ("not sampled", frames.not_sampled, "between those that were to be looked at"),
        ("sampled", frames.sampled, ""),
        ("analysed", frames.analysed, f"{grouped(max(0, empty))} of them without a face" if frames.analysed else ""),
        ("dropped", frames.dropped, ""),
    ]
    rows += [(f"dropped: {reason}", count, _DROPPED[reason]) for reason, count in frames.dropped_by.items()]
    return [*rows, ("corrupt", frames.corrupt, "damaged packets and pictures")]


def face_counts(report: VideoReport) -> list[tuple[str, int, str]]:
    """Name, number and remark: what became of the faces."""
    limits = report.policy.limits
    why = Counter(unusable(record.quality, limits) for record in report.verdict.scores)
    remarks = {
        Unusable.SMALL: f"shorter side under {limits.min_face_side:g} px",
        Unusable.BLURRED: f"sharpness under {limits.min_sharpness:g}",
        Unusable.TURNED: f"pose over {limits.max_pose:g}",
    }
    return [
        ("scored", len(report.verdict.scores), ""),
        ("usable", why[None], "the verdict rests on these"),
        *((f"too {reason}", why[reason], remark) for reason, remark in remarks.items()),
    ]


def provenance_note(provenance: Provenance) -> str:
    """What the state of the manifest means."""
    match provenance.state:
        case ProvenanceState.TRUSTED:
            return "File and manifest are as they were when this signer signed them."
        case ProvenanceState.VALID:
            return (
                "File and manifest are as they were when they were signed. Who signed is the certificate's own word: "
                "no trust list was asked, and revocation was not looked up."
            )
        case ProvenanceState.INVALID:
            return (
                "The file or its manifest was changed after the signature, or the signature is wrong. Re-coding by a "
                "platform does that too: it is no proof of forgery. What the manifest says is not to be relied on."
            )
        case ProvenanceState.ELSEWHERE:
            return "Pages are made offline: what the manifest says is not known. That is no evidence of anything."
        case ProvenanceState.NONE:
            return "Most videos carry none, and it is easily lost: its absence is no evidence of anything."
        case ProvenanceState.UNREADABLE:
            return "A damaged manifest or container proves nothing: it is no evidence of anything."
        case _:
            return "That nobody looked is no evidence of anything."


def percent(share: float) -> str:
    """`38 %`."""
    return f"{100 * share:.0f} %"


def counted(number: int, one: str, many: str) -> str:
    """`1 face`, `2 faces`."""
    return f"{grouped(number)} {one if number == 1 else many}"


def grouped(number: int) -> str:
    """`15 375`, held together by narrow spaces."""
    return f"{number:,}".replace(",", "\u202f")
