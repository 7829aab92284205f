"""Measured machines, as they are kept and shown."""

import difflib
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from anyio import to_thread
from cachetools import LRUCache
from sqlalchemy.exc import IntegrityError

from app.core.dag import CostedDag
from app.errors import InvalidProfileError, NotFoundError
from app.services.prepared import PreparedModels
from app.store import profiles as profile_store
from app.store.database import Database
from app.store.pages import Page
from app.store.profiles import NodeSeconds, ProfileRow
from app.store.tenants import DEFAULT_TENANT

MOST_KNOWN = 256
MOST_MISMATCH = 0.05
"""Share by which the FLOPs that a profile implies may differ from the model's."""
_Loc = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """What a warm request needs of a profile.

    ``flops_per_s``: sustained over all its models; ``by_model``: over each, by the model's id.
    ``run_overhead_s``: of each, by the model's id.
    """

    id: str
    name: str
    flops_per_s: float
    by_model: Mapping[str, float]
    run_overhead_s: Mapping[str, float]
    tenant_id: str

    def run_overhead_on(self, model_id: str) -> float:
        """Seconds; the mean over its models where it does not know this one."""
        known = self.run_overhead_s
        return known[model_id] if model_id in known else fmean(known.values())


class ProfileService:
    """Profiles of one database. Methods that are no coroutines block; call these from a thread."""

    def __init__(self, database: Database, prepared: PreparedModels) -> None:
        self._database = database
        self._prepared = prepared
        self._known: LRUCache[str, KnownProfile] = LRUCache(MOST_KNOWN)
        self._lock = threading.Lock()
        self._removals = 0

    def create(self, tenant_id: str, body: Mapping[str, Any]) -> tuple[ProfileRow, bool]:
        """Keep a profile (the body of ``POST /profiles``), and whether it is new: the same content
        again of a tenant is the same profile. Raises ``InvalidProfileError``, and then nothing is
        stored."""
        flops, seconds = 0, 0.0
        for place, measured in enumerate(body["models"]):
            flops += self._flops_of(tenant_id, measured, ("models", place))
            seconds += measured["whole_s"]
        row = ProfileRow(
            id=_id_of(tenant_id, body),
            tenant_id=tenant_id,
            name=body["name"],
            created_at=datetime.now(UTC),
            flops_per_s=flops / seconds,
            summary={
                "machine": body["machine"],
                "threads": body["threads"],
                "models": [_summary(measured) for measured in body["models"]],
            },
        )
        node_seconds = {
            measured["model_id"]: measured["node_seconds"] for measured in body["models"]
        }
        try:
            with self._database.writing() as connection:
                known = profile_store.get(connection, tenant_id, row.id)
                if known is None:
                    profile_store.add(connection, row, node_seconds)
        except IntegrityError:
            # Another process stored it between the look and the insertion.
            known = self._row(tenant_id, row.id, ())
        return known or row, known is None

    def with_seconds(
        self, tenant_id: str, profile_id: str
    ) -> tuple[ProfileRow, dict[str, NodeSeconds]]:
        """A profile with the seconds of all its nodes, by model. Raises ``NotFoundError``."""
        with self._database.reading() as connection:
            row = profile_store.get(connection, tenant_id, profile_id)
            if row is None:
                raise _no_profile(profile_id, ())
            return row, profile_store.node_seconds(connection, profile_id)

    def page(self, tenant_id: str, limit: int, cursor: str | None) -> Page:
        """A page of a tenant's profiles, newest first. Raises ``BadCursorError``."""
        with self._database.reading() as connection:
            return profile_store.page(connection, tenant_id, limit, cursor)

    def remove(self, tenant_id: str, profile_id: str) -> None:
        """Delete a profile: it is gone at once in this process, and in others once they look
        (``app.services.upkeep``). Raises ``NotFoundError``."""
        with self._database.writing() as connection:
            removed = profile_store.remove(connection, tenant_id, profile_id)
        with self._lock:
            self._removals += 1
            self._known.pop(profile_id, None)
        if not removed:
            raise _no_profile(profile_id, ())

    def drop_deleted(self) -> None:
        """Forget profiles that another process has deleted. Raises ``NotReadyError``, and then
        forgets none."""
        with self._lock:
            known = list(self._known)
        if known:
            with self._database.reading() as connection:
                there = profile_store.still_there(connection, known)
            with self._lock:
                for profile_id in set(known) - there:
                    self._known.pop(profile_id, None)

    async def known(self, tenant_id: str, profile_id: str, loc: _Loc = ()) -> KnownProfile:
        """A tenant's profile, from memory where it is there. Raises ``NotFoundError``."""
        with self._lock:
            known = self._known.get(profile_id)
        if known is None or known.tenant_id != tenant_id:
            known = await to_thread.run_sync(self._load, tenant_id, profile_id, loc)
        return known

    def node_seconds_of(self, profile_id: str, model_id: str, loc: _Loc = ()) -> NodeSeconds:
        """What a profile, whosever it is, has of one model. Raises ``NotFoundError``."""
        with self._database.reading() as connection:
            found = profile_store.node_seconds_of(connection, profile_id, model_id)
        if found is None:
            raise _no_profile(profile_id, loc)
        return found

    def _load(self, tenant_id: str, profile_id: str, loc: _Loc) -> KnownProfile:
        with self._lock:
            removals = self._removals
        row = self._row(tenant_id, profile_id, loc)
        by_model = {each["model_id"]: each["flops_per_s"] for each in row.summary["models"]}
        # Profiles of an older version do not have it.
        overhead = {
            each["model_id"]: each.get("run_overhead_s", 0.0) for each in row.summary["models"]
        }
        known = KnownProfile(row.id, row.name, row.flops_per_s, by_model, overhead, row.tenant_id)
        with self._lock:
            # It may have been deleted since it was read.
            if self._removals == removals:
                self._known[profile_id] = known
        return known

    def _row(self, tenant_id: str, profile_id: str, loc: _Loc) -> ProfileRow:
        with self._database.reading() as connection:
            row = profile_store.get(connection, tenant_id, profile_id)
        if row is None:
            raise _no_profile(profile_id, loc)
        return row

    def _flops_of(self, tenant_id: str, measured: Mapping[str, Any], loc: _Loc) -> int:
        """FLOPs of the model that was measured. Raises ``InvalidProfileError``."""
        model_id = measured["model_id"]
        try:
            dag = self._prepared.load(tenant_id, model_id).dag
        except NotFoundError as error:
            raise InvalidProfileError(
                f"{error.detail}; upload it before its profile", loc=(*loc, "model_id")
            ) from error
        _check_nodes(dag, measured["node_seconds"], (*loc, "node_seconds"))
        flops = measured["flops_per_s"] * measured["whole_s"]
        if abs(flops - dag.total_flops) > MOST_MISMATCH * dag.total_flops:
            raise InvalidProfileError(
                f"flops_per_s times whole_s is {flops:.4g} FLOPs, and a run of the model takes "
                f"{dag.total_flops:.4g}; measure batches of {dag.model_batch} samples, which the "
                "model was bound to",
                loc=(*loc, "flops_per_s"),
            )
        return dag.total_flops


