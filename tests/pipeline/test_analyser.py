"""The engine without Ray: batching, scoring in order, the analysis of a clip, feeds of live sources."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamwatch.archive.input_queue import InputQueue, QueuedInput
from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.config import EngineSettings, LiveSettings
from streamwatch.detectors import load_detector
from streamwatch.errors import DetectorError, StoreError, WeightsError
from streamwatch.fusion import AlertRules, Subject, error_verdict
from streamwatch.live.feed import Feed, FrameQueue
from streamwatch.live.outbox import Outbox
from streamwatch.live.stream import LiveStream
from streamwatch.pipeline.analyser import Analyser, batches
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import BatchScores, LocalClient, PendingScores, ScoringQueue
from streamwatch.records import (
    Alert,
    AlertKind,
    AlertPhase,
    Content,
    DropReason,
    EvidenceClip,
    Face,
    FaceCrop,
    FaceScore,
    Frame,
    Label,
    ModelRef,
    VideoVerdict,
)
from streamwatch.sources import Input
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Store
from tests.support.clocks import Clock
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import encode
from tests.support.score_clients import scores_of
from tests.support.untrained_detector import settings_for, untrained_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return face_clip(folder / "clip.mp4")


@pytest.fixture(scope="module")
def plan(weights: Path) -> Plan:
    return Plan.resolve(settings_for(weights))


@pytest.fixture(scope="module")
def client(weights: Path) -> LocalClient:
    return LocalClient(load_detector(weights, "cpu", 1))


def crop_of(value: int) -> FaceCrop:
    face = Face((0.0, 0.0, 8.0, 8.0), ((0.0, 0.0),) * 5, 1.0, track_id=1)
    return FaceCrop(np.full((4, 4, 3), value, np.uint8), face, (0.0, 0.0, 8.0, 8.0), value, value / 10)


# --- scoring queue


class SlowClient:
    """Scores only when a result is asked for; counts what is under way."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.open = self.most = 0

    def submit(self, crops: np.ndarray) -> PendingScores:
        self.batches.append(len(crops))
        self.open += 1
        self.most = max(self.most, self.open)
        return _Slow(self, crops)


class _Slow:
    def __init__(self, client: SlowClient, crops: np.ndarray) -> None:
        self._client = client
        self._crops = crops

    def ready(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        pass

    def result(self) -> BatchScores:
        self._client.open -= 1
        return scores_of(self._crops)


def test_scores_come_back_in_order_and_in_bounded_batches() -> None:
    client = SlowClient()
    got: list[FaceScore] = []
    queue = ScoringQueue(client, batch=4, in_flight=2, deliver=got.append)
    for start in range(0, 30, 3):
        queue.put([crop_of(start + i) for i in range(3)])
    queue.drain()
    assert [score.logit for score in got] == list(range(30))
    assert [score.crop.frame_index for score in got] == list(range(30))
    assert client.batches == [4] * 7 + [2]
    assert client.most == 2


def test_a_frame_is_finished_when_its_last_crop_is_scored() -> None:
    client = SlowClient()
    queue = ScoringQueue(client, batch=2, in_flight=1, deliver=lambda score: None)
    queue.put([])
    assert queue.finished_frames == 1
    queue.put([crop_of(1), crop_of(2), crop_of(3)])
    queue.put([])
    assert queue.finished_frames == 1
    queue.drain()
    assert queue.finished_frames == 3


def test_masks_become_floats_again() -> None:
    got: list[FaceScore] = []

    class Masked(SlowClient):
        def submit(self, crops: np.ndarray) -> PendingScores:
            masks = np.full((len(crops), 4, 4), 51, np.uint8)
            scores = dataclasses.replace(scores_of(crops), masks=masks)
            slow = _Slow(self, crops)
            slow.result = lambda: scores  # type: ignore[method-assign]
            return slow

    queue = ScoringQueue(Masked(), batch=2, in_flight=1, deliver=got.append)
    queue.put([crop_of(1)])
    queue.drain()
    assert got[0].mask == pytest.approx(np.full((4, 4), 0.2))


def test_the_last_batch_of_items_is_shorter() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]


