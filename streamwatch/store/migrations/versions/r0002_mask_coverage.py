"""How much of a face, and of each of its parts, the mask of an evidence covers."""

from alembic import op

revision = "0002"
down_revision = "0001"

_COLUMNS = ("mask_threshold", "mask_face", "mask_eyes", "mask_nose", "mask_mouth", "mask_skin", "mask_border")


def upgrade() -> None:
    # In SQL that both databases read: Alembic would copy the whole table, pictures and all, to add a check on SQLite.
    for name in _COLUMNS:
        check = f"CONSTRAINT {op.f(f'ck_evidence_{name}')} CHECK ({name} BETWEEN 0 AND 1)"
        op.execute(f"ALTER TABLE evidence ADD COLUMN {name} FLOAT {check}")


def downgrade() -> None:
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE evidence DROP COLUMN {name}")