def profile_facts(
    row: ProfileRow, node_seconds: Mapping[str, NodeSeconds] | None = None
) -> dict[str, Any]:
    """A profile as JSON, with the seconds of its nodes, by model, where they are given."""
    models = row.summary["models"]
    if node_seconds is not None:
        models = [{**each, "node_seconds": node_seconds[each["model_id"]]} for each in models]
    return {
        "id": row.id,
        "name": row.name,
        "created_at": row.created_at.isoformat(),
        "flops_per_s": row.flops_per_s,
        **row.summary,
        "models": models,
    }


def _id_of(tenant_id: str, body: Mapping[str, Any]) -> str:
    content = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if tenant_id != DEFAULT_TENANT:
        content += tenant_id
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in measured.items() if name != "node_seconds"}
    return {**facts, "nodes": len(measured["node_seconds"])}


def _check_nodes(dag: CostedDag, node_seconds: NodeSeconds, loc: _Loc) -> None:
    for name in node_seconds:
        if name not in dag.node_index:
            near = difflib.get_close_matches(name, dag.node_names, n=3)
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise InvalidProfileError(
                f"the model has no node named {name!r}{hint}", loc=(*loc, name)
            )
    missing = [name for name in dag.node_names if name not in node_seconds]
    if missing:
        raise InvalidProfileError(
            f"the seconds of {len(missing)} of the model's {dag.node_count} nodes are missing, "
            f"{missing[0]!r} is one of them; state 0 for a node that takes no time",
            loc=loc,
        )


def _no_profile(profile_id: str, loc: _Loc) -> NotFoundError:
    return NotFoundError(f"there is no profile {profile_id!r}", loc=loc)
