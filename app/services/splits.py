"""Find, store and show the best cut for a scenario."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from anyio import to_thread

from app import metrics, tracing
from app.core.constraints import Constraints
from app.core.dag import Mask
from app.core.scenario import Scenario
from app.errors import NotFoundError
from app.services.answers import SplitQuery, answer_of, node_names
from app.services.batches import BatchSolved, PosedGroup, ScenarioGroup, solve_batch
from app.services.idempotency import RequestKey, require_same_request
from app.services.posing import Posing
from app.services.prepared import PreparedModel, PreparedModels
from app.services.recorder import Recorder
from app.services.sensitivity import Losses, sensitivity_of
from app.services.solving import Method, Solved, families_needed, solve
from app.services.switching import Decision, decide
from app.store import idempotency
from app.store import splits as split_store
from app.store.database import Database
from app.store.idempotency import KeyUse
from app.store.packing import pack_mask, unpack_mask
from app.store.pages import Page
from app.store.splits import SplitRow

MOST_NODES_INLINE = 2000
"""Flows on larger DAGs are computed in a worker thread, so that other requests go on."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchQuery:
    """Many requests at once; ``requests``: the JSON to keep of each, or nothing to store none."""

    model_id: str
    groups: Sequence[ScenarioGroup]
    count: int
    constraints: Constraints
    requests: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SplitAnswer:
    """An answer as JSON. ``is_repeated``: it was given before, to a request with the same key."""

    body: dict[str, Any]
    is_repeated: bool


