"""What was measured, as JSON, as CSV and as a plot of the feature space."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from streamwatch.evaluation.extra import load_pyplot
from streamwatch.evaluation.quality import perceptual, structure, warping
from streamwatch.evaluation.quality.measure import Mean, PairQuality, QualityReport
from streamwatch.evaluation.quality.tsne import effective_perplexity
from streamwatch.records import Failure

JSON_FILE, CSV_FILE, PLOT_FILE = "quality.json", "quality.csv", "feature-space.png"

CSV_COLUMNS = (
    "real",
    "fake",
    "frames",
    "faces",
    "mask_ssim",
    "perceptual",
    "real_warping_error",
    "fake_warping_error",
    "notes",
)

_GROUPS = ((False, "real", "o", "#0072B2"), (True, "fake", "^", "#D55E00"))  # Okabe and Ito's blue and vermilion


def document(report: QualityReport) -> dict[str, Any]:
    """Everything as JSON-able values, with the definitions behind the numbers; a metric without a value is null."""
    return {
        "definitions": {
            "places": report.places,
            "mask_ssim": f"luma, {structure.WINDOW}×{structure.WINDOW} Gaussian of σ {structure.SIGMA}, head ellipse",
            "perceptual": f"{perceptual.NETWORK}, outputs of blocks {', '.join(map(str, perceptual.LAYERS))}",
            "warping_error": f"optical flow: {warping.FLOW}",
            "feature_map": f"t-SNE of {perceptual.NETWORK}, mean of the last convolution, one face per video",
        },
        "summary": {
            "mask_ssim": _mean(report.mean_mask_ssim()),
            "perceptual": _mean(report.mean_perceptual()),
            "real_warping_error": _mean(report.mean_warping_error(fake=False)),
            "fake_warping_error": _mean(report.mean_warping_error(fake=True)),
        },
        "pairs": [
            {
                "real": pair.pair.real,
                "fake": pair.pair.fake,
                "frames": pair.frames,
                "faces": pair.faces,
                "mask_ssim": pair.mask_ssim,
                "perceptual": pair.perceptual,
                "notes": list(pair.notes),
                "error": _failure(pair.failure),
            }
            for pair in report.pairs
        ],
        "videos": [
            {
                "path": video.path,
                "label": "fake" if video.fake else "real",
                "frames": video.frames,
                "steps": video.steps,
                "warping_error": video.warping_error,
                "feature_map": point,
                "notes": list(video.notes),
                "error": _failure(video.failure),
            }
            for video, point in zip(report.videos, report.feature_map, strict=True)
        ],
        "unpaired": list(report.unpaired),
    }


def write(report: QualityReport, folder: Path) -> list[Path]:
    """Write the files into `folder` and return them; no plot with too few faces. Raises OSError, LibraryMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(report), indent=2, ensure_ascii=False)
    (folder / JSON_FILE).write_text(f"{text}\n", encoding="utf-8")
    _write_csv(report, folder / CSV_FILE)
    written = [folder / JSON_FILE, folder / CSV_FILE]
    if any(point is not None for point in report.feature_map):
        written.append(_plot(report, folder / PLOT_FILE))
    else:
        (folder / PLOT_FILE).unlink(missing_ok=True)  # of an earlier run with other videos
    return written


def _write_csv(report: QualityReport, path: Path) -> None:
    warping_errors = {(video.path, video.fake): video.warping_error for video in report.videos}
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(CSV_COLUMNS)
        for item in report.pairs:
            real, fake = item.pair.real, item.pair.fake
            errors = warping_errors[real, False], warping_errors[fake, True]
            writer.writerow(
                [real, fake, item.frames, item.faces, item.mask_ssim, item.perceptual, *errors, _remarks(item)]
            )


def _plot(report: QualityReport, path: Path) -> Path:
    pyplot = load_pyplot()
    figure, axis = pyplot.subplots(figsize=(6, 6), layout="constrained")
    for fake, label, marker, colour in _GROUPS:
        points = [
            point
            for video, point in zip(report.videos, report.feature_map, strict=True)
            if point is not None and video.fake is fake
        ]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, marker=marker, c=colour, alpha=0.75, label=f"{label} ({len(points)} videos)")
    count = sum(point is not None for point in report.feature_map)
    perplexity = effective_perplexity(count)
    axis.set(
        title=f"One face per video, t-SNE (perplexity {perplexity:.3g})\n{perceptual.NETWORK}", xticks=[], yticks=[]
    )
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _remarks(pair: PairQuality) -> str:
    failure = () if pair.failure is None else (f"{pair.failure.kind}: {pair.failure.message}",)
    return "; ".join((*failure, *pair.notes))


def _mean(mean: Mean) -> dict[str, float | int | None]:
    return {"mean": mean.value, "count": mean.count}


def _failure(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else {"kind": failure.kind, "message": failure.message}
