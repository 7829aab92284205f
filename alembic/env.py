"""Alembic's entry: migrates the connection that Kerf hands over (see app.store.database)."""

from alembic import context
from app.store.tables import metadata

connection = context.config.attributes["connection"]
is_sqlite = connection.dialect.name == "sqlite"
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=is_sqlite,
    # What was done stays done where a later revision is broken off.
    transaction_per_migration=not is_sqlite,
)
with context.begin_transaction():
    context.run_migrations()
