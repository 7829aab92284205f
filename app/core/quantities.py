"""The quantities of a given cut, and its delay: the reference that knows no solver.

A cut is a set of nodes on the device that holds all that its members depend on and lets no
uncuttable tensor cross. Its quantities depend on the model alone (and, for the activations, on the
mode); a scenario prices them. Whatever an algorithm claims about a cut is evaluated here again
before anybody is told. The bytes of an uncuttable tensor are not known and count as none.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.dag import NO_PRODUCER, CostedDag, Mask, NodeWork
from app.core.scenario import Figure, Mode, Prices


@dataclass(frozen=True, slots=True)
class Quantities:
    """What a cut uses, for one batch of ``model_batch`` samples: FLOPs (forward), bytes, a count.

    ``uplink_bytes`` and ``gradient_bytes`` are those of the type that crosses, which may be another
    than that of the tensors (``CostedDag.smashed_as``).

    With measured node seconds in place of FLOPs, the two FLOPs columns are seconds.
    """

    device_flops: float
    server_flops: float
    uplink_bytes: int
    gradient_bytes: int
    result_bytes: int
    device_parameter_bytes: int
    device_activation_bytes: int
    crossing_tensors: int


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A division of the nodes: ``on_device`` (n,) bool, with ``device_nodes`` members;
    ``cut_tensors``: indices of the crossing tensors."""

    on_device: Mask
    device_nodes: int
    cut_tensors: NDArray[np.intp]
    quantities: Quantities

    @property
    def server_nodes(self) -> int:
        """How many nodes run on the server."""
        return len(self.on_device) - self.device_nodes


