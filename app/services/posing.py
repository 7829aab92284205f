"""From what a request names to figures: the speed of a machine, or the seconds of its nodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from app.core.dag import NodeWork
from app.core.errors import UnpriceableError, UnsupportedError
from app.core.scenario import Figure, Scenario
from app.errors import InvalidProfileError
from app.services.basis import Basis, Posed
from app.services.batches import PosedGroup, ScenarioGroup, of
from app.services.prepared import PreparedModel, VariantKey
from app.services.profiles import KnownProfile, ProfileService

Side = Literal["device", "server"]
SIDES: tuple[Side, Side] = ("device", "server")
MOST_PAIRS = 8
"""Pairs of measured machines in a batch; fewer than a prepared model keeps variants."""
_Loc = Sequence[str | int]
_Named = Mapping[Side, KnownProfile]


class Posing:
    """Puts what profiles measured in the place of FLOPs, and smashed data in another type."""

    def __init__(self, profiles: ProfileService) -> None:
        self._profiles = profiles

    async def pose(self, model: PreparedModel, scenario: Scenario, basis: Basis) -> Posed:
        """A scenario with every figure known, and the variant of the model that it is about.

        Where a profile knows the model, seconds take the place of FLOPs on both sides: those that
        were measured, and on a side that was not measured FLOPs over its speed. Raises
        ``NotFoundError``, ``InvalidProfileError`` or ``UnpriceableError``.
        """
        return await self._posed(model, scenario, basis, await self._named(model, basis, ()), ())

    async def pose_groups(
        self, model: PreparedModel, groups: Sequence[ScenarioGroup]
    ) -> list[PosedGroup]:
        """The same for groups of scenarios, which are divided where measured seconds of one side
        stand beside several speeds of the other.

        Raises ``UnsupportedError`` too, where there are more tables to build than are kept.
        """
        posed: list[PosedGroup] = []
        for group in groups:
            if group.basis is None:
                posed.append(PosedGroup(group.places, Posed(model, group.scenario)))
                continue
            named = await self._named(model, group.basis, ("scenarios", int(group.places[0])))
            for members in _of_one_pair(model, group, named):
                places = group.places[members]
                loc = ("scenarios", int(places[0]))
                scenario = of(group.scenario, members)
                found = await self._posed(model, scenario, group.basis, named, loc)
                posed.append(PosedGroup(places, found))
                _check_pairs(posed, loc)
        return posed

    async def _named(self, model: PreparedModel, basis: Basis, loc: _Loc) -> _Named:
        ids: dict[Side, str | None] = {
            "device": basis.device_profile,
            "server": basis.server_profile,
        }
        return {
            side: await self._profiles.known(
                model.tenant_id, profile_id, (*loc, side, "profile_id")
            )
            for side, profile_id in ids.items()
            if profile_id is not None
        }

    async def _posed(
        self, model: PreparedModel, scenario: Scenario, basis: Basis, named: _Named, loc: _Loc
    ) -> Posed:
        rates = {side: _rate(scenario, side, named, model, loc) for side in SIDES}
        measured = {side: named[side].id for side in _measured(named, model)}
        key = VariantKey(basis.smashed_dtype)
        if measured:
            device, server = (measured.get(side) or _only(rates[side]) for side in SIDES)
            key = replace(key, device=device, server=server)
            # A second costs a second, on either side.
            rates = {side: _like(rate, 1.0) for side, rate in rates.items()}
        overheads = {side: _overhead(scenario, side, named, model) for side in SIDES}
        variant = model.known_variant(key)
        if variant is None:
            variant = await to_thread.run_sync(self._variant, model, key, loc)
        return Posed(
            variant,
            replace(
                scenario,
                device_flops_per_s=rates["device"],
                server_flops_per_s=rates["server"],
                device_run_overhead_s=overheads["device"],
                server_run_overhead_s=overheads["server"],
            ),
            _told(named, model.model_id) if named else None,
        )

    def _variant(self, model: PreparedModel, key: VariantKey, loc: _Loc) -> PreparedModel:
        if key.device is None or key.server is None:
            return model.variant(key)
        device = self._seconds(model, key.device, (*loc, "device"))
        server = self._seconds(model, key.server, (*loc, "server"))
        return model.variant(key, NodeWork(device, server))

    def _seconds(self, model: PreparedModel, source: str | float, loc: _Loc) -> NDArray[np.float64]:
        """(n,) Seconds of each node on one side, by a profile's id or by a speed."""
        if not isinstance(source, str):
            # Delays that leave floating point are looked for, and need no warning.
            with np.errstate(over="ignore"):
                seconds = np.asarray(model.dag.node_flops / source, dtype=np.float64)
                is_finite = bool(np.isfinite(seconds.sum()))
            if not is_finite:
                raise UnpriceableError(
                    "the scenario makes delays infinite: a rate is too small",
                    loc=(*loc, "flops_per_s"),
                )
            return seconds
        found = self._profiles.node_seconds_of(source, model.model_id, (*loc, "profile_id"))
        if found.keys() != model.dag.node_index.keys():
            raise InvalidProfileError(
                f"profile {source!r} was measured when this model was read by another version of "
                "Kerf, which saw other nodes in it; calibrate again",
                loc=(*loc, "profile_id"),
            )
        return np.array([found[name] for name in model.dag.node_names], dtype=np.float64)


