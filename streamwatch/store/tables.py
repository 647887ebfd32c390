"""The tables.

    runs 1──n verdicts 1──n tracks 1──n spans
                     │──n scores      one row per scored face
                     │──n alerts 1──1 clips, 1──n deliveries, 1──n reviews
                     │──n copies      other paths of the same content
                     └──n evidence    crop and mask, beside the alert (or else only the track) that they prove
         └──n transitions             changes of state of the streams that the run watched
    jobs 1──n items                   what scans had to look at, and what has become of it

    reviews: what people said of an alert, all of it; the last one stands with the alert too.
    clips: a file beside the database per alert, or why there is none. deliveries: the queue of alerts to sinks.
    contents: hashes of files as they were when they were read; a cache, which may be emptied at any time.
    leases: which run works on which content at the moment.
    segments: what was found in parts of long files, until the verdict on the file is there.
    sources: each source once, for those who look for one by a part of its name.

A verdict on a file is unique by (content, model, configuration); one on a live source, or on an input that
could not be hashed, by (run, source). `occurred_at` is the instant that a listing filters and sorts by: when
the source was captured, or else when the result was stored. Everything under a verdict goes with it.

A listing walks one of the indexes `newest` and `by_…`. They hold every column that it filters by, so that rows are read
only for what it shows, and the worst combination of filters reads one index once.

A change here needs a revision in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from dataclasses import fields
from enum import Enum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from streamwatch.records import AlertKind, Label, MaskCoverage
from streamwatch.sources.states import Cause, StreamState
from streamwatch.store.states import ItemState, ReviewState, RunStatus
from streamwatch.store.types import UtcDateTime

COVERAGE = tuple(field.name for field in fields(MaskCoverage))
"""Each is a column of `evidence`, under its name after `mask_`."""


def _one_of(column: str, values: type[Enum]) -> CheckConstraint:
    listed = ", ".join(f"'{item.value}'" for item in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _share(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN 0 AND 1", name=column)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("command", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("heard_at", UtcDateTime),
    Column("status", String(16), nullable=False),
    _one_of("status", RunStatus),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("sha256", String(64)),
    Column("model_name", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("policy", Text, nullable=False),
    Column("label", String(16), nullable=False),
    Column("score", Float(53)),
    Column("reason", Text, nullable=False),
    Column("failure_kind", Text),
    Column("failure_message", Text),
    Column("duration", Float(53)),
    Column("decoded", BigInteger, nullable=False),
    Column("sampled", BigInteger, nullable=False),
    Column("analysed", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("corrupt", BigInteger, nullable=False),
    Column("dropped_by", Text, nullable=False, server_default="{}"),
    Column("started_at", UtcDateTime),
    Column("stored_at", UtcDateTime, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("digest", String(64), nullable=False),
    _one_of("label", Label),
    _share("score"),
    UniqueConstraint("sha256", "model_sha256", "config_sha256"),
    Index(
        "uq_verdicts_live",
        "run_id",
        "source",
        unique=True,
        sqlite_where=text("sha256 IS NULL"),
        postgresql_where=text("sha256 IS NULL"),
    ),
    Index(None, "run_id"),
    Index("ix_verdicts_newest", "occurred_at", "id", "label", "score", "source"),
    Index("ix_verdicts_by_label", "label", "occurred_at", "id", "score", "source"),
    Index("ix_verdicts_by_source", "source", "occurred_at", "id", "label", "score"),
)

tracks = Table(
    "tracks",
    metadata,
    Column("verdict_id", ForeignKey("verdicts.id", ondelete="CASCADE"), primary_key=True),
    Column("track_id", Integer, primary_key=True, autoincrement=False),
    Column("start_pts", Float(53), nullable=False),
    Column("end_pts", Float(53), nullable=False),
    Column("label", String(16), nullable=False),
    Column("score", Float(53)),
    Column("faces", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    _one_of("label", Label),
    _share("score"),
)

spans = Table(
    "spans",
    metadata,
    Column("verdict_id", Integer, primary_key=True, autoincrement=False),
    Column("track_id", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("start_pts", Float(53), nullable=False),
    Column("end_pts", Float(53), nullable=False),
    Column("peak", Float(53), nullable=False),
    Column("mean", Float(53), nullable=False),
    ForeignKeyConstraint(["verdict_id", "track_id"], ["tracks.verdict_id", "tracks.track_id"], ondelete="CASCADE"),
)

scores = Table(
    "scores",
    metadata,
    Column("verdict_id", ForeignKey("verdicts.id", ondelete="CASCADE"), primary_key=True),
    Column("track_id", Integer, primary_key=True, autoincrement=False),
    Column("frame_index", BigInteger, primary_key=True, autoincrement=False),
    Column("pts", Float(53), nullable=False),
    Column("wall_time", UtcDateTime),
    Column("x0", Float(53), nullable=False),
    Column("y0", Float(53), nullable=False),
    Column("x1", Float(53), nullable=False),
    Column("y1", Float(53), nullable=False),
    Column("confidence", Float(53), nullable=False),
    Column("logit", Float(53), nullable=False),
    Column("probability", Float(53), nullable=False),
    Column("short_side", Float(53), nullable=False),
    Column("sharpness", Float(53), nullable=False),
    Column("pose", Float(53), nullable=False),
    Column("upscaling", Float(53), nullable=False),
    _share("probability"),
    sqlite_with_rowid=False,
)

_PLACE = ("occurred_at", "start_pts", "id")
"""What puts alerts in the order of a listing."""

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("verdict_id", ForeignKey("verdicts.id", ondelete="CASCADE"), nullable=False),
    Column("source", Text, nullable=False),
    Column("track_id", Integer),
    Column("start_pts", Float(53), nullable=False),
    Column("end_pts", Float(53)),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("peak", Float(53)),
    Column("mean", Float(53)),
    Column("label", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("review_label", String(16)),
    Column("review_comment", Text),
    Column("reviewed_at", UtcDateTime),
    Column("reviewed_by", Text),
    Column("kind", String(16), nullable=False, server_default=AlertKind.FORGERY.value),
    Column("reason", Text, nullable=False, server_default=""),
    Column("faces", Integer),
    Column("seen_pts", Float(53)),
    _one_of("kind", AlertKind),
    _one_of("label", Label),
    _one_of("state", ReviewState),
    _one_of("review_label", Label),
    _share("peak"),
    Index(None, "verdict_id", "state", "kind"),
    Index("ix_alerts_newest", *_PLACE, "state", "kind", "label", "peak", "source", "verdict_id"),
    Index("ix_alerts_by_state", "state", *_PLACE, "kind", "label", "peak", "source", "verdict_id"),
    Index("ix_alerts_by_kind", "kind", *_PLACE, "state", "label", "peak", "source", "verdict_id"),
    Index("ix_alerts_by_label", "label", *_PLACE, "state", "kind", "peak", "source", "verdict_id"),
    Index("ix_alerts_by_source", "source", *_PLACE, "state", "kind", "label", "peak", "verdict_id"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("verdict_id", ForeignKey("verdicts.id", ondelete="CASCADE"), primary_key=True),
    Column("track_id", Integer, primary_key=True, autoincrement=False),
    Column("frame_index", BigInteger, primary_key=True, autoincrement=False),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE")),
    Column("pts", Float(53), nullable=False),
    Column("wall_time", UtcDateTime),
    Column("x0", Float(53), nullable=False),
    Column("y0", Float(53), nullable=False),
    Column("x1", Float(53), nullable=False),
    Column("y1", Float(53), nullable=False),
    Column("region_x0", Float(53)),
    Column("region_y0", Float(53)),
    Column("region_x1", Float(53)),
    Column("region_y1", Float(53)),
    Column("score", Float(53), nullable=False),
    Column("crop_jpeg", LargeBinary, nullable=False),
    Column("mask_png", LargeBinary),
    *(Column(f"mask_{name}", Float(53)) for name in COVERAGE),
    *(_share(f"mask_{name}") for name in COVERAGE),
    Index(None, "alert_id"),
)

clips = Table(
    "clips",
    metadata,
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text),
    Column("sha256", String(64)),
    Column("bytes", BigInteger),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("failure", Text),
    Column("stored_at", UtcDateTime, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sink", Text, nullable=False),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failure", Text),
    Column("delivered_at", UtcDateTime),
    UniqueConstraint("sink", "alert_id", "revision"),
    Index(None, "delivered_at", "due_at"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("by", Text),
    Column("state", String(16), nullable=False),
    Column("label", String(16)),
    Column("comment", Text),
    _one_of("state", ReviewState),
    _one_of("label", Label),
    Index(None, "alert_id"),
)

copies = Table(
    "copies",
    metadata,
    Column("verdict_id", ForeignKey("verdicts.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Index(None, "source"),
    sqlite_with_rowid=False,
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("previous", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cause", String(16)),
    Column("message", Text, nullable=False),
    Column("retry_in", Float(53)),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("last_at", UtcDateTime),
    _one_of("previous", StreamState),
    _one_of("state", StreamState),
    _one_of("cause", Cause),
    UniqueConstraint("run_id", "source", "at", "state"),
    Index(None, "at"),
    Index(None, "source", "at"),
)

contents = Table(
    "contents",
    metadata,
    Column("path", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("seen_on", Date),
)

sources = Table(
    "sources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("folded", Text, nullable=False),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("model_sha256", String(64), primary_key=True),
    Column("config_sha256", String(64), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Index(None, "run_id"),
)

segments = Table(
    "segments",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("model_sha256", String(64), primary_key=True),
    Column("config_sha256", String(64), primary_key=True),
    Column("place", String(48), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("heard_at", UtcDateTime),
    Column("cancelled_at", UtcDateTime),
    UniqueConstraint("key"),
)

items = Table(
    "items",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("sha256", String(64)),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failure_kind", Text),
    Column("failure_message", Text),
    _one_of("state", ItemState),
    Index(None, "job_id", "state"),
)
