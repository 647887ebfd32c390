"""Who reviewed an alert, and every review there was; the paths of copies; outages with how often they were retried."""

import sqlalchemy as sa
from alembic import op

from streamwatch.store.types import UtcDateTime

revision = "0008"
down_revision = "0007"

_LABELS = "'real', 'fake', 'inconclusive', 'no_face', 'error'"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("reviewed_by", sa.Text()))
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.Text()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=16)),
        sa.Column("comment", sa.Text()),
        sa.CheckConstraint("state IN ('new', 'reviewed')", name=op.f("ck_reviews_state")),
        sa.CheckConstraint(f"label IN ({_LABELS})", name=op.f("ck_reviews_label")),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_reviews_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_alert_id"), "reviews", ["alert_id"])
    op.execute(
        "INSERT INTO reviews (alert_id, at, state, label, comment) "
        "SELECT id, reviewed_at, state, review_label, review_comment FROM alerts "
        "WHERE state = 'reviewed' AND reviewed_at IS NOT NULL ORDER BY reviewed_at, id"
    )
    op.create_table(
        "copies",
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["verdict_id"], ["verdicts.id"], name=op.f("fk_copies_verdict_id_verdicts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("verdict_id", "source", name=op.f("pk_copies")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_copies_source"), "copies", ["source"])
    _add_copies()
    op.add_column("transitions", sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("transitions", sa.Column("last_at", UtcDateTime()))


def downgrade() -> None:
    op.execute("ALTER TABLE transitions DROP COLUMN last_at")
    op.execute("ALTER TABLE transitions DROP COLUMN retries")
    op.drop_table("copies")
    op.drop_table("reviews")
    op.execute("ALTER TABLE alerts DROP COLUMN reviewed_by")


def _add_copies() -> None:
    """What jobs know of paths that share a content with the one that its verdict names."""
    connection = op.get_bind()
    op.execute(
        "INSERT INTO copies (verdict_id, source) SELECT DISTINCT verdicts.id, items.source FROM items "
        "JOIN jobs ON jobs.id = items.job_id JOIN verdicts ON verdicts.sha256 = items.sha256 "
        "AND verdicts.model_sha256 = jobs.model_sha256 AND verdicts.config_sha256 = jobs.config_sha256 "
        "WHERE items.source <> verdicts.source"
    )
    known = "SELECT DISTINCT source FROM copies WHERE source NOT IN (SELECT name FROM sources)"
    rows = [{"name": name, "folded": name.casefold()} for name in connection.execute(sa.text(known)).scalars()]
    if rows:
        connection.execute(sa.text("INSERT INTO sources (name, folded) VALUES (:name, :folded)"), rows)
