"""An evaluation on a set of the kind `web`, from its folder to the report and the files."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from streamwatch.config import Settings
from streamwatch.detectors import Calibration, Detector, load_detector
from streamwatch.detectors.joining import joined_logit
from streamwatch.errors import ConfigError
from streamwatch.evaluation import web_plot
from streamwatch.evaluation.clips import ClipFigures, ScoredFace, clips_of, measure, pairs_of
from streamwatch.evaluation.datasets import web
from streamwatch.evaluation.datasets.clip import ClipSelection, of_methods
from streamwatch.evaluation.datasets.web import WebPicture
from streamwatch.evaluation.forged_regions import forged_region
from streamwatch.evaluation.report import MaskFigures, Speed, mask_figures, speed_of
from streamwatch.evaluation.run import with_crop_scale
from streamwatch.evaluation.scoring import Costs, MaskAgreement, mask_agreement
from streamwatch.evaluation.web_faces import FoundFace, WebFaces, crops, find_faces, score_web
from streamwatch.evaluation.web_facts import FactFigures, facts_alone
from streamwatch.faces import load_face_detector
from streamwatch.faces.crops import CropGeometry
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import score_crops
from streamwatch.records import FloatArray, ImageArray
from streamwatch.sources.pictures import read_image

Progress = Callable[[str, int, int], None]
"""Stage, pictures done, pictures in all."""


@dataclass(frozen=True, slots=True)
class JoinedModel:
    """A second detector that scored the same faces. input_size: of its crops, pixels."""

    model: str
    model_sha256: str
    input_size: int
    geometry: CropGeometry


@dataclass(frozen=True, slots=True)
class WebReport:
    """Everything that was measured. pictures: looked at. without_face: how many of these by label, and their names.

    methods: asked for, all if empty. threshold: probability from which a clip is called fake; None where scores are
    joined, which no card has a threshold for. input_size, geometry, masks: of `model`. joined: whose scores are joined
    with those of `model` in everything else.
    """

    dataset: str
    kind: str
    split: str
    methods: tuple[str, ...]
    model: str
    model_sha256: str
    joined: JoinedModel | None
    policy: str
    threshold: float | None
    input_size: int
    geometry: CropGeometry
    pictures: int
    without_face: dict[str, int]
    faceless: tuple[str, ...]
    figures: ClipFigures
    masks: MaskFigures | None
    facts: FactFigures
    speed: Speed | None

    @property
    def models(self) -> str:
        """The name of the model, or of both."""
        return self.model if self.joined is None else f"{self.model} + {self.joined.model}"

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WebEvaluation:
    """The report, and what it was made of. calibration: from logits to probabilities, None where scores are joined."""

    report: WebReport
    pictures: tuple[WebPicture, ...]
    faces: tuple[ScoredFace, ...]
    calibration: Calibration | None


def evaluate_web(
    folder: Path,
    settings: Settings,
    *,
    wanted: ClipSelection,
    frames: int = 16,
    limit: int | None = None,
    crop_scale: float | None = None,
    join: str | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> WebEvaluation:
    """Measure the detector of `settings` on a set of web clips.

    frames: pictures per clip at most. limit: clips at most, in whole scenes. crop_scale: side of the crop ÷ longer
    side of the face box, instead of the model card's. join: name or path of a second detector, which scores the same
    faces in crops of its own; measured is the mean of the calibrated logits of both (`joined_logit`).

    Raises SourceNotFound, ConfigError, WeightsError and DetectorError.
    """
    pictures = choose(folder, wanted, frames, limit)
    plan = Plan.resolve(settings)
    if crop_scale is not None:
        plan = with_crop_scale(plan, crop_scale)
    detector = _load(settings)
    second = None if join is None else _load(_with_model(settings, join))
    costs = Costs()
    with costs.stage("find"):
        found = find_faces(
            pictures, load_face_detector(settings.faces), progress=lambda done, total: progress("faces", done, total)
        )
    truths = web.originals(pictures)
    faces, masks = _score(detector, plan, found, truths, costs, progress)
    if second is not None:
        faces = _joined(faces, plan.card.calibration, second, found, costs, progress)
    costs.pictures, costs.faces = len(pictures), len(faces)
    bound = threshold_logit(plan.card.calibration, plan.policy.fake) if second is None else None
    report = WebReport(
        dataset=str(folder),
        kind="web",
        split=wanted.split,
        methods=wanted.methods,
        model=plan.model.name,
        model_sha256=plan.model.sha256,
        joined=None if second is None else _described(second),
        policy=plan.policy.name,
        threshold=plan.policy.fake if second is None else None,
        input_size=detector.input_size,
        geometry=plan.card.geometry,
        pictures=len(pictures),
        without_face=dict(Counter(picture.label for picture in found.missing)),
        faceless=tuple(picture.path.relative_to(folder).as_posix() for picture in found.missing),
        figures=_measure(faces, bound, folder),
        masks=mask_figures(masks, plan.card.mask_threshold),
        facts=facts_alone(pictures, lambda done, total: progress("facts", done, total)),
        speed=speed_of(costs, detector.device),
    )
    return WebEvaluation(report, tuple(pictures), tuple(faces), plan.card.calibration if second is None else None)


def choose(folder: Path, wanted: ClipSelection, frames: int, limit: int | None) -> list[WebPicture]:
    """The pictures asked for. Raises ConfigError where a class has none among them."""
    pictures = of_methods(web.read_pictures(folder, wanted.split), wanted.methods, folder)
    if limit is not None:
        pictures = web.whole_scenes(pictures, limit)
    labels = {picture.label for picture in pictures}
    missing = [label for label in ("real", "fake") if label not in labels]
    if missing:
        more = "; raise --limit" if limit is not None else "; for one class alone, try --kind real or --kind fake"
        raise ConfigError(f"{folder}: no {' and no '.join(missing)} clip in the part asked for{more}")
    return web.few_per_clip(pictures, frames)


def threshold_logit(calibration: Calibration, probability: float) -> float:
    """The logit that the calibration turns into this probability; infinite for 0 and 1."""
    if not 0 < probability < 1:
        return math.inf if probability >= 1 else -math.inf
    return calibration.temperature * (math.log(probability / (1 - probability)) - calibration.bias)


def write(evaluation: WebEvaluation, folder: Path) -> list[Path]:
    """Write `report.json`, `clips.csv` and `clips.png`; the paths written.

    Raises ConfigError where the folder cannot be written to, LibraryMissing without the extra `evaluate`.
    """
    document, table, picture = (folder / name for name in ("report.json", "clips.csv", "clips.png"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(evaluation.report.to_json(), indent=2, ensure_ascii=False)
        document.write_text(text + "\n", encoding="utf-8")
        _write_clips(evaluation, table)
        web_plot.draw(evaluation.report.figures, evaluation.faces, _title(evaluation.report), picture)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror})", "name another place") from None
    return [document, table, picture]


def _title(report: WebReport) -> str:
    return f"{report.models} on {Path(report.dataset).resolve().name} {report.split}"


def _write_clips(evaluation: WebEvaluation, path: Path) -> None:
    """A line per clip of the part asked for; score and what follows is empty where no face was found, the probability
    also where scores are joined.
    """
    clips = {clip.name: clip for clip in clips_of(evaluation.faces)}
    real = [clip for clip in clips.values() if clip.label == "real"]
    pairs = {pair.clip.name: pair for pair in pairs_of([c for c in clips.values() if c.label != "real"], real)}
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        firsts: dict[str, WebPicture] = {}
        for picture in evaluation.pictures:
            firsts.setdefault(picture.clip, picture)
        for name, first in firsts.items():
            row: list[object] = [name, first.scene, first.label, first.method, first.origin]
            if (clip := clips.get(name)) is not None:
                probability = _probability(evaluation.calibration, clip.score)
                side, size = (float(value) for value in np.exp(clip.means[1:]))
                row += [len(clip.faces), f"{clip.score:.4f}", probability, f"{side:.1f}", f"{size:.4f}"]
                if (pair := pairs.get(name)) is not None:
                    row += [f"{pair.own[0]:.4f}", f"{pair.original[0]:.4f}", f"{pair.won:g}"]
            writer.writerow([*row, *[""] * (len(_COLUMNS) - len(row))])


def _probability(calibration: Calibration | None, logit: float) -> str:
    return "" if calibration is None else f"{float(calibration.probability(np.array([logit], np.float32))[0]):.4f}"


_COLUMNS = (
    *("clip", "scene", "label", "method", "origin", "faces", "logit", "probability", "face_side", "bytes_per_pixel"),
    *("paired_logit", "original_logit", "won"),
)


def _score(
    detector: Detector,
    plan: Plan,
    found: WebFaces,
    truths: dict[Path, tuple[Path, ...]],
    costs: Costs,
    progress: Progress,
) -> tuple[list[ScoredFace], list[MaskAgreement]]:
    geometry, threshold = plan.card.geometry, plan.card.mask_threshold
    faces: list[ScoredFace] = []
    masks: list[MaskAgreement] = []
    for place, images in crops(found.found, geometry, detector.input_size):
        with costs.stage("score"):
            scores = score_crops(detector, images)
        for index, face in enumerate(found.found[place]):
            faces.append(face.scored(float(scores.logits[index])))
            if scores.masks is None or not face.picture.fake:
                continue
            truth = _forged(face, truths.get(face.picture.path, ()))
            if truth is not None:
                masks.append(mask_agreement(scores.masks[index], truth, geometry.region(face.box), threshold))
        progress("scores", len(faces), len(found.found))
    return faces, masks


def _load(settings: Settings) -> Detector:
    chosen = settings.detector
    return load_detector(chosen.model, chosen.device, threads=chosen.threads, precision=chosen.precision)


def _with_model(settings: Settings, model: str) -> Settings:
    return settings.model_copy(update={"detector": settings.detector.model_copy(update={"model": model})})


def _described(detector: Detector) -> JoinedModel:
    return JoinedModel(detector.name, detector.card.sha256, detector.input_size, detector.geometry)


def _measure(faces: Sequence[ScoredFace], threshold: float | None, folder: Path) -> ClipFigures:
    try:
        return measure(faces, threshold=threshold)
    except ValueError as error:
        raise ConfigError(f"{folder}: the part asked for cannot be measured: {error}") from None


def _joined(
    faces: Sequence[ScoredFace],
    calibration: Calibration,
    second: Detector,
    found: WebFaces,
    costs: Costs,
    progress: Progress,
) -> list[ScoredFace]:
    """The faces, scored and in the order of `found`, with logits joined with those of a second detector."""

    def score(crops: ImageArray) -> FloatArray:
        with costs.stage("score"):
            return score_crops(second, crops).logits

    others = score_web(
        score,
        found.found,
        second.geometry,
        second.input_size,
        progress=lambda done, total: progress(f"scores, {second.name}", done, total),
    )
    own, theirs = (np.array([face.logit for face in part], np.float32) for part in (faces, others))
    logits = joined_logit([(own, calibration), (theirs, second.card.calibration)])
    return [replace(face, logit=float(logit)) for face, logit in zip(faces, logits, strict=True)]


def _forged(face: FoundFace, originals: Sequence[Path]) -> FloatArray | None:
    """Where the picture differs from its original; of several, from the one that is most like it."""
    if not originals:
        return None
    image = read_image(face.picture.path)
    others = [other for other in map(read_image, originals) if other.shape == image.shape]
    if not others:
        return None
    return forged_region(image, min(others, key=lambda other: _distance(image, other)))


def _distance(a: ImageArray, b: ImageArray) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())