@dataclass(frozen=True, slots=True)
class Delay:
    """Where the time of one round (training) or one inference goes, in seconds."""

    total_s: Figure
    device_compute_s: Figure
    server_compute_s: Figure
    uplink_s: Figure
    downlink_s: Figure
    round_trip_s: Figure
    model_transfer_s: Figure

    def as_dict(self) -> dict[str, Figure]:
        """The parts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def cut_of(dag: CostedDag, on_device: Mask, mode: Mode, work: NodeWork | None = None) -> Cut:
    """The cut that a set of device nodes makes. Raises ``ValueError`` if it makes none: it is not
    closed under predecessors, or an uncuttable tensor would cross."""
    if not dag.is_cut(on_device):
        raise ValueError(
            "the set of device nodes makes no cut: it is not closed under predecessors, or an "
            "uncuttable tensor would cross"
        )
    work = work or NodeWork.from_flops(dag)
    made_on_device = _made_on_device(dag, on_device)
    crossing = made_on_device & dag.tensor_consumers.any_per_row(~on_device)
    results = dag.tensor_is_output & ~made_on_device
    held = dag.parameter_users.any_per_row(on_device)
    quantities = Quantities(
        device_flops=float(work.device[on_device].sum()),
        server_flops=float(work.server[~on_device].sum()),
        uplink_bytes=int(dag.crossing_bytes[crossing].sum()),
        gradient_bytes=int(dag.crossing_bytes[crossing & dag.returns_gradient].sum()),
        result_bytes=int(dag.tensor_bytes[results].sum()),
        device_parameter_bytes=int(dag.parameter_bytes[held].sum()),
        device_activation_bytes=(
            kept_activation_bytes(dag, on_device)
            if mode is Mode.TRAINING
            else peak_activation_bytes(dag, on_device)
        ),
        crossing_tensors=int(crossing.sum()),
    )
    return Cut(on_device, int(on_device.sum()), np.flatnonzero(crossing), quantities)


def delay_of(cut: Cut, prices: Prices) -> Delay:
    """The delay of a cut under a price list (the design's arithmetic, term by term)."""
    q = cut.quantities
    return delay_terms(
        prices,
        device_flops=q.device_flops,
        server_flops=q.server_flops,
        uplink_bytes=q.uplink_bytes,
        gradient_bytes=q.gradient_bytes,
        result_bytes=q.result_bytes,
        device_parameter_bytes=q.device_parameter_bytes,
        round_trips=1.0 if cut.server_nodes else 0.0,
        device_runs=1.0 if cut.device_nodes else 0.0,
    )


def delay_terms(
    prices: Prices,
    *,
    device_flops: Figure,
    server_flops: Figure,
    uplink_bytes: Figure,
    gradient_bytes: Figure,
    result_bytes: Figure,
    device_parameter_bytes: Figure,
    round_trips: Figure,
    device_runs: Figure,
) -> Delay:
    """The terms of a delay, of one cut and price list or of many; ``round_trips``: 1 where any
    node runs on the server, else 0; ``device_runs``: the same of the device."""
    device_compute_s = prices.device_s_per_flop * device_flops + prices.device_run_s * device_runs
    server_compute_s = prices.server_s_per_flop * server_flops + prices.server_run_s * round_trips
    uplink_s = prices.uplink_s_per_byte * uplink_bytes
    downlink_s = (
        prices.gradient_s_per_byte * gradient_bytes + prices.result_s_per_byte * result_bytes
    )
    round_trip_s = prices.round_trip_s * round_trips
    model_transfer_s = prices.parameter_s_per_byte * device_parameter_bytes
    return Delay(
        total_s=device_compute_s
        + server_compute_s
        + uplink_s
        + downlink_s
        + round_trip_s
        + model_transfer_s,
        device_compute_s=device_compute_s,
        server_compute_s=server_compute_s,
        uplink_s=uplink_s,
        downlink_s=downlink_s,
        round_trip_s=round_trip_s,
        model_transfer_s=model_transfer_s,
    )


def _made_on_device(dag: CostedDag, on_device: Mask) -> Mask:
    """(m,) Which tensors exist on the device: graph inputs, and what device nodes make."""
    made = np.ones(dag.tensor_count, dtype=np.bool_)
    has_producer = dag.tensor_producers != NO_PRODUCER
    made[has_producer] = on_device[dag.tensor_producers[has_producer]]
    return made


def kept_activation_bytes(dag: CostedDag, on_device: Mask) -> int:
    """Bytes of the tensors that device nodes make or read: what training keeps for the backward
    pass."""
    read = dag.tensor_consumers.any_per_row(on_device)
    made = _made_on_device(dag, on_device) & (dag.tensor_producers != NO_PRODUCER)
    return int(dag.tensor_bytes[read | made].sum())


def peak_activation_bytes(dag: CostedDag, on_device: Mask) -> int:
    """The most bytes of tensors that are live on the device while one of its nodes runs.

    Nodes run in the order of the DAG. A graph input is live from the start, a tensor made on the
    device from its producer on. It is freed after its last consumer has run; where it crosses, or
    is a graph output that the device made, it stays until the device has finished.
    """
    if not on_device.any():
        return 0
    is_raw = dag.tensor_producers == NO_PRODUCER
    used = np.diff(dag.tensor_consumers.offsets) > 0
    live = _made_on_device(dag, on_device) & (used | ~is_raw)
    stays = dag.tensor_consumers.any_per_row(~on_device) | (dag.tensor_is_output & ~is_raw)
    first = np.maximum(dag.tensor_producers, 0)
    last = np.where(stays, dag.node_count, _last_consumer(dag))
    change = np.zeros(dag.node_count + 2, dtype=np.int64)
    np.add.at(change, first[live], dag.tensor_bytes[live])
    np.subtract.at(change, last[live] + 1, dag.tensor_bytes[live])
    return int(np.cumsum(change)[:-2][on_device].max())


def _last_consumer(dag: CostedDag) -> NDArray[np.int64]:
    """(m,) For each tensor, its last consumer, or its producer where it has none."""
    last = np.maximum(dag.tensor_producers, 0).astype(np.int64)
    np.maximum.at(last, dag.tensor_consumers.row_of_entry(), dag.tensor_consumers.indices)
    return last
