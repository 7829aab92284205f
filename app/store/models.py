"""Models and their prepared form."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, text, update

from app.core.dag import CostedDag
from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.packing import unpack_dag
from app.store.pages import Page, newest_first, page_of
from app.store.tables import model_graphs, models, prepared_models
from app.store.tenants import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as stored; ``summary`` is JSON, ``file_key`` the blob of its file if that is kept,
    ``file_bytes`` how large the file was."""

    id: str
    name: str
    sha256: str
    created_at: datetime
    summary: dict[str, Any]
    file_key: str | None = None
    tenant_id: str = DEFAULT_TENANT
    file_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Holdings:
    """How many models a tenant has, and the bytes of the files that they were uploaded as."""

    models: int
    file_bytes: int


def add(connection: WriteConnection, row: ModelRow, dag: bytes, graph: bytes) -> None:
    """Insert a model that is not there yet, with its packed DAG and its packed graph."""
    connection.execute(
        insert(models).values(
            id=row.id,
            name=row.name,
            sha256=row.sha256,
            created_at=row.created_at,
            summary=row.summary,
            file_key=row.file_key,
            tenant_id=row.tenant_id,
            file_bytes=row.file_bytes,
        )
    )
    connection.execute(insert(prepared_models).values(model_id=row.id, dag=dag))
    connection.execute(insert(model_graphs).values(model_id=row.id, graph=graph))


def complete(connection: WriteConnection, known: ModelRow, row: ModelRow, graph: bytes) -> bool:
    """Add what a known model lacks of what another upload of it has: its graph, and its file.

    Whether the file of ``row`` is the model's now. A model of an older version of Kerf has no
    graph, and one that was uploaded when files were not kept has no file.
    """
    here = select(model_graphs.c.model_id).where(model_graphs.c.model_id == known.id)
    if connection.execute(here).first() is None:
        connection.execute(insert(model_graphs).values(model_id=known.id, graph=graph))
        connection.execute(
            update(models).where(models.c.id == known.id).values(summary=row.summary)
        )
    if row.file_key is None or known.file_key is not None:
        return False
    connection.execute(update(models).where(models.c.id == known.id).values(file_key=row.file_key))
    return True


def get(
    connection: ReadConnection | WriteConnection, tenant_id: str, model_id: str
) -> ModelRow | None:
    """The model of this id, if the tenant has it."""
    if not is_id(model_id):
        return None
    query = select(models).where(_is(tenant_id, model_id))
    found = connection.execute(query).mappings().first()
    return ModelRow(**found) if found else None


def get_dag(connection: ReadConnection, tenant_id: str, model_id: str) -> CostedDag | None:
    """The costed DAG of a model, if the tenant has it."""
    if not is_id(model_id):
        return None
    query = (
        select(prepared_models.c.dag)
        .join(models, models.c.id == prepared_models.c.model_id)
        .where(_is(tenant_id, model_id))
    )
    packed: bytes | None = connection.execute(query).scalar_one_or_none()
    return unpack_dag(packed) if packed is not None else None


def get_packed_dag(connection: ReadConnection, model_id: str) -> bytes | None:
    """The costed DAG of a model as it is stored, if there is one, whosever it is."""
    query = select(prepared_models.c.dag).where(prepared_models.c.model_id == model_id)
    packed: bytes | None = connection.execute(query).scalar_one_or_none()
    return packed


def get_graph(connection: ReadConnection, model_id: str) -> bytes | None:
    """The graph of a model, packed, if it is there, whosever it is."""
    query = select(model_graphs.c.graph).where(model_graphs.c.model_id == model_id)
    graph: bytes | None = connection.execute(query).scalar_one_or_none()
    return graph


def holdings(connection: ReadConnection | WriteConnection, tenant_id: str) -> Holdings:
    """What a tenant has."""
    query = select(func.count(), func.coalesce(func.sum(models.c.file_bytes), 0)).where(
        models.c.tenant_id == tenant_id
    )
    count, nbytes = connection.execute(query).one()
    # PostgreSQL sums integers to a decimal.
    return Holdings(count, int(nbytes))


def lock_tenant(connection: WriteConnection, tenant_id: str) -> None:
    """Let nobody else who calls this for the tenant go on before the transaction ends.

    A writing transaction of SQLite has the database to itself.
    """
    if connection.dialect.name == "postgresql":
        query = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id, 0))")
        connection.execute(query, {"tenant_id": tenant_id})


def still_there(connection: ReadConnection, model_ids: Collection[str]) -> set[str]:
    """Those of some models that have not been deleted."""
    query = select(models.c.id).where(models.c.id.in_(model_ids))
    return set(connection.execute(query).scalars())


def hold(connection: WriteConnection, model_ids: Collection[str]) -> set[str]:
    """Those of some models that are there; none of them can be deleted before the transaction
    ends."""
    query = select(models.c.id).where(models.c.id.in_(model_ids)).order_by(models.c.id)
    # SQLite has no locks of rows, and needs none.
    return set(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())


def file_keys(connection: ReadConnection) -> set[str]:
    """The keys of all files that are kept."""
    query = select(models.c.file_key).where(models.c.file_key.is_not(None))
    return set(connection.execute(query).scalars())


def page(connection: ReadConnection, tenant_id: str, limit: int, cursor: str | None) -> Page:
    """A page of a tenant's models, newest first."""
    query = select(models).where(models.c.tenant_id == tenant_id)
    rows = connection.execute(newest_first(query, models, limit, cursor)).mappings().all()
    return page_of(rows, limit)


def remove(connection: WriteConnection, tenant_id: str, model_id: str) -> bool:
    """Delete a model with its DAG and its results; whether it was there."""
    if not is_id(model_id):
        return False
    return connection.execute(delete(models).where(_is(tenant_id, model_id))).rowcount > 0


def _is(tenant_id: str, model_id: str) -> ColumnElement[bool]:
    return (models.c.id == model_id) & (models.c.tenant_id == tenant_id)
