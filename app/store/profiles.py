"""Measured machines: what they sustain, and the seconds per node of their models."""

import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select

from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.pages import Page, newest_first, page_of
from app.store.tables import profile_models, profiles
from app.store.tenants import DEFAULT_TENANT

NodeSeconds = dict[str, float]
"""Seconds of one batch of a model's own size, by the name of the node."""


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A measured machine as stored; ``flops_per_s``: over all its models; ``summary`` is JSON."""

    id: str
    name: str
    created_at: datetime
    flops_per_s: float
    summary: dict[str, Any]
    tenant_id: str = DEFAULT_TENANT


def add(
    connection: WriteConnection, row: ProfileRow, node_seconds: Mapping[str, NodeSeconds]
) -> None:
    """Insert a profile that is not there yet; ``node_seconds``: by the id of the model."""
    connection.execute(
        insert(profiles).values(
            id=row.id,
            name=row.name,
            created_at=row.created_at,
            flops_per_s=row.flops_per_s,
            summary=row.summary,
            tenant_id=row.tenant_id,
        )
    )
    connection.execute(
        insert(profile_models),
        [
            {"profile_id": row.id, "model_id": model_id, "node_seconds": _packed(seconds)}
            for model_id, seconds in node_seconds.items()
        ],
    )


def get(
    connection: ReadConnection | WriteConnection, tenant_id: str, profile_id: str
) -> ProfileRow | None:
    """The profile of this id, if the tenant has it."""
    if not is_id(profile_id):
        return None
    query = select(profiles).where(_is(tenant_id, profile_id))
    found = connection.execute(query).mappings().first()
    return ProfileRow(**found) if found else None


def node_seconds(connection: ReadConnection, profile_id: str) -> dict[str, NodeSeconds]:
    """All that a profile has, by the id of the model, whosever it is."""
    query = select(profile_models.c.model_id, profile_models.c.node_seconds).where(
        profile_models.c.profile_id == profile_id
    )
    return {model_id: _unpacked(packed) for model_id, packed in connection.execute(query)}


def node_seconds_of(
    connection: ReadConnection, profile_id: str, model_id: str
) -> NodeSeconds | None:
    """What a profile has of one model, whosever it is."""
    query = select(profile_models.c.node_seconds).where(
        profile_models.c.profile_id == profile_id, profile_models.c.model_id == model_id
    )
    packed = connection.execute(query).scalar_one_or_none()
    return None if packed is None else _unpacked(packed)


def still_there(connection: ReadConnection, profile_ids: Collection[str]) -> set[str]:
    """Those of some profiles that have not been deleted."""
    query = select(profiles.c.id).where(profiles.c.id.in_(profile_ids))
    return set(connection.execute(query).scalars())


def page(connection: ReadConnection, tenant_id: str, limit: int, cursor: str | None) -> Page:
    """A page of a tenant's profiles, newest first."""
    query = select(profiles).where(profiles.c.tenant_id == tenant_id)
    rows = connection.execute(newest_first(query, profiles, limit, cursor)).mappings().all()
    return page_of(rows, limit)


def remove(connection: WriteConnection, tenant_id: str, profile_id: str) -> bool:
    """Delete a profile with its seconds; whether it was there."""
    if not is_id(profile_id):
        return False
    return connection.execute(delete(profiles).where(_is(tenant_id, profile_id))).rowcount > 0


def _is(tenant_id: str, profile_id: str) -> ColumnElement[bool]:
    return (profiles.c.id == profile_id) & (profiles.c.tenant_id == tenant_id)


def _packed(seconds: NodeSeconds) -> bytes:
    return zlib.compress(json.dumps(seconds, separators=(",", ":")).encode())


def _unpacked(packed: bytes) -> NodeSeconds:
    seconds: NodeSeconds = json.loads(zlib.decompress(packed))
    return seconds