class SplitService:
    """Splits of the models of one database."""

    def __init__(
        self, database: Database, prepared: PreparedModels, posing: Posing, recorder: Recorder
    ) -> None:
        self._database = database
        self._prepared = prepared
        self._posing = posing
        self._recorder = recorder

    async def split(
        self,
        tenant_id: str,
        query: SplitQuery,
        include_nodes: bool = False,
        include_sensitivity: bool = False,
        request_key: RequestKey | None = None,
    ) -> SplitAnswer:
        """The best cut; committed before it is answered if the query says to store it.

        With a key that stands for this request already the answer is the stored one. Raises
        ``SplitError``, ``NotFoundError``, ``InvalidProfileError``, ``KeyReusedError``,
        ``BusyError`` or ``NotReadyError``.
        """
        if request_key is not None and query.store:
            known = await to_thread.run_sync(self._made_before, tenant_id, request_key)
            if known is not None:
                return SplitAnswer(await self.get(tenant_id, known, include_nodes), True)
        model, profiles = await self.prepared(tenant_id, query.model_id), None
        if query.basis is not None:
            posed = await self._posing.pose(model, query.scenario, query.basis)
            model, profiles = posed.model, posed.profiles
            query = replace(query, scenario=posed.scenario)
        started = time.perf_counter()
        solved = await self._solve(model, query)
        decision = None
        if query.current is not None:
            decision = await to_thread.run_sync(self._decide, model, query, solved)
        answer = answer_of(model, query, solved, decision, time.perf_counter() - started)
        chosen = solved.cut if decision is None else decision.cut
        if profiles is not None:
            answer["profiles"] = profiles
        if include_sensitivity:
            answer["sensitivity"] = await to_thread.run_sync(
                self._sensitivity, model, query, chosen.on_device
            )
        if query.store:
            row = _row(tenant_id, query, answer, chosen.on_device)
            known = await self._record([row], _use(row, request_key))
            if known is not None:
                return SplitAnswer(await self.get(tenant_id, known, include_nodes), True)
            answer = _stamped(answer, row.id, row.created_at)
        if include_nodes:
            answer["nodes"] = node_names(model.dag, chosen.on_device)
        return SplitAnswer(answer, False)

    async def split_batch(self, tenant_id: str, query: BatchQuery) -> dict[str, Any]:
        """The best cut for each scenario, as JSON; all are committed, or none, where they are to
        be stored.

        Raises ``SplitError``, naming the scenario at fault, ``NotFoundError``,
        ``InvalidProfileError``, ``BusyError`` or ``NotReadyError``.
        """
        model = await self.prepared(tenant_id, query.model_id)
        groups = await self._posing.pose_groups(model, query.groups)
        started = time.perf_counter()
        with tracing.span("solve", method="batch", scenarios=query.count):
            solved = await to_thread.run_sync(self._solve_batch, model, groups, query)
        metrics.SOLVE_SECONDS["batch"].observe(time.perf_counter() - started)
        if query.requests:
            share_s = (time.perf_counter() - started) / query.count
            places = range(len(solved.answers))
            rows = [_batch_row(model, query, place, solved, share_s) for place in places]
            await self._record(rows, None)
            for answer, row in zip(solved.answers, rows, strict=True):
                answer["id"] = row.id
        return {"model_id": model.model_id, "cuts": solved.cuts, "answers": solved.answers}

    async def prepared(self, tenant_id: str, model_id: str) -> PreparedModel:
        """A tenant's model, from the cache where it is there. Raises ``NotFoundError``."""
        model = self._prepared.cached(tenant_id, model_id)
        if model is None:
            with tracing.span("load"):
                model = await to_thread.run_sync(self._prepared.load, tenant_id, model_id)
        return model

    async def get(
        self, tenant_id: str, split_id: str, include_nodes: bool = False
    ) -> dict[str, Any]:
        """A stored result, as it was answered. Raises ``NotFoundError``."""
        return await to_thread.run_sync(self._get, tenant_id, split_id, include_nodes)

    async def page(
        self, tenant_id: str, limit: int, cursor: str | None, model_id: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of stored results, newest first. Raises ``BadCursorError``."""
        page = await to_thread.run_sync(self._page, tenant_id, limit, cursor, model_id)
        items = [_stamped(row["answer"], row["id"], row["created_at"]) for row in page.items]
        return items, page.next_cursor

    async def _solve(self, model: PreparedModel, query: SplitQuery) -> Solved:
        started = time.perf_counter()
        with tracing.span("solve") as span:
            if _is_quick(model, query):
                solved = solve(model, query.scenario, query.constraints, query.method)
            else:
                solved = await to_thread.run_sync(self._solve_cold, model, query)
            tracing.note(span, method=solved.method)
        metrics.SOLVE_SECONDS[solved.method].observe(time.perf_counter() - started)
        return solved

    def _solve_cold(self, model: PreparedModel, query: SplitQuery) -> Solved:
        self._build(model, query.scenario, query.constraints, query.method)
        return solve(model, query.scenario, query.constraints, query.method)

    def _sensitivity(
        self, model: PreparedModel, query: SplitQuery, on_device: Mask
    ) -> dict[str, Losses]:
        self._build(model, query.scenario, query.constraints, "table")
        return sensitivity_of(model, query.scenario, query.constraints, on_device)

    def _build(
        self, model: PreparedModel, scenario: Scenario, constraints: Constraints, method: Method
    ) -> None:
        """Have tables built ahead, so that other processes, or the cache's bound, have them too."""
        if constraints.is_empty:
            self._prepared.build_all(model, families_needed(model, scenario, method))

    def _solve_batch(
        self, model: PreparedModel, groups: Sequence[PosedGroup], query: BatchQuery
    ) -> BatchSolved:
        for group in groups:
            self._build(group.posed.model, group.posed.scenario, query.constraints, "table")
        return solve_batch(model, query.constraints, groups, query.count)

    def _decide(self, model: PreparedModel, query: SplitQuery, solved: Solved) -> Decision:
        assert query.current is not None
        on_device = None
        if query.current.split_id is not None:
            row = self._row(model.tenant_id, query.current.split_id, ("current_cut",))
            if row.model_id != model.model_id:
                raise NotFoundError(
                    f"split {row.id!r} is of another model; name a split of this one",
                    loc=("current_cut",),
                )
            on_device = unpack_mask(row.on_device, model.dag.node_count)
        return decide(model, query.scenario, query.constraints, query.current, on_device, solved)

    async def _record(self, rows: Sequence[SplitRow], use: KeyUse | None) -> str | None:
        try:
            with tracing.span("store", rows=len(rows)):
                return await self._recorder.record(rows, use)
        except NotFoundError:
            # The model was deleted after it was prepared here.
            self._prepared.discard(rows[0].model_id)
            raise

    def _made_before(self, tenant_id: str, request_key: RequestKey) -> str | None:
        """The split that a key stands for, if it stands for one. Raises ``KeyReusedError``."""
        with self._database.reading() as connection:
            holder = idempotency.get(connection, tenant_id, request_key.key)
        if holder is None:
            return None
        require_same_request(holder, request_key)
        return holder.split_id

    def _row(self, tenant_id: str, split_id: str, loc: Sequence[str] = ()) -> SplitRow:
        with self._database.reading() as connection:
            row = split_store.get(connection, tenant_id, split_id)
        if row is None:
            raise NotFoundError(f"there is no split {split_id!r}", loc=loc)
        return row

    def _get(self, tenant_id: str, split_id: str, include_nodes: bool) -> dict[str, Any]:
        row = self._row(tenant_id, split_id)
        answer = _stamped(row.answer, row.id, row.created_at)
        if include_nodes:
            dag = self._prepared.load(tenant_id, row.model_id).dag
            answer["nodes"] = node_names(dag, unpack_mask(row.on_device, dag.node_count))
        return answer

    def _page(self, tenant_id: str, limit: int, cursor: str | None, model_id: str | None) -> Page:
        with self._database.reading() as connection:
            return split_store.page(connection, tenant_id, limit, cursor, model_id)


def _is_quick(model: PreparedModel, query: SplitQuery) -> bool:
    """Whether a cut is found in so little time that the event loop may do it itself."""
    if query.method in ("general", "blockwise") and not (
        query.constraints.is_empty
        and model.dag.node_count <= MOST_NODES_INLINE
        and model.has_network
    ):
        return False
    tables = model.under(query.constraints).tables
    needed = families_needed(model, query.scenario, query.method)
    return all(tables.has(family) for family in needed)


def _row(tenant_id: str, query: SplitQuery, answer: dict[str, Any], on_device: Mask) -> SplitRow:
    return SplitRow(
        id=secrets.token_hex(16),
        tenant_id=tenant_id,
        model_id=query.model_id,
        created_at=datetime.now(UTC),
        request=query.request,
        answer=answer,
        on_device=pack_mask(on_device),
    )


def _use(row: SplitRow, request_key: RequestKey | None) -> KeyUse | None:
    if request_key is None:
        return None
    return KeyUse(
        row.tenant_id, request_key.key, request_key.fingerprint, row.created_at, split_id=row.id
    )


def _batch_row(
    model: PreparedModel, query: BatchQuery, place: int, solved: BatchSolved, solve_s: float
) -> SplitRow:
    """A result of a batch in the form of a single one; ``solve_s``: its share of the time."""
    answer, server_only_s = solved.answers[place], solved.server_only_s
    told = {"profiles": answer["profiles"]} if "profiles" in answer else {}
    single = {
        "id": None,
        "model_id": model.model_id,
        "created_at": datetime.now(UTC).isoformat(),
        "cut": solved.cuts[answer["cut"]],
        "delay": answer["delay"],
        "baselines": {
            "device_only_s": float(solved.device_only_s[place]),
            "server_only_s": None if server_only_s is None else float(server_only_s[place]),
        },
        "objective_value": answer["objective_value"],
        "optimal": answer["optimal"],
        "gap": None,
        "method": "table",
        "solve_s": solve_s,
        "valid_while": None,
        **told,
    }
    return SplitRow(
        id=secrets.token_hex(16),
        tenant_id=model.tenant_id,
        model_id=model.model_id,
        created_at=datetime.now(UTC),
        request=query.requests[place],
        answer=single,
        on_device=pack_mask(solved.masks[answer["cut"]]),
    )


def _stamped(answer: dict[str, Any], split_id: str, created_at: datetime) -> dict[str, Any]:
    """A stored answer with the id and the moment of its row."""
    return {**answer, "id": split_id, "created_at": created_at.isoformat()}
