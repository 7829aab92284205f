"""Prepared models: what a warm ``/split`` needs, in a bounded cache of this process."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from cachetools import LRUCache
from sqlalchemy.exc import IntegrityError

from app.core.blocks import Block, blocks_of
from app.core.constraints import Constraints, ForcedSides, forced_sides
from app.core.dag import CostedDag
from app.core.errors import TooManyCutsError
from app.core.quantities import Cut, cut_of
from app.core.scenario import Mode
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import CutTable, Family
from app.core.splitting.network import FlowNetwork, build_network
from app.core.splitting.solve import CutTables
from app.errors import NotFoundError
from app.store import cut_tables as table_store
from app.store import models as model_store
from app.store.database import Database
from app.store.packing import pack_table

MOST_CONSTRAINED = 16
"""Sets of constraints whose tables a prepared model keeps."""
MOST_CUTS = 4096
"""Evaluated cuts that a prepared model keeps."""


@dataclass(frozen=True, eq=False)
class Constrained:
    """A model under constraints: the sides they force, and the tables of what is left."""

    forced: ForcedSides
    tables: CutTables


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model's DAG, and what is derived from it once instead of at every request."""

    model_id: str
    dag: CostedDag
    free: Constrained
    """Without constraints."""
    _constrained: LRUCache[Constraints, Constrained] = field(
        default_factory=lambda: LRUCache(MOST_CONSTRAINED)
    )
    # Plain dictionaries, as single steps on these need no lock; emptied when they are full.
    _cuts: dict[tuple[bytes, Mode], Cut] = field(default_factory=dict)
    _facts: dict[tuple[bytes, Mode], dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls, model_id: str, dag: CostedDag, known: dict[Family, CutTable] | None = None
    ) -> "PreparedModel":
        """Prepare a model; ``known``: tables that have been built before."""
        free = Constrained(forced_sides(dag, Constraints()), CutTables(dag, known=known))
        return cls(model_id, dag, free)

    def under(self, constraints: Constraints) -> Constrained:
        """The model under constraints. Raises ``SplitError`` where they cannot hold."""
        if constraints.is_empty:
            return self.free
        with self._lock:
            constrained = self._constrained.get(constraints)
        if constrained is None:
            forced = forced_sides(self.dag, constraints)
            constrained = Constrained(forced, CutTables(self.dag, forced))
            with self._lock:
                self._constrained[constraints] = constrained
        return constrained

    def cut_at(self, table: CutTable, row: int, mode: Mode) -> Cut:
        """The cut of a row, evaluated by the reference."""
        key = (table.on_device_bits[row].tobytes(), mode)
        cut = self._cuts.get(key)
        if cut is None:
            cut = cut_of(self.dag, table.on_device(row), mode)
            if len(self._cuts) >= MOST_CUTS:
                self._cuts.clear()
            self._cuts[key] = cut
        return cut

    def remember(
        self, key: tuple[bytes, Mode], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What was made for a key before, or is made now. Not to be changed."""
        facts = self._facts.get(key)
        if facts is None:
            facts = make()
            if len(self._facts) >= MOST_CUTS:
                self._facts.clear()
            self._facts[key] = facts
        return facts

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the DAG."""
        return blocks_of(self.dag)

    @cached_property
    def network(self) -> FlowNetwork:
        """The flow network of the general algorithm."""
        return build_network(self.dag)

    def grouped_network(self, table: CutTable) -> FlowNetwork:
        """The flow network of the block-wise algorithm, for the situations that a table serves."""
        return build_network(self.dag, group_of_node=groups_of(table))

    @cached_property
    def device_only(self) -> dict[Mode, Cut]:
        """Everything on the device."""
        everything = np.ones(self.dag.node_count, dtype=np.bool_)
        return {mode: cut_of(self.dag, everything, mode) for mode in Mode}

    @cached_property
    def server_only(self) -> dict[Mode, Cut] | None:
        """Everything on the server; None where an uncuttable graph input keeps some of it on the
        device."""
        nothing = np.zeros(self.dag.node_count, dtype=np.bool_)
        if not self.dag.is_cut(nothing):
            return None
        return {mode: cut_of(self.dag, nothing, mode) for mode in Mode}

    @property
    def nbytes(self) -> int:
        """Bytes in memory, estimated: the arrays of DAG, network and tables, and the names."""
        holders: tuple[CostedDag | FlowNetwork | CutTable, ...] = (
            self.dag,
            self.network,
            *self.free.tables.built.values(),
        )
        arrays = [
            value
            for holder in holders
            for value in (getattr(holder, name) for name in holder.__dataclass_fields__)
            if isinstance(value, np.ndarray)
        ]
        names = (*self.dag.node_names, *self.dag.tensor_names, *self.dag.parameter_names)
        # A name costs its characters, the object around them and its share of two dictionaries.
        return sum(array.nbytes for array in arrays) + sum(len(name) + 200 for name in names)


class PreparedModels:
    """The cache: the least recently used models leave when their bytes exceed the bound.

    Safe to use from several threads. A model that is asked for by several at once is loaded once.
    """

    def __init__(self, database: Database, cache_bytes: int) -> None:
        self._database = database
        self._cache: LRUCache[str, PreparedModel] = LRUCache(
            cache_bytes, getsizeof=lambda model: model.nbytes
        )
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._discards = 0

    def cached(self, model_id: str) -> PreparedModel | None:
        """The model if it is in the cache; never waits for the database."""
        with self._lock:
            return self._cache.get(model_id)

    def load(self, model_id: str) -> PreparedModel:
        """The model, from the database where need be. Raises ``NotFoundError``."""
        with self._lock:
            loading = self._loading.setdefault(model_id, threading.Lock())
        try:
            with loading:
                return self.cached(model_id) or self._load(model_id)
        finally:
            with self._lock:
                self._loading.pop(model_id, None)

    def discard(self, model_id: str) -> None:
        """Forget a model."""
        with self._lock:
            self._discards += 1
            self._cache.pop(model_id, None)

    def build_all(self, model: PreparedModel, families: Sequence[Family]) -> None:
        """Have tables of a model without constraints built, and keep them for other processes.

        A table that is out of reach is left out; whoever asks for it is told.
        """
        for family in families:
            if not model.free.tables.has(family):
                with suppress(TooManyCutsError):
                    self._keep_table(model, family, model.free.tables.get(family))

    def _keep_table(self, model: PreparedModel, family: Family, table: CutTable) -> None:
        try:
            with self._database.writing() as connection:
                table_store.put(connection, model.model_id, family, pack_table(table))
        except IntegrityError:
            # The model was deleted meanwhile.
            self.discard(model.model_id)
        else:
            self._weigh_again(model)

    def _weigh_again(self, model: PreparedModel) -> None:
        with self._lock:
            if self._cache.pop(model.model_id, None) is model:
                self._keep(model)

    def _keep(self, model: PreparedModel) -> None:
        if model.nbytes <= self._cache.maxsize:
            self._cache[model.model_id] = model

    def _load(self, model_id: str) -> PreparedModel:
        with self._lock:
            discards = self._discards
        with self._database.reading() as connection:
            dag = model_store.get_dag(connection, model_id)
            tables = table_store.all_of(connection, model_id) if dag else {}
        if dag is None:
            raise NotFoundError(f"there is no model {model_id!r}", loc=("model_id",))
        model = PreparedModel.of(model_id, dag, tables)
        # Taken before the lock, as it builds the network.
        _ = model.nbytes
        with self._lock:
            # A model may have been deleted since it was read, and would never leave again.
            if self._discards == discards:
                self._keep(model)
        return model
