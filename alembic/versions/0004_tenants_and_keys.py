"""Tenants, API keys and idempotency keys.

Only additions, with defaults that the database fills in: the version before goes on to serve.

Revision: 0004, after 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"

OWNED = ("models", "splits", "profiles")


def upgrade() -> None:
    for table in OWNED:
        op.add_column(
            table,
            sa.Column("tenant_id", sa.String(64), nullable=False, server_default="default"),
        )
    op.add_column(
        "models", sa.Column("file_bytes", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("requests_per_s", sa.Float(), nullable=True),
        sa.Column("most_models", sa.Integer(), nullable=True),
        sa.Column("most_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_created_at_id", "api_keys", ["created_at", "id"])
    op.create_index(
        "ix_api_keys_tenant_id_created_at_id", "api_keys", ["tenant_id", "created_at", "id"]
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=True),
        sa.Column("split_id", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name="fk_idempotency_keys_model_id_models",
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["split_id"],
            ["splits.id"],
            name="fk_idempotency_keys_split_id_splits",
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_idempotency_keys"),
    )
    for column in ("created_at", "model_id", "split_id"):
        op.create_index(f"ix_idempotency_keys_{column}", "idempotency_keys", [column])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("api_keys")
    op.drop_column("models", "file_bytes")
    for table in OWNED:
        op.drop_column(table, "tenant_id")
