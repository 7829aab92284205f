"""Stored results of ``/split``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, false, insert, select
from sqlalchemy.exc import DBAPIError

from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.json_text import dumps
from app.store.pages import Page, newest_first, page_of
from app.store.tables import models, splits
from app.store.tenants import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A result as stored; ``request`` and ``answer`` are JSON, ``on_device`` a packed mask."""

    id: str
    model_id: str
    created_at: datetime
    request: dict[str, Any]
    answer: dict[str, Any]
    on_device: bytes
    tenant_id: str = DEFAULT_TENANT


def add_all(connection: WriteConnection, rows: Sequence[SplitRow]) -> None:
    """Insert results. Raises ``IntegrityError``, and inserts none, where one is of no model."""
    if connection.dialect.name == "postgresql":
        _copy_all(connection, rows)
        return
    insertion = _insertion(connection.dialect)
    connection.exec_driver_sql(insertion.statement, [insertion.values(row) for row in rows])


@dataclass(frozen=True, slots=True)
class _Insertion:
    """The statement of an insertion, as the driver takes it, and how each value gets there.

    SQLAlchemy works all this out anew for each group of rows that is inserted, which takes longer
    than all the rest of storing them.
    """

    statement: str
    processors: Sequence[tuple[str, Callable[[Any], Any] | None]]

    def values(self, row: SplitRow) -> tuple[Any, ...]:
        """The values of a row, by their places."""
        return tuple(
            getattr(row, name) if process is None else process(getattr(row, name))
            for name, process in self.processors
        )


@lru_cache
def _insertion(dialect: Dialect) -> _Insertion:
    compiled = insert(splits).compile(dialect=dialect)
    assert compiled.positiontup is not None
    processors = [
        (name, splits.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        for name in compiled.positiontup
    ]
    return _Insertion(str(compiled), processors)


_COPY = "COPY splits (id, tenant_id, model_id, created_at, request, answer, on_device) FROM STDIN"


def _copy_all(connection: WriteConnection, rows: Sequence[SplitRow]) -> None:
    """By COPY, which takes half the time of an INSERT per row; SQLAlchemy does not know it, so what
    the driver raises is told as SQLAlchemy would."""
    import psycopg

    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                request, answer = dumps(row.request), dumps(row.answer)
                copy.write_row(
                    (row.id, row.tenant_id, row.model_id, row.created_at, request, answer,
                     row.on_device)
                )  # fmt: skip
    except psycopg.Error as error:
        raise DBAPIError.instance(
            _COPY, None, error, psycopg.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def get(connection: ReadConnection, tenant_id: str, split_id: str) -> SplitRow | None:
    """The result of this id, if the tenant has it."""
    if not is_id(split_id):
        return None
    query = select(splits).where(splits.c.id == split_id, splits.c.tenant_id == tenant_id)
    found = connection.execute(query).mappings().first()
    return SplitRow(**found) if found else None


def page(
    connection: ReadConnection, tenant_id: str, limit: int, cursor: str | None, model_id: str | None
) -> Page:
    """A page of a tenant's results, newest first, of one model where one is named."""
    query = select(splits.c.id, splits.c.model_id, splits.c.created_at, splits.c.answer)
    if model_id is None:
        query = query.where(splits.c.tenant_id == tenant_id)
    elif is_id(model_id):
        # Whose the model is settles whose its results are; so the index by model serves alone.
        its_owner = select(models.c.tenant_id).where(models.c.id == model_id).scalar_subquery()
        query = query.where(splits.c.model_id == model_id, its_owner == tenant_id)
    else:
        query = query.where(false())
    rows = connection.execute(newest_first(query, splits, limit, cursor)).mappings().all()
    return page_of(rows, limit)
