"""Prepared models: what a warm ``/split`` needs, in a bounded cache of this process."""

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from cachetools import LRUCache

from app.core.dag import CostedDag
from app.core.quantities import Cut, cut_of
from app.core.scenario import Mode
from app.core.splitting.network import FlowNetwork, build_network
from app.errors import NotFoundError
from app.store import models as model_store
from app.store.database import Database


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model's DAG, and what is derived from it once instead of at every request."""

    model_id: str
    dag: CostedDag

    @cached_property
    def network(self) -> FlowNetwork:
        """The flow network of the general algorithm."""
        return build_network(self.dag)

    @cached_property
    def device_only(self) -> dict[Mode, Cut]:
        """Everything on the device."""
        everything = np.ones(self.dag.node_count, dtype=np.bool_)
        return {mode: cut_of(self.dag, everything, mode) for mode in Mode}

    @cached_property
    def server_only(self) -> dict[Mode, Cut]:
        """Everything on the server."""
        nothing = np.zeros(self.dag.node_count, dtype=np.bool_)
        return {mode: cut_of(self.dag, nothing, mode) for mode in Mode}

    @cached_property
    def nbytes(self) -> int:
        """Bytes in memory, estimated: the arrays of DAG and network, and the names."""
        arrays = [
            value
            for holder in (self.dag, self.network)
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

    def _load(self, model_id: str) -> PreparedModel:
        with self._lock:
            discards = self._discards
        with self._database.reading() as connection:
            dag = model_store.get_dag(connection, model_id)
        if dag is None:
            raise NotFoundError(f"there is no model {model_id!r}", loc=("model_id",))
        model = PreparedModel(model_id, dag)
        if model.nbytes <= self._cache.maxsize:
            with self._lock:
                # A model may have been deleted since it was read, and would never leave again.
                if self._discards == discards:
                    self._cache[model_id] = model
        return model
