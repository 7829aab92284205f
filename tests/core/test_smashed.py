"""Smashed data in other types: what they cost, and that the cuts stay the best ones."""

import math
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from app.core.errors import InfeasibleError
from app.core.quantities import cut_of
from app.core.scenario import Link, Mode, Objective, Scenario, prices_of
from app.core.smashed import SmashedDtype
from app.core.splitting.blockwise import groups_of
from app.core.splitting.cut_table import build_table, quantities_row
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.integer_programme import solve_programme
from app.core.splitting.network import build_network
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_row, family_for
from tests.core.test_agreement_on_fixtures import Grouped, random_scenario
from tests.core.test_solve import full_scenarios, near_limit
from tests.fixture_models import ingested
from tests.oracles import all_cuts, crossing_tensors, delay_s
from tests.strategies import dags, scenarios

TOLERANCE = 1e-9
SMASHED: tuple[SmashedDtype, ...] = ("float16", "int8")
WIDTHS = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8e4m3fn": 1,
    "complex64": 8,
    "int64": 8,
    "bool": 1,
}
"""Bytes per element."""
DTYPES = st.sampled_from(SMASHED)


@st.composite
def typed_dags(draw: st.DrawFn, max_nodes: int = 9) -> CostedDag:
    """Random DAGs whose tensors have types, and sizes that follow from type and shape."""
    dag = draw(dags(max_nodes=max_nodes, min_nodes=0))
    names, shapes, sizes = [], [], []
    for shape, is_cuttable in zip(dag.tensor_shapes, dag.tensor_is_cuttable.tolist(), strict=True):
        name = draw(st.sampled_from(sorted(WIDTHS)))
        extents = (draw(st.integers(1, 3)), draw(st.integers(0, 60)))
        names.append(name if is_cuttable else "string")
        shapes.append(extents if is_cuttable else shape)
        sizes.append(WIDTHS[name] * extents[0] * extents[1] if is_cuttable else 0)
    return replace(
        dag,
        tensor_dtypes=tuple(names),
        tensor_shapes=tuple(shapes),
        tensor_bytes=np.array(sizes, dtype=np.int64),
        tensor_is_floating=np.array([name.startswith(FLOATING) for name in names], dtype=np.bool_),
    )


FLOATING = ("float", "bfloat", "complex")


def crossing_sizes(dag: CostedDag, smashed_dtype: SmashedDtype) -> list[int]:
    """What each tensor takes where it crosses, counted anew."""
    sizes = []
    for name, shape, own in zip(
        dag.tensor_dtypes, dag.tensor_shapes, dag.tensor_bytes.tolist(), strict=True
    ):
        if name in ("float64", "float32", "float16", "bfloat16"):
            elements = math.prod(shape or ())
            own = min(own, 2 * elements if smashed_dtype == "float16" else elements + 5)
        sizes.append(own)
    return sizes


