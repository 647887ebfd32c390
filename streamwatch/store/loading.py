"""From table rows to records, for many verdicts at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Table, select

from streamwatch.records import AlertKind, Evidence, Label, VideoVerdict
from streamwatch.store import rows as to
from streamwatch.store.copies import load_copies
from streamwatch.store.cursors import Cursor
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import alerts, evidence, scores, spans, tracks

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert in a listing: no pictures, but what a person said of it.

    track_id, peak, mean, faces: of a forgery; see `records.Alert`. start, end: media seconds. started_at, ended_at: UTC
    instants of capture (live sources). stored_at: when it was first stored. cursor: its place in a listing.
    """

    id: str
    verdict_id: int
    source: str
    kind: AlertKind
    reason: str
    track_id: int | None
    start: float
    end: float | None
    started_at: datetime | None
    ended_at: datetime | None
    peak: float | None
    mean: float | None
    faces: int | None
    label: Label
    revision: int
    stored_at: datetime
    state: ReviewState
    review_label: Label | None
    review_comment: str | None
    reviewed_at: datetime | None
    reviewed_by: str | None = None
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VerdictRow:
    """A verdict in a listing. Its record holds tracks, spans and alerts, but neither scores nor evidence.

    occurred_at: start of capture of a live source, else stored_at: when the verdict was last stored. copies: other
    paths of the same content.
    """

    id: int
    run_id: int
    stored_at: datetime
    occurred_at: datetime
    verdict: VideoVerdict
    copies: tuple[str, ...] = ()

    @property
    def cursor(self) -> Cursor:
        """Its place in a listing."""
        return Cursor(self.occurred_at, str(self.id))


def load_verdicts(connection: Connection, found: Sequence[RowMapping], *, complete: bool) -> Iterator[VerdictRow]:
    """Records for rows of `verdicts`, in their order; `complete`: with scores and evidence."""
    ids = [row["id"] for row in found]
    track_rows = _by_verdict(connection, tracks, ids, tracks.c.track_id)
    span_rows = _by_verdict(connection, spans, ids, spans.c.track_id, spans.c.position)
    alert_rows = _by_verdict(connection, alerts, ids, alerts.c.start_pts, alerts.c.track_id, alerts.c.id)
    copied = load_copies(connection, ids)
    proof_rows, score_rows = {}, {}
    if complete:
        proof_rows = _by_verdict(connection, evidence, ids, evidence.c.score.desc(), evidence.c.pts)
        score_rows = _by_verdict(connection, scores, ids, scores.c.pts, scores.c.track_id)
    for row in found:
        key = row["id"]
        own_spans = _grouped(span_rows.get(key, ()), "track_id", to.to_span)
        of_track = _grouped(proof_rows.get(key, ()), "track_id", to.to_evidence)
        of_alert = _grouped(proof_rows.get(key, ()), "alert_id", to.to_evidence)
        yield VerdictRow(
            id=key,
            run_id=row["run_id"],
            stored_at=row["stored_at"],
            occurred_at=row["occurred_at"],
            verdict=to.to_verdict(
                row,
                tracks=[
                    to.to_track(track, own_spans[track["track_id"]], of_track[track["track_id"]])
                    for track in track_rows.get(key, ())
                ],
                alerts=[to.to_alert(alert, of_alert[alert["id"]]) for alert in alert_rows.get(key, ())],
                scores=[to.to_score(score) for score in score_rows.get(key, ())],
            ),
            copies=tuple(copied.get(key, ())),
        )


def _by_verdict(connection: Connection, table: Table, ids: Sequence[int], *order: Any) -> dict[int, list[RowMapping]]:
    groups: dict[int, list[RowMapping]] = defaultdict(list)
    for row in connection.execute(select(table).where(table.c.verdict_id.in_(ids)).order_by(*order)).mappings():
        groups[row["verdict_id"]].append(row)
    return groups


def _grouped(found: Iterable[RowMapping], column: str, build: Callable[[RowMapping], T]) -> dict[Any, list[T]]:
    groups: dict[Any, list[T]] = defaultdict(list)
    for row in found:
        groups[row[column]].append(build(row))
    return groups


def load_evidence(connection: Connection, condition: Any) -> list[Evidence]:
    query = select(evidence).where(condition).order_by(evidence.c.score.desc(), evidence.c.pts)
    return [to.to_evidence(row) for row in connection.execute(query).mappings()]


def to_alert_row(row: RowMapping) -> AlertRow:
    review_label = row["review_label"]
    return AlertRow(
        id=row["id"],
        verdict_id=row["verdict_id"],
        source=row["source"],
        kind=AlertKind(row["kind"]),
        reason=row["reason"],
        track_id=row["track_id"],
        start=row["start_pts"],
        end=row["end_pts"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        peak=row["peak"],
        mean=row["mean"],
        faces=row["faces"],
        label=Label(row["label"]),
        revision=row["revision"],
        stored_at=row["stored_at"],
        state=ReviewState(row["state"]),
        review_label=None if review_label is None else Label(review_label),
        review_comment=row["review_comment"],
        reviewed_at=row["reviewed_at"],
        reviewed_by=row["reviewed_by"],
        cursor=Cursor(row["occurred_at"], row["id"], row["start_pts"]),
    )
