"""The life of alerts: operational kinds, reasons, clips; and what is to be delivered to sinks."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from streamwatch.store.types import UtcDateTime

revision = "0004"
down_revision = "0003"

_KINDS = "'forgery', 'down', 'frozen', 'black', 'unanalysed'"
_OF_FORGERIES: dict[str, sa.types.TypeEngine[Any]] = {
    "track_id": sa.Integer(),
    "peak": sa.Float(53),
    "mean": sa.Float(53),
}


def upgrade() -> None:
    with op.batch_alter_table("alerts") as alerts:
        for name, kind in _OF_FORGERIES.items():
            alerts.alter_column(name, existing_type=kind, nullable=True)
        alerts.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="forgery"))
        alerts.add_column(sa.Column("reason", sa.Text(), nullable=False, server_default=""))
        alerts.add_column(sa.Column("faces", sa.Integer()))
        alerts.add_column(sa.Column("seen_pts", sa.Float(53)))
        alerts.create_check_constraint(op.f("ck_alerts_kind"), f"kind IN ({_KINDS})")
    op.create_index(op.f("ix_alerts_kind_occurred_at"), "alerts", ["kind", "occurred_at"])
    op.create_table(
        "clips",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("sha256", sa.String(length=64)),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("failure", sa.Text()),
        sa.Column("stored_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_clips_alert_id_alerts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_clips")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("delivered_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_deliveries_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("sink", "alert_id", "revision", name=op.f("uq_deliveries_sink_alert_id_revision")),
    )
    op.create_index(op.f("ix_deliveries_delivered_at_due_at"), "deliveries", ["delivered_at", "due_at"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("clips")
    op.drop_index(op.f("ix_alerts_kind_occurred_at"), "alerts")
    op.execute("DELETE FROM alerts WHERE kind <> 'forgery'")
    with op.batch_alter_table("alerts") as alerts:
        alerts.drop_constraint(op.f("ck_alerts_kind"), type_="check")
        for name in ("kind", "reason", "faces", "seen_pts"):
            alerts.drop_column(name)
        for name, kind in _OF_FORGERIES.items():
            alerts.alter_column(name, existing_type=kind, nullable=False)
