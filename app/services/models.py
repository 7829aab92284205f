"""Register, list, show and delete models."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.core.blocks import block_of_node, blocks_of
from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import TooManyCutsError
from app.core.splitting.cut_table import CutTable, Family, build_table
from app.errors import NotFoundError
from app.ingest import IngestedModel, ingest
from app.services.prepared import PreparedModels
from app.store import cut_tables as table_store
from app.store import models as model_store
from app.store.database import Database
from app.store.models import ModelRow
from app.store.pages import Page


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered model, and whether this upload is what made it."""

    model: ModelRow
    is_new: bool


class ModelService:
    """Models of one database. Methods block; call them from a worker thread."""

    def __init__(self, database: Database, prepared: PreparedModels) -> None:
        self._database = database
        self._prepared = prepared

    def register(
        self,
        data: bytes,
        name: str | None = None,
        dims: Mapping[str, int] | None = None,
        model_batch: int | None = None,
    ) -> Registration:
        """Ingest and store a model; the same content, dimensions and batch again are the same
        model, whatever its name. Raises ``IngestError``, and then nothing is stored."""
        ingested = ingest(data, dims, model_batch)
        sha256 = hashlib.sha256(data).hexdigest()
        row = _row(ingested, sha256, name)
        tables = _first_tables(ingested.dag)
        try:
            with self._database.writing() as connection:
                known = model_store.get(connection, row.id)
                if known is None:
                    model_store.add(connection, row, ingested.dag)
                    for family, table in tables.items():
                        table_store.put(connection, row.id, family, table)
        except IntegrityError:
            # Another process stored it between the look and the insertion.
            known = self.get(row.id)
        return Registration(known or row, is_new=known is None)

    def get(self, model_id: str) -> ModelRow:
        """The model of this id. Raises ``NotFoundError``."""
        with self._database.reading() as connection:
            row = model_store.get(connection, model_id)
        if row is None:
            raise NotFoundError(f"there is no model {model_id!r}")
        return row

    def page(self, limit: int, cursor: str | None) -> Page:
        """A page of models, newest first. Raises ``BadCursorError``."""
        with self._database.reading() as connection:
            return model_store.page(connection, limit, cursor)

    def remove(self, model_id: str) -> None:
        """Delete a model with its results. Raises ``NotFoundError``."""
        with self._database.writing() as connection:
            removed = model_store.remove(connection, model_id)
        self._prepared.discard(model_id)
        if not removed:
            raise NotFoundError(f"there is no model {model_id!r}")


def _first_tables(dag: CostedDag) -> dict[Family, CutTable]:
    """The table that nearly every request is answered from; the others are built when needed."""
    try:
        return {Family.SLOWER_DEVICE: build_table(dag, Family.SLOWER_DEVICE)}
    except TooManyCutsError:
        return {}


def _row(ingested: IngestedModel, sha256: str, name: str | None) -> ModelRow:
    dag, facts = ingested.dag, ingested.facts
    identity = json.dumps([sha256, sorted(facts.bound_dims.items()), dag.model_batch])
    return ModelRow(
        # Made from what it identifies: uploads of the same model at the same moment agree on it.
        id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        name=name or f"model-{sha256[:12]}",
        sha256=sha256,
        created_at=datetime.now(UTC),
        summary={
            "ir_version": facts.ir_version,
            "opsets": facts.opsets,
            "nodes": dag.node_count,
            "tensors": dag.tensor_count,
            "flops": dag.total_flops,
            "parameter_bytes": int(dag.parameter_bytes.sum()),
            "model_batch": dag.model_batch,
            "bound_dims": facts.bound_dims,
            "inputs": _tensors(dag, dag.tensor_producers == NO_PRODUCER),
            "outputs": _tensors(dag, dag.tensor_is_output),
            "blocks": len(blocks_of(dag)),
            "warnings": list(facts.warnings),
        },
    )


def _tensors(dag: CostedDag, chosen: Mask) -> list[dict[str, Any]]:
    return [tensor_facts(dag, index) for index in chosen.nonzero()[0].tolist()]


def tensor_facts(dag: CostedDag, index: int) -> dict[str, Any]:
    """Name, shape, dtype and bytes of a tensor, as JSON."""
    return {
        "name": dag.tensor_names[index],
        "shape": list(dag.tensor_shapes[index]),
        "dtype": dag.tensor_dtypes[index],
        "bytes": int(dag.tensor_bytes[index]),
    }


def graph_of(dag: CostedDag) -> dict[str, Any]:
    """The costed DAG as JSON; ids are integers in topological order."""
    blocks = block_of_node(dag, blocks_of(dag))
    producers = dag.tensor_producers.tolist()
    return {
        "nodes": [
            {"id": i, "name": name, "op_type": op_type, "flops": flops, "block": block}
            for i, (name, op_type, flops, block) in enumerate(
                zip(dag.node_names, dag.node_op_types, dag.node_flops.tolist(), blocks, strict=True)
            )
        ],
        "tensors": [
            {
                "id": i,
                **tensor_facts(dag, i),
                "producer": None if producers[i] == NO_PRODUCER else producers[i],
                "consumers": consumers,
                "is_output": bool(dag.tensor_is_output[i]),
            }
            for i, consumers in enumerate(dag.tensor_consumers.to_lists())
        ],
        "parameters": [
            {"name": name, "bytes": nbytes, "users": users}
            for name, nbytes, users in zip(
                dag.parameter_names,
                dag.parameter_bytes.tolist(),
                dag.parameter_users.to_lists(),
                strict=True,
            )
        ],
    }
