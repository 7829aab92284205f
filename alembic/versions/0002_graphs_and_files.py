"""The graphs of models, and the files that are kept of them.

Revision: 0002, after 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("models", sa.Column("file_key", sa.String(200), nullable=True))
    op.create_table(
        "model_graphs",
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("graph", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name="fk_model_graphs_model_id_models",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", name="pk_model_graphs"),
    )


def downgrade() -> None:
    op.drop_table("model_graphs")
    op.drop_column("models", "file_key")
