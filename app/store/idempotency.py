"""What the Idempotency-Keys of clients stand for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, select, tuple_

from app.errors import NotReadyError
from app.store.database import ReadConnection, WriteConnection
from app.store.tables import idempotency_keys
from app.store.upserts import insert_new


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, the fingerprint of the request that it came with, and the one thing that this made."""

    tenant_id: str
    key: str
    fingerprint: str
    created_at: datetime
    model_id: str | None = None
    split_id: str | None = None


def get(connection: ReadConnection | WriteConnection, tenant_id: str, key: str) -> KeyUse | None:
    """What a key of a tenant stands for, if it has been used."""
    query = select(idempotency_keys).where(
        idempotency_keys.c.tenant_id == tenant_id, idempotency_keys.c.key == key
    )
    found = connection.execute(query).mappings().first()
    return KeyUse(**found) if found else None


def claim(connection: WriteConnection, uses: Sequence[KeyUse]) -> list[KeyUse]:
    """Have each key stand for what it is used for, unless it does for something; what each stands
    for now, in order.

    What a use names may be stored later in the same transaction. Whoever uses the same key at the
    same moment elsewhere is awaited. Raises ``NotReadyError`` where a key is just being freed.
    """
    columns = idempotency_keys.c
    # In one order everywhere, so that no two wait for each other.
    rows = [asdict(use) for use in sorted(uses, key=lambda use: (use.tenant_id, use.key))]
    connection.execute(insert_new(connection, idempotency_keys, rows))
    keys = tuple_(columns.tenant_id, columns.key)
    query = select(idempotency_keys).where(keys.in_([(use.tenant_id, use.key) for use in uses]))
    found = [KeyUse(**row) for row in connection.execute(query).mappings()]
    by_key = {(use.tenant_id, use.key): use for use in found}
    if len(by_key) < len({(use.tenant_id, use.key) for use in uses}):
        # Another transaction has deleted what one stood for, between the two statements.
        raise NotReadyError("what an Idempotency-Key stood for is being deleted; try again")
    return [by_key[use.tenant_id, use.key] for use in uses]


def remove_before(connection: WriteConnection, moment: datetime, most: int) -> int:
    """Forget keys that were first used before a moment, as many as said at most; how many."""
    columns = idempotency_keys.c
    oldest = (
        select(columns.tenant_id, columns.key)
        .where(columns.created_at < moment)
        .order_by(columns.created_at)
        .limit(most)
    )
    keys = tuple_(columns.tenant_id, columns.key)
    return connection.execute(delete(idempotency_keys).where(keys.in_(oldest))).rowcount
