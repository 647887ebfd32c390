"""Segments: what was found in parts of long files."""

import sqlalchemy as sa
from alembic import op

from streamwatch.store.types import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "segments",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("config_sha256", sa.String(length=64), nullable=False),
        sa.Column("place", sa.String(length=48), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "model_sha256", "config_sha256", "place", name=op.f("pk_segments")),
    )


def downgrade() -> None:
    op.drop_table("segments")
