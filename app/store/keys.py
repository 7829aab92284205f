"""API keys."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.pages import Page, newest_first, page_of
from app.store.tables import api_keys


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as stored: of its secret only the SHA-256, in hexadecimal digits.

    ``requests_per_s``, ``most_models``, ``most_bytes``: None for no limit. ``revoked_at``: None
    while it is valid.
    """

    id: str
    tenant_id: str
    name: str
    secret_sha256: str
    scopes: list[str]
    created_at: datetime
    requests_per_s: float | None = None
    most_models: int | None = None
    most_bytes: int | None = None
    revoked_at: datetime | None = None


def add(connection: WriteConnection, row: KeyRow) -> None:
    """Insert a key."""
    connection.execute(
        insert(api_keys).values(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.name,
            secret_sha256=row.secret_sha256,
            scopes=row.scopes,
            created_at=row.created_at,
            requests_per_s=row.requests_per_s,
            most_models=row.most_models,
            most_bytes=row.most_bytes,
            revoked_at=row.revoked_at,
        )
    )


def get(connection: ReadConnection | WriteConnection, key_id: str) -> KeyRow | None:
    """The key of this id, revoked or not, whosever it is."""
    if not is_id(key_id):
        return None
    query = select(api_keys).where(api_keys.c.id == key_id)
    found = connection.execute(query).mappings().first()
    return KeyRow(**found) if found else None


def valid(connection: ReadConnection, key_ids: Collection[str]) -> set[str]:
    """Those of some keys that are there and have not been revoked."""
    query = select(api_keys.c.id).where(api_keys.c.id.in_(key_ids), api_keys.c.revoked_at.is_(None))
    return set(connection.execute(query).scalars())


def page(connection: ReadConnection, tenant_id: str | None, limit: int, cursor: str | None) -> Page:
    """A page of a tenant's keys, or of all, newest first, revoked ones included."""
    query = select(api_keys)
    if tenant_id is not None:
        query = query.where(api_keys.c.tenant_id == tenant_id)
    rows = connection.execute(newest_first(query, api_keys, limit, cursor)).mappings().all()
    return page_of(rows, limit)


def revoke(
    connection: WriteConnection, tenant_id: str | None, key_id: str, moment: datetime
) -> bool:
    """Revoke a key, of a tenant where one is named; whether it was there. One that is revoked
    already stays revoked as of then."""
    row = get(connection, key_id)
    if row is None or tenant_id not in (None, row.tenant_id):
        return False
    query = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    connection.execute(query.values(revoked_at=moment))
    return True
