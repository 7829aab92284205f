"""Results that are kept no longer: found along an index, and deleted a few at a time."""

from datetime import datetime

from sqlalchemy import delete, select, tuple_

from app.store.database import ReadConnection, WriteConnection
from app.store.tables import models, splits


def tenants(connection: ReadConnection) -> list[str]:
    """Who has models, without which there are no results."""
    return list(connection.execute(select(models.c.tenant_id).distinct()).scalars())


def first_beyond(
    connection: ReadConnection, tenant_id: str, count: int
) -> tuple[datetime, str] | None:
    """Moment and id of the newest result of a tenant beyond so many that are newer, if there is
    one."""
    query = (
        select(splits.c.created_at, splits.c.id)
        .where(splits.c.tenant_id == tenant_id)
        .order_by(splits.c.created_at.desc(), splits.c.id.desc())
        .offset(count)
        .limit(1)
    )
    found = connection.execute(query).first()
    return None if found is None else (found.created_at, found.id)


def remove_up_to(
    connection: WriteConnection, tenant_id: str, last: tuple[datetime, str], most: int
) -> int:
    """Delete a tenant's oldest results, up to a moment and an id, as many as said at most; how
    many. Those that somebody else is deleting are left to them."""
    columns = splits.c
    oldest = (
        select(columns.id)
        .where(
            columns.tenant_id == tenant_id,
            tuple_(columns.created_at, columns.id) <= tuple_(*last),
        )
        .order_by(columns.created_at, columns.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(splits).where(columns.id.in_(oldest))).rowcount
