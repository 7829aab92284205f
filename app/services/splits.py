"""Find, store and show the best cut for a scenario."""

import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from anyio import to_thread
from sqlalchemy.exc import IntegrityError

from app.core.constraints import Constraints, forced_sides
from app.core.dag import CostedDag, Mask
from app.core.quantities import Cut, delay_of
from app.core.scenario import Scenario, prices_of
from app.core.splitting.general import Solution, best_cut_by_flow
from app.errors import NotFoundError
from app.services.models import tensor_facts
from app.services.prepared import PreparedModel, PreparedModels
from app.store import splits as split_store
from app.store.database import Database
from app.store.packing import pack_mask, unpack_mask
from app.store.pages import Page
from app.store.splits import SplitRow

Method = Literal["auto", "general"]


@dataclass(frozen=True, slots=True)
class SplitQuery:
    """One request for a cut; ``request`` is the JSON to keep beside a stored answer."""

    model_id: str
    scenario: Scenario
    constraints: Constraints
    method: Method
    store: bool
    request: dict[str, Any]


class SplitService:
    """Splits of the models of one database."""

    def __init__(self, database: Database, prepared: PreparedModels) -> None:
        self._database = database
        self._prepared = prepared

    async def split(self, query: SplitQuery, include_nodes: bool = False) -> dict[str, Any]:
        """The best cut, as JSON; committed before it is answered if the query says to store it.

        Raises ``SplitError`` or ``NotFoundError``.
        """
        model = self._prepared.cached(query.model_id)
        if model is None:
            model = await to_thread.run_sync(self._prepared.load, query.model_id)
        started = time.perf_counter()
        solution = _solve(model, query)
        answer = _answer(model, query, solution, time.perf_counter() - started)
        if query.store:
            row = SplitRow(
                id=secrets.token_hex(16),
                model_id=query.model_id,
                created_at=datetime.now(UTC),
                request=query.request,
                answer=answer,
                on_device=pack_mask(solution.cut.on_device),
            )
            await to_thread.run_sync(self._store, row)
            answer = _stamped(answer, row.id, row.created_at)
        if include_nodes:
            answer["nodes"] = _node_names(model.dag, solution.cut.on_device)
        return answer

    async def get(self, split_id: str, include_nodes: bool = False) -> dict[str, Any]:
        """A stored result, as it was answered. Raises ``NotFoundError``."""
        return await to_thread.run_sync(self._get, split_id, include_nodes)

    async def page(
        self, limit: int, cursor: str | None, model_id: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of stored results, newest first. Raises ``BadCursorError``."""
        page = await to_thread.run_sync(self._page, limit, cursor, model_id)
        items = [_stamped(row["answer"], row["id"], row["created_at"]) for row in page.items]
        return items, page.next_cursor

    def _store(self, row: SplitRow) -> None:
        try:
            with self._database.writing() as connection:
                split_store.add(connection, row)
        except IntegrityError as error:
            # The model was deleted after it was prepared here.
            self._prepared.discard(row.model_id)
            raise NotFoundError(f"there is no model {row.model_id!r}", loc=("model_id",)) from error

    def _get(self, split_id: str, include_nodes: bool) -> dict[str, Any]:
        with self._database.reading() as connection:
            row = split_store.get(connection, split_id)
        if row is None:
            raise NotFoundError(f"there is no split {split_id!r}")
        answer = _stamped(row.answer, row.id, row.created_at)
        if include_nodes:
            dag = self._prepared.load(row.model_id).dag
            answer["nodes"] = _node_names(dag, unpack_mask(row.on_device, dag.node_count))
        return answer

    def _page(self, limit: int, cursor: str | None, model_id: str | None) -> Page:
        with self._database.reading() as connection:
            return split_store.page(connection, limit, cursor, model_id)


def _solve(model: PreparedModel, query: SplitQuery) -> Solution:
    prices = prices_of(query.scenario, model.dag.model_batch)
    forced = forced_sides(model.dag, query.constraints)
    return best_cut_by_flow(model.dag, model.network, prices, query.scenario.mode, forced)


def _answer(
    model: PreparedModel, query: SplitQuery, solution: Solution, solve_s: float
) -> dict[str, Any]:
    """The answer, without what storing adds."""
    mode = query.scenario.mode
    prices = prices_of(query.scenario, model.dag.model_batch)
    return {
        "id": None,
        "model_id": query.model_id,
        "created_at": datetime.now(UTC).isoformat(),
        "cut": _cut_facts(model.dag, solution.cut),
        "delay": asdict(solution.delay),
        "baselines": {
            "device_only_s": delay_of(model.device_only[mode], prices).total_s,
            "server_only_s": delay_of(model.server_only[mode], prices).total_s,
        },
        "objective_value": solution.delay.total_s,
        "optimal": solution.certificate.proves_optimality,
        "gap": None if solution.certificate.proves_optimality else solution.certificate.gap,
        "method": "general",
        "solve_s": solve_s,
        "certificate": asdict(solution.certificate),
    }


def _cut_facts(dag: CostedDag, cut: Cut) -> dict[str, Any]:
    return {
        "device_nodes": cut.device_nodes,
        "server_nodes": cut.server_nodes,
        "cut_tensors": [tensor_facts(dag, index) for index in cut.cut_tensors.tolist()],
        "quantities": asdict(cut.quantities),
    }


def _stamped(answer: dict[str, Any], split_id: str, created_at: datetime) -> dict[str, Any]:
    """A stored answer with the id and the moment of its row."""
    return {**answer, "id": split_id, "created_at": created_at.isoformat()}


def _node_names(dag: CostedDag, on_device: Mask) -> dict[str, list[str]]:
    sides = zip(dag.node_names, on_device.tolist(), strict=True)
    names: dict[str, list[str]] = {"device": [], "server": []}
    for name, is_device in sides:
        names["device" if is_device else "server"].append(name)
    return names
