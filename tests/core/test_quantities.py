"""The quantities of a cut, against a count in plain Python, and the delay, against the formula."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.dag import NO_PRODUCER, CostedDag, NodeWork
from app.core.quantities import Cut, Quantities, cut_of, delay_of
from app.core.scenario import Link, Mode, Scenario, prices_of
from tests.core.build import hand_made
from tests.oracles import all_cuts, crossing_tensors, delay_s
from tests.strategies import dags, scenarios


def mask(dag: CostedDag, device: frozenset[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A set of nodes as an array."""
    return np.array([i in device for i in range(dag.node_count)], dtype=np.bool_)


def exists(dag: CostedDag, t: int, device: frozenset[int]) -> bool:
    """Whether a tensor comes to be on the device."""
    producer = int(dag.tensor_producers[t])
    return producer == NO_PRODUCER or producer in device


def peak_by_simulation(dag: CostedDag, device: frozenset[int]) -> int:
    """Run the device's nodes one by one: make room for what a node makes, note what is live, then
    free what no later node anywhere will read and nobody waits for."""
    uses = dag.tensor_consumers.to_lists()
    sizes = dag.tensor_bytes.tolist()
    left = [set(users) for users in uses]
    live = {t for t in range(dag.tensor_count) if dag.tensor_producers[t] < 0 and uses[t]}
    peak = 0
    for i in range(dag.node_count):
        if i not in device:
            continue
        made = {t for t in range(dag.tensor_count) if dag.tensor_producers[t] == i}
        live |= made
        peak = max(peak, sum(sizes[t] for t in live))
        for t in list(live):
            left[t].discard(i)
            is_result = dag.tensor_is_output[t] and dag.tensor_producers[t] >= 0
            if not left[t] and not is_result:
                live.remove(t)
    return peak


def counted(dag: CostedDag, device: frozenset[int], mode: Mode) -> Quantities:
    """Every quantity, from the table of the design, in loops."""
    uses = dag.tensor_consumers.to_lists()
    sizes = dag.tensor_bytes.tolist()
    flops = dag.node_flops.tolist()
    crossing = crossing_tensors(dag, device)
    kept = [
        t
        for t in range(dag.tensor_count)
        if int(dag.tensor_producers[t]) in device or device.intersection(uses[t])
    ]
    return Quantities(
        device_flops=float(sum(flops[i] for i in device)),
        server_flops=float(sum(flops[i] for i in range(dag.node_count) if i not in device)),
        uplink_bytes=sum(sizes[t] for t in crossing),
        gradient_bytes=sum(
            sizes[t]
            for t in crossing
            if dag.tensor_is_floating[t] and dag.tensor_producers[t] != NO_PRODUCER
        ),
        result_bytes=sum(
            sizes[t]
            for t in range(dag.tensor_count)
            if dag.tensor_is_output[t] and not exists(dag, t, device)
        ),
        device_parameter_bytes=sum(
            int(nbytes)
            for nbytes, users in zip(
                dag.parameter_bytes, dag.parameter_users.to_lists(), strict=True
            )
            if device.intersection(users)
        ),
        device_activation_bytes=(
            sum(sizes[t] for t in kept)
            if mode is Mode.TRAINING
            else peak_by_simulation(dag, device)
        ),
        crossing_tensors=len(crossing),
    )


@given(dags(max_nodes=8, min_nodes=0), st.sampled_from(Mode))
@settings(max_examples=200, deadline=None)
def test_quantities_of_every_cut_are_the_counted_ones(dag: CostedDag, mode: Mode) -> None:
    """For every cut, each quantity equals a count in plain Python, in both modes."""
    for device in all_cuts(dag):
        cut = cut_of(dag, mask(dag, device), mode)
        assert cut.quantities == counted(dag, device, mode)
        assert cut.cut_tensors.tolist() == crossing_tensors(dag, device)
        assert cut.device_nodes == len(device)
        assert cut.server_nodes == dag.node_count - len(device)


@given(dags(max_nodes=8, min_nodes=0), scenarios())
@settings(max_examples=200, deadline=None)
def test_the_delay_is_the_formulas(dag: CostedDag, scenario: Scenario) -> None:
    """For every cut the delay is that of the formula, and its parts add up to it."""
    prices = prices_of(scenario, dag.model_batch)
    for device in all_cuts(dag):
        delay = delay_of(cut_of(dag, mask(dag, device), scenario.mode), prices)
        assert delay.total_s == pytest.approx(delay_s(dag, device, scenario), rel=1e-12)
        shares = {name: share for name, share in asdict(delay).items() if name != "total_s"}
        assert min(shares.values()) >= 0.0
        assert sum(shares.values()) == pytest.approx(delay.total_s, rel=1e-12)


@given(dags(max_nodes=8))
@settings(deadline=None)
def test_sets_that_make_no_cut_are_refused(dag: CostedDag) -> None:
    """A set that lacks a predecessor of a member, or would let an uncuttable tensor cross, is
    refused."""
    cuts = set(all_cuts(dag))
    for bits in range(2**dag.node_count):
        device = frozenset(i for i in range(dag.node_count) if bits >> i & 1)
        if device not in cuts:
            with pytest.raises(ValueError, match="no cut"):
                cut_of(dag, mask(dag, device), Mode.TRAINING)


