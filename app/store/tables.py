"""The tables. Alembic makes them (``alembic/versions``); a test compares the two."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)

from app.store.tenants import DEFAULT_TENANT, MOST_TENANT_CHARACTERS

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


def _tenant_id() -> Column[str]:
    """Whose a row is. Rows of versions that did not know tenants are the default one's."""
    return Column(
        "tenant_id",
        String(MOST_TENANT_CHARACTERS),
        nullable=False,
        server_default=DEFAULT_TENANT,
    )


models = Table(
    "models",
    metadata,
    Column("id", String(32), primary_key=True),
    _tenant_id(),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("file_key", String(200), nullable=True),
    Column("file_bytes", BigInteger, nullable=False, server_default="0"),
    Index(None, "tenant_id", "created_at", "id"),
)
"""One row per uploaded model; ``summary`` is what the DAG alone would have to be loaded for.
``file_key`` names the blob of the uploaded file, where that is kept; ``file_bytes`` is how large
the file was, kept or not (0: uploaded to a version that did not note it)."""

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
    _tenant_id(),
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("request", JSON, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("on_device", LargeBinary, nullable=False),
    Index(None, "tenant_id", "created_at", "id"),
    Index(None, "model_id", "created_at", "id"),
)
"""One row per stored result; ``on_device`` is a bit per node of the DAG, 1 for the device."""

profiles = Table(
    "profiles",
    metadata,
    Column("id", String(32), primary_key=True),
    _tenant_id(),
    Column("name", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("flops_per_s", Float, nullable=False),
    Column("summary", JSON, nullable=False),
    Index(None, "tenant_id", "created_at", "id"),
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

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant_id", String(MOST_TENANT_CHARACTERS), nullable=False),
    Column("name", String(200), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("requests_per_s", Float, nullable=True),
    Column("most_models", Integer, nullable=True),
    Column("most_bytes", BigInteger, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
    Index(None, "created_at", "id"),
    Index(None, "tenant_id", "created_at", "id"),
)
"""One row per API key, revoked ones included. The key itself is nowhere: of its secret, which is
256 random bits, only the SHA-256 is here. Limits that are null are none."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", String(MOST_TENANT_CHARACTERS), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column(
        "model_id",
        ForeignKey("models.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=True,
    ),
    Column(
        "split_id",
        ForeignKey("splits.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=True,
    ),
    Index(None, "created_at"),
    Index(None, "model_id"),
    Index(None, "split_id"),
)
"""What a client's Idempotency-Key stands for: the request, by its fingerprint, and the model or the
result that it made. It goes with what it names. Checked when a transaction ends, because who may
have a key is settled before what it names is stored."""
