"""First tables: runs, verdicts, tracks, spans, scores, alerts, evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # size: all tables from top to bottom; a migration that is out is not changed again
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("config_sha256", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.CheckConstraint("status IN ('running', 'done', 'failed', 'interrupted')", name=op.f("ck_runs_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("config_sha256", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("duration", sa.Float(precision=53), nullable=True),
        sa.Column("decoded", sa.BigInteger(), nullable=False),
        sa.Column("sampled", sa.BigInteger(), nullable=False),
        sa.Column("analysed", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("corrupt", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'inconclusive', 'no_face', 'error')", name=op.f("ck_verdicts_label")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_verdicts_score")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_verdicts_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint(
            "sha256",
            "model_sha256",
            "config_sha256",
            name=op.f("uq_verdicts_sha256_model_sha256_config_sha256"),
        ),
    )
    op.create_index(op.f("ix_verdicts_label_occurred_at"), "verdicts", ["label", "occurred_at"], unique=False)
    op.create_index(op.f("ix_verdicts_occurred_at"), "verdicts", ["occurred_at"], unique=False)
    op.create_index(op.f("ix_verdicts_run_id"), "verdicts", ["run_id"], unique=False)
    op.create_index(op.f("ix_verdicts_score"), "verdicts", ["score"], unique=False)
    op.create_index(op.f("ix_verdicts_source"), "verdicts", ["source"], unique=False)
    op.create_index(
        "uq_verdicts_live",
        "verdicts",
        ["run_id", "source"],
        unique=True,
        sqlite_where=sa.text("sha256 IS NULL"),
        postgresql_where=sa.text("sha256 IS NULL"),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("track_id", sa.Integer(), nullable=False),
        sa.Column("start_pts", sa.Float(precision=53), nullable=False),
        sa.Column("end_pts", sa.Float(precision=53), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("peak", sa.Float(precision=53), nullable=False),
        sa.Column("mean", sa.Float(precision=53), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("review_label", sa.String(length=16), nullable=True),
        sa.Column("review_comment", sa.Text(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'inconclusive', 'no_face', 'error')", name=op.f("ck_alerts_label")
        ),
        sa.CheckConstraint(
            "review_label IN ('real', 'fake', 'inconclusive', 'no_face', 'error')",
            name=op.f("ck_alerts_review_label"),
        ),
        sa.CheckConstraint("state IN ('new', 'reviewed')", name=op.f("ck_alerts_state")),
        sa.CheckConstraint("peak BETWEEN 0 AND 1", name=op.f("ck_alerts_peak")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name=op.f("fk_alerts_verdict_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_label_occurred_at"), "alerts", ["label", "occurred_at"], unique=False)
    op.create_index(op.f("ix_alerts_occurred_at"), "alerts", ["occurred_at"], unique=False)
    op.create_index(op.f("ix_alerts_peak"), "alerts", ["peak"], unique=False)
    op.create_index(op.f("ix_alerts_state_occurred_at"), "alerts", ["state", "occurred_at"], unique=False)
    op.create_index(op.f("ix_alerts_verdict_id"), "alerts", ["verdict_id"], unique=False)
    op.create_table(
        "scores",
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("track_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("frame_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pts", sa.Float(precision=53), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("x0", sa.Float(precision=53), nullable=False),
        sa.Column("y0", sa.Float(precision=53), nullable=False),
        sa.Column("x1", sa.Float(precision=53), nullable=False),
        sa.Column("y1", sa.Float(precision=53), nullable=False),
        sa.Column("confidence", sa.Float(precision=53), nullable=False),
        sa.Column("logit", sa.Float(precision=53), nullable=False),
        sa.Column("probability", sa.Float(precision=53), nullable=False),
        sa.Column("short_side", sa.Float(precision=53), nullable=False),
        sa.Column("sharpness", sa.Float(precision=53), nullable=False),
        sa.Column("pose", sa.Float(precision=53), nullable=False),
        sa.Column("upscaling", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_scores_probability")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name=op.f("fk_scores_verdict_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verdict_id", "track_id", "frame_index", name=op.f("pk_scores")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tracks",
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("track_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_pts", sa.Float(precision=53), nullable=False),
        sa.Column("end_pts", sa.Float(precision=53), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("faces", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'inconclusive', 'no_face', 'error')", name=op.f("ck_tracks_label")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_tracks_score")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name=op.f("fk_tracks_verdict_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verdict_id", "track_id", name=op.f("pk_tracks")),
    )
    op.create_table(
        "evidence",
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("track_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("frame_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=True),
        sa.Column("pts", sa.Float(precision=53), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("x0", sa.Float(precision=53), nullable=False),
        sa.Column("y0", sa.Float(precision=53), nullable=False),
        sa.Column("x1", sa.Float(precision=53), nullable=False),
        sa.Column("y1", sa.Float(precision=53), nullable=False),
        sa.Column("region_x0", sa.Float(precision=53), nullable=True),
        sa.Column("region_y0", sa.Float(precision=53), nullable=True),
        sa.Column("region_x1", sa.Float(precision=53), nullable=True),
        sa.Column("region_y1", sa.Float(precision=53), nullable=True),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("crop_jpeg", sa.LargeBinary(), nullable=False),
        sa.Column("mask_png", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_evidence_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["verdict_id"], ["verdicts.id"], name=op.f("fk_evidence_verdict_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("verdict_id", "track_id", "frame_index", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_alert_id"), "evidence", ["alert_id"], unique=False)
    op.create_table(
        "spans",
        sa.Column("verdict_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("track_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_pts", sa.Float(precision=53), nullable=False),
        sa.Column("end_pts", sa.Float(precision=53), nullable=False),
        sa.Column("peak", sa.Float(precision=53), nullable=False),
        sa.Column("mean", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(
            ["verdict_id", "track_id"],
            ["tracks.verdict_id", "tracks.track_id"],
            name=op.f("fk_spans_verdict_id_track_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("verdict_id", "track_id", "position", name=op.f("pk_spans")),
    )


def downgrade() -> None:
    op.drop_table("spans")
    op.drop_table("evidence")
    op.drop_table("tracks")
    op.drop_table("scores")
    op.drop_table("alerts")
    op.drop_table("verdicts")
    op.drop_table("runs")
