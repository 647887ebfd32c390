"""Scans on a real Ray cluster: one cluster for the whole module, processes that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import ray
from typer.testing import CliRunner

from streamwatch.archive.scan import ScanProgress, iter_scan
from streamwatch.archive.work import OpenFile
from streamwatch.cli.main import app, main
from streamwatch.cluster.connection import Actor
from streamwatch.cluster.placing import memory_for
from streamwatch.config import EngineSettings, Settings
from streamwatch.detectors import load_detector
from streamwatch.errors import ConfigError, DetectorError, JobCancelled, WeightsError
from streamwatch.pipeline.analyser import Analyser, Analysis
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.pipeline.segment_scores import SegmentScores
from streamwatch.records import Failure, Label, ResultKey, SegmentResult, VideoVerdict
from streamwatch.sources import content_sha256
from streamwatch.store import Filters, Store
from streamwatch.store.states import ItemState, JobState
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import encode
from tests.support.paths import ROOT
from tests.support.present import present
from tests.support.processes import Killer, descendants, has_open, is_actor
from tests.support.small_detectors import light_detector, settings_for, untrained_detector

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its own sockets to the collector
    pytest.mark.usefixtures("local_cluster"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scan")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return light_detector(folder)


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[str]:
    return [str(face_clip(folder / f"clip-{n}.mp4", start=40 * n)) for n in range(3)]


@pytest.fixture
def settings(weights: Path, tmp_path: Path) -> Settings:
    """With one worker: it takes a second of work to start another."""
    return settings_for(weights, store={"url": f"sqlite:///{tmp_path / 'store.db'}"}, engine={"workers": 1})


@pytest.fixture
def network_settings(network: Path, tmp_path: Path) -> Settings:
    return settings_for(network, store={"url": f"sqlite:///{tmp_path / 'store.db'}"}, engine={"workers": 2})


@pytest.fixture(scope="module")
def expected(weights: Path, clips: list[str]) -> dict[str, VideoVerdict]:
    return analysed_here(weights, clips)


def analysed_here(weights: Path, clips: list[str]) -> dict[str, VideoVerdict]:
    """What the same stages say in this process."""
    plan = Plan.resolve(settings_for(weights))
    analyser = Analyser(plan, LocalClient(load_detector(weights, "cpu", 1)))
    return {clip: analyser.analyse(clip).verdict for clip in clips}


def scan(inputs: list[str], settings: Settings, **options: Any) -> dict[str, VideoVerdict]:
    found = [analysis.verdict for analysis in iter_scan(inputs, settings, **options)]
    assert len(found) == len({verdict.source for verdict in found})
    return {verdict.source: verdict for verdict in found}


def assert_same(found: VideoVerdict, expected: VideoVerdict) -> None:
    assert found.label is expected.label
    assert found.score == pytest.approx(expected.score, abs=0.02)
    assert found.frames == expected.frames
    assert [record.pts for record in found.scores] == [record.pts for record in expected.scores]


def test_a_scan_says_what_the_stages_say(
    clips: list[str], network: Path, network_settings: Settings, tmp_path: Path
) -> None:
    """Good and bad inputs together, and a copy: a verdict for each, stored, and a second scan does no work."""
    settings, expected = network_settings, analysed_here(network, clips)
    copy, empty, text = (tmp_path / name for name in ("copy.mp4", "empty.mp4", "text.mp4"))
    copy.write_bytes(Path(clips[0]).read_bytes())
    empty.write_bytes(b"")
    text.write_text("no video\n" * 50)
    missing = tmp_path / "missing.mp4"
    inputs = [clips[0], str(empty), clips[1], str(text), clips[2], str(copy), str(missing)]
    received: list[ScanProgress] = []

    found = scan(inputs, settings, progress=received.append)

    assert set(found) == set(inputs)
    for clip in clips:
        assert_same(found[clip], expected[clip])
    assert (found[str(copy)].label, found[str(copy)].score) == (found[clips[0]].label, found[clips[0]].score)
    kinds = {name: present(found[str(name)].failure).kind for name in (empty, text, missing)}
    assert kinds == {empty: "SourceUnreadable", text: "SourceUnreadable", missing: "SourceNotFound"}
    assert all(0 <= state.done <= state.total == len(inputs) for state in received)

    with Store.open(settings.store.url) as store:
        stored = {row.verdict.source: row.verdict.label for row in store.verdicts(Filters())}
        (copied,) = store.verdicts(Filters(source="copy.mp4"))
    assert stored == {name: verdict.label for name, verdict in found.items() if name != str(copy)}
    assert (copied.verdict.source, copied.copies) == (clips[0], (str(copy),))

    again = settings.model_copy(update={"detector": settings.detector.model_copy(update={"device": "cuda"})})
    resumed = scan([*clips, str(copy)], again)  # asks for a GPU: any work would fail
    assert {name: verdict.score for name, verdict in resumed.items()} == {
        name: found[name].score for name in (*clips, str(copy))
    }


def test_a_report_analyses_what_the_store_lacks_and_stores_it(
    clips: list[str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "settings.yaml"
    config.write_text(settings.model_dump_json(include={"store", "detector", "sampling", "faces"}))
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    for source, status in ((clips[0], 0), ("text.mp4", 1)):
        done = CliRunner().invoke(app, ["report", source, "--config", str(config)])
        assert done.exit_code == status, done.output
    page = (tmp_path / "clip-0.report.html").read_text(encoding="utf-8")
    assert content_sha256(Path(clips[0])) in page
    assert "data:image/jpeg" in page
    assert "SourceUnreadable" in (tmp_path / "text.report.html").read_text(encoding="utf-8")
    with Store.open(settings.store.url) as store:
        assert {row.verdict.source for row in store.verdicts()} == {clips[0], "text.mp4"}


def test_traces_come_when_asked_for(clips: list[str], settings: Settings) -> None:
    (analysis,) = iter_scan(clips[:1], settings, trace=True, store=False)
    assert isinstance(analysis, Analysis)
    assert len(analysis.traces) == len(analysis.verdict.scores) == 12
    assert not Path(settings.store.url.removeprefix("sqlite:///")).exists()


def test_annotated_clips_are_drawn_in_segments_whatever_happens_to_a_worker(network: Path, tmp_path: Path) -> None:
    images = (face_picture(number, 960, 540) for number in range(60))  # large, so that drawing takes a while
    source = encode(tmp_path / "clip.mp4", fps=10, frames=60, images=images, width=960, height=540, audio=True)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    settings = settings_for(network, store={"url": url}, faces={"long_side": 480}, engine={"workers": 2})
    cut = settings.model_copy(update={"engine": EngineSettings(workers=2, segment=3.0)})
    received: list[ScanProgress] = []
    with Killer(has_open(str(tmp_path / ".clip-2.mp4.parts" / "0.mp4")), times=1) as killer:
        (found,) = iter_scan([str(source)], cut, annotate=tmp_path, progress=received.append)
    assert len(killer.killed) == 1
    assert found.clip == tmp_path / "clip-2.mp4", "not over its own source"
    assert len(found.segments) == 2
    times, expected = (np.array(packets(path, "video", "pts"), int).ravel() for path in (found.clip, source))
    assert times / 90_000 == pytest.approx(expected / 10_240, abs=1.5 / 90_000)
    assert packets(found.clip, "audio", "pts", "size") == packets(source, "audio", "pts", "size")
    assert len(found.traces) == len(found.verdict.scores) == 24
    assert all(0 <= state.done <= 1 for state in received)

    once = settings.model_copy(update={"engine": EngineSettings(workers=2, attempts=1, segment=3.0)})
    with Killer(has_open(str(tmp_path / "out" / ".clip.mp4.parts" / "0.mp4")), times=1) as killer:
        (found,) = iter_scan([str(source)], once, annotate=tmp_path / "out")
    assert len(killer.killed) == 1
    assert isinstance(found.clip, Failure)
    assert found.clip.kind == "WorkerLost"
    assert found.verdict.failure is None
    with Store.open(settings.store.url) as store:
        assert {row.verdict.source: row.verdict.label for row in store.verdicts()} == {str(source): found.verdict.label}
    assert not (tmp_path / "out" / "clip.mp4").exists()
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["clip-2.mp4", "clip.mp4"]


def packets(path: Path, kind: str, *fields: str) -> list[tuple[object, ...]]:
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        found = [packet for packet in container.demux(stream) if packet.size]
    return sorted(tuple(getattr(packet, field) for field in fields) for packet in found)


def test_a_killed_worker_costs_a_retry(clips: list[str], settings: Settings, expected: dict[str, VideoVerdict]) -> None:
    with Killer(has_open(clips[1]), times=1) as killer:
        found = scan(clips, settings)
    assert len(killer.killed) == 1
    for clip in clips:
        assert_same(found[clip], expected[clip])


def test_a_file_that_kills_every_worker_is_an_error_and_the_rest_goes_on(
    clips: list[str], settings: Settings, expected: dict[str, VideoVerdict]
) -> None:
    with Killer(has_open(clips[0]), times=99) as killer:
        found = scan(clips, settings)
    assert len(killer.killed) == settings.engine.attempts
    failure = found[clips[0]].failure
    assert failure is not None
    assert failure.kind == "WorkerLost"
    assert clips[0] in failure.message
    for clip in clips[1:]:
        assert_same(found[clip], expected[clip])
    with Store.open(settings.store.url) as store:
        labels = {row.verdict.source: row.verdict.label for row in store.verdicts(Filters())}
    assert labels[clips[0]] is Label.ERROR


def test_a_killed_detector_comes_back(clips: list[str], settings: Settings, expected: dict[str, VideoVerdict]) -> None:
    with Killer(is_actor("DetectorActor.score"), times=1) as killer:
        found = scan(clips, settings, store=False)
    assert len(killer.killed) == 1
    for clip in clips:
        assert_same(found[clip], expected[clip])


def test_closing_the_iterator_keeps_what_was_finished(clips: list[str], settings: Settings) -> None:
    results = iter_scan(clips, settings)
    first = next(results).verdict
    results.close()
    with Store.open(settings.store.url) as store:
        stored = [row.verdict.source for row in store.verdicts(Filters())]
    assert first.source in stored
    rest = scan(clips, settings)
    assert set(rest) == set(clips)


def test_scans_that_share_a_store_share_the_work(
    clips: list[str], settings: Settings, expected: dict[str, VideoVerdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    start = OpenFile.start

    def counted(self: OpenFile, worker: Actor) -> Any:
        begun.append(self.file.item.source.text)
        return start(self, worker)

    monkeypatch.setattr(OpenFile, "start", counted)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda inputs: scan(inputs, settings), [clips, clips[::-1]]))
    assert sorted(begun) == sorted(clips)
    for verdicts in found:
        for clip in clips:
            assert_same(verdicts[clip], expected[clip])


def test_a_cancelled_job_ends_and_goes_on_later(
    clips: list[str], settings: Settings, expected: dict[str, VideoVerdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.archive.scan.LOOK_EVERY", 0.0)
    with Store.open(settings.store.url) as store:

        def cancel(progress: ScanProgress) -> None:
            if progress.job is not None:
                store.jobs.cancel(progress.job)

        with pytest.raises(JobCancelled):
            scan(clips, settings, progress=cancel)
        (job,) = store.jobs.jobs()
        assert job.state is JobState.CANCELLED
        found = scan(clips, settings)
        (job,) = store.jobs.jobs()
        assert (job.state, job.counts) == (JobState.DONE, {ItemState.DONE: 3})
    for clip in clips:
        assert_same(found[clip], expected[clip])


def test_what_fails_is_tried_so_often_and_not_more(settings: Settings, tmp_path: Path) -> None:
    engine = settings.engine.model_copy(update={"attempts": 1})
    settings = settings.model_copy(update={"engine": engine})
    broken, missing = tmp_path / "broken.mp4", str(tmp_path / "missing.mp4")
    broken.write_bytes(b"no video")

    def failures() -> list[str]:
        found = scan([str(broken), missing], settings)
        return [verdict.failure.message for _, verdict in sorted(found.items()) if verdict.failure is not None]

    first = failures()
    second = failures()
    assert second == [f"{first[0]} (not tried again: `streamwatch jobs retry 1`)", first[1]]
    with Store.open(settings.store.url) as store:
        assert [item.attempts for item in store.jobs.items(1)] == [1, 2]
        assert store.jobs.retry(1) == 2
    assert failures() == first


def test_what_a_dead_scan_was_at_is_taken_over(
    clips: list[str], settings: Settings, expected: dict[str, VideoVerdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.store.leases.LEASE", 1.5)
    with Store.open(settings.store.url) as store:
        dead = store.begin_run("scan", "{}", settings.digest())
        card = Plan.resolve(settings).card
        assert store.leases.take(dead, ResultKey(content_sha256(Path(clips[0])), card.sha256, settings.digest()))
        found = scan(clips, settings)
        assert {row.run_id for row in store.verdicts(Filters())} == {dead + 1}
    assert list(found)[-1] == clips[0]
    for clip in clips:
        assert_same(found[clip], expected[clip])


def test_a_long_file_is_done_in_segments_and_goes_on_where_it_was_stopped(
    clips: list[str], settings: Settings, tmp_path: Path
) -> None:
    long = str(face_clip(tmp_path / "long.mp4", seconds=32.0))
    whole = scan([long], settings.model_copy(update={"engine": EngineSettings(workers=2, segment=0.0)}), store=False)
    settings = settings.model_copy(update={"engine": EngineSettings(workers=2, segment=4.0)})

    def stored() -> list[SegmentResult]:
        with Store.open(settings.store.url) as store:
            return [SegmentResult(key, place, data) for place, data in store.segments.find(key).items()]

    def stop(progress: ScanProgress) -> None:
        if len(stored()) >= 3:
            raise KeyboardInterrupt

    key = ResultKey(content_sha256(Path(long)), Plan.resolve(settings).card.sha256, settings.digest())
    with Killer(has_open(long), times=1) as killer, pytest.raises(KeyboardInterrupt):
        scan([long, clips[0]], settings, progress=stop)
    assert len(killer.killed) == 1
    with Store.open(settings.store.url) as store:
        known = stored()[0]
        scores = SegmentScores.from_bytes(known.data)
        marked = replace(scores, counts=replace(scores.counts, corrupt=7)).to_bytes()
        damaged = replace(stored()[1], data=b"of an older version, or damaged")
        store.save(store.begin_run("scan", "{}", settings.digest()), [replace(known, data=marked), damaged])
    found = scan([long, clips[0]], settings)
    assert found[long].frames.corrupt == 7, "what was stored is not done again"
    assert_same(replace(found[long], frames=replace(found[long].frames, corrupt=0)), whole[long])
    assert stored() == []


def test_a_segment_that_kills_every_worker_is_an_error_and_the_rest_goes_on(
    clips: list[str], settings: Settings, expected: dict[str, VideoVerdict], tmp_path: Path
) -> None:
    long = str(face_clip(tmp_path / "long.mp4", seconds=20.0))
    settings = settings.model_copy(update={"engine": EngineSettings(workers=1, attempts=2, segment=5.0)})
    with Killer(has_open(long), times=99):
        found = scan([long, clips[0]], settings)
    assert present(found[long].failure).kind == "WorkerLost"
    assert_same(found[clips[0]], expected[clips[0]])


def test_what_is_under_way_is_bounded_and_nothing_is_spilled(clips: list[str], network_settings: Settings) -> None:
    settings = network_settings
    engine = settings.engine.model_copy(update={"batch_faces": 128, "in_flight": 4})
    faces = settings.faces.model_copy(update={"batch": 16})
    sampling = settings.sampling.model_copy(update={"fps": 10.0})
    settings = settings.model_copy(update={"engine": engine, "faces": faces, "sampling": sampling})
    bound = memory_for(Plan.resolve(settings), engine.workers)
    total = ray.cluster_resources()["object_store_memory"]  # type: ignore[no-untyped-call]
    assert 0 < bound < total
    used: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            used.append(total - ray.available_resources().get("object_store_memory", 0.0))  # type: ignore[no-untyped-call]

    def spilled() -> list[Path]:
        session = Path(present(ray._private.worker.global_worker.node).get_session_dir_path())
        return [file for folder in session.glob("ray_spilled_objects*") for file in folder.iterdir()]

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        try:
            scan(clips, settings, store=False)
        finally:
            over.set()
        looking.result()
    assert max(used) <= bound
    assert spilled() == []
    too_much = [ray.put(np.ones(int(total) // 4, np.uint8)) for _ in range(6)]
    end = time.monotonic() + 20
    while not spilled():  # it would have been seen
        assert time.monotonic() < end
        time.sleep(0.05)
    del too_much


def test_more_under_way_than_memory_has_room_for_is_refused(clips: list[str], network_settings: Settings) -> None:
    settings = network_settings
    engine = settings.engine.model_copy(update={"batch_faces": 1000, "in_flight": 20})
    with pytest.raises(ConfigError, match=r"engine\.batch_faces: .* may need 1250 MiB .* of the cluster has 256"):
        scan(clips, settings.model_copy(update={"engine": engine}))


def test_what_triage_saves_and_changes_is_measured(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(face_clip(tmp_path / "clip.mp4", seconds=6.0, keyframe_every=5))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "triage", clip, "--model", str(weights), "--device", "cpu", "--json"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["files"], document["media_seconds"], document["full_frames"]) == (1, 6.0, 12)
    assert document["saved"] == pytest.approx(1 - document["triage_seconds"] / document["full_seconds"])


def test_batches_are_shared_and_a_bad_one_is_the_senders_own(network_settings: Settings) -> None:
    from streamwatch.cluster.connection import Cluster, result_of
    from streamwatch.cluster.detector import RemoteClient, start_detectors

    (detector,), _ = start_detectors(Plan.resolve(network_settings), Cluster(local=True, gpus=0))
    good = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    bad = np.zeros((2, 32, 32, 3), np.uint8)
    first, second = RemoteClient([detector], "first"), RemoteClient([detector], "second")
    for _ in range(50):
        pending = [first.submit(good), second.submit(good[:2])]
        scores = [item.result() for item in pending]
        assert scores[0].logits[:2] == pytest.approx(scores[1].logits, abs=0.02)
        if result_of(detector.counts.remote()).shared:
            break
    assert result_of(detector.counts.remote()).shared
    pending = [first.submit(good), second.submit(bad)]
    assert len(pending[0].result()) == 3
    with pytest.raises(DetectorError, match="64×64"):
        pending[1].result()


def test_damaged_weights_end_the_scan_with_their_name(
    network: Path, clips: list[str], settings: Settings, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(network.read_bytes()[:-8] + b"12345678")
    damaged.with_suffix(".yaml").write_bytes(network.with_suffix(".yaml").read_bytes())
    other = settings.model_copy(update={"detector": settings.detector.model_copy(update={"model": str(damaged)})})
    with pytest.raises(WeightsError, match=r"damaged\.safetensors"):
        scan(clips[:1], other)


@contextlib.contextmanager
def scan_command(paths: list[str], store: str, weights: Path) -> Iterator[subprocess.Popen[str]]:
    """The command itself, in a process group of its own."""
    command = [sys.executable, "-c", "from streamwatch.cli.main import main; main()", "scan", "--json"]
    options = ["--workers", "1", "--store", store, "--model", str(weights), "--device", "cpu"]
    with subprocess.Popen(
        [*command, *paths, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def larger(clip: str, folder: Path) -> str:
    """The same clip with a box of nothing, so that it is the largest file and comes first."""
    size = 4 << 20
    path = folder / "larger.mp4"
    path.write_bytes(Path(clip).read_bytes() + size.to_bytes(4, "big") + b"free" + bytes(size - 8))
    return str(path)


@pytest.mark.slow
def test_a_death_leaves_standard_output_to_the_results(weights: Path, clips: list[str], tmp_path: Path) -> None:
    short, longer = larger(clips[0], tmp_path), str(face_clip(tmp_path / "longer.mp4", seconds=60.0))
    is_detector = is_actor("DetectorActor")
    with scan_command([short, longer], f"sqlite:///{tmp_path / 'store.db'}", weights) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        (detector,) = filter(is_detector, descendants(process.pid))
        os.kill(detector, signal.SIGKILL)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert [json.loads(line)["source"] for line in (first, *rest.splitlines())] == [short, longer]
    assert "raylet" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_a_stopped_scan_keeps_what_is_done(
    weights: Path, clips: list[str], tmp_path: Path, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    """As a terminal sends it, to the whole process group, and as `kill` does."""
    short, longer = larger(clips[0], tmp_path), str(face_clip(tmp_path / "longer.mp4", seconds=90.0))
    store = f"sqlite:///{tmp_path / 'store.db'}"
    with scan_command([short, longer], store, weights) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        send(process.pid, number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(first)["source"] == short
    assert rest == ""
    assert errors.splitlines()[-1].startswith("stopped: 1 of 2 done")
    assert "Traceback" not in errors
    with Store.open(store) as opened:
        assert [row.verdict.source for row in opened.verdicts(Filters())] == [short]
