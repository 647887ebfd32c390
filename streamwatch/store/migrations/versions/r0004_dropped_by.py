"""Why frames were dropped: a JSON object of counts by reason."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # In SQL that both databases read: Alembic would copy the whole table to add a column on SQLite.
    op.execute("ALTER TABLE verdicts ADD COLUMN dropped_by TEXT DEFAULT '{}' NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE verdicts DROP COLUMN dropped_by")
