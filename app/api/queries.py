"""From validated bodies to what the services take."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.api.schemas import BatchIn, ConstraintsIn, LinkIn, MachineIn, ScenarioIn, SplitIn
from app.core.constraints import Constraints
from app.core.scenario import DevicePower, Link, Mode, Objective, Scenario
from app.presets import link_named, machine_named
from app.services.answers import SplitQuery
from app.services.basis import Basis
from app.services.batches import ScenarioGroup
from app.services.idempotency import RequestKey, fingerprint_of
from app.services.splits import BatchQuery
from app.services.switching import CurrentCut


def split_query(body: SplitIn) -> SplitQuery:
    """One request for a cut. Raises ``UnknownPresetError``."""
    return SplitQuery(
        model_id=body.model_id,
        scenario=_scenario(body),
        constraints=_constraints(body.constraints),
        method=body.method,
        store=body.store,
        request=body.model_dump() if body.store else {},
        current=_current(body),
        basis=_basis(body),
    )


def request_key_of(key: str, query: SplitQuery, include: Sequence[str]) -> RequestKey:
    """A client's key of a request for a cut."""
    return RequestKey(key, fingerprint_of("POST /split", [query.request, sorted(include)]))


def batch_query(body: BatchIn) -> BatchQuery:
    """Many requests at once. Raises ``UnknownPresetError``."""
    return BatchQuery(
        model_id=body.model_id,
        groups=_grouped(body.scenarios),
        count=len(body.scenarios),
        constraints=_constraints(body.constraints),
        requests=[_request_of(body, scenario) for scenario in body.scenarios] if body.store else [],
    )


def _request_of(body: BatchIn, scenario: ScenarioIn) -> dict[str, object]:
    constraints = body.constraints.model_dump()
    return {"model_id": body.model_id, **scenario.model_dump(), "constraints": constraints}


def _constraints(body: ConstraintsIn) -> Constraints:
    return Constraints(
        pin_device=tuple(body.pin_device),
        pin_server=tuple(body.pin_server),
        keep_inputs_on_device=body.keep_inputs_on_device,
    )


def _current(body: SplitIn) -> CurrentCut | None:
    current = body.current_cut
    if current is None:
        return None
    return CurrentCut(
        split_id=current if isinstance(current, str) else None,
        cut_tensors=None if isinstance(current, str) else tuple(current),
        switching_s=body.switching_s,
        horizon_rounds=body.horizon_rounds,
    )


MEASURED = 1.0
"""What stands for a speed that a profile has, which only the service can look up."""
_Loc = Sequence[str | int]


def _speed(machine: MachineIn, loc: _Loc) -> float:
    """FLOPs per second. Raises ``UnknownPresetError``."""
    if machine.preset is not None:
        return machine_named(machine.preset, (*loc, "preset")).flops_per_s
    return machine.flops_per_s or MEASURED


def _run_overhead(machine: MachineIn) -> float:
    """Seconds; NaN where a profile is to tell."""
    if machine.run_overhead_s is not None:
        return machine.run_overhead_s
    return 0.0 if machine.profile_id is None else math.nan


def _figures(link: LinkIn, loc: _Loc) -> tuple[float, float, float]:
    """Rates up and down and the round trip: those given, and its preset's for the others.

    Raises ``UnknownPresetError``.
    """
    up, down, round_trip_s = link.uplink_bits_per_s, link.downlink_bits_per_s, link.round_trip_s
    if link.preset is not None:
        preset = link_named(link.preset, (*loc, "preset"))
        up, down = up or preset.uplink_bits_per_s, down or preset.downlink_bits_per_s
        if "round_trip_s" not in link.model_fields_set:
            round_trip_s = preset.round_trip_s or 0.0
    assert up is not None
    assert down is not None
    return up, down, round_trip_s


def _basis(body: ScenarioIn) -> Basis | None:
    """What the request names in the place of figures; None, where it names none."""
    device, server = body.device.profile_id, body.server.profile_id
    dtype = body.link.smashed_dtype
    if device is None and server is None and dtype is None:
        return None
    return Basis(device, server, dtype)


def _scenario(body: ScenarioIn) -> Scenario:
    device = body.device
    power = None
    if body.objective == "energy":
        power = DevicePower(device.compute_w or 0, device.transmit_w or 0, device.receive_w or 0)
    return Scenario(
        device_flops_per_s=_speed(device, ("device",)),
        server_flops_per_s=_speed(body.server, ("server",)),
        link=Link(*_figures(body.link, ("link",))),
        mode=Mode(body.mode),
        batch_size=body.batch_size,
        local_iterations=body.local_iterations,
        backward_ratio=body.backward_ratio,
        objective=Objective(body.objective),
        memory_bytes=device.memory_bytes,
        optimizer_states=body.optimizer_states,
        power=power,
        device_run_overhead_s=_run_overhead(device),
        server_run_overhead_s=_run_overhead(body.server),
    )


_Row = tuple[float, ...]


def _row(body: ScenarioIn, place: int) -> _Row:
    """The numbers of a scenario, in the order of ``_group``; 0 for what is not given."""
    device, server = body.device, body.server
    return (
        device.flops_per_s or _speed(device, ("scenarios", place, "device")),
        server.flops_per_s or _speed(server, ("scenarios", place, "server")),
        *_figures(body.link, ("scenarios", place, "link")),
        _run_overhead(device),
        _run_overhead(server),
        body.batch_size or 0,
        body.local_iterations,
        body.backward_ratio,
        body.optimizer_states,
        device.memory_bytes or 0,
        device.compute_w or 0,
        device.transmit_w or 0,
        device.receive_w or 0,
    )


def _grouped(scenarios: Sequence[ScenarioIn]) -> list[ScenarioGroup]:
    """Scenarios by what cannot be an array: mode, objective, which options are given, and what is
    named in the place of figures."""
    places: dict[tuple[str, str, bool, bool, Basis | None], list[int]] = defaultdict(list)
    for place, body in enumerate(scenarios):
        has_limit, has_batch = body.device.memory_bytes is not None, body.batch_size is not None
        places[body.mode, body.objective, has_limit, has_batch, _basis(body)].append(place)
    return [
        _group(members, np.array([_row(scenarios[member], member) for member in members]), *key)
        for key, members in places.items()
    ]


def _group(
    members: list[int],
    rows: NDArray[np.float64],
    mode: str,
    objective: str,
    has_limit: bool,
    has_batch: bool,
    basis: Basis | None,
) -> ScenarioGroup:
    device, server, up, down, round_trip, device_run, server_run, *others = rows.T
    batch, iterations, ratio, states, memory, *watts = others
    scenario = Scenario(
        device_flops_per_s=device,
        server_flops_per_s=server,
        link=Link(up, down, round_trip),
        mode=Mode(mode),
        batch_size=batch if has_batch else None,
        local_iterations=iterations,
        backward_ratio=ratio,
        objective=Objective(objective),
        memory_bytes=memory if has_limit else None,
        optimizer_states=states,
        power=DevicePower(*watts) if objective == "energy" else None,
        device_run_overhead_s=device_run,
        server_run_overhead_s=server_run,
    )
    return ScenarioGroup(np.array(members, dtype=np.intp), scenario, basis)
