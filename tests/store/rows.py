"""Rows to store, and a program that stores them from a process of its own."""

import secrets
import sys
from datetime import UTC, datetime

from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from app.store import models as model_store
from app.store import splits as split_store
from app.store.database import Database
from app.store.models import ModelRow
from app.store.packing import pack_dag, pack_graph, pack_mask
from app.store.splits import SplitRow

DAG = CostedDag.build(
    [Node("a", "Relu", 8)],
    [Tensor("x", (1, 8), "float32", 32, NO_PRODUCER, (0,), True, False)],
    [],
)
GRAPH = pack_graph(b"no graph that anybody reads")
MOMENT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def model_row(created_at: datetime = MOMENT, name: str = "model") -> ModelRow:
    return ModelRow(secrets.token_hex(16), name, "0" * 64, created_at, {"nodes": 1})


def split_row(model_id: str, created_at: datetime = MOMENT) -> SplitRow:
    return SplitRow(
        id=secrets.token_hex(16),
        model_id=model_id,
        created_at=created_at,
        request={"mode": "training"},
        answer={"total_s": 0.1},
        on_device=pack_mask(DAG.node_flops > 0),
    )


def add_model(database: Database, row: ModelRow | None = None) -> ModelRow:
    row = row or model_row()
    with database.writing() as connection:
        model_store.add(connection, row, pack_dag(DAG), GRAPH)
    return row


def add_split(database: Database, row: SplitRow) -> SplitRow:
    with database.writing() as connection:
        split_store.add_all(connection, [row])
    return row


if __name__ == "__main__":
    url, model_id, count = sys.argv[1:]
    opened = Database(url)
    for _ in range(int(count)):
        add_split(opened, split_row(model_id))
    opened.close()
