"""What happened to streams, why frames were dropped (JSON, counts by reason), when a run was last heard of."""

import sqlalchemy as sa
from alembic import op

from streamwatch.store.types import UtcDateTime

revision = "0003"
down_revision = "0002"

_STATES = "'connecting', 'running', 'stalled', 'backing_off', 'failed', 'stopped'"
_CAUSES = "'refused', 'authentication', 'not_found', 'tls', 'timeout', 'codec', 'stalled', 'ended', 'crashed'"


def upgrade() -> None:
    op.create_table(
        "transitions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("previous", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=16)),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("retry_in", sa.Float(53)),
        sa.CheckConstraint(f"previous IN ({_STATES})", name=op.f("ck_transitions_previous")),
        sa.CheckConstraint(f"state IN ({_STATES})", name=op.f("ck_transitions_state")),
        sa.CheckConstraint(f"cause IN ({_CAUSES})", name=op.f("ck_transitions_cause")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_transitions_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
        sa.UniqueConstraint("run_id", "source", "at", "state", name=op.f("uq_transitions_run_id_source_at_state")),
    )
    op.create_index(op.f("ix_transitions_at"), "transitions", ["at"])
    op.create_index(op.f("ix_transitions_source_at"), "transitions", ["source", "at"])
    # In SQL that both databases read: Alembic would copy the whole table to add a column on SQLite.
    op.execute("ALTER TABLE verdicts ADD COLUMN dropped_by TEXT DEFAULT '{}' NOT NULL")
    op.add_column("runs", sa.Column("heard_at", UtcDateTime()))


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP COLUMN heard_at")
    op.execute("ALTER TABLE verdicts DROP COLUMN dropped_by")
    op.drop_table("transitions")
