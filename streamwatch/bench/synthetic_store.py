"""Stores of any size to measure on: rows as two years of files and cameras leave them, drawn by a seed, no pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, func, select, text

from streamwatch.records import AlertKind, Label
from streamwatch.store.bulk import insert_rows
from streamwatch.store.database import transaction
from streamwatch.store.sources import note_sources
from streamwatch.store.states import ReviewState, RunStatus
from streamwatch.store.tables import alerts, runs, scores, spans, tracks, verdicts

Rows = list[dict[str, Any]]

LIVE = 5
"""One verdict in so many is on a camera, the others on files."""
CAMERAS = 10
"""One source in so many is a camera."""
LABELS = {Label.REAL: 0.80, Label.FAKE: 0.06, Label.INCONCLUSIVE: 0.08, Label.NO_FACE: 0.05, Label.ERROR: 0.01}
FAULTY = 0.08
"""Share of the verdicts on cameras that have an operational alert."""
REVIEWED = 0.3
"""Share of the alerts that a person has reviewed."""
BEGIN = datetime(2024, 1, 1, tzinfo=timezone.utc)
YEARS = timedelta(days=730)

_BATCH = 2_000
_OPERATIONAL = {
    AlertKind.DOWN: Label.ERROR,
    AlertKind.FROZEN: Label.INCONCLUSIVE,
    AlertKind.BLACK: Label.INCONCLUSIVE,
    AlertKind.UNANALYSED: Label.ERROR,
}


@dataclass(frozen=True, slots=True)
class StoreShape:
    """How much is made. scores: of faces, per verdict on average."""

    verdicts: int
    scores: int
    sources: int
    seed: int = 1


@dataclass(slots=True)
class FillResult:
    """What was inserted, by table, and the seconds that it took; score_seconds: those of the scores alone."""

    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    score_seconds: float = 0.0


def fill(engine: Engine, shape: StoreShape, progress: Callable[[int], None] = lambda done: None) -> FillResult:
    """Fill a store that has its tables; seconds count the inserts and commits, not the drawing of numbers.

    progress: called with the number of verdicts so far.
    """
    draw = np.random.default_rng(shape.seed)
    names = source_names(shape.sources)
    cameras = max(1, shape.sources // CAMERAS)
    filled = FillResult()
    with transaction(engine) as connection:
        first = 1 + (connection.execute(select(func.max(verdicts.c.id))).scalar() or 0)
        first_run = 1 + (connection.execute(select(func.max(runs.c.id))).scalar() or 0)
        note_sources(connection, names)
        count = shape.verdicts // LIVE // cameras + 1
        insert_rows(connection, runs, [_run(first_run + number) for number in range(count)])
    for start in range(0, shape.verdicts, _BATCH):
        made = _batch(draw, shape, names, cameras, start, min(_BATCH, shape.verdicts - start), first, first_run)
        begun = time.perf_counter()
        with transaction(engine) as connection:
            for table in (verdicts, tracks, spans, alerts):
                insert_rows(connection, table, made[table.name])
            before = time.perf_counter()
            insert_rows(connection, scores, made["scores"])
            filled.score_seconds += time.perf_counter() - before
        filled.seconds += time.perf_counter() - begun
        for name, rows in made.items():
            filled.rows[name] = filled.rows.get(name, 0) + len(rows)
        progress(start + len(made["verdicts"]))
    with transaction(engine) as connection:
        _go_on_counting(connection)
    return filled


def source_names(count: int) -> list[str]:
    """Cameras first, one in ten, then files."""
    cameras = max(1, count // CAMERAS)
    desks = ("news", "sport", "parliament", "weather")
    names = [f"rtsp://***@camera-{number:04}.example/{desks[number % len(desks)]}/main" for number in range(cameras)]
    for number in range(count - cameras):
        month = number % 24
        names.append(f"/archive/{2024 + month // 12}/{1 + month % 12:02}/{desks[number % 4]}/Broadcast {number:06}.mp4")
    return names


def _run(run_id: int) -> dict[str, Any]:
    done = {"started_at": BEGIN, "ended_at": BEGIN + YEARS, "heard_at": BEGIN + YEARS, "status": RunStatus.DONE.value}
    return {"id": run_id, "command": "synthetic", "settings": "{}", "config_sha256": "c" * 64, **done}


def _batch(
    draw: np.random.Generator,
    shape: StoreShape,
    names: list[str],
    cameras: int,
    start: int,
    count: int,
    first: int,
    first_run: int,
) -> dict[str, Rows]:
    made: dict[str, Rows] = {table.name: [] for table in (verdicts, tracks, spans, alerts, scores)}
    labels = draw.choice(list(LABELS), size=count, p=list(LABELS.values()))
    files = draw.integers(cameras, max(cameras + 1, len(names)), size=count)
    faced = [label in (Label.REAL, Label.FAKE, Label.INCONCLUSIVE) for label in labels]
    shares = np.cumsum(faced) * (shape.scores * count / max(1, sum(faced)))
    totals = np.diff(np.floor(shares + 1e-6), prepend=0).astype(int)
    for offset in range(count):
        number = start + offset
        label, total = Label(labels[offset]), int(totals[offset])
        live = number % LIVE == 0
        run_id, source = first_run, names[min(int(files[offset]), len(names) - 1)]
        if live:
            run_id, source = first_run + number // LIVE // cameras, names[number // LIVE % cameras]
        at = BEGIN + YEARS * (number / shape.verdicts)
        verdict_id = first + number
        duration = max(10.0, total / 2.0)
        strength = _strength(draw, label)
        made["verdicts"].append(
            {
                "id": verdict_id,
                "run_id": run_id,
                "source": source,
                "sha256": None if live else draw.bytes(32).hex(),
                "model_name": "m2tr-lite",
                "model_sha256": "a" * 64,
                "config_sha256": "c" * 64,
                "policy": "mean_logit fake>=0.80 real<=0.50 min_faces=4",
                "label": label.value,
                "score": strength,
                "reason": "" if total else "no face in 25 frames",
                "failure_kind": "SourceUnreadable" if label is Label.ERROR else None,
                "failure_message": "not a video" if label is Label.ERROR else None,
                "duration": duration,
                "decoded": int(duration * 25),
                "sampled": int(duration * 2),
                "analysed": int(duration * 2),
                "dropped": 0,
                "corrupt": 0,
                "dropped_by": "{}",
                "started_at": at if live else None,
                "stored_at": at + timedelta(seconds=duration),
                "occurred_at": at,
                "digest": draw.bytes(32).hex(),
            }
        )
        if total:
            _faces(draw, made, verdict_id, label, strength or 0.0, total, duration, at if live else None)
        made["alerts"] += _alerts(draw, verdict_id, source, label, strength, duration, at, live=live)
    return made


def _strength(draw: np.random.Generator, label: Label) -> float | None:
    low, high = {Label.REAL: (0.0, 0.5), Label.FAKE: (0.8, 1.0), Label.INCONCLUSIVE: (0.5, 0.8)}.get(label, (0.0, 0.0))
    return float(draw.uniform(low, high)) if high else None


def _faces(
    draw: np.random.Generator,
    made: dict[str, Rows],
    verdict_id: int,
    label: Label,
    strength: float,
    total: int,
    duration: float,
    since: datetime | None,
) -> None:
    track = {"verdict_id": verdict_id, "track_id": 1}
    about = {"label": label.value, "score": strength, "faces": total, "reason": ""}
    made["tracks"].append({**track, "start_pts": 0.0, "end_pts": duration, **about})
    if label is Label.FAKE:
        span = {"position": 0, "start_pts": 1.0, "end_pts": duration - 1.0, "peak": strength, "mean": strength}
        made["spans"].append({**track, **span})
    noise = draw.normal(size=(total, 6))
    values = np.column_stack(
        [
            640 + 50 * noise[:, 0],
            300 + 30 * noise[:, 1],
            120 + np.abs(20 * noise[:, 2]),
            np.clip(0.97 + 0.02 * noise[:, 3], 0.8, 1.0),
            np.clip(strength + 0.05 * noise[:, 4], 0.001, 0.999),
            200 + 40 * noise[:, 5],
        ]
    ).tolist()
    for index, (x, y, side, confidence, probability, sharpness) in enumerate(values):
        made["scores"].append(
            {
                **track,
                "frame_index": index * 12,
                "pts": index * 0.5,
                "wall_time": None if since is None else since + timedelta(seconds=index * 0.5),
                "x0": x,
                "y0": y,
                "x1": x + side,
                "y1": y + side,
                "confidence": confidence,
                "logit": float(np.log(probability / (1 - probability))),
                "probability": probability,
                "short_side": side,
                "sharpness": sharpness,
                "pose": 0.1,
                "upscaling": 1.0,
            }
        )


def _alerts(
    draw: np.random.Generator,
    verdict_id: int,
    source: str,
    label: Label,
    strength: float | None,
    duration: float,
    at: datetime,
    *,
    live: bool,
) -> Iterator[dict[str, Any]]:
    kinds: list[tuple[AlertKind, Label]] = []
    if label is Label.FAKE:
        kinds.append((AlertKind.FORGERY, Label.FAKE))
    if live and draw.random() < FAULTY:
        kinds.append(list(_OPERATIONAL.items())[draw.integers(len(_OPERATIONAL))])
    for kind, said in kinds:
        forged = kind is AlertKind.FORGERY
        reviewed = draw.random() < REVIEWED
        when = at + timedelta(seconds=1)
        yield {
            "id": draw.bytes(16).hex(),
            "verdict_id": verdict_id,
            "source": source,
            "track_id": 1 if forged else None,
            "start_pts": 1.0,
            "end_pts": duration - 1.0,
            "started_at": when if live else None,
            "ended_at": when + timedelta(seconds=duration - 2.0) if live else None,
            "peak": strength if forged else None,
            "mean": strength if forged else None,
            "label": said.value,
            "revision": 2,
            "stored_at": when,
            "occurred_at": when if live else at,
            "digest": draw.bytes(32).hex(),
            "state": (ReviewState.REVIEWED if reviewed else ReviewState.NEW).value,
            "review_label": said.value if reviewed else None,
            "review_comment": "looked at" if reviewed else None,
            "reviewed_at": when + timedelta(days=1) if reviewed else None,
            "kind": kind.value,
            "reason": "" if forged else "synthetic",
            "faces": 20 if forged else None,
            "seen_pts": duration - 1.0,
        }


def _go_on_counting(connection: Connection) -> None:
    """PostgreSQL counts ids by itself, from 1 on, whatever was inserted."""
    if connection.dialect.name == "postgresql":
        for name in ("runs", "verdicts"):
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"))
