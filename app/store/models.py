"""Models and their prepared form."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select

from app.core.dag import CostedDag
from app.store.database import ReadConnection, WriteConnection
from app.store.ids import is_id
from app.store.packing import unpack_dag
from app.store.pages import Page, newest_first, page_of
from app.store.tables import models, prepared_models


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as stored; ``summary`` is JSON."""

    id: str
    name: str
    sha256: str
    created_at: datetime
    summary: dict[str, Any]


def add(connection: WriteConnection, row: ModelRow, dag: bytes) -> None:
    """Insert a model that is not there yet, with its packed DAG."""
    connection.execute(
        insert(models).values(
            id=row.id,
            name=row.name,
            sha256=row.sha256,
            created_at=row.created_at,
            summary=row.summary,
        )
    )
    connection.execute(insert(prepared_models).values(model_id=row.id, dag=dag))


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


def page(connection: ReadConnection, limit: int, cursor: str | None) -> Page:
    """A page of models, newest first."""
    query = newest_first(select(models), models, limit, cursor)
    return page_of(connection.execute(query).mappings().all(), limit)


def remove(connection: WriteConnection, model_id: str) -> bool:
    """Delete a model with its DAG and its results; whether it was there."""
    if not is_id(model_id):
        return False
    return connection.execute(delete(models).where(models.c.id == model_id)).rowcount > 0