def mask_of(dag: CostedDag, device: frozenset[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A set of nodes as an array."""
    return np.array([i in device for i in range(dag.node_count)], dtype=np.bool_)


@pytest.mark.parametrize(
    ("dtype", "elements", "own", "float16", "int8"),
    [
        ("float32", 10, 40, 20, 15),
        ("float32", 2, 8, 4, 7),
        ("float32", 1, 4, 2, 4),
        ("float32", 0, 0, 0, 0),
        ("float64", 1, 8, 2, 6),
        ("float64", 100, 800, 200, 105),
        ("float16", 5, 10, 10, 10),
        ("float16", 6, 12, 12, 11),
        ("bfloat16", 100, 200, 200, 105),
        ("float8e4m3fn", 100, 100, 100, 100),
        ("float4e2m1", 100, 50, 50, 50),
        ("complex64", 100, 800, 800, 800),
        ("int64", 100, 800, 800, 800),
        ("bool", 100, 100, 100, 100),
        ("string", 100, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("producer", [NO_PRODUCER, 0])
def test_bytes_by_hand(
    dtype: str, elements: int, own: int, float16: int, int8: int, producer: int
) -> None:
    """A floating-point tensor takes what the narrower type takes, a graph input like any other,
    if that is less; and everything else what it always takes."""
    is_floating = dtype.startswith(FLOATING)
    tensor = Tensor(
        "t", (elements,), dtype, own, producer, (1,), is_floating, False, dtype != "string"
    )
    dag = CostedDag.build([Node("a", "Op", 1), Node("b", "Op", 1)], [tensor], [])
    assert dag.crossing_bytes.tolist() == [own]
    for smashed_dtype, expected in zip(SMASHED, (float16, int8), strict=True):
        smashed = dag.smashed_as(smashed_dtype)
        assert smashed.crossing_bytes.tolist() == [expected]
        assert smashed.tensor_is_cast.tolist() == [expected < own]
        assert smashed.tensor_bytes.tolist() == [own]


@given(typed_dags(max_nodes=7), DTYPES, st.sampled_from(Mode))
@settings(max_examples=150, deadline=None)
def test_only_what_crosses_changes(dag: CostedDag, smashed_dtype: SmashedDtype, mode: Mode) -> None:
    """For every cut, the bytes up and those of gradients are the counted ones, a raw input's among
    the former only; all other quantities, and the cut tensors, are as before."""
    sizes = crossing_sizes(dag, smashed_dtype)
    smashed = dag.smashed_as(smashed_dtype)
    for device in all_cuts(dag):
        plain = cut_of(dag, mask_of(dag, device), mode)
        found = cut_of(smashed, mask_of(dag, device), mode)
        crossing = crossing_tensors(dag, device)
        back = [
            t
            for t in crossing
            if dag.tensor_is_floating[t] and dag.tensor_producers[t] != NO_PRODUCER
        ]
        assert asdict(found.quantities) == asdict(plain.quantities) | {
            "uplink_bytes": sum(sizes[t] for t in crossing),
            "gradient_bytes": sum(sizes[t] for t in back),
        }
        assert found.cut_tensors.tolist() == crossing


@given(typed_dags())
def test_the_type_can_be_changed_and_taken_back(dag: CostedDag) -> None:
    """What the DAG was smashed as before does not matter, and as nothing it is what it was."""
    assert dag.smashed_as(None) is dag
    for smashed_dtype in SMASHED:
        smashed = dag.smashed_as(smashed_dtype)
        for other in SMASHED:
            again = smashed.smashed_as(other).crossing_bytes.tolist()
            assert again == crossing_sizes(dag, other)
        np.testing.assert_array_equal(smashed.smashed_as(None).crossing_bytes, dag.tensor_bytes)


@given(typed_dags(), scenarios(), DTYPES)
@settings(max_examples=300, deadline=None)
def test_every_method_finds_the_best_cut_by_brute_force(
    dag: CostedDag, scenario: Scenario, smashed_dtype: SmashedDtype
) -> None:
    """In both modes, the table's best row, the minimum cut over its groups and the minimum cut over
    the nodes have the least delay of all cuts, at what they take where they cross."""
    sizes = crossing_sizes(dag, smashed_dtype)
    best = min(delay_s(dag, device, scenario, sizes) for device in all_cuts(dag))
    smashed = dag.smashed_as(smashed_dtype)
    prices = prices_of(scenario, dag.model_batch)
    pricing = pricing_of(scenario, prices, dag.model_batch)
    row = best_row(CutTables(smashed), scenario, pricing)
    assert row.value == pytest.approx(best, rel=TOLERANCE)
    device = frozenset(np.flatnonzero(row.table.on_device(row.row)).tolist())
    assert delay_s(dag, device, scenario, sizes) == pytest.approx(best, rel=TOLERANCE)
    groups = groups_of(build_table(smashed, family_for(scenario, bool(pricing.device_is_faster))))
    forced = forced_sides(smashed, Constraints())
    for group_of_node in (None, groups):
        network = build_network(smashed, group_of_node=group_of_node)
        solution = best_cut_by_flow(smashed, network, prices, scenario.mode, forced)
        assert solution.value == pytest.approx(best, rel=TOLERANCE)
        assert solution.certificate.proves_optimality
        assert solution.certificate.flow_value == pytest.approx(best, rel=TOLERANCE)


@given(typed_dags(), full_scenarios(), DTYPES)
@settings(max_examples=150, deadline=None)
def test_the_table_serves_every_objective_and_limit(
    dag: CostedDag, scenario: Scenario, smashed_dtype: SmashedDtype
) -> None:
    """Energy, throughput and memory limits: the best row has the least value of all cuts."""
    smashed = dag.smashed_as(smashed_dtype)
    pricing = pricing_of(scenario, prices_of(scenario, dag.model_batch), dag.model_batch)
    rows = [quantities_row(smashed, mask_of(dag, device)) for device in all_cuts(dag)]
    best = float(pricing.values(np.array(rows)).min())
    if best == math.inf:
        with pytest.raises(InfeasibleError):
            best_row(CutTables(smashed), scenario, pricing)
        return
    found = best_row(CutTables(smashed), scenario, pricing)
    assert found.value == pytest.approx(best, rel=TOLERANCE)


@given(typed_dags(max_nodes=7), full_scenarios(), DTYPES)
@settings(max_examples=75, deadline=None)
def test_the_integer_programme_finds_the_same_optimum(
    dag: CostedDag, scenario: Scenario, smashed_dtype: SmashedDtype
) -> None:
    """The programme's cut keeps the limit and is as good as the best one."""
    smashed = dag.smashed_as(smashed_dtype)
    pricing = pricing_of(scenario, prices_of(scenario, dag.model_batch), dag.model_batch)
    rows = [quantities_row(smashed, mask_of(dag, device)) for device in all_cuts(dag)]
    values = pricing.values(np.array(rows))
    best = float(values.min())
    assume(not near_limit(smashed, scenario))
    typical = float(values[np.isfinite(values)].max(initial=1.0))
    forced = forced_sides(smashed, Constraints())
    found = solve_programme(smashed, pricing, scenario.mode, forced, typical, 10.0)
    if found.on_device is None:
        assert best == math.inf
        return
    value = pricing.values(quantities_row(smashed, found.on_device)[None, :])[0]
    assert value <= best * (1 + 1e-6) + 1e-6 * typical
    assert found.bound <= best * (1 + 1e-6) + 1e-6 * typical


@pytest.mark.parametrize("smashed_dtype", SMASHED)
@pytest.mark.parametrize("name", ["light_squeezenet", "light_resnet50", "light_inception_v1"])
def test_methods_agree_on_real_models(name: str, smashed_dtype: SmashedDtype) -> None:
    """In random scenarios the table, its groups and the nodes give one optimum, which is no worse
    than that of tensors that cross as they are."""
    plain = ingested(name).dag
    dag = plain.smashed_as(smashed_dtype)
    network, plain_network = build_network(dag), build_network(plain)
    grouped, forced = Grouped(dag), forced_sides(dag, Constraints())
    rng = random.Random(f"{name} {smashed_dtype}")
    for mode in (*Mode, *Mode):
        scenario = replace(random_scenario(rng, mode), objective=Objective.DELAY)
        prices = prices_of(scenario, dag.model_batch)
        general = best_cut_by_flow(dag, network, prices, mode, forced)
        blockwise = best_cut_by_flow(dag, grouped.network(scenario), prices, mode, forced)
        pricing = pricing_of(scenario, prices, dag.model_batch)
        best = best_row(grouped.tables, scenario, pricing)
        assert best.value == pytest.approx(general.value, rel=TOLERANCE), scenario
        assert blockwise.value == pytest.approx(general.value, rel=TOLERANCE), scenario
        uncast = best_cut_by_flow(plain, plain_network, prices, mode, forced)
        assert general.value <= uncast.value * (1 + TOLERANCE)


CHAIN = CostedDag.build(
    [Node("a", "Op", 10), Node("b", "Op", 1000)],
    [
        Tensor("x", (10000,), "int64", 80000, NO_PRODUCER, (0,), False, False),
        Tensor("h", (100,), "float32", 400, 0, (1,), True, False),
        Tensor("y", (1,), "float32", 4, 1, (), True, True),
    ],
    [],
)


@pytest.mark.parametrize(
    ("smashed_dtype", "total_s", "on_device"),
    [
        (None, 1010 / 100, 2),
        ("float16", 10 / 100 + 1000 / 1e6 + (200 + 4) * 8 / 240, 1),
        ("int8", 10 / 100 + 1000 / 1e6 + (105 + 4) * 8 / 240, 1),
    ],
)
def test_the_best_cut_moves_with_the_type(
    smashed_dtype: SmashedDtype | None, total_s: float, on_device: int
) -> None:
    """Where a narrow link leaves everything to the device, casts give the server its part; the
    result comes back as it is."""
    scenario = Scenario(100.0, 1e6, Link(240.0, 240.0), mode=Mode.INFERENCE)
    pricing = pricing_of(scenario, prices_of(scenario, 1), 1)
    best = best_row(CutTables(CHAIN.smashed_as(smashed_dtype)), scenario, pricing)
    assert best.value == pytest.approx(total_s)
    assert int(best.table.on_device(best.row).sum()) == on_device


@pytest.mark.parametrize(
    ("smashed_dtype", "nbytes"), [(None, 400), ("float16", 200), ("int8", 105)]
)
def test_gradients_are_cast_too(smashed_dtype: SmashedDtype | None, nbytes: int) -> None:
    """In training what crosses up comes back in as many bytes, whichever method counts."""
    dag = CHAIN.smashed_as(smashed_dtype)
    scenario = Scenario(100.0, 1e6, Link(1e4, 1e3), mode=Mode.TRAINING)
    total_s = 3 * 10 / 100 + 3 * 1000 / 1e6 + nbytes * 8 / 1e4 + nbytes * 8 / 1e3
    prices = prices_of(scenario, 1)
    pricing = pricing_of(scenario, prices, 1)
    forced = forced_sides(dag, Constraints())
    assert best_row(CutTables(dag), scenario, pricing).value == pytest.approx(total_s)
    solution = best_cut_by_flow(dag, build_network(dag), prices, Mode.TRAINING, forced)
    assert solution.value == pytest.approx(total_s)
    assert solution.certificate.flow_value == pytest.approx(total_s)
    found = solve_programme(dag, pricing, Mode.TRAINING, forced, total_s, 10.0)
    assert found.bound == pytest.approx(total_s)
