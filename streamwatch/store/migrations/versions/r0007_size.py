"""Stores of a million verdicts: indexes that answer listings, each source once, when a hash was last asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_PLACE = ("occurred_at", "start_pts", "id")
_NEW = {
    "ix_verdicts_newest": ("verdicts", "occurred_at", "id", "label", "score", "source"),
    "ix_verdicts_by_label": ("verdicts", "label", "occurred_at", "id", "score", "source"),
    "ix_verdicts_by_source": ("verdicts", "source", "occurred_at", "id", "label", "score"),
    "ix_alerts_verdict_id_state_kind": ("alerts", "verdict_id", "state", "kind"),
    "ix_alerts_newest": ("alerts", *_PLACE, "state", "kind", "label", "peak", "source", "verdict_id"),
    "ix_alerts_by_state": ("alerts", "state", *_PLACE, "kind", "label", "peak", "source", "verdict_id"),
    "ix_alerts_by_kind": ("alerts", "kind", *_PLACE, "state", "label", "peak", "source", "verdict_id"),
    "ix_alerts_by_label": ("alerts", "label", *_PLACE, "state", "kind", "peak", "source", "verdict_id"),
    "ix_alerts_by_source": ("alerts", "source", *_PLACE, "state", "kind", "label", "peak", "verdict_id"),
}
_OLD = {
    "ix_verdicts_occurred_at": ("verdicts", "occurred_at"),
    "ix_verdicts_label_occurred_at": ("verdicts", "label", "occurred_at"),
    "ix_verdicts_source": ("verdicts", "source"),
    "ix_verdicts_score": ("verdicts", "score"),
    "ix_alerts_verdict_id": ("alerts", "verdict_id"),
    "ix_alerts_occurred_at": ("alerts", "occurred_at"),
    "ix_alerts_state_occurred_at": ("alerts", "state", "occurred_at"),
    "ix_alerts_label_occurred_at": ("alerts", "label", "occurred_at"),
    "ix_alerts_kind_occurred_at": ("alerts", "kind", "occurred_at"),
    "ix_alerts_peak": ("alerts", "peak"),
}
_BATCH = 10_000


def upgrade() -> None:
    for name, (table, *_) in _OLD.items():
        op.drop_index(op.f(name), table)
    for name, (table, *columns) in _NEW.items():
        op.create_index(op.f(name), table, columns)
    op.add_column("contents", sa.Column("seen_on", sa.Date()))
    sources = op.create_table(
        "sources",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sources")),
        sqlite_with_rowid=False,
    )
    assert sources is not None
    op.execute("UPDATE contents SET seen_on = CURRENT_DATE")
    connection = op.get_bind()
    tables = ("verdicts", "alerts", "transitions")
    every = " UNION ".join(f"SELECT source FROM {table}" for table in tables)
    names = connection.execute(sa.text(every)).scalars().all()
    for start in range(0, len(names), _BATCH):
        rows = [{"name": name, "folded": name.casefold()} for name in names[start : start + _BATCH]]
        connection.execute(sa.insert(sources), rows)


def downgrade() -> None:
    op.drop_table("sources")
    op.execute("ALTER TABLE contents DROP COLUMN seen_on")
    for name, (table, *_) in _NEW.items():
        op.drop_index(op.f(name), table)
    for name, (table, *columns) in _OLD.items():
        op.create_index(op.f(name), table, columns)
