"""Streams without Ray: verdicts, alerts and clips from files and real RTSP servers."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.config import LiveSettings
from streamwatch.detectors import load_detector
from streamwatch.fusion import AlertRules
from streamwatch.live.stream import LiveStream
from streamwatch.pipeline.analyser import Analyser
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.records import (
    Alert,
    AlertKind,
    AlertPhase,
    DropReason,
    EvidenceClip,
    Label,
    UnseenCause,
    VideoVerdict,
)
from streamwatch.sources import Location
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Store
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import encode
from tests.support.small_detectors import settings_for, untrained_detector


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


def test_a_file_is_watched_to_its_end_as_it_is_scanned(plan: Plan, client: LocalClient, clip: Path) -> None:
    told: list[VideoVerdict | Transition | EvidenceClip] = []
    verdict = LiveStream(plan, client, Location(clip), deliver=told.append).run(threading.Event())
    scanned = Analyser(plan, client).analyse(str(clip)).verdict
    assert verdict.label is scanned.label
    assert verdict.score == pytest.approx(scanned.score, abs=0.02)
    assert (verdict.frames.sampled, verdict.frames.analysed, verdict.frames.dropped) == (12, 12, 0)
    changes = [item for item in told if isinstance(item, Transition)]
    assert [(change.state, change.cause) for change in changes] == [
        (StreamState.RUNNING, None),
        (StreamState.STOPPED, Cause.ENDED),
    ]


def test_a_verdict_on_an_interlaced_stream_says_so(plan: Plan, client: LocalClient, tmp_path: Path) -> None:
    path = face_clip(tmp_path / "old.mp4", seconds=1.0, interlaced=True)
    verdict = LiveStream(plan, client, Location(str(path)), deliver=lambda item: None).run(threading.Event())
    assert "interlaced: one field of each picture" in verdict.reason


def test_running_verdicts_come_on_time(plan: Plan, client: LocalClient, clip: Path) -> None:
    live = plan.settings.model_copy(update={"live": LiveSettings(verdict_every=0.02)})
    told: list[VideoVerdict | Transition | EvidenceClip] = []
    last = LiveStream(dataclasses.replace(plan, settings=live), client, Location(clip), deliver=told.append).run(
        threading.Event()
    )
    running = [item for item in told if isinstance(item, VideoVerdict)]
    assert running
    assert [v.frames.analysed for v in running] == sorted(v.frames.analysed for v in running)
    assert all(v.frames.analysed + v.frames.dropped <= v.frames.sampled for v in [*running, last])
    assert last.frames.analysed == last.frames.sampled


def test_a_stream_that_never_comes_is_an_error(plan: Plan, client: LocalClient) -> None:
    told: list[VideoVerdict | Transition | EvidenceClip] = []
    refused = threading.Event()

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        told.append(item)
        if isinstance(item, Transition) and item.state is StreamState.BACKING_OFF:
            refused.set()

    stream = LiveStream(plan, client, Location("rtsp://user:secret@127.0.0.1:9/none"), deliver=hear)
    verdict = stream.run(refused, seconds=60)
    assert verdict.label is Label.ERROR
    assert verdict.failure is not None
    assert verdict.failure.kind == "SourceRefused"
    assert "secret" not in f"{verdict.source} {verdict.failure.message} {told}"


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
    monkeypatch.setattr(Location, "is_url", True)
    frozen = face_clip(folder / "frozen.mp4", seconds=8.0, still=True)
    ended = threading.Event()

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, Transition) and item.state is StreamState.FAILED:
            ended.set()

    stream = LiveStream(sure_of_real(plan, stalled_after=60.0), client, Location(frozen), deliver=hear)
    verdict = stream.run(ended, seconds=60)
    frames = verdict.frames
    assert (verdict.label, verdict.score is None) == (Label.INCONCLUSIVE, False)
    assert "the picture has stood still for 8 s" in verdict.reason
    assert f"not analysed: {frames.dropped} frozen" in verdict.reason
    assert frames.dropped_by == {DropReason.FROZEN: frames.dropped}
    assert 10 <= frames.dropped <= 20
    assert frames.decoded == frames.not_sampled + frames.analysed + frames.dropped


def test_a_stream_whose_damage_is_never_repaired_is_not_real(
    plan: Plan, client: LocalClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Location, "is_url", True)
    whole = face_clip(folder / "once.ts", seconds=8.0)
    data = whole.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    video = [number for number, packet in enumerate(packets) if (packet[1] & 31, packet[2]) == (1, 0)]
    lost = set(video[len(video) // 2 :: 20])
    lossy = folder / "lossy.ts"
    lossy.write_bytes(b"".join(packet for number, packet in enumerate(packets) if number not in lost))
    ended = threading.Event()

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, Transition) and item.state is StreamState.FAILED:
            ended.set()

    def watched(path: Path) -> VideoVerdict:
        ended.clear()
        return LiveStream(sure_of_real(plan, stalled_after=60.0), client, Location(path), deliver=hear).run(ended, 60)

    clean, verdict = watched(whole), watched(lossy)
    assert (clean.label, "damaged" in clean.reason) == (Label.REAL, False)
    assert verdict.label is Label.INCONCLUSIVE
    assert "s not analysed: damaged" in verdict.reason
    assert verdict.frames.unseen[UnseenCause.DAMAGED] > 1.0
    assert verdict.frames.sampled < clean.frames.sampled
    assert verdict.frames.decoded == pytest.approx(clean.frames.decoded, abs=2)
    assert max(record.pts for record in verdict.scores) < max(record.pts for record in clean.scores)


def test_a_stream_that_changes_its_size_and_codec_goes_on(
    plan: Plan, client: LocalClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an encoder is set up again: another size on the same connection, another codec on the next one."""
    monkeypatch.setattr(Location, "is_url", True)
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

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, Transition):
            seen.append(item)
            running = [change.message for change in seen if change.state is StreamState.RUNNING]
            if item.state is StreamState.BACKING_OFF and len(running) == 1:
                face_clip(clip, seconds=2.0, codec="mpeg4")
            elif item.state is StreamState.BACKING_OFF:
                over.set()

    live = LiveSettings(stale_after=60.0, backoff_first=0.1)
    settings = plan.settings.model_copy(update={"live": live})
    changed = dataclasses.replace(plan, settings=settings)
    verdict = LiveStream(changed, client, Location(clip), deliver=hear).run(over, 60)
    running = [change.message for change in seen if change.state is StreamState.RUNNING]
    assert running[:2] == ["h264 256×192", "mpeg4 256×192"]
    sides = sorted({round(score.box[2] - score.box[0], -1) for score in verdict.scores})
    assert len(sides) == 2  # the same face in both sizes
    assert verdict.frames.decoded >= 60 - verdict.frames.corrupt
    assert verdict.frames.corrupt <= 2  # at the seam
    assert verdict.frames.sampled == verdict.frames.analysed + verdict.frames.dropped


