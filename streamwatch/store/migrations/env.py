"""Alembic's entry: runs revisions on the connection, and inside the transaction, that `schema` hands over."""

from alembic import context

from streamwatch.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
