"""The store on SQLite and PostgreSQL: the same tests on both."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select

from streamwatch.config import RetentionSettings
from streamwatch.errors import StoreError
from streamwatch.records import (
    Alert,
    AlertKind,
    Content,
    EvidenceClip,
    Failure,
    FrameRecord,
    Label,
    ResultKey,
    SegmentResult,
    Span,
    TrackVerdict,
    VideoVerdict,
)
from streamwatch.sources import Input, Location
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Filters, ReviewState, RunStatus, Store
from streamwatch.store.database import create_store_engine, parse_url
from streamwatch.store.leases import LEASE
from streamwatch.store.tables import evidence, scores, verdicts
from tests.support.builders import (
    CAMERA,
    CONFIG,
    MODEL,
    NOON,
    SINK,
    failed_verdict,
    full_alert,
    full_verdict,
    live_verdict,
    make_alert,
    make_evidence,
    make_outage,
    make_record,
    make_transition,
)
from tests.support.clocks import UtcClock
from tests.support.database import count, dump

# ── what happened to streams ──


def test_changes_of_state_come_back_as_they_were_saved_newest_first(store: Store, run: int) -> None:
    other = "rtsp://***@camera.example/2"
    saved = [make_transition(0), make_transition(1, other, StreamState.FAILED), make_transition(1), make_transition(2)]
    store.save(run, saved)

    def found(**wanted: Any) -> list[Transition]:
        return [row.change for row in store.transitions(Filters(**wanted))]

    assert found() == saved[::-1]
    assert found(source="EXAMPLE/2") == [saved[1]]
    assert found(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=2)) == saved[2:0:-1]
    assert found(limit=1) == [saved[3]]
    assert found(source="EXAMPLE/2", named=(CAMERA,)) == saved[::-1]


def outage(clock: UtcClock, failures: int, cause: Cause = Cause.REFUSED) -> list[Transition]:
    """What a running stream reports that is lost and retried twice a second."""
    changes = []
    previous = StreamState.RUNNING
    for number in range(failures):
        clock.advance(seconds=0.5)
        down = StreamState.BACKING_OFF
        changes.append(Transition(clock.now, CAMERA, previous, down, cause, f"{CAMERA}: refused {number}", 0.5))
        changes.append(Transition(clock.now, CAMERA, down, StreamState.CONNECTING, cause))
        previous = StreamState.CONNECTING
    return changes


def test_a_dead_camera_has_one_row_that_counts(store: Store, clock: UtcClock, database_url: str) -> None:
    run = store.begin_run("watch", live_settings(), CONFIG)
    dead = outage(clock, 100)
    for change in dead:
        store.save(run, [change])
    store.save(run, dead)  # as after a store that was away
    (row,) = store.transitions()
    assert (row.change.at, row.change.state, row.retries, row.last_at) == (dead[0].at, dead[0].state, 99, dead[-1].at)
    assert row.change.why == "refused 99"
    (stream,) = store.streams()
    assert (stream.failures, stream.change.at) == (100, dead[0].at)
    assert count(database_url, "transitions") == 1

    clock.advance(seconds=1)
    connecting = StreamState.CONNECTING
    back = Transition(clock.now, CAMERA, connecting, StreamState.RUNNING)
    other = dataclasses.replace(dead[-2], at=clock.now, cause=Cause.TIMEOUT)
    store.save(run, [other, back, *outage(clock, 2)])
    assert [(row.change.state, row.change.cause, row.retries) for row in store.transitions()][::-1] == [
        (StreamState.BACKING_OFF, Cause.REFUSED, 99),
        (StreamState.BACKING_OFF, Cause.TIMEOUT, 0),
        (StreamState.RUNNING, None, 0),
        (StreamState.BACKING_OFF, Cause.REFUSED, 1),
    ]


def test_an_outage_that_goes_on_is_in_the_history_of_the_last_hours(store: Store, clock: UtcClock) -> None:
    run = store.begin_run("watch", live_settings(), CONFIG)
    first = clock.now
    store.save(run, outage(clock, 2))
    for _ in range(4):
        clock.advance(minutes=30)
        down = StreamState.CONNECTING, StreamState.FAILED
        store.save(run, [Transition(clock.now, CAMERA, *down, Cause.REFUSED, "refused", 60.0)])
    assert len(store.transitions(Filters(since=clock.now - timedelta(minutes=5)))) == 1
    assert store.streams()[0].failures == 2, "of the last hour"
    store.prune(RetentionSettings(history=0.05))
    (row,) = store.transitions()
    assert (row.change.at > first, row.change.state, row.retries) == (True, StreamState.FAILED, 3)


def lag_of(
    store: Store, clock: UtcClock, started: float, duration: float, faces: Sequence[FrameRecord]
) -> float | None:
    """The lag of a stream whose media second 0 was so many seconds before now."""
    run = store.begin_run("watch", live_settings(), CONFIG)
    began = clock.now - timedelta(seconds=started)
    verdict = full_verdict(
        source=CAMERA, sha256=None, started_at=began, duration=duration, alerts=(), tracks=(), scores=tuple(faces)
    )
    store.save(run, [make_transition(state=StreamState.RUNNING), verdict])
    return store.streams()[0].lag


def test_lag_is_that_of_the_newest_face(store: Store, clock: UtcClock) -> None:
    def face(frame: int, age: float) -> FrameRecord:
        return make_record(frame, wall_time=clock.now - timedelta(seconds=age))

    # A burst at the beginning put the stream's own time 8 s ahead; the newest face is from 3.5 s ago.
    burst = [face(0, 20.0), face(200, 12.0), face(675, 3.5)]
    assert lag_of(store, clock, started=20.0, duration=27.5, faces=burst) == pytest.approx(3.0)


def test_lag_that_is_not_known_is_not_zero(store: Store, clock: UtcClock) -> None:
    assert lag_of(store, clock, started=20.0, duration=28.0, faces=()) is None
    assert lag_of(store, clock, started=20.0, duration=18.5, faces=()) == pytest.approx(1.5)


def test_a_run_saves_verdicts_and_changes_in_one_call(store: Store, run: int) -> None:
    store.save(run, [make_transition(), full_verdict()])
    assert len(store.verdicts()) == len(store.transitions()) == 1


def test_no_password_in_a_change_of_state_is_stored(store: Store, run: int) -> None:
    leaking = dataclasses.replace(make_transition(), source="rtsp://u:pw4@h/1", message="rtsp://u:pw4@h/1: refused")
    store.save(run, [leaking])
    assert "pw4" not in str(store.transitions())


def live_settings(every: float = 5.0) -> str:
    return json.dumps({"live": {"verdict_every": every}})


def test_streams_stand_as_their_last_change_and_verdict_say(store: Store, clock: UtcClock) -> None:
    run = store.begin_run("watch", live_settings(), CONFIG)
    other = "rtsp://***@camera.example/2"
    clock.advance(minutes=61)
    store.save(
        run,
        [
            make_transition(0),
            make_transition(5),
            make_transition(60, state=StreamState.FAILED),
            make_transition(60, other, StreamState.STALLED),
            full_verdict(source=CAMERA, sha256=None, alerts=(), tracks=(), scores=()),
        ],
    )
    first, second = store.streams()
    assert (first.change, second.change) == (
        make_transition(60, state=StreamState.FAILED),
        make_transition(60, other, StreamState.STALLED),
    )
    assert (first.failures, second.failures) == (2, 0)
    assert first.verdict is not None
    assert first.verdict.verdict.label is Label.FAKE
    assert second.verdict is None
    assert first.watched
    assert first.heard_at == clock.now


def test_a_stream_of_a_run_without_heartbeats_is_not_watched(store: Store, clock: UtcClock) -> None:
    run = store.begin_run("watch", live_settings(every=10.0), CONFIG)
    store.save(run, [make_transition(state=StreamState.RUNNING)])
    clock.advance(seconds=30)
    assert store.streams()[0].watched
    clock.advance(seconds=1)
    assert not store.streams()[0].watched
    store.save(run, [])
    assert store.streams()[0].watched
    store.end_run(run, RunStatus.DONE)
    assert not store.streams()[0].watched


def test_a_later_run_tells_how_a_stream_stands(store: Store, clock: UtcClock) -> None:
    for minute, state in enumerate((StreamState.STOPPED, StreamState.RUNNING)):
        run = store.begin_run("watch", live_settings(), CONFIG)
        store.save(run, [make_transition(minute, state=state)])
    (stream,) = store.streams()
    assert stream.change.state is StreamState.RUNNING


# ── verdicts on files ──


def test_a_verdict_comes_back_as_it_was_saved(store: Store, run: int) -> None:
    saved = full_verdict()
    store.save_verdict(run, saved)
    found = store.find_verdict(ResultKey("f" * 64, MODEL.sha256, CONFIG))
    assert found is not None
    assert dataclasses.asdict(found) == dataclasses.asdict(saved)


def test_a_verdict_is_found_with_when_it_was_stored_and_its_alerts(store: Store, run: int) -> None:
    other = full_alert("alert-2", start=1.0, end=2.0)
    key = store.save_verdict(run, full_verdict(alerts=(full_alert(), other)))
    store.save_verdict(run, full_verdict("/archive/b.mp4", "b" * 64, alerts=(full_alert("alert-3", "/archive/b.mp4"),)))
    store.review("alert-2", Label.REAL, "a mask of rubber")
    row = store.find_row(ResultKey("f" * 64, MODEL.sha256, CONFIG))
    assert row is not None
    assert (row.id, row.run_id, row.stored_at) == (key, run, store.alert_row("alert-1").stored_at)
    assert len(row.verdict.scores) == 10
    found = store.alerts_of(row.id)
    assert [(alert.id, alert.review_comment) for alert in found] == [("alert-2", "a mask of rubber"), ("alert-1", None)]


def test_a_failure_comes_back_as_it_was_saved(store: Store, run: int) -> None:
    key = store.save_verdict(run, failed_verdict())
    assert store.verdict(key).failure == Failure("SourceUnreadable", "/archive/clip.mp4: not a video")


def test_saving_twice_changes_nothing(
    store: Store, run: int, database_url: str, clock: UtcClock, tmp_path: Path
) -> None:
    first = store.save_verdict(run, full_verdict(), (SINK,))
    (alert,) = full_verdict().alerts[:1]
    items: list[Transition | EvidenceClip] = [
        make_transition(),
        EvidenceClip("clip.mp4", alert.id, None, failure="none was cut"),
    ]
    content = Content("/archive/clip.mp4", 5_000_000_000, 1_772_366_400_123_456_789, "d" * 64)
    store.save(run, items, (SINK,))
    store.save_verdict(run, full_verdict("/archive/copy.mp4"), (SINK,))
    store.review(alert.id, by="ada")
    store.contents.note([content])
    store.leases.take(run, ResultKey("0" * 64, MODEL.sha256, CONFIG))
    store.jobs.begin([Input(Location("clip.mp4"))], MODEL, CONFIG)
    store.save(run, [SegmentResult(ResultKey("0" * 64, MODEL.sha256, CONFIG), ":100", b"part")])
    before = dump(database_url)
    clock.advance(hours=1)
    store.save(run, items, (SINK,))
    store.contents.note([content])
    store.jobs.begin([Input(Location("clip.mp4"))], MODEL, CONFIG)
    again = store.begin_run("streamwatch scan /archive", "{}", CONFIG)
    assert store.save_verdict(again, full_verdict("/archive/copy.mp4"), (SINK,)) == first
    assert store.save_verdict(again, full_verdict(), (SINK,)) == first
    after = dump(database_url)
    assert len(after.pop("runs")) == len(before.pop("runs")) + 1
    assert after == before
    assert all(before.values()), "every table has rows, or the comparison says nothing"


def test_contents_are_known_by_path_and_replaced(store: Store) -> None:
    old = [Content(f"/archive/{number}.mp4", number, 7, f"{number:064}") for number in range(1200)]
    store.contents.note(old)
    new = Content("/archive/3.mp4", 4, 8, "e" * 64)
    store.contents.note([new])
    store.contents.note([])
    known = store.contents.known([content.path for content in old] + ["/elsewhere"])
    assert known == {**{content.path: content for content in old}, new.path: new}


def test_a_content_belongs_to_one_run_until_its_lease_runs_out(store: Store, run: int, clock: UtcClock) -> None:
    other = store.begin_run("scan", "{}", CONFIG)
    key, second = ResultKey("f" * 64, MODEL.sha256, CONFIG), ResultKey("e" * 64, MODEL.sha256, CONFIG)
    assert store.leases.take(run, key)
    assert store.leases.take(run, key), "it is mine already"
    assert not store.leases.take(other, key)
    assert store.leases.take(other, second)
    clock.advance(seconds=LEASE - 1)
    store.leases.renew(run)
    clock.advance(seconds=2)
    assert not store.leases.take(other, key)
    assert store.leases.take(run, second), "that was not renewed"
    clock.advance(seconds=LEASE + 1)
    assert store.leases.take(other, key)
    store.leases.give_back(other)
    assert store.leases.take(run, key)


def test_a_verdict_ends_the_lease_of_its_content(store: Store, run: int) -> None:
    other = store.begin_run("scan", "{}", CONFIG)
    verdict = full_verdict()
    assert verdict.sha256 is not None
    key = ResultKey(verdict.sha256, verdict.model.sha256, verdict.config_sha256)
    failed = dataclasses.replace(verdict, label=Label.ERROR, score=None, tracks=(), alerts=(), scores=())
    assert store.leases.take(run, key)
    store.save_verdict(run, failed)
    assert store.leases.take(other, key), "a failure may be tried again"
    store.save_verdict(run, dataclasses.replace(failed, failure=Failure("WorkerLost", "late")))
    assert not store.leases.take(run, key), "a late result of another run ends nothing"
    store.save_verdict(other, verdict)
    assert not store.leases.take(run, key), "nothing is left to do"


def test_evidence_that_track_and_alert_share_is_stored_once(store: Store, run: int, database_url: str) -> None:
    store.save_verdict(run, full_verdict())
    rows = {row["frame_index"]: row["alert_id"] for row in dump(database_url)["evidence"]}
    assert rows == {100: "alert-1", 120: "alert-1", 280: None}


def test_numpy_numbers_are_stored_as_numbers(store: Store, run: int) -> None:
    half = np.float32(0.5)
    key = store.save_verdict(run, full_verdict(score=half, scores=(make_record(np.int64(3), probability=half),)))
    loaded = store.verdict(key)
    assert loaded.score == 0.5
    assert (loaded.scores[0].frame_index, loaded.scores[0].probability) == (3, 0.5)


def test_a_result_is_found_only_for_its_content_model_and_configuration(store: Store, run: int) -> None:
    store.save_verdict(run, full_verdict())
    assert store.find_verdict(ResultKey("f" * 64, "b" * 64, CONFIG)) is None
    assert store.find_verdict(ResultKey("f" * 64, MODEL.sha256, "d" * 64)) is None
    assert store.find_verdict(ResultKey("e" * 64, MODEL.sha256, CONFIG)) is None


def test_an_error_is_not_final_and_a_result_replaces_it(store: Store, run: int) -> None:
    first = store.save_verdict(run, failed_verdict())
    assert store.find_verdict(ResultKey("f" * 64, MODEL.sha256, CONFIG)) is None
    assert store.save_verdict(run, full_verdict()) == first
    assert [row.verdict.label for row in store.verdicts()] == [Label.FAKE]
    assert store.verdicts()[0].verdict.failure is None


def test_an_error_does_not_replace_a_result(store: Store, run: int, database_url: str) -> None:
    store.save_verdict(run, full_verdict())
    before = dump(database_url)
    store.save_verdict(run, failed_verdict())
    assert dump(database_url) == before


def test_a_result_replaces_errors_from_before_the_file_could_be_read(store: Store, run: int) -> None:
    store.save_verdict(run, failed_verdict(sha256=None))
    store.save_verdict(run, failed_verdict(source="/archive/other.mp4", sha256=None))
    later = store.begin_run("streamwatch scan /archive", "{}", CONFIG)
    store.save_verdict(later, full_verdict())
    labels = {row.verdict.source: row.verdict.label for row in store.verdicts()}
    assert labels == {"/archive/clip.mp4": Label.FAKE, "/archive/other.mp4": Label.ERROR}


def test_a_changed_result_of_a_file_replaces_all_of_the_old_one(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    key = store.save_verdict(
        run, full_verdict(alerts=(full_alert("kept"), full_alert("gone", evidence=(make_evidence(200),))))
    )
    store.review("kept", Label.REAL, "seen")
    clock.advance(hours=1)
    newer = full_verdict(score=0.9, tracks=(), scores=(make_record(7),), alerts=(full_alert("kept", peak=1.0),))
    assert store.save_verdict(run, newer) == key
    assert dataclasses.asdict(store.verdict(key)) == dataclasses.asdict(
        dataclasses.replace(newer, alerts=(full_alert("kept", peak=1.0, revision=2),))
    )
    (row,) = store.alerts()
    assert (row.id, row.revision, row.state, row.review_label) == (
        "kept",
        2,
        ReviewState.REVIEWED,
        Label.REAL,
    )
    assert count(database_url, "spans") == 0
    assert store.verdicts()[0].stored_at == clock.now


def test_the_first_path_stands_for_copies_of_a_file(store: Store, run: int) -> None:
    key = store.save_verdict(run, full_verdict())
    assert store.save_verdict(run, full_verdict("/archive/copy.mp4")) == key
    assert [row.verdict.source for row in store.verdicts()] == ["/archive/clip.mp4"]


def test_every_path_of_a_content_finds_its_verdict_and_alerts(store: Store, run: int) -> None:
    store.save(run, [full_verdict()])
    store.save(run, [full_verdict("/archive/copy.mp4"), full_verdict("/Elsewhere/Again.mp4")])
    store.save(run, [full_verdict("/archive/other.mp4", "0" * 64, alerts=(make_alert("other", "/archive/other.mp4"),))])
    for part in ("clip.mp4", "/archive/COPY", "elsewhere"):
        (row,) = store.verdicts(Filters(source=part))
        assert row.verdict.source == "/archive/clip.mp4"
        assert row.copies == ("/Elsewhere/Again.mp4", "/archive/copy.mp4")
        found = {alert.id for alert in store.alerts(Filters(source=part))}
        assert found == {alert.id for alert in row.verdict.alerts} > set()
        assert {face["verdict_id"] for face in store.iter_scores(Filters(source=part))} == {row.id}
    assert len(store.verdicts(Filters(source="/archive/"))) == 2
    assert store.verdicts(Filters(source="nowhere")) == []


def test_copies_are_found_among_very_many_names_too(store: Store, run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamwatch.store.filters.FEW", 1)
    store.save(run, [full_verdict(), full_verdict("/copies/1.mp4"), full_verdict("/copies/2.mp4")])
    assert [row.verdict.source for row in store.verdicts(Filters(source="/copies/"))] == ["/archive/clip.mp4"]
    assert len(store.alerts(Filters(source="/copies/"))) == len(full_verdict().alerts)


def test_a_path_whose_error_another_path_replaces_is_still_found(store: Store, run: int) -> None:
    store.save(run, [failed_verdict(sha256="f" * 64), full_verdict("/archive/later.mp4", "f" * 64)])
    (row,) = store.verdicts(Filters(source="clip.mp4"))
    assert (row.verdict.source, row.verdict.label) == ("/archive/later.mp4", Label.FAKE)


def test_names_of_copies_go_with_their_verdict(store: Store, run: int, clock: UtcClock, database_url: str) -> None:
    store.save(run, [full_verdict(), full_verdict("/archive/copy.mp4")])
    clock.advance(days=3)
    store.prune(RetentionSettings(results=1))
    assert dump(database_url)["copies"] == dump(database_url)["sources"] == []


def test_a_verdict_is_saved_whole_or_not_at_all(store: Store, run: int, database_url: str) -> None:
    twice = (make_record(5), make_record(5))
    with pytest.raises(StoreError):
        store.save_verdict(run, full_verdict(scores=twice))
    assert {name for name, rows in dump(database_url).items() if rows} == {"runs"}


def test_a_failed_replacement_leaves_the_old_result(store: Store, run: int, database_url: str) -> None:
    store.save_verdict(run, full_verdict())
    before = dump(database_url)
    with pytest.raises(StoreError):
        store.save_verdict(run, full_verdict(score=0.5, scores=(make_record(5), make_record(5))))
    assert dump(database_url) == before


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_a_score_out_of_range_is_refused(store: Store, run: int, score: float) -> None:
    with pytest.raises(StoreError):
        store.save_verdict(run, full_verdict(scores=(make_record(5, probability=score),)))


def test_an_alert_belongs_to_one_result(store: Store, run: int) -> None:
    store.save_verdict(run, full_verdict())
    with pytest.raises(StoreError, match=r"alert-1 is already stored for another result, on /archive/clip\.mp4"):
        store.save_verdict(run, full_verdict(sha256="e" * 64))


def test_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(StoreError):
        store.save_verdict(99, full_verdict())


def test_everything_under_a_verdict_goes_with_it(store: Store, run: int, database_url: str) -> None:
    store.save_verdict(run, full_verdict())
    engine = create_store_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(verdicts.delete())
    engine.dispose()
    assert {name for name, rows in dump(database_url).items() if rows} == {"runs", "sources"}


# ── verdicts on live sources ──


def test_a_newer_live_verdict_replaces_the_older(store: Store, run: int, clock: UtcClock) -> None:
    key = store.save_verdict(run, live_verdict(label=Label.REAL, score=0.1))
    clock.advance(seconds=5)
    assert store.save_verdict(run, live_verdict(label=Label.FAKE, score=0.9)) == key
    (row,) = store.verdicts()
    assert (row.verdict.label, row.verdict.score) == (Label.FAKE, 0.9)
    assert row.stored_at == clock.now
    assert row.occurred_at == NOON - timedelta(hours=1)


def test_saving_a_live_verdict_twice_changes_nothing(
    store: Store, run: int, database_url: str, clock: UtcClock
) -> None:
    verdict = live_verdict(full_alert(source=CAMERA, end=None, started_at=NOON))
    store.save_verdict(run, verdict)
    before = dump(database_url)
    clock.advance(seconds=5)
    store.save_verdict(run, verdict)
    assert dump(database_url) == before


def test_a_live_alert_keeps_its_id_and_counts_its_revisions(store: Store, run: int) -> None:
    opened = full_alert(source=CAMERA, end=None, peak=0.8, started_at=NOON)
    closed = dataclasses.replace(opened, end=9.8, peak=0.9, ended_at=NOON + timedelta(seconds=7))
    seen: list[tuple[object, ...]] = []
    for alert in (opened, opened, closed, closed):
        store.save_verdict(run, live_verdict(alert, reason=f"save {len(seen)}"))
        (row,) = store.alerts()
        seen.append((row.id, row.revision, row.end, row.peak))
    assert seen == [("alert-1", 1, None, 0.8)] * 2 + [("alert-1", 2, 9.8, 0.9)] * 2


def test_new_evidence_alone_is_a_revision(store: Store, run: int) -> None:
    store.save_verdict(run, live_verdict(full_alert(source=CAMERA)))
    store.save_verdict(run, live_verdict(full_alert(source=CAMERA, evidence=(make_evidence(130),))))
    alert = store.alert("alert-1")
    assert alert.revision == 2
    assert [item.frame_index for item in alert.evidence] == [130]


def test_what_a_live_verdict_no_longer_carries_stays(store: Store, run: int) -> None:
    store.save_verdict(run, live_verdict(full_alert("early", source=CAMERA), frames=range(0, 100, 25)))
    late = TrackVerdict(3, 60.0, 70.0, Label.FAKE, 0.9, 20, evidence=(make_evidence(1600, track_id=3),))
    store.save_verdict(
        run,
        live_verdict(
            full_alert(
                "late", source=CAMERA, start=61.0, end=62.0, track_id=3, evidence=(make_evidence(1550, track_id=3),)
            ),
            tracks=(late,),
            frames=range(50, 200, 25),
        ),
    )
    (row,) = store.verdicts()
    loaded = store.verdict(row.id)
    assert [score.frame_index for score in loaded.scores] == list(range(0, 200, 25))
    assert [track.track_id for track in loaded.tracks] == [1, 2, 3]
    assert [alert.id for alert in loaded.alerts] == ["early", "late"]
    assert [item.frame_index for item in store.alert("early").evidence] == [100, 120]
    assert [item.frame_index for item in loaded.tracks[2].evidence] == [1550, 1600]


def an_open_alert(revision: int = 1, end: float | None = None, *frames: int) -> Alert:
    return make_alert(
        "live-1",
        CAMERA,
        start=30.0,
        end=end,
        revision=revision,
        evidence=tuple(make_evidence(frame) for frame in frames),
        started_at=NOON + timedelta(seconds=30),
        ended_at=None if end is None else NOON + timedelta(seconds=end),
        reason=f"{revision} faces",
        faces=revision,
        seen=31.0 + revision,
    )


def test_an_alert_goes_through_its_life_under_one_id(store: Store, run: int, clock: UtcClock) -> None:
    store.save(run, [live_verdict(an_open_alert(1, None, 100, 120))], (SINK,))
    stored_at = clock.now
    clock.advance(seconds=30)
    store.save(run, [live_verdict(an_open_alert(2, None, 120, 140))], (SINK,))
    (row,) = store.alerts()
    assert (row.revision, row.end, row.faces, row.reason, row.stored_at) == (2, None, 2, "2 faces", stored_at)
    assert [item.frame_index for item in store.alert("live-1").evidence] == [120, 140]
    store.save(run, [live_verdict(an_open_alert(3, 34.0, 120, 140))], (SINK,))
    alert = store.alert("live-1")
    assert (alert.revision, alert.end, alert.seen, alert.kind) == (3, 34.0, 34.0, AlertKind.FORGERY)
    assert [item.revision for item in store.deliveries.of_alert("live-1")] == [1, 2, 3]


def test_operational_alerts_have_no_face(store: Store, run: int) -> None:
    store.save(run, [live_verdict(make_outage(), an_open_alert())])
    (row,) = store.alerts(Filters(kind=AlertKind.DOWN))
    assert (row.id, row.kind, row.reason, row.track_id, row.peak, row.mean) == (
        "down-1",
        AlertKind.DOWN,
        "refused: no",
        None,
        None,
        None,
    )
    assert [alert.id for alert in store.alerts(Filters(min_score=0.0))] == ["live-1"]
    assert store.verdicts(Filters(kind=AlertKind.FROZEN)) == []


def test_alerts_of_a_run_that_died_are_ended(store: Store, clock: UtcClock) -> None:
    run = store.begin_run("watch", live_settings(every=5.0), CONFIG)
    store.save(run, [live_verdict(an_open_alert(4))])
    assert store.end_abandoned((SINK,)) == 0
    clock.advance(minutes=1)
    assert store.end_abandoned((SINK,)) == 1
    assert store.end_abandoned((SINK,)) == 0
    alert = store.alert("live-1")
    assert (alert.end, alert.ended_at, alert.revision) == (35.0, NOON + timedelta(seconds=35), 5)
    assert alert.reason == "4 faces; the watch that reported it ended"
    assert [item.revision for item in store.deliveries.of_alert("live-1")] == [5]


def test_a_clip_lies_beside_the_database_with_its_hash(tmp_path: Path, run: int) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'desk.db'}") as store:
        run = store.begin_run("watch", "{}", CONFIG)
        clip = EvidenceClip(CAMERA, "live-1", b"an MP4 file", NOON, NOON + timedelta(seconds=9))
        assert store.save(run, [live_verdict(an_open_alert()), clip]) == []
        found = store.clip("live-1")
    file = tmp_path / "desk.db.clips" / "live-1.mp4"
    assert found is not None
    assert (found.path, found.failure, found.bytes) == (str(file), None, 11)
    assert file.read_bytes() == b"an MP4 file"
    assert found.sha256 == hashlib.sha256(b"an MP4 file").hexdigest()
    assert (found.started_at, found.ended_at) == (NOON, NOON + timedelta(seconds=9))
    assert [path.name for path in file.parent.iterdir()] == ["live-1.mp4"]


def test_a_full_disk_costs_the_clip_and_says_so(
    store: Store, run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("streamwatch.files.os.fsync", full)
    folder = tmp_path / "clips"
    folder.mkdir()
    items: list[VideoVerdict | EvidenceClip] = [
        live_verdict(an_open_alert()),
        EvidenceClip(CAMERA, "live-1", b"an MP4 file"),
    ]
    (trouble,) = store.save(run, items, clips=folder)
    assert trouble == f"{folder}: the clip of alert live-1 cannot be written (No space left on device)"
    found = store.clip("live-1")
    assert found is not None
    assert (found.path, found.failure) == (None, trouble)
    assert list(folder.iterdir()) == []
    assert len(store.alerts()) == 1


def test_a_clip_that_was_not_cut_says_why(store: Store, run: int) -> None:
    store.save(
        run, [live_verdict(an_open_alert()), EvidenceClip(CAMERA, "live-1", None, failure="the stream was gone")]
    )
    found = store.clip("live-1")
    assert found is not None
    assert (found.path, found.failure) == (None, "the stream was gone")
    assert store.clip("other") is None


def test_each_run_has_its_own_live_verdict(store: Store, run: int) -> None:
    store.save_verdict(run, live_verdict())
    store.save_verdict(store.begin_run("streamwatch watch", "{}", CONFIG), live_verdict())
    assert len(store.verdicts()) == 2


# ── time ──


def test_times_come_back_aware_and_in_utc(store: Store, run: int) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    started = datetime(2026, 3, 1, 17, 30, 0, 123_456, tzinfo=east)
    scored = dataclasses.replace(make_record(1), wall_time=started)
    key = store.save_verdict(run, full_verdict(started_at=started, scores=(scored,)))
    loaded = store.verdict(key)
    for value in (loaded.started_at, loaded.scores[0].wall_time):
        assert value == started
        assert value is not None
        assert value.tzinfo == timezone.utc


@pytest.mark.parametrize("where", ["verdict", "alert", "score"])
def test_naive_times_are_refused(store: Store, run: int, database_url: str, where: str) -> None:
    naive = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001
    changes: dict[str, dict[str, Any]] = {
        "verdict": {"started_at": naive},
        "alert": {"alerts": (full_alert(started_at=naive),)},
        "score": {"scores": (dataclasses.replace(make_record(1), wall_time=naive),)},
    }
    with pytest.raises(StoreError, match="2026-03-01T12:00:00 has no time zone"):
        store.save_verdict(run, full_verdict(**changes[where]))
    assert count(database_url, "verdicts") == 0


# ── text ──


def test_credentials_never_reach_the_database(store: Store, database_url: str) -> None:
    url = "rtsp://admin:hunter2@camera.example/1"
    run = store.begin_run(f"streamwatch watch {url}", f'{{"streams": [{{"url": "{url}"}}]}}', CONFIG)
    failed = failed_verdict(source=url, sha256=None, failure=Failure("SourceRefused", f"{url}: 401"))
    store.save_verdict(run, failed)
    store.save_verdict(run, full_verdict(source=url, alerts=(full_alert(source=url),)))
    assert "hunter2" not in repr(dump(database_url))
    assert "camera.example" in repr(dump(database_url))


def test_file_names_that_are_not_utf8_are_stored_escaped(store: Store, run: int) -> None:
    store.save_verdict(run, full_verdict("/archive/caf\udce9 \0.mp4", alerts=()))
    assert store.verdicts()[0].verdict.source == "/archive/caf\\udce9 \\x00.mp4"


# ── listings ──


@pytest.fixture
def filled(store: Store, run: int, clock: UtcClock) -> Store:
    """Three files, an hour apart, and a camera that started before them."""
    for number, (name, label, score) in enumerate(
        [
            ("News 100%.mp4", Label.FAKE, 0.97),
            ("talk_1.mp4", Label.REAL, 0.1),
            ("talkX1.mp4", Label.FAKE, 0.85),
        ]
    ):
        source = f"/archive/{name}"
        given = full_alert(f"alert-{number}", source, peak=score), full_alert(f"more-{number}", source, start=1.0)
        store.save_verdict(
            run,
            full_verdict(
                source,
                str(number) * 64,
                label=label,
                score=score,
                alerts=given if label is Label.FAKE else (),
            ),
        )
        clock.advance(hours=1)
    camera = full_alert("camera", CAMERA, peak=0.9, started_at=NOON - timedelta(minutes=30))
    store.save_verdict(run, live_verdict(camera))
    store.review("more-2", Label.REAL)
    return store


def test_alerts_are_filtered(filled: Store) -> None:
    expected = {
        Filters(): ["more-2", "alert-2", "more-0", "alert-0", "camera"],
        Filters(limit=2): ["more-2", "alert-2"],
        Filters(source="NEWS"): ["more-0", "alert-0"],
        Filters(source="%"): ["more-0", "alert-0"],
        Filters(source="talk_"): [],
        Filters(label=Label.REAL): [],
        Filters(label=Label.FAKE, limit=1): ["more-2"],
        Filters(since=NOON): ["more-2", "alert-2", "more-0", "alert-0"],
        Filters(until=NOON): ["camera"],
        Filters(since=NOON, until=NOON + timedelta(hours=2)): ["more-0", "alert-0"],
        Filters(min_score=0.9): ["more-2", "more-0", "alert-0", "camera"],
        Filters(state=ReviewState.REVIEWED): ["more-2"],
        Filters(state=ReviewState.NEW, source="talk"): ["alert-2"],
    }
    assert {filters: [row.id for row in filled.alerts(filters)] for filters in expected} == expected


def test_verdicts_are_filtered(filled: Store) -> None:
    expected = {
        Filters(): ["talkX1.mp4", "talk_1.mp4", "News 100%.mp4", "1"],
        Filters(limit=1): ["talkX1.mp4"],
        Filters(source="talk_"): ["talk_1.mp4"],
        Filters(label=Label.REAL): ["talk_1.mp4"],
        Filters(until=NOON): ["1"],
        Filters(since=NOON + timedelta(hours=1)): ["talkX1.mp4", "talk_1.mp4"],
        Filters(min_score=0.9): ["News 100%.mp4", "1"],
        Filters(state=ReviewState.REVIEWED): ["talkX1.mp4"],
    }
    found = {
        filters: [row.verdict.source.rpartition("/")[2] for row in filled.verdicts(filters)] for filters in expected
    }
    assert found == expected


def test_a_listing_carries_tracks_and_alerts_but_no_pictures(filled: Store) -> None:
    for row in filled.verdicts(Filters(source="News")):
        assert [track.track_id for track in row.verdict.tracks] == [1, 2]
        assert row.verdict.tracks[0].spans == (Span(3.2, 9.8, 0.99, 0.95), Span(11.0, 12.0, 0.91, 0.88))
        assert [alert.id for alert in row.verdict.alerts] == ["more-0", "alert-0"]
        assert not row.verdict.scores
        assert not any(track.evidence for track in row.verdict.tracks)
        assert not any(alert.evidence for alert in row.verdict.alerts)


def test_long_listings_keep_their_order(store: Store, run: int, database_url: str) -> None:
    engine = create_store_engine(parse_url(database_url))
    template = {
        "run_id": run,
        "model_name": "m",
        "model_sha256": "",
        "config_sha256": "",
        "policy": "",
        "reason": "",
    }
    counts = dict.fromkeys(("decoded", "sampled", "analysed", "dropped", "corrupt"), 0)
    total = 1201
    with engine.begin() as connection:
        connection.execute(
            insert(verdicts),
            [
                {
                    **template,
                    **counts,
                    "source": f"{number}",
                    "sha256": f"{number:064d}",
                    "label": "no_face",
                    "stored_at": NOON,
                    "occurred_at": NOON + timedelta(seconds=number * 7 % total),
                    "digest": "",
                }
                for number in range(total)
            ],
        )
    engine.dispose()
    times = [row.occurred_at for row in store.iter_verdicts()]
    assert len(set(times)) == total
    assert times == sorted(times, reverse=True)


def test_filters_refuse_naive_times_and_empty_limits() -> None:
    with pytest.raises(ValueError, match="since needs a time zone"):
        Filters(since=datetime(2026, 3, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="limit must be at least 1"):
        Filters(limit=0)


# ── alerts ──


def test_an_alert_is_found_by_the_beginning_of_its_id(filled: Store) -> None:
    assert filled.find_alert("cam") == "camera"
    assert filled.find_alert("more-0") == "more-0"
    with pytest.raises(StoreError, match="no alert has the id 'Cam%'"):
        filled.find_alert("Cam%")
    with pytest.raises(StoreError, match="several alerts begin with 'more': more-0, more-2"):
        filled.find_alert("more")


def test_a_whole_id_that_begins_another_is_found(store: Store, run: int) -> None:
    given = tuple(full_alert(f"x{suffix}", start=float(len(suffix))) for suffix in ("a", "", "b", "0", "c", "1"))
    store.save_verdict(run, full_verdict(alerts=given))
    assert store.find_alert("x") == "x"


def test_a_review_is_kept_and_can_be_taken_back(filled: Store, clock: UtcClock) -> None:
    filled.review("camera", Label.REAL, "a poster in the background")
    row = filled.alert_row("camera")
    assert (row.state, row.review_label, row.review_comment, row.reviewed_at) == (
        ReviewState.REVIEWED,
        Label.REAL,
        "a poster in the background",
        clock.now,
    )
    filled.reopen("camera")
    row = filled.alert_row("camera")
    assert (row.state, row.review_label, row.review_comment, row.reviewed_at) == (
        ReviewState.NEW,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("method", ["alert", "alert_row", "review", "reopen"])
def test_an_unknown_alert_is_an_error(store: Store, method: str) -> None:
    with pytest.raises(StoreError, match="no alert has the id 'nothing'"):
        getattr(store, method)("nothing")


def test_an_unknown_verdict_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no verdict has the id 7"):
        store.verdict(7)


# ── runs ──


def test_a_run_is_noted_from_start_to_end(store: Store, run: int, clock: UtcClock, database_url: str) -> None:
    clock.advance(minutes=3)
    store.end_run(run, RunStatus.INTERRUPTED)
    (row,) = dump(database_url)["runs"]
    assert row["command"] == "streamwatch scan /archive"
    assert (row["started_at"], row["ended_at"], row["status"]) == (NOON, clock.now, "interrupted")


def test_an_unknown_run_status_is_refused(store: Store, run: int) -> None:
    with pytest.raises(ValueError, match="asleep"):
        store.end_run(run, "asleep")


# ── several processes ──


def _save_many(url: str, barrier: Any, worker: int) -> None:
    barrier.wait()
    with Store.open(url) as store:
        run = store.begin_run("streamwatch scan", "{}", CONFIG)
        for number in range(5):
            store.save_verdict(run, full_verdict(sha256=str(number) * 64, alerts=(full_alert(f"{number}"),)))
            store.save_verdict(run, live_verdict(full_alert(f"live-{worker}", source=CAMERA), score=number / 10))


def test_processes_open_and_write_a_fresh_store_together(database_url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not by each
    workers = 3
    barrier = context.Barrier(workers)
    processes = [context.Process(target=_save_many, args=(database_url, barrier, n)) for n in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * workers
    with Store.open(database_url) as store:
        assert len(store.verdicts(Filters(source="clip"))) == 5
        assert [row.verdict.score for row in store.verdicts(Filters(source="camera"))] == [0.4] * workers
        assert len(store.alerts()) == 5 + workers


def test_a_listing_does_not_block_a_writer(store: Store, run: int, database_url: str) -> None:
    for number in range(3):
        store.save_verdict(run, full_verdict(sha256=str(number) * 64, alerts=(full_alert(f"{number}"),)))
    listing = store.iter_alerts()
    next(listing)
    with Store.open(database_url) as other:
        other.save_verdict(run, full_verdict(sha256="9" * 64, alerts=(full_alert("9"),)))
    assert len(list(listing)) == 2
    assert len(store.alerts()) == 4


def test_opening_and_closing_leaves_no_file_descriptors(database_url: str) -> None:
    Store.open(database_url).close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with Store.open(database_url) as store:
            store.verdicts()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ── opening ──


def test_sqlite_runs_with_a_write_ahead_log_and_foreign_keys(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store.open(url).close()
    engine = create_store_engine(parse_url(url))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///{folder}", "is a folder; name a file in it"),
        ("sqlite:///{folder}/missing/store.db", "the folder .* does not exist; create it"),
        ("sqlite:///{folder}/text.db", "file is not a database; name another file"),
        (
            "sqlite:////proc/store.db",
            "unable to open database file; check that the file and its folder can be",
        ),
        ("sqlite://", "a store needs a file; use sqlite:///FILE"),
        ("results.db", "'results.db' is not the URL of a store; use sqlite:///FILE or postgresql://"),
        ("mysql://root:s3cret@host/db", "mysql is not supported; use sqlite:///FILE"),
        ("postgresql://me:s3cret@host:port/db", "not the URL of a store"),
        ("postgresql://me:s3cret@/db?host=/nowhere", "check that the server runs and that the URL is right"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why_in_a_line(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "text.db").write_text("this is not a database, but a text that is longer than a header" * 20)
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(url.format(folder=tmp_path))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_an_error_that_does_not_show_it(postgres_server: str) -> None:
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        Store.open(postgres_server.replace(":s3cret@", ":wr0ng@"))
    assert "wr0ng" not in str(caught.value)


def test_a_database_that_is_not_there_is_an_error(postgres_server: str) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        Store.open(postgres_server.replace("/postgres?", "/nowhere?"))


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install '\.\[postgres\]'"):
        Store.open("postgresql://host/db")


def test_a_store_is_not_made_where_one_is_expected(tmp_path: Path) -> None:
    file = tmp_path / "typo.db"
    with pytest.raises(StoreError, match="there is no store"):
        Store.open(f"sqlite:///{file}", create=False)
    assert not file.exists()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_means_psycopg(scheme: str) -> None:
    assert parse_url(f"{scheme}://me@host/db").drivername == "postgresql+psycopg"


def test_the_representation_masks_the_password() -> None:
    pytest.importorskip("psycopg")
    with Store("postgresql://me:s3cret@host/db") as store:
        assert "s3cret" not in repr(store)


# ── indexes ──


@pytest.mark.parametrize("condition", [evidence.c.alert_id == "x", scores.c.verdict_id == 1], ids=["alert", "verdict"])
def test_what_is_below_a_result_is_found_by_an_index(tmp_path: Path, condition: Any) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store.open(url).close()
    query = select(condition.left.table).where(condition)
    engine = create_store_engine(parse_url(url))
    with engine.connect() as connection:
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
    engine.dispose()
    assert "USING INDEX" in plan or "USING PRIMARY KEY" in plan
