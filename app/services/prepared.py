"""Prepared models: what a warm ``/split`` needs, in a bounded cache of this process.

A variant of a model has the same nodes, and other figures: the bytes of smashed data in another
type, or seconds that were measured per node in the place of FLOPs. It is a prepared model itself,
kept with the one that it is made of.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from cachetools import LRUCache
from sqlalchemy.exc import IntegrityError

from app import metrics
from app.core.blocks import Block, blocks_of
from app.core.constraints import Constraints, ForcedSides, forced_sides
from app.core.dag import CostedDag, NodeWork
from app.core.errors import TooManyCutsError
from app.core.quantities import Cut, cut_of
from app.core.scenario import Mode
from app.core.smashed import SmashedDtype
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import CutTable, Family
from app.core.splitting.network import FlowNetwork, build_network
from app.core.splitting.solve import CutTables
from app.errors import NotFoundError
from app.store import cut_tables as table_store
from app.store import models as model_store
from app.store.database import Database
from app.store.packing import pack_table, unpack_table
from app.store.tenants import DEFAULT_TENANT

MOST_CONSTRAINED = 16
"""Sets of constraints whose tables a prepared model keeps."""
MOST_VARIANTS = 16
"""Variants that a prepared model keeps."""
MOST_CUTS = 4096
"""Evaluated cuts that a prepared model keeps."""


@dataclass(frozen=True, eq=False)
class Constrained:
    """A model under constraints: the sides they force, and the tables of what is left."""

    forced: ForcedSides
    tables: CutTables


@dataclass(frozen=True, slots=True)
class VariantKey:
    """What a variant is made by, besides the model.

    ``smashed_dtype``: what smashed data are cast to. ``device``, ``server``: where one of them has
    measured seconds, what each side's come from: the id of a profile, or a speed in FLOPs per
    second; else None.
    """

    smashed_dtype: SmashedDtype | None = None
    device: str | float | None = None
    server: str | float | None = None


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model's DAG, and what is derived from it once instead of at every request.

    ``free``: without constraints. ``work``: seconds that were measured per node; None for FLOPs.
    ``key``: what it is a variant by, if it is one. ``tenant_id``: whose it is.
    """

    model_id: str
    dag: CostedDag
    free: Constrained
    work: NodeWork | None = None
    key: VariantKey = VariantKey()
    tenant_id: str = DEFAULT_TENANT
    _constrained: LRUCache[Constraints, Constrained] = field(
        default_factory=lambda: LRUCache(MOST_CONSTRAINED)
    )
    _variants: LRUCache[VariantKey, "PreparedModel"] = field(
        default_factory=lambda: LRUCache(MOST_VARIANTS)
    )
    # Plain dictionaries, as single steps on these need no lock; emptied when they are full.
    _cuts: dict[tuple[bytes, Mode], Cut] = field(default_factory=dict)
    _facts: dict[tuple[bytes, Mode], dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        model_id: str,
        dag: CostedDag,
        known: dict[Family, CutTable] | None = None,
        tenant_id: str = DEFAULT_TENANT,
    ) -> "PreparedModel":
        """Prepare a model; ``known``: tables that have been built before."""
        free = Constrained(forced_sides(dag, Constraints()), CutTables(dag, known=known))
        return cls(model_id, dag, free, tenant_id=tenant_id)

    def known_variant(self, key: VariantKey) -> "PreparedModel | None":
        """A variant that was made before, if it is still here."""
        if key == self.key:
            return self
        with self._lock:
            return self._variants.get(key)

    def variant(self, key: VariantKey, work: NodeWork | None = None) -> "PreparedModel":
        """The model with other figures; ``work``: what ``key.device`` and ``key.server`` mean.

        Made when it is first asked for, but for its tables.
        """
        known = self.known_variant(key)
        if known is not None:
            return known
        dag = self.dag.smashed_as(key.smashed_dtype)
        free = Constrained(self.free.forced, CutTables(dag, work=work))
        made = PreparedModel(self.model_id, dag, free, work, key, self.tenant_id)
        with self._lock:
            # Whoever was first has it; the other's would have its tables built once more.
            return self._variants.setdefault(key, made)

    def under(self, constraints: Constraints) -> Constrained:
        """The model under constraints. Raises ``SplitError`` where they cannot hold."""
        if constraints.is_empty:
            return self.free
        with self._lock:
            constrained = self._constrained.get(constraints)
        if constrained is None:
            forced = forced_sides(self.dag, constraints)
            constrained = Constrained(forced, CutTables(self.dag, forced, self.work))
            with self._lock:
                self._constrained[constraints] = constrained
        return constrained

    def cut_at(self, table: CutTable, row: int, mode: Mode) -> Cut:
        """The cut of a row, evaluated by the reference."""
        key = (table.on_device_bits[row].tobytes(), mode)
        cut = self._cuts.get(key)
        if cut is None:
            cut = cut_of(self.dag, table.on_device(row), mode, self.work)
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
        return build_network(self.dag, self.work)

    @property
    def has_network(self) -> bool:
        """Whether the flow network is there already."""
        return "network" in self.__dict__

    def grouped_network(self, table: CutTable) -> FlowNetwork:
        """The flow network of the block-wise algorithm, for the situations that a table serves."""
        return build_network(self.dag, self.work, groups_of(table))

    @cached_property
    def device_only(self) -> dict[Mode, Cut]:
        """Everything on the device."""
        everything = np.ones(self.dag.node_count, dtype=np.bool_)
        return {mode: cut_of(self.dag, everything, mode, self.work) for mode in Mode}

    @cached_property
    def server_only(self) -> dict[Mode, Cut] | None:
        """Everything on the server; None where an uncuttable graph input keeps some of it on the
        device."""
        nothing = np.zeros(self.dag.node_count, dtype=np.bool_)
        if not self.dag.is_cut(nothing):
            return None
        return {mode: cut_of(self.dag, nothing, mode, self.work) for mode in Mode}

    @property
    def nbytes(self) -> int:
        """Bytes in memory, estimated: the arrays of DAG, network and tables, the names, and what
        the variants have of their own."""
        tables = self.free.tables.built.values()
        names = (*self.dag.node_names, *self.dag.tensor_names, *self.dag.parameter_names)
        with self._lock:
            variants = list(self._variants.values())
        return (
            _array_bytes(self.dag, self.network, *tables)
            # The characters, the object around them and its share of two dictionaries.
            + sum(len(name) + 200 for name in names)
            + sum(variant._own_bytes for variant in variants)
        )

    @property
    def _own_bytes(self) -> int:
        """Of a variant: what it does not share with the model."""
        network = [self.network] if self.has_network else []
        work = [] if self.work is None else [self.work]
        return _array_bytes(*network, *work, *self.free.tables.built.values())


