"""A model put into a database as a DAG, and the services asked about it as over HTTP."""

import asyncio
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from app.api.queries import batch_query, split_query
from app.api.schemas import BatchIn, BatchOut, BlocksOut, CutTableOut, GraphOut, SplitIn, SplitOut
from app.core.dag import CostedDag
from app.core.scenario import Mode
from app.services.block_facts import blocks_facts
from app.services.cut_facts import cuts_of
from app.services.graphs import graphml, node_link
from app.services.models import graph_of
from app.services.posing import Posing
from app.services.prepared import PreparedModel, PreparedModels
from app.services.profiles import ProfileService
from app.services.recorder import Recorder
from app.services.splits import SplitService
from app.store import models as model_store
from app.store.database import Database
from app.store.packing import pack_dag
from app.store.tenants import DEFAULT_TENANT
from tests.server import scenario
from tests.store.rows import GRAPH, model_row

Json = dict[str, Any]


def as_read(schema: type[BaseModel], answer: Json) -> Json:
    """An answer as a client reads it, which has to have nothing but what its schema says."""
    text = json.dumps(answer)
    schema.model_validate_json(text, extra="forbid")
    read: Json = json.loads(text)
    return read


class HeldModel:
    """Bodies go through the schemas of the API; so do answers, which may not exceed them."""

    def __init__(self, database: Database, dag: CostedDag) -> None:
        row = model_row()
        with database.writing() as connection:
            model_store.add(connection, row, pack_dag(dag), GRAPH)
        self.id = row.id
        self._prepared = PreparedModels(database, 2**30)
        posing = Posing(ProfileService(database, self._prepared))
        recorder = Recorder(database, 10_000)
        recorder.start()
        self._splits = SplitService(database, self._prepared, posing, recorder)

    @cached_property
    def prepared(self) -> PreparedModel:
        return self._prepared.load(DEFAULT_TENANT, self.id)

    def split(self, **changes: Any) -> Json:
        """POST /split?include=nodes."""
        query = split_query(SplitIn.model_validate(scenario(self.id, **changes)))
        answer = asyncio.run(self._splits.split(DEFAULT_TENANT, query, include_nodes=True))
        return as_read(SplitOut, answer.body)

    def stored(self, split_id: str) -> Json:
        """GET /splits/{id}?include=nodes."""
        answer = asyncio.run(self._splits.get(DEFAULT_TENANT, split_id, include_nodes=True))
        return as_read(SplitOut, answer)

    def batch(self, scenarios: list[Json], **changes: Any) -> Json:
        """POST /split/batch."""
        body = {"model_id": self.id, "scenarios": scenarios, **changes}
        query = batch_query(BatchIn.model_validate(body))
        return as_read(BatchOut, asyncio.run(self._splits.split_batch(DEFAULT_TENANT, query)))

    def cuts(self, mode: Mode) -> list[Json]:
        """The rows of GET /models/{id}/cuts."""
        body, _tag = cuts_of(self.prepared, mode)
        rows: list[Json] = as_read(CutTableOut, body)["cuts"]
        return rows

    def blocks(self) -> list[Json]:
        """The blocks of GET /models/{id}/blocks."""
        blocks: list[Json] = as_read(BlocksOut, blocks_facts(self.prepared))["blocks"]
        return blocks

    def graph(self) -> Json:
        """GET /models/{id}/graph."""
        return as_read(GraphOut, graph_of(self.prepared.dag))

    def graphml(self) -> str:
        """GET /models/{id}/graph?format=graphml."""
        return graphml(self.prepared.dag)

    def node_link(self) -> Json:
        """GET /models/{id}/graph?format=node-link."""
        read: Json = json.loads(json.dumps(node_link(self.prepared.dag)))
        return read
