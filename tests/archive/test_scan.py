"""Scans that need no worker."""

from __future__ import annotations

from pathlib import Path

from streamwatch.pipeline.plan import Plan
from tests.support.small_detectors import settings_for, untrained_detector


def test_a_scan_with_nothing_to_analyse_starts_no_cluster(tmp_path: Path) -> None:
    import ray

    from streamwatch.archive.scan import ScanProgress, iter_scan

    settings = settings_for(untrained_detector(tmp_path), store={"url": f"sqlite:///{tmp_path / 'store.db'}"})
    heard: list[ScanProgress] = []
    before = ray.is_initialized()
    (analysis,) = iter_scan([str(tmp_path / "missing.mp4")], settings, progress=heard.append)
    assert analysis.verdict.failure is not None
    assert analysis.verdict.failure.kind == "SourceNotFound"
    assert ray.is_initialized() is before
    assert heard


def test_each_scan_of_a_url_has_alerts_of_its_own(tmp_path: Path) -> None:
    """The content behind a URL is not known, so that its results are stored for each scan."""
    plan = Plan.resolve(settings_for(untrained_detector(tmp_path)))
    name = "https://host/clip.mp4"
    first, again, second = (plan.subject(name, None, scan=scan).alert_id(1, 5.0) for scan in ("one", "one", "two"))
    assert first == again != second
    known = {plan.subject(name, "a" * 64, scan=scan).alert_id(1, 5.0) for scan in ("one", "two")}
    assert len(known) == 1
