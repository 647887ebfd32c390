"""Scans that need no worker."""

from __future__ import annotations

from pathlib import Path

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