# --- analysis


def test_a_clip_with_a_face_gets_a_verdict(plan: Plan, client: LocalClient, clip: Path) -> None:
    shares: list[float] = []
    analysis = Analyser(plan, client, progress=shares.append).analyse(str(clip), sha256="a" * 64, trace=True)
    verdict = analysis.verdict
    assert verdict.failure is None
    assert verdict.label in (Label.REAL, Label.FAKE, Label.INCONCLUSIVE)
    assert verdict.score is not None
    assert verdict.frames.sampled == verdict.frames.analysed == len(verdict.scores) == 12
    assert verdict.frames.decoded == 30
    assert (verdict.sha256, verdict.model, verdict.policy) == ("a" * 64, plan.model, plan.policy.name)
    (track,) = verdict.tracks
    assert track.faces == 12
    assert len(track.evidence) == plan.policy.evidence
    assert [trace.pts for trace in analysis.traces] == [record.pts for record in verdict.scores]
    assert all(trace.mask is not None and trace.mask.shape == (28, 28) for trace in analysis.traces)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.1)


def test_scores_do_not_depend_on_the_batching(plan: Plan, client: LocalClient, clip: Path) -> None:
    def scores(batch: int) -> list[float]:
        engine = plan.settings.engine.model_copy(update={"batch_faces": batch})
        other = dataclasses.replace(plan, settings=plan.settings.model_copy(update={"engine": engine}))
        return [r.probability for r in Analyser(other, client).analyse(str(clip)).verdict.scores]

    assert scores(1) == pytest.approx(scores(8), abs=0.02)