def _measured(named: _Named, model: PreparedModel) -> list[Side]:
    """The sides whose profile knows the model."""
    return [side for side, profile in named.items() if model.model_id in profile.by_model]


def _of_one_pair(
    model: PreparedModel, group: ScenarioGroup, named: _Named
) -> list[NDArray[np.intp]]:
    """The members of a group, apart where another speed stands beside measured seconds."""
    stated = [side for side in SIDES if side not in named]
    if not (_measured(named, model) and stated):
        return [np.arange(len(group.places))]
    speeds = np.asarray(_stated(group.scenario, stated[0]))
    return [np.flatnonzero(speeds == speed) for speed in np.unique(speeds)]


def _check_pairs(posed: Sequence[PosedGroup], loc: _Loc) -> None:
    models = (group.posed.model for group in posed)
    if len({model.key for model in models if model.work is not None}) > MOST_PAIRS:
        raise UnsupportedError(
            f"the scenarios name more than {MOST_PAIRS} pairs of measured machines (each speed "
            "beside a profile makes one, and each type of smashed data), and each takes a table of "
            "its own; send them in several batches",
            loc=loc,
        )


def _rate(scenario: Scenario, side: Side, named: _Named, model: PreparedModel, loc: _Loc) -> Figure:
    """FLOPs per second of one side: as stated, or as a profile sustains them."""
    profile = named.get(side)
    if profile is None:
        return _stated(scenario, side)
    if profile.flops_per_s <= 0 and model.model_id not in profile.by_model:
        raise InvalidProfileError(
            f"profile {profile.id!r} knows other models only, and these have no FLOPs, so it tells "
            "no speed; state flops_per_s, or calibrate with this model",
            loc=(*loc, side, "profile_id"),
        )
    return _like(_stated(scenario, side), profile.flops_per_s)


def _overhead(scenario: Scenario, side: Side, named: _Named, model: PreparedModel) -> Figure:
    """Seconds that a run costs by itself: as stated, or, where that is NaN, as measured."""
    device, server = scenario.device_run_overhead_s, scenario.server_run_overhead_s
    stated = device if side == "device" else server
    if side not in named:
        return stated
    measured_s = named[side].run_overhead_on(model.model_id)
    if isinstance(stated, np.ndarray):
        return np.where(np.isnan(stated), measured_s, stated)
    return measured_s if math.isnan(stated) else stated


def _stated(scenario: Scenario, side: Side) -> Figure:
    return scenario.device_flops_per_s if side == "device" else scenario.server_flops_per_s


def _like(figure: Figure, value: float) -> Figure:
    """A value, as often as there are scenarios."""
    return np.full_like(figure, value) if isinstance(figure, np.ndarray) else value


def _only(figure: Figure) -> float:
    """The value that all scenarios have."""
    return float(np.ravel(figure)[0])


def _told(named: _Named, model_id: str) -> dict[str, Any]:
    return {side: _used(named[side], model_id) if side in named else None for side in SIDES}


def _used(profile: KnownProfile, model_id: str) -> dict[str, Any]:
    knows_it = model_id in profile.by_model
    return {
        "profile_id": profile.id,
        "name": profile.name,
        "used": "node-seconds" if knows_it else "sustained-flops",
        "flops_per_s": profile.by_model[model_id] if knows_it else profile.flops_per_s,
    }