@pytest.mark.alone
def test_a_stream_that_died_is_not_real_for_long_and_then_an_error(
    plan: Plan, client: LocalClient, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Location, "is_url", True)
    verdicts: list[VideoVerdict] = []
    over = threading.Event()

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, VideoVerdict) and item.frames.analysed > 4:
            verdicts.append(item)
            if item.label is Label.ERROR:
                over.set()

    live = {"stalled_after": 1.5, "verdict_every": 0.05, "horizon": 4.0}
    LiveStream(sure_of_real(plan, **live), client, Location(clip), deliver=hear).run(over, seconds=60)
    assert list(dict.fromkeys(verdict.label for verdict in verdicts)) == [Label.REAL, Label.INCONCLUSIVE, Label.ERROR]
    doubtful = next(verdict for verdict in verdicts if verdict.label is Label.INCONCLUSIVE)
    assert doubtful.reason.startswith("no new picture for")
    assert verdicts[-1].failure is not None


@pytest.mark.alone
def test_a_forged_stream_raises_an_alert_with_a_clip(folder: Path, clip: Path, tmp_path: Path) -> None:
    """All the way from a real RTSP server to the store: opens, is cut out of the packets, ends with the watch."""
    (tmp_path / "sure").mkdir()
    sure_of_fake = untrained_detector(tmp_path / "sure", bias=9.0)
    alerts = {"clip_before": 2.0, "clip_after": 1.0}
    plan = Plan.resolve(settings_for(sure_of_fake, alerts=alerts, tracing={"every": 5}, live={"stale_after": 60.0}))
    told: list[VideoVerdict | Transition | EvidenceClip] = []
    done = threading.Event()

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        told.append(item)
        if isinstance(item, EvidenceClip):
            done.set()

    served = face_clip(tmp_path / "served.mp4", seconds=20.0, b_frames=False)
    with serve_rtsp(served, plays=0) as url:
        begun = time.monotonic()
        client = LocalClient(load_detector(sure_of_fake, "cpu", 1))
        last = LiveStream(plan, client, Location(url), deliver=hear).run(done, 30)
    assert time.monotonic() - begun < 20
    (cut,) = [item for item in told if isinstance(item, EvidenceClip)]
    first = next(item for item in told if isinstance(item, VideoVerdict) and item.alerts)
    (opened,), (ended,) = first.alerts, last.alerts
    assert (opened.id, opened.phase, opened.label) == (cut.alert_id, AlertPhase.NEW, Label.FAKE)
    assert opened.faces in (7, 8)  # four a second, for 1.5 s; wall times differ by a little
    assert (ended.id, ended.phase) == (opened.id, AlertPhase.END)
    assert opened.started_at is not None
    assert first.started_at is not None
    assert told.index(first) < told.index(cut)
    times = [each for item in (*told, last) if isinstance(item, VideoVerdict) for each in item.times]
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
        store.save(run, [*told, last])
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

    def hear(item: VideoVerdict | Transition | EvidenceClip) -> None:
        for alert in item.alerts if isinstance(item, VideoVerdict) else ():
            if alert.kind is AlertKind.DOWN:
                seen[alert.revision] = alert
                opened.set()
                if alert.end is not None:
                    over.set()

    port = free_port()
    source = Location(f"rtsp://user:secret@127.0.0.1:{port}/down.mp4?play_count=0")
    stream = LiveStream(plan, client, source, deliver=hear)
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