def test_evidence_shows_the_face(plan: Plan, client: LocalClient, clip: Path) -> None:
    import cv2

    verdict = Analyser(plan, client).analyse(str(clip)).verdict
    item = verdict.tracks[0].evidence[0]
    picture = cv2.imdecode(np.frombuffer(item.crop_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 20
    assert item.mask_png is not None
    assert item.score == max(record.probability for record in verdict.scores)


def test_a_clip_without_a_face_is_no_face(plan: Plan, client: LocalClient, folder: Path) -> None:
    clip = encode(folder / "noface.mp4", frames=20)
    verdict = Analyser(plan, client).analyse(str(clip)).verdict
    assert (verdict.label, verdict.score) == (Label.NO_FACE, None)
    assert verdict.frames.analysed == verdict.frames.sampled > 0


@pytest.mark.parametrize(("content", "kind"), [(b"", "SourceUnreadable"), (b"words " * 99, "SourceUnreadable")])
def test_what_is_no_video_is_an_error(
    plan: Plan, client: LocalClient, tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    verdict = Analyser(plan, client).analyse(str(path), name="broken.mp4").verdict
    assert (verdict.label, verdict.score, verdict.source) == (Label.ERROR, None, "broken.mp4")
    assert verdict.failure is not None
    assert verdict.failure.kind == kind
    assert "broken.mp4" in verdict.failure.message


def test_a_failing_detector_is_an_error_with_counts(plan: Plan, clip: Path) -> None:
    class Failing:
        def submit(self, crops: np.ndarray) -> PendingScores:
            raise DetectorError("out of order")

    verdict = Analyser(plan, Failing()).analyse(str(clip)).verdict
    assert (verdict.label, verdict.score) == (Label.ERROR, None)
    assert verdict.failure is not None
    assert (verdict.failure.kind, verdict.failure.message) == ("DetectorError", "out of order")
    assert verdict.frames.sampled == verdict.frames.analysed + verdict.frames.dropped > 0


def test_a_model_that_is_not_there_is_said_at_once(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing"):
        Plan.resolve(settings_for(tmp_path / "nothing.safetensors"))


# --- scans that need no worker


def test_a_scan_with_nothing_to_analyse_starts_no_cluster(weights: Path, tmp_path: Path) -> None:
    import ray

    from streamwatch.archive.scan import ScanProgress, iter_scan

    settings = settings_for(weights, store={"url": f"sqlite:///{tmp_path / 'store.db'}"})
    received: list[ScanProgress] = []
    before = ray.is_initialized()
    (analysis,) = iter_scan([str(tmp_path / "missing.mp4")], settings, progress=received.append)
    assert analysis.verdict.failure is not None
    assert analysis.verdict.failure.kind == "SourceNotFound"
    assert ray.is_initialized() is before
    assert received


# --- jobs


def test_jobs_come_by_size_with_their_hash(tmp_path: Path) -> None:
    names = [tmp_path / f"{n}.mp4" for n in range(4)]
    for name, content in zip(names, (b"same", b"same", b"longer"), strict=False):
        name.write_bytes(content)
    inputs = [*map(str, names), "http://u:p@host/a.mp4"]
    jobs = InputQueue([Input(name, {"number": n}) for n, name in enumerate(inputs)], ahead=2)
    got: list[QueuedInput] = []
    while len(got) < 5:
        job = jobs.next()
        if job is None:
            jobs.wait(1)
            continue
        got.append(job)
    assert [job.metadata["number"] for job in got] == [4, 2, 0, 1, 3]
    assert [job.number for job in got] == [5, 3, 1, 2, 4]
    assert (got[0].sha256, got[0].failure, got[0].name) == (None, None, "http://***@host/a.mp4")
    assert got[2].sha256 == got[3].sha256 is not None
    assert got[4].failure is not None
    assert "3.mp4" in str(got[4].failure)
    assert jobs.next() is None
    jobs.close()


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(source: str) -> str:
        reads.append(Path(source).name)
        return hashlib.sha256(Path(source).read_bytes()).hexdigest()

    monkeypatch.setattr("streamwatch.archive.input_queue.content_sha256", read)
    old, new = tmp_path / "old.mp4", tmp_path / "new.mp4"
    for path in (old, new):
        path.write_bytes(b"pictures")
    os.utime(old, (1e9, 1e9))

    def hashes(known: dict[str, Content]) -> tuple[list[str | None], dict[str, Content]]:
        jobs = InputQueue([Input(str(old)), Input(str(new))], 2, known)
        found: list[str | None] = []
        while len(found) < 2:
            job = jobs.next()
            if job is None:
                jobs.wait(1)
            else:
                found.append(job.sha256)
        fresh = {content.path: content for content in jobs.take_fresh()}
        assert jobs.take_fresh() == []
        jobs.close()
        return found, fresh

    first, known = hashes({})
    assert set(known) == {str(old)}, "one that has just changed may change again within its time stamp"
    assert sorted(reads) == ["new.mp4", "old.mp4"]
    reads.clear()
    second, _ = hashes(known)
    assert reads == ["new.mp4"]
    assert second[0] == first[0]
    os.utime(old, (1e9, 1e9 + 1))
    reads.clear()
    hashes(known)
    assert sorted(reads) == ["new.mp4", "old.mp4"]


# --- live


def frame(number: int) -> Frame:
    return Frame("s", number, number / 2, None, np.zeros((2, 2, 3), np.uint8))


def test_stale_frames_are_dropped_and_counted() -> None:
    clock = Clock()
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=clock)
    for number in range(4):
        clock.now = number / 2
        queue.put(frame(number))
    clock.now = 2.8
    got = queue.get(0)
    assert got is not None
    assert got.index == 2
    assert queue.counts == (4, 2)


def test_a_full_live_queue_drops_its_oldest() -> None:
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=Clock())
    for number in range(8):
        queue.put(frame(number))
    assert queue.counts == (8, 3)
    left = []
    while (got := queue.get(0)) is not None:
        left.append(got.index)
    assert left == [3, 4, 5, 6, 7]


def test_a_file_waits_for_room_and_drops_nothing() -> None:
    queue = FrameQueue(stale_after=None, fps=2.0)
    thread = threading.Thread(target=lambda: list(map(queue.put, map(frame, range(20)))))
    thread.start()
    got = [queue.get(5) for _ in range(20)]
    thread.join(5)
    assert [item.index for item in got if item is not None] == list(range(20))
    assert queue.counts == (20, 0)


def test_a_closed_queue_gives_what_waits_and_takes_no_more() -> None:
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=Clock())
    queue.put(frame(0))
    queue.close()
    queue.put(frame(1))
    before, got, after = queue.exhausted, queue.get(0), queue.exhausted
    assert (before, after) == (False, True)
    assert got is not None
    assert queue.get(60) is None
    assert queue.counts == (1, 0)


def test_a_feed_reconnects_and_time_goes_on(plan: Plan, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file behind a URL stands for a server that ends its stream again and again."""
    from streamwatch.live import feed as module

    monkeypatch.setattr(module, "is_url", lambda url: True)
    clock = Clock()
    events: list[Transition] = []
    stale = plan.settings.model_copy(update={"live": LiveSettings(stale_after=60.0, backoff_first=1e-6)})
    feed = Feed(str(clip), stale, listen=events.append, clock=clock)
    feed.start()
    frames: list[Frame] = []
    while len(frames) < 30:
        got = feed.frames.get(5)
        assert got is not None
        frames.append(got)
    feed.stop(5)
    times = [item.pts for item in frames]
    assert times == sorted(set(times))
    assert [item.index for item in frames] == sorted({item.index for item in frames})
    assert times[12] >= times[11] + 0.25
    states = [event.state for event in events]
    assert states[:4] == [StreamState.RUNNING, StreamState.BACKING_OFF, StreamState.CONNECTING, StreamState.RUNNING]
    assert feed.machine.reconnects[Cause.ENDED] >= 2
    assert feed.started_at is not None


def test_a_file_is_watched_to_its_end_as_it_is_scanned(plan: Plan, client: LocalClient, clip: Path) -> None:
    delivered: list[VideoVerdict | Transition | EvidenceClip] = []
    verdict = LiveStream(plan, client, str(clip), deliver=delivered.append).run(threading.Event())
    scanned = Analyser(plan, client).analyse(str(clip)).verdict
    assert verdict.label is scanned.label
    assert verdict.score == pytest.approx(scanned.score, abs=0.02)
    assert (verdict.frames.sampled, verdict.frames.analysed, verdict.frames.dropped) == (12, 12, 0)
    changes = [item for item in delivered if isinstance(item, Transition)]
    assert [(change.state, change.cause) for change in changes] == [
        (StreamState.RUNNING, None),
        (StreamState.STOPPED, Cause.ENDED),
    ]


def test_running_verdicts_come_on_time(plan: Plan, client: LocalClient, clip: Path) -> None:
    live = plan.settings.model_copy(update={"live": LiveSettings(verdict_every=0.02)})
    delivered: list[VideoVerdict | Transition | EvidenceClip] = []
    last = LiveStream(dataclasses.replace(plan, settings=live), client, str(clip), deliver=delivered.append).run(
        threading.Event()
    )
    running = [item for item in delivered if isinstance(item, VideoVerdict)]
    assert running
    assert [v.frames.analysed for v in running] == sorted(v.frames.analysed for v in running)
    assert all(v.frames.analysed + v.frames.dropped <= v.frames.sampled for v in [*running, last])
    assert last.frames.analysed == last.frames.sampled


def test_a_stream_that_never_comes_is_an_error(plan: Plan, client: LocalClient) -> None:
    delivered: list[VideoVerdict | Transition | EvidenceClip] = []
    refused = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        delivered.append(item)
        if isinstance(item, Transition) and item.state is StreamState.BACKING_OFF:
            refused.set()

    stream = LiveStream(plan, client, "rtsp://user:secret@127.0.0.1:9/none", deliver=receive)
    verdict = stream.run(refused, seconds=60)
    assert verdict.label is Label.ERROR
    assert verdict.failure is not None
    assert verdict.failure.kind == "SourceRefused"
    assert "secret" not in f"{verdict.source} {verdict.failure.message} {delivered}"


def sure_of_real(plan: Plan, **live: float) -> Plan:
    """A plan whose policy calls every score real, for a stream that is tried once a minute when it has ended."""
    live = {"stale_after": 60.0, "retry_budget": 0, "failed_retry": 60.0, **live}
    settings = plan.settings.model_copy(update={"live": LiveSettings(**live)})
    return dataclasses.replace(
        plan, settings=settings, policy=dataclasses.replace(plan.policy, real=0.9998, fake=0.9999)
    )


def test_a_frozen_picture_is_not_real_and_no_longer_analysed(
    plan: Plan, client: LocalClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.live.feed.is_url", lambda url: True)
    frozen = face_clip(folder / "frozen.mp4", seconds=8.0, still=True)
    ended = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, Transition) and item.state is StreamState.FAILED:
            ended.set()

    stream = LiveStream(sure_of_real(plan, stalled_after=60.0), client, str(frozen), deliver=receive)
    verdict = stream.run(ended, seconds=60)
    frames = verdict.frames
    assert (verdict.label, verdict.score is None) == (Label.INCONCLUSIVE, False)
    assert "the picture has stood still for 8 s" in verdict.reason
    assert f"not analysed: {frames.dropped} frozen" in verdict.reason
    assert frames.dropped_by == {DropReason.FROZEN: frames.dropped}
    assert 10 <= frames.dropped <= 20
    assert frames.decoded == frames.not_sampled + frames.analysed + frames.dropped


def test_a_stream_that_changes_its_size_and_codec_goes_on(
    plan: Plan, client: LocalClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an encoder is set up again: another size on the same connection, another codec on the next one."""
    monkeypatch.setattr("streamwatch.live.feed.is_url", lambda url: True)
    clip = folder / "changing.ts"
    small = face_clip(folder / "small.ts", seconds=2.0)
    large = encode(
        folder / "large.ts",
        fps=10,
        frames=20,
        images=(np.asarray(cv2.resize(face_picture(number), (384, 288)), np.uint8) for number in range(20)),
        width=384,
        height=288,
    )
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    seen: list[Transition] = []
    over = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, Transition):
            seen.append(item)
            running = [change.message for change in seen if change.state is StreamState.RUNNING]
            if item.state is StreamState.BACKING_OFF and len(running) == 1:
                face_clip(clip, seconds=2.0, codec="mpeg4")
            elif item.state is StreamState.BACKING_OFF:
                over.set()

    live = LiveSettings(stale_after=60.0, backoff_first=0.1)
    settings = plan.settings.model_copy(update={"live": live})
    verdict = LiveStream(dataclasses.replace(plan, settings=settings), client, str(clip), deliver=receive).run(over, 60)
    running = [change.message for change in seen if change.state is StreamState.RUNNING]
    assert running[:2] == ["h264 256×192", "mpeg4 256×192"]
    sides = sorted({round(score.box[2] - score.box[0], -1) for score in verdict.scores})
    assert len(sides) == 2  # the same face in both sizes
    assert verdict.frames.decoded >= 60 - verdict.frames.corrupt
    assert verdict.frames.corrupt <= 2  # at the seam
    assert verdict.frames.sampled == verdict.frames.analysed + verdict.frames.dropped


def test_a_stream_that_died_is_not_real_for_long_and_then_an_error(
    plan: Plan, client: LocalClient, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.live.feed.is_url", lambda url: True)
    verdicts: list[VideoVerdict] = []
    over = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, VideoVerdict) and item.frames.analysed > 4:
            verdicts.append(item)
            if item.label is Label.ERROR:
                over.set()

    live = {"stalled_after": 0.3, "verdict_every": 0.05, "horizon": 2.0}
    LiveStream(sure_of_real(plan, **live), client, str(clip), deliver=receive).run(over, seconds=60)
    assert list(dict.fromkeys(verdict.label for verdict in verdicts)) == [Label.REAL, Label.INCONCLUSIVE, Label.ERROR]
    doubtful = next(verdict for verdict in verdicts if verdict.label is Label.INCONCLUSIVE)
    assert doubtful.reason.startswith("no new picture for")
    assert verdicts[-1].failure is not None


def test_a_forged_stream_raises_an_alert_with_a_clip(folder: Path, clip: Path, tmp_path: Path) -> None:
    """All the way from a real RTSP server to the store: opens, is cut out of the packets, ends with the watch."""
    (tmp_path / "sure").mkdir()
    sure_of_fake = untrained_detector(tmp_path / "sure", bias=9.0)
    alerts = {"clip_before": 2.0, "clip_after": 1.0}
    plan = Plan.resolve(settings_for(sure_of_fake, alerts=alerts, tracing={"every": 5}, live={"stale_after": 60.0}))
    delivered: list[VideoVerdict | Transition | EvidenceClip] = []
    done = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        delivered.append(item)
        if isinstance(item, EvidenceClip):
            done.set()

    served = face_clip(tmp_path / "served.mp4", seconds=20.0, b_frames=False)
    with serve_rtsp(served, plays=0) as url:
        begun = time.monotonic()
        last = LiveStream(plan, LocalClient(load_detector(sure_of_fake, "cpu", 1)), url, deliver=receive).run(done, 30)
    assert time.monotonic() - begun < 20
    (cut,) = [item for item in delivered if isinstance(item, EvidenceClip)]
    first = next(item for item in delivered if isinstance(item, VideoVerdict) and item.alerts)
    (opened,), (ended,) = first.alerts, last.alerts
    assert (opened.id, opened.phase, opened.label) == (cut.alert_id, AlertPhase.NEW, Label.FAKE)
    assert opened.faces in (7, 8)  # four a second, for 1.5 s; wall times differ by a little
    assert (ended.id, ended.phase) == (opened.id, AlertPhase.END)
    assert opened.started_at is not None
    assert first.started_at is not None
    assert delivered.index(first) < delivered.index(cut)
    times = [each for item in (*delivered, last) if isinstance(item, VideoVerdict) for each in item.times]
    assert len(times) >= last.frames.analysed // 5
    assert all(each.captured <= each.taken <= each.found <= each.scored <= each.delivered for each in times)
    assert cut.data is not None
    assert cut.start is not None
    assert cut.start <= opened.started_at
    with av.open(io.BytesIO(cut.data)) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert len(pictures) >= 20  # at 10 a second: the forgery till the alert opened, and a second after it
    with av.open(str(served)) as container:
        sent = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert all(any(np.array_equal(picture, other) for other in sent) for picture in pictures)

    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        run = store.begin_run("watch", "{}", "c" * 64)
        store.save(run, [*delivered, last])
        (row,) = store.alerts()
        kept = store.clip(row.id)
        evidence = store.alert(row.id).evidence
    assert (row.kind, row.revision, row.end) == (AlertKind.FORGERY, ended.revision, ended.end)
    assert kept is not None
    assert kept.path is not None
    assert Path(kept.path).read_bytes() == cut.data
    assert len(evidence) == 3
    assert all(item.mask_png for item in evidence)


def test_a_stream_that_is_down_raises_an_alert_that_ends_once_it_is_back(
    plan: Plan, client: LocalClient, tmp_path: Path
) -> None:
    changes = {"live": {"backoff_first": 0.2, "backoff_max": 0.4}, "alerts": {"down_after": 0.5, "quiet": 1.0}}
    settings = plan.settings.model_copy(
        update={name: getattr(plan.settings, name).model_copy(update=values) for name, values in changes.items()}
    )
    plan = dataclasses.replace(plan, settings=settings, alert_rules=AlertRules.resolve(settings.alerts, plan.policy))
    clip = face_clip(tmp_path / "down.mp4", seconds=20.0, b_frames=False)
    seen: dict[int, Alert] = {}
    opened, over = threading.Event(), threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        for alert in item.alerts if isinstance(item, VideoVerdict) else ():
            if alert.kind is AlertKind.DOWN:
                seen[alert.revision] = alert
                opened.set()
                if alert.end is not None:
                    over.set()

    port = free_port()
    stream = LiveStream(plan, client, f"rtsp://user:secret@127.0.0.1:{port}/down.mp4?play_count=0", deliver=receive)
    with contextlib.ExitStack() as stack:

        def repair() -> None:
            if opened.wait(20):
                stack.enter_context(serve_rtsp(clip, user="user", password="secret", plays=0, port=port))

        repairing = threading.Thread(target=repair)
        repairing.start()
        stream.run(over, seconds=40)
        repairing.join()
    first, last = seen[1], seen[max(seen)]
    assert (first.label, first.end, first.phase) == (Label.ERROR, None, AlertPhase.NEW)
    assert first.reason.startswith("refused: ")
    assert "secret" not in first.reason
    assert (last.id, last.phase) == (first.id, AlertPhase.END)


class Writer:
    """Answers as configured: trouble, or the error of the call. Stands in for the actor and its references."""

    def __init__(self, *answers: StoreError | list[str]) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []
        self.save = self

    def remote(self, items: list[VideoVerdict]) -> StoreError | list[str]:
        self.calls.append([item.source for item in items])
        return self.answers.pop(0)


def answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def result_of(answer: object) -> object:
        if isinstance(answer, StoreError):
            raise answer
        return answer

    monkeypatch.setattr("streamwatch.live.outbox.ray.wait", lambda references, timeout: (references, []))
    monkeypatch.setattr("streamwatch.live.outbox.result_of", result_of)


def a_result(source: str) -> VideoVerdict:
    return error_verdict(Subject(source, None, ModelRef("m", "b" * 64), "c" * 64, "policy"), StoreError("x"))


def test_what_a_store_refuses_is_kept_in_order_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    refusal = StoreError("the database is locked")
    writer = Writer(refusal, refusal, ["the clip cannot be written"])
    outbox = Outbox(writer, patience=60.0, clock=clock)
    outbox.put(a_result("a"))
    assert list(outbox.exchange()) == []
    outbox.put(a_result("b"))
    (notice,) = outbox.exchange()
    assert "locked" in notice.message
    assert list(outbox.exchange()) == []  # not yet again
    clock.now = 2.0
    assert list(outbox.exchange()) == list(outbox.exchange()) == []
    assert [item.source for item in outbox.items] == ["a", "b"]
    clock.now = 4.0
    list(outbox.exchange())
    again, trouble, *stored = outbox.exchange()
    assert "again" in again.message
    assert trouble.message == "the clip cannot be written"
    assert [item.source for item in stored] == ["a", "b"]
    assert writer.calls == [["a"], ["a", "b"], ["a", "b"]]
    assert outbox.items == []


def test_a_run_with_nothing_to_store_sends_heartbeats_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    writer = Writer(*[[]] * 9)
    outbox = Outbox(writer, patience=5.0, clock=clock)
    for clock.now in range(13):
        assert list(outbox.exchange()) == []
    assert writer.calls == [[], []]


def test_a_store_that_stays_away_ends_the_run_with_everything_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    outbox = Outbox(Writer(*[StoreError("gone")] * 9), patience=5.0, clock=clock)
    outbox.put(a_result("a"))

    def work_on() -> None:
        for clock.now in range(20):
            list(outbox.exchange())

    with pytest.raises(StoreError, match="gone"):
        work_on()
    assert 5.0 < clock.now < 10.0
    assert [item.source for item in outbox.items] == ["a"]


def test_the_writer_gets_a_path_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamwatch.cluster.store_actors import _absolute

    monkeypatch.chdir(tmp_path)
    assert _absolute("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert _absolute("postgresql+psycopg://u:p@h/db") == "postgresql+psycopg://u:p@h/db"


def test_a_cluster_that_cannot_start_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from streamwatch.cluster import connection as cluster
    from streamwatch.errors import ClusterError

    def fail(**_: object) -> None:
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match=r"timed out during startup.*doctor"), cluster.connect(EngineSettings()):
        raise AssertionError("unreachable")
