"""Models and their prepared form."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from app.core.dag import CostedDag
from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.packing import unpack_dag
from app.store.pages import Page, newest_first, page_of
from app.store.tables import model_graphs, models, prepared_models


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as stored; ``summary`` is JSON, ``file_key`` the blob of its file if that is kept."""

    id: str
    name: str
    sha256: str
    created_at: datetime
    summary: dict[str, Any]
    file_key: str | None = None


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


def get(connection: ReadConnection | WriteConnection, model_id: str) -> ModelRow | None:
    """The model of this id, if there is one."""
    if not is_id(model_id):
        return None
    found = connection.execute(select(models).where(models.c.id == model_id)).mappings().first()
    return ModelRow(**found) if found else None


def get_dag(connection: ReadConnection, model_id: str) -> CostedDag | None:
    """The costed DAG of a model, if there is one."""
    packed = get_packed_dag(connection, model_id)
    return unpack_dag(packed) if packed is not None else None


def get_packed_dag(connection: ReadConnection, model_id: str) -> bytes | None:
    """The costed DAG of a model as it is stored, if there is one."""
    if not is_id(model_id):
        return None
    query = select(prepared_models.c.dag).where(prepared_models.c.model_id == model_id)
    packed: bytes | None = connection.execute(query).scalar_one_or_none()
    return packed


def get_graph(connection: ReadConnection, model_id: str) -> bytes | None:
    """The graph of a model, packed, if it is there."""
    if not is_id(model_id):
        return None
    query = select(model_graphs.c.graph).where(model_graphs.c.model_id == model_id)
    graph: bytes | None = connection.execute(query).scalar_one_or_none()
    return graph


def file_keys(connection: ReadConnection) -> set[str]:
    """The keys of all files that are kept."""
    query = select(models.c.file_key).where(models.c.file_key.is_not(None))
    return set(connection.execute(query).scalars())


def page(connection: ReadConnection, limit: int, cursor: str | None) -> Page:
    """A page of models, newest first."""
    query = newest_first(select(models), models, limit, cursor)
    return page_of(connection.execute(query).mappings().all(), limit)


def remove(connection: WriteConnection, model_id: str) -> bool:
    """Delete a model with its DAG and its results; whether it was there."""
    if not is_id(model_id):
        return False
    return connection.execute(delete(models).where(models.c.id == model_id)).rowcount > 0
