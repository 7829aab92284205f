"""Stored results of ``/split``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import false, insert, select

from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.pages import Page, newest_first, page_of
from app.store.tables import splits


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A result as stored; ``request`` and ``answer`` are JSON, ``on_device`` a packed mask."""

    id: str
    model_id: str
    created_at: datetime
    request: dict[str, Any]
    answer: dict[str, Any]
    on_device: bytes


def add_all(connection: WriteConnection, rows: Sequence[SplitRow]) -> None:
    """Insert results."""
    connection.execute(
        insert(splits),
        [
            {
                "id": row.id,
                "model_id": row.model_id,
                "created_at": row.created_at,
                "request": row.request,
                "answer": row.answer,
                "on_device": row.on_device,
            }
            for row in rows
        ],
    )


def get(connection: ReadConnection, split_id: str) -> SplitRow | None:
    """The result of this id, if there is one."""
    if not is_id(split_id):
        return None
    found = connection.execute(select(splits).where(splits.c.id == split_id)).mappings().first()
    return SplitRow(**found) if found else None


def page(connection: ReadConnection, limit: int, cursor: str | None, model_id: str | None) -> Page:
    """A page of results, newest first, of one model where one is named."""
    query = select(splits.c.id, splits.c.model_id, splits.c.created_at, splits.c.answer)
    if model_id is not None:
        query = query.where(splits.c.model_id == model_id if is_id(model_id) else false())
    rows = connection.execute(newest_first(query, splits, limit, cursor)).mappings().all()
    return page_of(rows, limit)
