"""Streams on a real Ray cluster and a real RTSP server: processes that are killed, a store that is locked."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from streamwatch.bench.loopback.rtsp_server import serve_rtsp
from streamwatch.config import Settings
from streamwatch.detectors import load_detector
from streamwatch.pipeline.analyser import Analyser
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.records import VideoVerdict
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Filters, Store
from tests.support.face_clips import face_clip
from tests.support.processes import Killer, is_actor
from tests.support.small_detectors import light_detector, settings_for, untrained_detector

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its own sockets to the collector
    pytest.mark.usefixtures("local_cluster"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watch")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return light_detector(folder)


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture
def settings(weights: Path, tmp_path: Path) -> Settings:
    """With one worker: it takes a second of work to start another."""
    return settings_for(weights, store={"url": f"sqlite:///{tmp_path / 'store.db'}"}, engine={"workers": 1})


@pytest.fixture
def network_settings(network: Path, tmp_path: Path) -> Settings:
    return settings_for(network, store={"url": f"sqlite:///{tmp_path / 'store.db'}"}, engine={"workers": 2})


@pytest.mark.alone
def test_a_stream_says_what_its_file_says(folder: Path, network: Path, network_settings: Settings) -> None:
    from streamwatch.live.watch import iter_watch

    clip = face_clip(folder / "served.mp4", seconds=3.0, b_frames=False)
    settings = network_settings
    client = LocalClient(load_detector(network, "cpu", 1))
    of_file = Analyser(Plan.resolve(settings), client).analyse(str(clip)).verdict
    verdicts, events = [], []
    over = threading.Event()
    with serve_rtsp(clip, plays=1) as url:
        for item in iter_watch([url], settings, stop=over, seconds=60.0):
            verdicts += [item] if isinstance(item, VideoVerdict) else []
            events += [item] if isinstance(item, Transition) else []
            if events and events[-1].state is StreamState.BACKING_OFF:
                over.set()
    last = verdicts[-1]
    assert last.label is of_file.label
    assert last.score == pytest.approx(of_file.score, abs=0.05)
    frames = last.frames
    assert frames.sampled == frames.analysed + frames.dropped > 0
    assert last.sha256 is None
    assert last.started_at is not None
    assert [str(event.state) for event in events][:2] == ["running", "backing_off"]
    assert [str(event.state) for event in events][-1] == "stopped"
    with Store.open(settings.store.url) as store:
        (row,) = store.verdicts(Filters())
        changes = [event for event in events if event.state is not StreamState.CONNECTING]
        assert [row.change for row in store.transitions()] == changes[::-1]
    assert (row.verdict.label, row.verdict.frames) == (last.label, frames)


@pytest.mark.slow
def test_a_killed_live_worker_is_replaced_and_overwrites_nothing(folder: Path, settings: Settings) -> None:
    from streamwatch.live.watch import TRACKS_PER_WORKER, iter_watch

    clip = face_clip(folder / "endless.mp4", seconds=4.0, b_frames=False)
    live = settings.live.model_copy(update={"verdict_every": 0.3, "backoff_first": 0.1})
    settings = settings.model_copy(update={"live": live})
    before: list[int] = []
    after: list[int] = []
    lost: list[Transition] = []
    with serve_rtsp(clip, plays=0) as url:
        watch = iter_watch([url], settings, seconds=60.0)
        for item in watch:
            if not isinstance(item, VideoVerdict):
                lost += [item] if isinstance(item, Transition) and item.cause is Cause.CRASHED else []
                continue
            tracks = [track.track_id for track in item.tracks]
            if not before and tracks:
                before = tracks
                with Killer(is_actor("StreamWorker"), times=1) as killer:
                    while not killer.killed:
                        time.sleep(0.01)
            elif tracks and tracks[0] > TRACKS_PER_WORKER:
                after = tracks
                break
        watch.close()
    assert [change.state for change in lost] == [StreamState.BACKING_OFF, StreamState.CONNECTING]
    assert "died" in lost[0].message
    assert set(before) <= set(range(1, 100))
    assert after
    with Store.open(settings.store.url) as store:
        (row,) = store.verdicts(Filters())
    assert {*before, *after} <= {track.track_id for track in row.verdict.tracks}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DetectorActor", "StoreWriter"])
def test_a_watch_outlives_its_detector_and_its_writer(kind: str, folder: Path, settings: Settings) -> None:
    from streamwatch.live.watch import TRACKS_PER_WORKER, iter_watch

    clip = face_clip(folder / f"{kind}.mp4", seconds=20.0, b_frames=False)
    changed = {"live": {"verdict_every": 0.3}, "sampling": {"fps": 8.0}}
    settings = settings.model_copy(
        update={part: getattr(settings, part).model_copy(update=values) for part, values in changed.items()}
    )
    changes: list[Transition] = []
    verdicts: list[VideoVerdict] = []
    killed_at = None
    with serve_rtsp(clip, plays=0) as url:
        watch = iter_watch([url], settings, seconds=60.0)
        for item in watch:
            if isinstance(item, Transition):
                changes.append(item)
            elif isinstance(item, VideoVerdict):
                verdicts.append(item)
                if killed_at is None and item.frames.analysed > 2:
                    killed_at = item.frames.analysed
                    with Killer(is_actor(kind), times=1) as killer:
                        while not killer.killed:
                            time.sleep(0.01)
                elif killed_at is not None and item.frames.analysed > killed_at + 8:
                    break
        watch.close()
    assert [change.state for change in changes] == [StreamState.RUNNING]
    with Store.open(settings.store.url) as store:
        (row,) = store.verdicts(Filters())
        indices = [score.frame_index for score in store.verdict(row.id).scores]
    frames = row.verdict.frames
    assert killed_at is not None
    assert frames.analysed > killed_at + 8
    assert frames.sampled == frames.analysed + frames.dropped
    assert len(indices) == len(set(indices)) == frames.analysed
    assert all(track.track_id < TRACKS_PER_WORKER for track in row.verdict.tracks)


@pytest.mark.slow
def test_streams_come_and_go_and_the_others_are_not_touched(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamwatch.live.outbox import OperatorNotice
    from streamwatch.live.watch import iter_watch

    monkeypatch.setattr("streamwatch.live.targets.FOLLOW_EVERY", 0.2)
    clip = face_clip(folder / "roster.mp4", seconds=20.0, b_frames=False)
    reported: list[tuple[str, StreamState]] = []
    notices: list[str] = []
    over = threading.Event()
    with serve_rtsp(clip, plays=0) as one, serve_rtsp(clip, plays=0) as two:
        steps: list[tuple[tuple[str, StreamState], list[str]]] = [
            ((one, StreamState.RUNNING), [one, two]),
            ((two, StreamState.RUNNING), ["ftp://nowhere"]),
            (("notice", StreamState.RUNNING), [two]),
            ((one, StreamState.STOPPED), [one, two]),
            ((one, StreamState.RUNNING), []),
            ((two, StreamState.STOPPED), []),
        ]
        due: list[list[str]] = []
        for item in iter_watch([one], settings, follow=lambda: due.pop() if due else None, stop=over, seconds=90.0):
            if isinstance(item, Transition):
                reported.append((item.source, item.state))
            elif isinstance(item, OperatorNotice):
                notices.append(item.message)
                reported.append(("notice", StreamState.RUNNING))
            else:
                continue
            if steps and reported[-1] == steps[0][0]:
                due.append(steps.pop(0)[1])
                if not steps:
                    over.set()
    assert not steps
    of_two = [state for source, state in reported if source == two]
    assert of_two == [StreamState.RUNNING, StreamState.STOPPED]
    assert "ftp" in notices[0]
    with Store.open(settings.store.url) as store:
        rows = {row.verdict.source: row.verdict for row in store.verdicts(Filters())}
        scores = [len(store.verdict(row.id).scores) for row in store.verdicts(Filters())]
    assert set(rows) == {one, two}
    assert len(scores) == 2
    assert sum(scores) == sum(verdict.frames.analysed for verdict in rows.values())
    assert all(verdict.frames.sampled == verdict.frames.analysed + verdict.frames.dropped for verdict in rows.values())


@pytest.mark.slow
def test_a_locked_store_loses_nothing(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock outlasts the patience of a call, which is short here, several times over."""
    from streamwatch.live.outbox import OperatorNotice
    from streamwatch.live.watch import iter_watch

    monkeypatch.setattr("streamwatch.live.outbox.RETRY", 0.2)
    url = settings.store.url
    clip = face_clip(folder / "locked.mp4", seconds=20.0, b_frames=False)
    changes = {"live": {"verdict_every": 0.3}, "store": {"url": f"{url}?timeout=0.3"}}
    settings = settings.model_copy(
        update={part: getattr(settings, part).model_copy(update=values) for part, values in changes.items()}
    )
    notices: list[str] = []
    locked = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    with contextlib.closing(locked), serve_rtsp(clip, plays=0) as stream:
        watch = iter_watch([stream], settings, seconds=60.0)
        for item in watch:
            if isinstance(item, OperatorNotice):
                notices.append(item.message)
                if len(notices) == 1:
                    threading.Timer(2.0, locked.execute, ["COMMIT"]).start()
                else:
                    break
            elif isinstance(item, VideoVerdict) and not locked.in_transaction and not notices:
                locked.execute("BEGIN EXCLUSIVE")
        watch.close()
    assert "database is locked" in notices[0]
    assert "can be written to again" in notices[1]
    with Store.open(url) as store:
        (row,) = store.verdicts(Filters())
        indices = [score.frame_index for score in store.verdict(row.id).scores]
    assert len(indices) == len(set(indices)) == row.verdict.frames.analysed  # one face in every frame: none is missing
