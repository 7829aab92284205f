"""Insertions that somebody else may have made already. Both databases know these, SQLAlchemy's
common part does not."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from app.store.database import WriteConnection


def upsert(
    connection: WriteConnection, table: Table, values: Mapping[str, Any]
) -> "sqlite.Insert | postgresql.Insert":
    """Insert a row, or put its values in the place of those of the row with its primary key."""
    query = _insert(connection, table).values(**values)
    key = list(table.primary_key.columns)
    others = {name: value for name, value in values.items() if not table.c[name].primary_key}
    return query.on_conflict_do_update(index_elements=key, set_=others)


def insert_new(
    connection: WriteConnection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> "sqlite.Insert | postgresql.Insert":
    """Insert those of some rows whose primary key is not taken, neither by a row that is there nor
    by an earlier one of these."""
    query = _insert(connection, table).values([dict(row) for row in rows])
    return query.on_conflict_do_nothing(index_elements=list(table.primary_key.columns))


def _insert(connection: WriteConnection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