RESIDUAL = hand_made(
    """
    x -> stem -> p
    p -> conv -> q
    p,q -> add -> s
    s,z -> head -> y
    """,
    "y s",
    [("w", 1000, "stem"), ("tied", 64, "stem head")],
)
"""Four nodes of 100 FLOPs, tensors of 10 bytes: inputs x and z, a skip, a result used inside."""


def hand_cut(names: str, mode: Mode) -> Cut:
    """The cut that puts these nodes on the device."""
    device = frozenset(RESIDUAL.node_index[name] for name in names.split())
    return cut_of(RESIDUAL, mask(RESIDUAL, device), mode)


@pytest.mark.parametrize(
    ("device", "figures"),
    [
        # device FLOPs, server FLOPs, up, gradient, results, parameters, crossing
        ("", (0, 400, 20, 0, 20, 0, 2)),
        ("stem", (100, 300, 20, 10, 20, 1064, 2)),
        ("stem conv", (200, 200, 30, 20, 20, 1064, 3)),
        ("stem conv add", (300, 100, 20, 10, 10, 1064, 2)),
        ("stem conv add head", (400, 0, 0, 0, 0, 1064, 0)),
    ],
)
@pytest.mark.parametrize("mode", Mode)
def test_a_residual_by_hand(device: str, figures: tuple[int, ...], mode: Mode) -> None:
    """A skip crosses once, raw inputs return no gradient, a tied parameter is held once, and a
    result that the device makes does not come back."""
    q = hand_cut(device, mode).quantities
    assert figures == (
        q.device_flops,
        q.server_flops,
        q.uplink_bytes,
        q.gradient_bytes,
        q.result_bytes,
        q.device_parameter_bytes,
        q.crossing_tensors,
    )


@pytest.mark.parametrize(
    ("device", "kept", "peak"),
    [
        ("", 0, 0),
        ("stem", 20, 30),  # training: x p; inference: x p, and z that waits to be sent
        ("stem conv", 30, 30),  # x p q; then p q z
        ("stem conv add", 40, 40),  # x p q s; p q s z
        ("stem conv add head", 60, 40),  # all; p q s z, x freed
    ],
)
def test_activations_of_a_residual_by_hand(device: str, kept: int, peak: int) -> None:
    """Training keeps all that the device made or read; inference frees what was used last."""
    assert hand_cut(device, Mode.TRAINING).quantities.device_activation_bytes == kept
    assert hand_cut(device, Mode.INFERENCE).quantities.device_activation_bytes == peak


def test_measured_seconds_take_the_place_of_flops() -> None:
    """With measured seconds per node, the columns of FLOPs hold each side's own seconds."""
    work = NodeWork(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.3, 0.4]))
    cut = cut_of(RESIDUAL, np.array([True, True, False, False]), Mode.INFERENCE, work)
    assert cut.quantities.device_flops == pytest.approx(3.0)
    assert cut.quantities.server_flops == pytest.approx(0.7)


def test_a_training_delay_by_hand() -> None:
    """Every term of the design's formula, with figures that can be followed in the head."""
    scenario = Scenario(
        device_flops_per_s=1000.0,
        server_flops_per_s=10_000.0,
        link=Link(uplink_bits_per_s=80.0, downlink_bits_per_s=800.0, round_trip_s=0.5),
        mode=Mode.TRAINING,
        batch_size=2,
        local_iterations=3,
        backward_ratio=2.0,
    )
    prices = prices_of(scenario, RESIDUAL.model_batch)
    delay = delay_of(hand_cut("stem conv", Mode.TRAINING), prices)
    assert asdict(delay) == pytest.approx(
        {
            "device_compute_s": 3 * 2 * 3 * 200 / 1000,
            "server_compute_s": 3 * 2 * 3 * 200 / 10_000,
            "uplink_s": 3 * 2 * 30 / 10,
            "downlink_s": 3 * 2 * 20 / 100,
            "round_trip_s": 3 * 0.5,
            "model_transfer_s": 1064 / 100 + 1064 / 10,
            "total_s": 3.6 + 0.36 + 18 + 1.2 + 1.5 + 117.04,
        }
    )


def test_an_inference_delay_by_hand() -> None:
    """Inference runs once, forward, sends no parameters and fetches the results."""
    scenario = Scenario(
        device_flops_per_s=1000.0,
        server_flops_per_s=10_000.0,
        link=Link(uplink_bits_per_s=80.0, downlink_bits_per_s=800.0, round_trip_s=0.5),
        mode=Mode.INFERENCE,
        local_iterations=3,
    )
    prices = prices_of(scenario, RESIDUAL.model_batch)
    delay = delay_of(hand_cut("stem conv add", Mode.INFERENCE), prices)
    assert asdict(delay) == pytest.approx(
        {
            "device_compute_s": 0.3,
            "server_compute_s": 0.01,
            "uplink_s": 2.0,
            "downlink_s": 0.1,
            "round_trip_s": 0.5,
            "model_transfer_s": 0.0,
            "total_s": 2.91,
        }
    )
    everything = delay_of(hand_cut("stem conv add head", Mode.INFERENCE), prices)
    assert everything.total_s == everything.device_compute_s == 0.4


def test_the_table_of_quantities_is_the_designs() -> None:
    """The quantities are those of the design, in its order."""
    assert [field.name for field in fields(Quantities)] == [
        "device_flops",
        "server_flops",
        "uplink_bytes",
        "gradient_bytes",
        "result_bytes",
        "device_parameter_bytes",
        "device_activation_bytes",
        "crossing_tensors",
    ]
