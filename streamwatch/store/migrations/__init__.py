"""Alembic environment of the store: `env.py` and the revisions."""
