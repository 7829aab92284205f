"""From validated bodies to what the services take."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.api.schemas import BatchIn, ConstraintsIn, ScenarioIn, SplitIn
from app.core.constraints import Constraints
from app.core.scenario import DevicePower, Link, Mode, Objective, Scenario
from app.services.answers import SplitQuery
from app.services.batches import ScenarioGroup
from app.services.splits import BatchQuery
from app.services.switching import CurrentCut


def split_query(body: SplitIn) -> SplitQuery:
    """One request for a cut."""
    return SplitQuery(
        model_id=body.model_id,
        scenario=_scenario(body),
        constraints=_constraints(body.constraints),
        method=body.method,
        store=body.store,
        request=body.model_dump() if body.store else {},
        current=_current(body),
    )


def batch_query(body: BatchIn) -> BatchQuery:
    """Many requests at once."""
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


def _scenario(body: ScenarioIn) -> Scenario:
    device, link = body.device, body.link
    power = None
    if body.objective == "energy":
        power = DevicePower(device.compute_w or 0, device.transmit_w or 0, device.receive_w or 0)
    return Scenario(
        device_flops_per_s=device.flops_per_s,
        server_flops_per_s=body.server.flops_per_s,
        link=Link(link.uplink_bits_per_s, link.downlink_bits_per_s, link.round_trip_s),
        mode=Mode(body.mode),
        batch_size=body.batch_size,
        local_iterations=body.local_iterations,
        backward_ratio=body.backward_ratio,
        objective=Objective(body.objective),
        memory_bytes=device.memory_bytes,
        optimizer_states=body.optimizer_states,
        power=power,
    )


_Row = tuple[float, ...]


def _row(body: ScenarioIn) -> _Row:
    """The numbers of a scenario, in the order of ``_group``; 0 for what is not given."""
    device, link = body.device, body.link
    return (
        device.flops_per_s,
        body.server.flops_per_s,
        link.uplink_bits_per_s,
        link.downlink_bits_per_s,
        link.round_trip_s,
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
    """Scenarios by what cannot be an array: mode, objective, and which options are given."""
    places: dict[tuple[str, str, bool, bool], list[int]] = defaultdict(list)
    for place, body in enumerate(scenarios):
        has_limit = body.device.memory_bytes is not None
        places[body.mode, body.objective, has_limit, body.batch_size is not None].append(place)
    return [
        _group(members, np.array([_row(scenarios[member]) for member in members]), *key)
        for key, members in places.items()
    ]


def _group(
    members: list[int],
    rows: NDArray[np.float64],
    mode: str,
    objective: str,
    has_limit: bool,
    has_batch: bool,
) -> ScenarioGroup:
    device, server, up, down, round_trip, batch, iterations, ratio, states, memory, *watts = rows.T
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
    )
    return ScenarioGroup(np.array(members, dtype=np.intp), scenario)
