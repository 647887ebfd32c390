"""The benchmarks: what is charged to which stage, what the bound is, and that both loops do the same work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamwatch.bench import pipeline as pipeline
from streamwatch.bench.model import ModelCase, bench_model, measure
from streamwatch.bench.pipeline import (
    STAGES,
    PipelineResult,
    StageClock,
    StageCosts,
    measure_stages,
    run_loop,
)
from streamwatch.cli.main import main
from streamwatch.config import Settings
from streamwatch.detectors import read_card, weights_path
from streamwatch.detectors.m2tr.config import PRESETS
from streamwatch.errors import DetectorError, SourceUnreadable
from streamwatch.sources import Location
from tests.support.face_clips import face_clip
from tests.support.small_detectors import light_detector, settings_for, untrained_detector


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(untrained_detector(tmp_path_factory.mktemp("weights")))


class Hands:
    """Clocks that are set by hand."""

    wall = cpu = 0.0

    def go(self, wall: float, cpu: float) -> None:
        self.wall += wall
        self.cpu += cpu


def test_a_stage_inside_of_another_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands()
    monkeypatch.setattr("streamwatch.bench.pipeline.time.perf_counter", lambda: hands.wall)
    monkeypatch.setattr("streamwatch.bench.pipeline.time.process_time", lambda: hands.cpu)
    clock = StageClock()
    hands.go(5, 5)
    with clock.stage("outer"):
        hands.go(1, 2)
        with clock.stage("inner"):
            hands.go(10, 20)
        hands.go(100, 200)
    hands.go(7, 7)
    with clock.stage("inner"):
        hands.go(1000, 2000)
    assert dict(clock.wall) == {"outer": 101, "inner": 1010}
    assert dict(clock.cpu) == {"outer": 202, "inner": 2020}


def costs(*, on_gpu: bool = False, longest: float = 0.0) -> StageCosts:
    found = StageCosts(on_gpu=on_gpu, longest_worker=longest)
    found.clock.cpu.update(decode=4.0, detect=3.0, crop=1.0, score=8.0)
    found.clock.wall.update(decode=4.0, detect=3.0, crop=1.0, score=9.0)
    return found


def test_bound_is_work_over_cores_or_the_longest_clip() -> None:
    assert costs().bound(1) == 16.0
    assert costs().bound(2) == 8.0
    assert costs(longest=7.0).bound(4) == 7.0
    assert costs(on_gpu=True).bound(4) == 9.0
    assert costs(on_gpu=True, longest=10.0).bound(4) == 10.0


def test_ratios() -> None:
    result = PipelineResult(2, 1, 60.0, 120, 120, costs().stages(), 8.0, 3.0, 10.0, 25.0, 120, 120)
    assert result.efficiency == pytest.approx(0.8)
    assert result.speed_up == pytest.approx(2.5)
    assert [stage.name for stage in result.stages] == list(STAGES)


def test_stages_and_loop_do_the_same_work(settings: Settings, tmp_path: Path) -> None:
    clips = [Location(face_clip(tmp_path / f"{n}.mp4", seconds=2.5, start=n)) for n in range(2)]
    found = measure_stages(clips, settings)
    stages = {stage.name: stage for stage in found.stages()}
    assert [stages[name].items for name in STAGES] == [50, 20, 20, 20]
    assert all(stage.cpu_seconds > 0 and stage.per_second > 0 for stage in stages.values())
    assert 0 < found.longest_worker < sum(stages[name].cpu_seconds for name in STAGES)
    assert found.media_seconds == pytest.approx(5.0, abs=0.1)
    loop = run_loop(clips, settings, threads=1)
    assert (loop.frames, loop.faces) == (20, 20)


def test_loop_names_what_opencv_cannot_open(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    with pytest.raises(SourceUnreadable, match=r"text\.mp4"):
        run_loop([Location(tmp_path / "text.mp4")], settings, threads=1)


def test_model_is_measured() -> None:
    result = measure(ModelCase("m2tr-lite", batch=1, precision="fp32", device="cpu", threads=1, seconds=0.01))
    assert result.faces_per_second > 0
    assert result.precision == "fp32"
    assert result.input_size == PRESETS["m2tr-lite"].input_size
    assert result.peak_mib > result.working_mib >= 0


def test_statistics_are_measured() -> None:
    result = measure(ModelCase("statistics", batch=2, seconds=0.01))
    assert result.faces_per_second > 0
    assert (result.precision, result.input_size) == ("fp64", read_card(weights_path("statistics")).input.size)


def test_case_that_fails_is_named() -> None:
    with pytest.raises(DetectorError, match="m2tr-b9 with 3 faces"):
        list(bench_model([ModelCase("m2tr-b9", batch=3)]))


@pytest.mark.slow
def test_materialised_attention_takes_more_memory(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--preset", "m2tr-b4", "--batch", "1", "--precision", "fp32", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "model", *arguments, "--seconds", "0.1", "--json"])
    assert ended.value.code == 0
    fused, materialised = json.loads(capsys.readouterr().out)
    assert (fused["case"]["materialised"], materialised["case"]["materialised"]) == (False, True)
    assert materialised["peak_mib"] > 1.3 * fused["peak_mib"]
    assert materialised["working_mib"] > fused["working_mib"] > 0


@pytest.mark.slow
@pytest.mark.ray
def test_memory_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(face_clip(tmp_path / "clip.mp4", seconds=2.0))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "memory", clip, "--model", str(light_detector(tmp_path)), "--device", "cpu", "--json"])
    assert ended.value.code == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["source"] == clip
    assert 200 < result["p95"] <= result["peak"] < 4000


@pytest.mark.slow
@pytest.mark.ray
def test_scans_killed_at_random_moments_end_with_the_rows_of_an_undisturbed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes of a scan are killed at once; `bench kills` does the same a hundred times."""
    monkeypatch.setenv("STREAMWATCH__ENGINE__SEGMENT", "4")
    clips = [str(face_clip(tmp_path / f"{n}.mp4", 13.0, start=n, keyframe_every=10)) for n in range(2)]
    model = str(light_detector(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "kills", *clips, "--times", "2", "--model", model, "--device", "cpu", "--json"])
    assert ended.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["doubled"], result["missing"]) == (0, 0)
    assert result["kills"] >= 2
    assert result["rows"] >= 2 * (1 + 26)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("local_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own sockets to the collector
def test_pipeline_command(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = face_clip(tmp_path / "clip.mp4", seconds=5.0)
    arguments = ["bench", "pipeline", str(clip), "--model", settings.detector.model, "--workers", "1", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frames"] == document["loop_frames"] == 10
    assert document["bound"] > 0
    assert document["start_up"] > 0
    assert [stage["name"] for stage in document["stages"]] == list(STAGES)