def _array_bytes(*holders: CostedDag | FlowNetwork | CutTable | NodeWork) -> int:
    return sum(
        value.nbytes
        for holder in holders
        for value in (getattr(holder, name) for name in holder.__dataclass_fields__)
        if isinstance(value, np.ndarray)
    )


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

    def cached(self, tenant_id: str, model_id: str) -> PreparedModel | None:
        """The model if it is in the cache and the tenant's; never waits for the database."""
        with self._lock:
            model = self._cache.get(model_id)
        if model is None or model.tenant_id != tenant_id:
            return None
        metrics.MODEL_CACHE["hit"].inc()
        return model

    @property
    def nbytes(self) -> int:
        """Bytes of the models that are kept."""
        return int(self._cache.currsize)

    def __len__(self) -> int:
        return len(self._cache)

    def load(self, tenant_id: str, model_id: str) -> PreparedModel:
        """The model, from the database where need be. Raises ``NotFoundError`` where the tenant has
        none such, or ``NotReadyError``."""
        with self._lock:
            loading = self._loading.setdefault(model_id, threading.Lock())
        try:
            with loading:
                return self.cached(tenant_id, model_id) or self._load(tenant_id, model_id)
        finally:
            with self._lock:
                self._loading.pop(model_id, None)

    def drop_deleted(self) -> None:
        """Forget models that another process has deleted. Raises ``NotReadyError``, and then
        forgets none."""
        with self._lock:
            cached = list(self._cache)
        if cached:
            with self._database.reading() as connection:
                there = model_store.still_there(connection, cached)
            for model_id in set(cached) - there:
                self.discard(model_id)

    def add_tables(self, model_id: str, tables: Mapping[Family, bytes]) -> None:
        """Give a model in the cache tables that were built elsewhere, packed, and stored."""
        with self._lock:
            model = self._cache.get(model_id)
        if model is not None:
            for family, packed in tables.items():
                model.free.tables.add(family, unpack_table(packed))
            self._weigh_again(model_id)

    def discard(self, model_id: str) -> None:
        """Forget a model."""
        with self._lock:
            self._discards += 1
            self._cache.pop(model_id, None)

    def build_all(self, model: PreparedModel, families: Sequence[Family]) -> None:
        """Have tables of a model without constraints built, and keep them for other processes,
        but for those of a variant, which count against the bound of this one's cache alone.

        A table that is out of reach is left out; whoever asks for it is told.
        """
        for family in families:
            if not model.free.tables.has(family):
                with suppress(TooManyCutsError):
                    table = model.free.tables.get(family)
                    metrics.TABLE_ROWS.labels(family).observe(len(table))
                    if model.key == VariantKey():
                        self._keep_table(model, family, table)
                    else:
                        self._weigh_again(model.model_id)

    def _keep_table(self, model: PreparedModel, family: Family, table: CutTable) -> None:
        try:
            with self._database.writing() as connection:
                table_store.put(connection, model.model_id, family, pack_table(table))
        except IntegrityError:
            # The model was deleted meanwhile.
            self.discard(model.model_id)
        else:
            self._weigh_again(model.model_id)

    def _weigh_again(self, model_id: str) -> None:
        """See that the cache keeps its bound, now that a model takes more memory."""
        with self._lock:
            model = self._cache.pop(model_id, None)
            if model is not None:
                self._keep(model)

    def _keep(self, model: PreparedModel) -> None:
        if model.nbytes <= self._cache.maxsize:
            self._cache[model.model_id] = model

    def _load(self, tenant_id: str, model_id: str) -> PreparedModel:
        with self._lock:
            discards = self._discards
        with self._database.reading() as connection:
            dag = model_store.get_dag(connection, tenant_id, model_id)
            tables = table_store.all_of(connection, model_id) if dag else {}
        if dag is None:
            raise NotFoundError(f"there is no model {model_id!r}", loc=("model_id",))
        metrics.MODEL_CACHE["miss"].inc()
        for family, table in tables.items():
            metrics.TABLE_ROWS.labels(family).observe(len(table))
        model = PreparedModel.of(model_id, dag, tables, tenant_id)
        # Taken before the lock, as it builds the network.
        _ = model.nbytes
        with self._lock:
            # A model may have been deleted since it was read, and would never leave again.
            if self._discards == discards:
                self._keep(model)
        return model
