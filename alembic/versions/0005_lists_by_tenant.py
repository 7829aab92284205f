"""Indexes of lists by tenant, in the place of those over all.

On PostgreSQL they are built while others write. One that was broken off is left behind invalid, so
each is made anew.

Revision: 0005, after 0004
"""

from contextlib import AbstractContextManager, nullcontext

from alembic import op

revision = "0005"
down_revision = "0004"

OWNED = ("models", "splits", "profiles")


def upgrade() -> None:
    with _outside_transactions():
        for table in OWNED:
            _make(f"ix_{table}_tenant_id_created_at_id", table, ["tenant_id", "created_at", "id"])
        for table in OWNED:
            _drop(f"ix_{table}_created_at_id", table)


def downgrade() -> None:
    with _outside_transactions():
        for table in OWNED:
            _make(f"ix_{table}_created_at_id", table, ["created_at", "id"])
        for table in OWNED:
            _drop(f"ix_{table}_tenant_id_created_at_id", table)


def _outside_transactions() -> AbstractContextManager[None]:
    """Where PostgreSQL builds indexes concurrently; SQLite has one writer anyway."""
    context = op.get_context()
    return context.autocommit_block() if op.get_bind().dialect.name != "sqlite" else nullcontext()


def _make(name: str, table: str, columns: list[str]) -> None:
    _drop(name, table)
    op.create_index(name, table, columns, postgresql_concurrently=True)


def _drop(name: str, table: str) -> None:
    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
