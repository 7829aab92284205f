"""Pages of a list that is ordered newest first, by an opaque cursor."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, literal, tuple_

from app.errors import BadCursorError
from app.store.ids import is_id


@dataclass(frozen=True, slots=True)
class Page:
    """``items``: rows as mappings; ``next_cursor`` None on the last page."""

    items: Sequence[RowMapping]
    next_cursor: str | None


def newest_first(query: Select[Any], table: Table, limit: int, cursor: str | None) -> Select[Any]:
    """Order a query by (created_at, id) descending, after the cursor; one row more than asked."""
    created_at, row_id = table.c.created_at, table.c.id
    if cursor is not None:
        query = query.where(_after(created_at, row_id, cursor))
    return query.order_by(created_at.desc(), row_id.desc()).limit(limit + 1)


def page_of(rows: Sequence[RowMapping], limit: int) -> Page:
    """Cut the extra row off; where there was one, say how to go on."""
    items = rows[:limit]
    if len(rows) <= limit:
        return Page(items, None)
    return Page(items, _encode(items[-1]["created_at"], items[-1]["id"]))


def _after(
    created_at: ColumnElement[datetime], row_id: ColumnElement[str], cursor: str
) -> ColumnElement[bool]:
    moment, last_id = _decode(cursor)
    # A comparison of rows, because only that is a range of the index.
    after: ColumnElement[bool] = tuple_(created_at, row_id) < tuple_(
        literal(moment, created_at.type), literal(last_id, row_id.type)
    )
    return after


def _encode(created_at: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{row_id}".encode()).decode()


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        moment, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        if not is_id(row_id):
            raise ValueError(row_id)
        return datetime.fromisoformat(moment).astimezone(UTC), row_id
    except (binascii.Error, OverflowError, ValueError) as error:
        raise BadCursorError(
            "the cursor is not one that Kerf made; pass next_cursor of the page before, unchanged",
            loc=("query", "cursor"),
        ) from error
