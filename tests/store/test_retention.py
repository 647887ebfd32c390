"""What a store deletes, and what it keeps, on SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from streamwatch.cli.main import main
from streamwatch.config import RetentionSettings, Settings
from streamwatch.errors import ConfigError
from streamwatch.records import Content, EvidenceClip, Label, ResultKey, SegmentResult
from streamwatch.store import Filters, Store
from streamwatch.store.database import create_store_engine, parse_url, reading
from streamwatch.store.janitor import Janitor
from streamwatch.store.size import bytes_in_use
from streamwatch.store.tables import scores, verdicts
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
    make_evidence,
    make_record,
    make_transition,
)
from tests.support.clocks import UtcClock
from tests.support.database import count, dump


def save_file(store: Store, run: int, number: int, **changes: Any) -> int:
    source = f"/archive/{number}.mp4"
    given = (full_alert(f"alert-{number}", source),)
    return store.save_verdict(run, full_verdict(source, f"{number:064}", **{"alerts": given, **changes}))


def only(**limits: Any) -> RetentionSettings:
    """These limits, and none of those that ship."""
    return RetentionSettings(**{"scores": None, "evidence": None, "history": None, **limits})


def names(store: Store) -> list[str]:
    return sorted(row.verdict.source for row in store.verdicts())


# ── by age ──


def test_nothing_goes_where_nothing_is_asked_for(store: Store, run: int, clock: UtcClock, database_url: str) -> None:
    save_file(store, run, 1)
    before = dump(database_url)
    clock.advance(days=4000)
    assert not only().asked_for
    assert sum(store.prune(only()).rows.values()) == 0
    assert dump(database_url) == before


def test_scores_then_evidence_then_results_go_with_age(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    settings = only(scores=30, evidence=90, results=365)
    save_file(store, run, 1)
    held = {name: len(rows) for name, rows in dump(database_url).items()}
    for days, gone in ((29, set()), (2, {"scores"}), (60, {"scores", "evidence"})):
        clock.advance(days=days)
        store.prune(settings)
        now = {name: len(rows) for name, rows in dump(database_url).items()}
        assert now == {name: 0 if name in gone else number for name, number in held.items()}
    clock.advance(days=275)
    done = store.prune(settings)
    assert (done.rows["verdicts"], done.rows["alerts"]) == (1, 1)
    assert {name for name, rows in dump(database_url).items() if rows} == {"runs"}, "names of sources go too"


def test_labels_have_times_of_their_own(store: Store, run: int, clock: UtcClock) -> None:
    save_file(store, run, 1)
    save_file(store, run, 2, label=Label.REAL, alerts=())
    save_file(store, run, 3, label=Label.INCONCLUSIVE, alerts=())
    clock.advance(days=40)
    store.prune(only(labels={Label.REAL: 30}))
    assert names(store) == ["/archive/1.mp4", "/archive/3.mp4"]
    store.prune(only(results=35, labels={Label.FAKE: 365}))
    assert names(store) == ["/archive/1.mp4"]


def test_what_a_person_has_reviewed_stays_with_its_evidence(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    for number in (1, 2):
        save_file(store, run, number)
    store.review("alert-2", Label.FAKE, "shown on air")
    kept = store.alert("alert-2")
    clock.advance(days=1000)
    store.prune(only(scores=1, evidence=1, results=1, history=1, max_bytes=1))
    assert names(store) == ["/archive/2.mp4"]
    assert dataclasses.asdict(store.alert("alert-2")) == dataclasses.asdict(kept)
    assert len(kept.evidence) == 2
    rows = dump(database_url)
    assert {row["alert_id"] for row in rows["evidence"]} == {"alert-2"}
    assert rows["scores"] == []


def live(store: Store, run: int, clock: UtcClock, day: int) -> None:
    """A stream that is watched since NOON, on a later day: a track, its scores and an alert of that day."""
    begin = day * 86_400.0
    track = dataclasses.replace(
        full_verdict().tracks[0], track_id=day + 1, start=begin, end=begin + 10, spans=(), evidence=()
    )
    frames = [
        dataclasses.replace(
            make_record(frame, track_id=day + 1),
            pts=begin + frame / 25,
            wall_time=NOON + timedelta(days=day, seconds=frame / 25),
        )
        for frame in range(0, 250, 25)
    ]
    face = dataclasses.replace(make_evidence(0, track_id=day + 1), wall_time=NOON + timedelta(days=day))
    alert = full_alert(
        f"day-{day}",
        CAMERA,
        track_id=day + 1,
        start=begin,
        end=begin + 10,
        started_at=NOON + timedelta(days=day),
        ended_at=NOON + timedelta(days=day, seconds=10),
        evidence=(face,),
    )
    verdict = live_verdict(alert)
    changed = dataclasses.replace(verdict, tracks=(track,), scores=tuple(frames), duration=begin + 10, started_at=NOON)
    store.save_verdict(run, changed)


def test_a_stream_that_is_still_watched_lets_go_of_its_old_days(
    store: Store, clock: UtcClock, database_url: str
) -> None:
    run = store.begin_run("streamwatch watch", "{}", CONFIG)
    for day in range(40):
        live(store, run, clock, day)
        clock.advance(days=1)
    store.review("day-3", Label.FAKE)
    done = store.prune(only(scores=10, evidence=20, results=30))
    rows = dump(database_url)
    assert len(rows["verdicts"]) == 1
    assert {row["track_id"] - 1 for row in rows["scores"]} == set(range(30, 40))
    assert {row["track_id"] - 1 for row in rows["evidence"]} == {3, *range(20, 40)}
    assert {row["id"] for row in rows["alerts"]} == {f"day-{day}" for day in (3, *range(10, 40))}
    assert {row["track_id"] - 1 for row in rows["tracks"]} == set(range(10, 40))
    assert done.rows["scores"] == 300


def test_an_alert_that_is_open_stays(store: Store, clock: UtcClock) -> None:
    run = store.begin_run("streamwatch watch", "{}", CONFIG)
    long = full_alert("long", CAMERA, end=None, started_at=NOON, evidence=())
    store.save_verdict(run, live_verdict(long))
    clock.advance(days=50)
    store.save_verdict(run, live_verdict(long, score=0.5))
    store.prune(only(results=30))
    assert store.alert("long").end is None


def test_old_history_goes_but_not_how_streams_stand(store: Store, clock: UtcClock, database_url: str) -> None:
    run = store.begin_run("streamwatch watch", "{}", CONFIG)
    empty = store.begin_run("streamwatch scan", "{}", CONFIG)
    store.end_run(empty, "done")
    store.save(run, [make_transition(0), make_transition(1), make_transition(0, "rtsp://***@camera.example/2")])
    store.save(run, [full_verdict()], (SINK,))
    (delivery,) = store.deliveries.due("desk")
    store.deliveries.delivered(delivery)
    store.contents.note([Content("/a.mp4", 1, 2, "a" * 64), Content("/b.mp4", 1, 2, "b" * 64)])
    unfinished = ResultKey("e" * 64, MODEL.sha256, CONFIG)
    store.leases.take(run, unfinished)
    store.save(run, [SegmentResult(unfinished, ":100", b"part")])
    clock.advance(days=20)
    store.contents.known(["/b.mp4"])
    clock.advance(days=20)
    streams = [stream.change for stream in store.streams()]
    done = store.prune(only(history=30))
    assert dict(done.rows) == {"transitions": 1, "deliveries": 1, "runs": 1, "contents": 1, "leases": 1, "segments": 1}
    assert [stream.change for stream in store.streams()] == streams
    rows = dump(database_url)
    assert [row["path"] for row in rows["contents"]] == ["/b.mp4"]
    assert [row["id"] for row in rows["runs"]] == [run]


def test_pending_deliveries_stay(store: Store, run: int, clock: UtcClock) -> None:
    store.save(run, [full_verdict()], (SINK,))
    clock.advance(days=100)
    store.prune(only(history=1))
    assert len(store.deliveries.due("desk")) == 1


# ── clips ──


@pytest.mark.parametrize("settings", [only(evidence=1), only(results=1)])
def test_clips_go_with_the_evidence_and_with_their_alerts(
    store: Store, run: int, clock: UtcClock, tmp_path: Path, settings: RetentionSettings
) -> None:
    folder = tmp_path / "clips"
    for number in (1, 2):
        save_file(store, run, number)
        store.save(run, [EvidenceClip("camera", f"alert-{number}", b"video")], clips=folder)
    store.review("alert-2")
    clock.advance(days=2)
    would = store.prune(settings, clips=folder, dry=True)
    assert len(list(folder.iterdir())) == 2
    done = store.prune(settings, clips=folder)
    assert [path.name for path in folder.iterdir()] == ["alert-2.mp4"]
    assert (would.files, would.file_bytes) == (done.files, done.file_bytes) == (1, 5)
    kept = store.clip("alert-2")
    assert kept is not None
    assert kept.path is not None
    gone = store.clip("alert-1")
    if settings.results is None:
        assert gone is not None
        assert (gone.path, gone.failure) == (None, "it was removed after its time")
    else:
        assert gone is None


def test_files_outside_the_folder_of_the_clips_are_left_alone(
    store: Store, run: int, clock: UtcClock, tmp_path: Path
) -> None:
    """A store that came from somebody else may name any file."""
    save_file(store, run, 1)
    store.save(run, [EvidenceClip("camera", "alert-1", b"video")], clips=tmp_path / "other")
    clock.advance(days=2)
    done = store.prune(only(evidence=1), clips=tmp_path / "clips")
    assert (tmp_path / "other" / "alert-1.mp4").exists()
    assert "left alone" in done.trouble[0]


# ── by size ──


def test_a_store_that_is_too_large_lets_go_of_its_oldest_scores_then_pictures(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    engine = create_store_engine(parse_url(database_url))
    empty = bytes_in_use(engine)
    picture = dataclasses.replace(make_evidence(1), crop_jpeg=b"x" * 20_000)
    alert = {"evidence": (picture,)}
    for number in range(12):
        given = (full_alert(f"alert-{number}", f"/archive/{number}.mp4", **alert),)
        many = tuple(make_record(frame) for frame in range(500))
        save_file(store, run, number, alerts=given, tracks=(), scores=many)
        clock.advance(days=1)
    full = bytes_in_use(engine)
    assert full - empty > 12 * (20_000 + 500 * 80)

    limit = full - 2 * 500 * 80
    done = store.prune(only(max_bytes=limit))
    assert done.in_use is not None
    assert done.in_use == bytes_in_use(engine) <= limit
    with reading(engine) as connection:
        left = connection.execute(select(scores.c.verdict_id, func.count()).group_by(scores.c.verdict_id)).all()
        newest = connection.execute(select(func.max(verdicts.c.id))).scalar_one()
    ids = sorted(row[0] for row in left)
    assert 6 < len(ids) < 12, "some went, and no more than was needed"
    assert ids == list(range(newest - len(ids) + 1, newest + 1)), "the oldest went"
    assert count(database_url, "evidence") == 12

    store.prune(only(scores=0.001))
    done = store.prune(only(max_bytes=bytes_in_use(engine) - 50_000))
    assert count(database_url, "scores") == 0
    assert 0 < count(database_url, "evidence") < 12
    assert (done.over, count(database_url, "verdicts")) == (0, 12)
    done = store.prune(only(max_bytes=1))
    assert done.over > 0, "verdicts are not deleted for their size"
    assert (count(database_url, "evidence"), count(database_url, "verdicts")) == (0, 12)
    engine.dispose()


# ── how ──


def test_a_dry_run_says_what_goes_and_changes_nothing(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    for number in range(5):
        save_file(store, run, number)
        clock.advance(days=10)
    store.review("alert-0")
    store.save_verdict(run, failed_verdict(source="/archive/broken.mp4", sha256=None))
    settings = only(scores=15, evidence=25, results=35, history=1)
    before = dump(database_url)
    would = store.prune(settings, dry=True)
    assert dump(database_url) == before
    done = store.prune(settings)
    assert done.rows["scores"] > 0
    assert {name: number for name, number in would.rows.items() if number} == {
        name: number for name, number in done.rows.items() if number
    }


def test_a_prune_that_is_repeated_finds_nothing_more(store: Store, run: int, clock: UtcClock) -> None:
    save_file(store, run, 1)
    clock.advance(days=100)
    settings = only(scores=30, evidence=30, history=30)
    assert sum(store.prune(settings).rows.values()) > 0
    assert sum(store.prune(settings).rows.values()) == 0


def test_a_run_writes_while_a_prune_goes_on(store: Store, run: int, clock: UtcClock, database_url: str) -> None:
    many = tuple(make_record(frame) for frame in range(2_000))
    for number in range(8):
        save_file(store, run, number, scores=many)
    clock.advance(days=100)
    pruned = threading.Thread(target=store.prune, args=(only(scores=30),))
    waits: list[float] = []
    with Store.open(database_url) as other:
        pruned.start()
        while pruned.is_alive():
            begun = time.perf_counter()
            other.save(run, [live_verdict(score=len(waits) % 100 / 100)])
            waits.append(time.perf_counter() - begun)
            time.sleep(0.01)
    assert count(database_url, "scores") == 10, "those of the stream that was written meanwhile"
    assert len(waits) > 3, "the writer had its turns"
    assert max(waits) < 2.0


def test_a_file_that_was_pruned_is_looked_at_again(store: Store, run: int, clock: UtcClock) -> None:
    key = ResultKey("f" * 64, MODEL.sha256, CONFIG)
    store.save_verdict(run, full_verdict())
    clock.advance(days=2)
    store.prune(only(scores=1))
    found = store.find_verdict(key)
    assert found is not None
    assert found.scores == ()
    store.prune(only(results=1))
    assert store.find_verdict(key) is None
    assert store.verdicts(Filters(source="clip")) == []


# ── the command, and a run ──


def test_the_command_prunes(
    tmp_path: Path, clock: UtcClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["db", "prune", *arguments])
        assert isinstance(ended.value.code, int)
        out, error = capsys.readouterr()
        return ended.value.code, out + error

    url = f"sqlite:///{tmp_path / 'store.db'}"
    config = tmp_path / "config.yaml"
    with Store.open(url, clock=clock) as store:
        save_file(store, store.begin_run("scan", "{}", CONFIG), 1)
    forever = "retention: {scores: null, evidence: null, history: null"
    config.write_text(f"{forever}}}\n", encoding="utf-8")
    assert run("--store", url, "--config", str(config)) == (
        2,
        "streamwatch: retention: nothing is set, so that everything is kept; config.yaml explains its keys\n",
    )
    config.write_text(f"store: {{url: '{url}'}}\n{forever.replace('scores: null', 'scores: 1')}}}\n", encoding="utf-8")
    assert run("--dry-run", "--config", str(config)) == (0, "would go: 10 scores\n")
    assert run("--config", str(config)) == (0, "gone: 10 scores\n")
    assert run("--config", str(config)) == (0, "gone: nothing\n")
    monkeypatch.setenv("STREAMWATCH__RETENTION__MAX_BYTES", "1000")
    _, out = run("--config", str(config), "--json")
    assert json.loads(out)["over"] > 0
    _, out = run("--config", str(config))
    assert out.startswith("gone: nothing\n")
    assert out.endswith("0.0 MB allowed; nothing heavy is left\n")


@pytest.mark.parametrize("wrong", ["{scores: -1}", "{labels: {genuine: 3}}", "{labels: {real: 0}}", "{max_bytes: 0}"])
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, wrong: str) -> None:
    from streamwatch.config import load_settings

    file = tmp_path / "config.yaml"
    file.write_text(f"retention: {wrong}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"retention\.(scores|labels|max_bytes)"):
        load_settings(file)


def test_a_run_prunes_its_store_by_itself(tmp_path: Path, clock: UtcClock) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url, clock=clock) as store:
        save_file(store, store.begin_run("scan", "{}", CONFIG), 1)
    now = 0.0
    settings = Settings(store={"url": url}, retention={"scores": 1, "every": 60})
    janitor = Janitor(settings, clock=lambda: now)
    assert janitor.poll() == []
    janitor.wait()
    assert count(url, "scores") == 0
    with Store.open(url, clock=clock) as store:
        save_file(store, 1, 2)
    now = 59.0
    janitor.poll()
    janitor.wait()
    assert count(url, "scores") == 10, "it is not yet time"
    now = 60.0
    janitor.poll()
    janitor.wait()
    assert count(url, "scores") == 0


def test_a_prune_that_fails_is_told_by_the_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}"
    janitor = Janitor(Settings(store={"url": url}, retention={"scores": 1}))
    janitor.poll()
    janitor.wait()
    (line,) = janitor.poll()
    assert "nowhere does not exist" in line
    assert "tried again in 3600 s" in line


def test_without_retention_a_run_prunes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}"
    janitor = Janitor(Settings(store={"url": url}, retention=only()))
    janitor.poll()
    janitor.wait()
    assert janitor.poll() == []


def test_what_ships_deletes_faces_after_three_months_and_keeps_what_was_found(
    store: Store, run: int, clock: UtcClock, database_url: str
) -> None:
    save_file(store, run, 1)
    clock.advance(days=89)
    store.prune(Settings().retention)
    assert count(database_url, "scores") > 0
    assert count(database_url, "evidence") > 0
    clock.advance(days=2)
    store.prune(Settings().retention)
    assert count(database_url, "scores") == count(database_url, "evidence") == 0
    assert names(store) == ["/archive/1.mp4"]
    assert len(store.alerts()) == 1
