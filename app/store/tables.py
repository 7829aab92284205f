"""The tables. Alembic makes them (``alembic/versions``); a test compares the two."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python on every database (SQLite keeps no time zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


models = Table(
    "models",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("file_key", String(200), nullable=True),
    Index(None, "created_at", "id"),
)
"""One row per uploaded model; ``summary`` is what the DAG alone would have to be loaded for.
``file_key`` names the blob of the uploaded file, where that is kept."""

prepared_models = Table(
    "prepared_models",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("dag", LargeBinary, nullable=False),
)
"""The costed DAG of a model, packed by ``app.store.packing``."""

model_graphs = Table(
    "model_graphs",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("graph", LargeBinary, nullable=False),
)
"""The graph of a model as the file has it, without the data of large weights, compressed."""

cut_tables = Table(
    "cut_tables",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("family", String(32), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""The cut tables of a model that have been built, packed by ``app.store.packing``."""

splits = Table(
    "splits",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("request", JSON, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("on_device", LargeBinary, nullable=False),
    Index(None, "created_at", "id"),
    Index(None, "model_id", "created_at", "id"),
)
"""One row per stored result; ``on_device`` is a bit per node of the DAG, 1 for the device."""

profiles = Table(
    "profiles",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("flops_per_s", Float, nullable=False),
    Column("summary", JSON, nullable=False),
    Index(None, "created_at", "id"),
)
"""One row per measured machine; ``flops_per_s`` is what it sustains over all its models."""

profile_models = Table(
    "profile_models",
    metadata,
    Column("profile_id", ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", String(32), primary_key=True),
    Column("node_seconds", LargeBinary, nullable=False),
)
"""The seconds per node of a model on a machine, compressed. The model may be gone: if it is
uploaded again, it has the same id, and the same nodes."""
