"""The cut tables against brute force over all cuts."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.constraints import Constraints, ForcedSides, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag, Node, NodeWork, Tensor
from app.core.errors import SplitError, TooManyCutsError
from app.core.quantities import cut_of, kept_activation_bytes, peak_activation_bytes
from app.core.scenario import Mode
from app.core.splitting import frontier
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.frontier import COLUMNS
from tests.oracles import all_cuts
from tests.strategies import dags, pins

Vector = tuple[float, ...]


def mask_of(dag: CostedDag, device: frozenset[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([i in device for i in range(dag.node_count)], dtype=np.bool_)


def figures(dag: CostedDag, device: frozenset[int]) -> dict[str, float]:
    """All quantities of a cut by column name, from the reference."""
    mask = mask_of(dag, device)
    q = cut_of(dag, mask, Mode.TRAINING).quantities
    return {
        "device_flops": q.device_flops,
        "server_flops": q.server_flops,
        "uplink_bytes": q.uplink_bytes,
        "gradient_bytes": q.gradient_bytes,
        "result_bytes": q.result_bytes,
        "device_parameter_bytes": q.device_parameter_bytes,
        "kept_activation_bytes": kept_activation_bytes(dag, mask),
        "peak_activation_bytes": peak_activation_bytes(dag, mask),
        "crossing_tensors": q.crossing_tensors,
        "round_trips": int(not mask.all()),
        "device_runs": int(mask.any()),
    }


def pareto_front(vectors: set[Vector]) -> set[Vector]:
    """The vectors that no other vector dominates, pair by pair."""
    return {
        v
        for v in vectors
        if not any(w != v and all(a <= b for a, b in zip(w, v, strict=True)) for w in vectors)
    }


def lower_hull(vectors: set[Vector]) -> set[Vector]:
    """The vectors that alone are cheapest at some prices >= 0, in exact arithmetic.

    By the theorem of the alternative, v is none of them if and only if some convex combination of
    the others is <= v; that is decided by Fourier-Motzkin elimination's stronger sibling here, an
    exact simplex over fractions.
    """
    return {v for v in vectors if not dominated_by_mixture(v, [w for w in vectors if w != v])}


def dominated_by_mixture(v: Vector, others: list[Vector]) -> bool:
    """Whether weights x >= 0 with sum 1 exist such that sum(x * others) <= v, exactly.

    Phase one of the simplex method with Bland's rule: minimise the artificial variable.
    """
    if not others:
        return False
    width = len(v)
    # Rows: width rows  sum(x w) + slack = v ; one row  sum(x) + artificial = 1.
    rows = [
        [Fraction(w[i]) for w in others]
        + [Fraction(int(i == j)) for j in range(width)]
        + [Fraction(0), Fraction(v[i])]
        for i in range(width)
    ]
    rows.append([Fraction(1)] * len(others) + [Fraction(0)] * width + [Fraction(1), Fraction(1)])
    basis = [len(others) + i for i in range(width)] + [len(others) + width]
    cost = [-value for value in rows[-1]]
    cost[len(others) + width] = Fraction(0)
    while True:
        entering = next((j for j in range(len(cost) - 1) if cost[j] < 0), None)
        if entering is None:
            return cost[-1] == 0
        ratios = [
            (row[-1] / row[entering], basis[i], i)
            for i, row in enumerate(rows)
            if row[entering] > 0
        ]
        _, _, leaving = min(ratios)
        pivot = rows[leaving][entering]
        rows[leaving] = [value / pivot for value in rows[leaving]]
        for i, row in enumerate(rows):
            if i != leaving and row[entering] != 0:
                factor = row[entering]
                rows[i] = [a - factor * b for a, b in zip(row, rows[leaving], strict=True)]
        factor = cost[entering]
        cost = [a - factor * b for a, b in zip(cost, rows[leaving], strict=True)]
        basis[leaving] = entering


COMPARED = {
    Family.SLOWER_DEVICE: (
        "device_flops",
        "uplink_bytes",
        "gradient_bytes",
        "result_bytes",
        "device_parameter_bytes",
        "kept_activation_bytes",
        "peak_activation_bytes",
        "crossing_tensors",
        "round_trips",
        "device_runs",
    ),
    Family.FULL_TRAINING: (
        "device_flops",
        "server_flops",
        "uplink_bytes",
        "gradient_bytes",
        "device_parameter_bytes",
        "kept_activation_bytes",
        "round_trips",
        "device_runs",
    ),
    Family.FULL_INFERENCE: (
        "device_flops",
        "server_flops",
        "uplink_bytes",
        "result_bytes",
        "device_parameter_bytes",
        "peak_activation_bytes",
        "round_trips",
        "device_runs",
    ),
    Family.HULL_TRAINING: (
        "server_flops",
        "uplink_bytes",
        "gradient_bytes",
        "device_parameter_bytes",
        "round_trips",
        "device_runs",
    ),
    Family.HULL_INFERENCE: (
        "server_flops",
        "uplink_bytes",
        "result_bytes",
        "round_trips",
        "device_runs",
    ),
}


def allowed_sets(dag: CostedDag, forced: ForcedSides) -> list[frozenset[int]]:
    must, must_not = set(np.flatnonzero(forced.device)), set(np.flatnonzero(forced.server))
    return [device for device in all_cuts(dag) if must <= device and not must_not & device]


@st.composite
def constrained_dags(draw: st.DrawFn) -> tuple[CostedDag, ForcedSides]:
    dag = draw(dags(max_nodes=9, min_nodes=0))
    names = pins(dag, max_size=2)
    try:
        return dag, forced_sides(dag, Constraints(draw(names), draw(names), draw(st.booleans())))
    except SplitError:
        return dag, forced_sides(dag, Constraints())


@pytest.mark.parametrize(
    "family", [Family.SLOWER_DEVICE, Family.FULL_TRAINING, Family.FULL_INFERENCE]
)
@given(case=constrained_dags())
@settings(max_examples=150, deadline=None)
def test_table_equals_the_brute_force_pareto_front(
    family: Family, case: tuple[CostedDag, ForcedSides]
) -> None:
    """The rows of a table are exactly the non-dominated vectors over all allowed cuts."""
    dag, forced = case
    columns = COMPARED[family]
    vectors = {
        tuple(figures(dag, device)[name] for name in columns)
        for device in allowed_sets(dag, forced)
    }
    table = build_table(dag, family, forced)
    picked = table.quantities[:, [COLUMNS.index(name) for name in columns]]
    rows = [tuple(row) for row in picked.tolist()]
    assert len(rows) == len(set(rows))
    assert set(rows) == pareto_front(vectors)


@pytest.mark.parametrize("family", [Family.HULL_TRAINING, Family.HULL_INFERENCE])
@given(case=constrained_dags())
@settings(max_examples=150, deadline=None)
def test_hull_table_equals_the_brute_force_hull(
    family: Family, case: tuple[CostedDag, ForcedSides]
) -> None:
    """The rows are exactly the vertices of the lower hull of all allowed cuts."""
    dag, forced = case
    columns = COMPARED[family]
    vectors = {
        tuple(figures(dag, device)[name] for name in columns)
        for device in allowed_sets(dag, forced)
    }
    table = build_table(dag, family, forced)
    picked = table.quantities[:, [COLUMNS.index(name) for name in columns]]
    rows = [tuple(row) for row in picked.tolist()]
    assert len(rows) == len(set(rows))
    assert set(rows) == lower_hull(vectors)


@given(case=constrained_dags())
@settings(max_examples=150, deadline=None)
def test_rows_carry_the_quantities_of_their_cut(case: tuple[CostedDag, ForcedSides]) -> None:
    """Every row's nodes make a cut, and its quantities are the reference's for that cut."""
    dag, forced = case
    for family in Family:
        table = build_table(dag, family, forced)
        for index, row in enumerate(table.quantities.tolist()):
            mask = table.on_device(index)
            assert dag.is_cut(mask)
            expected = figures(dag, frozenset(np.flatnonzero(mask).tolist()))
            got = dict(zip(COLUMNS, row, strict=True))
            got.pop("retained_bytes")
            assert got == expected


def test_a_bound_on_the_search_is_an_error_not_a_guess() -> None:
    """Where more cuts are open than allowed the search says so instead of leaving some out."""
    from tests.fixture_models import ingested

    dag = ingested("light_inception_v2").dag
    with pytest.raises(TooManyCutsError):
        build_table(dag, Family.FULL_TRAINING, most_cuts=50)


def side_by_side(count: int) -> CostedDag:
    """Nodes that all read one input, each twice as dear as the one before, on either side: every
    set of them is a cut that can be best."""
    nodes = [Node(f"n{i}", "Op", 2**i) for i in range(count)]
    tensors = [Tensor("x", (), "x", 1, NO_PRODUCER, tuple(range(count)), True, False)]
    tensors += [Tensor(f"y{i}", (), "x", 2**i, i, (), True, True) for i in range(count)]
    return CostedDag.build(nodes, tensors, [])


def test_a_table_that_takes_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a search may take, each has its bound: comparisons of cuts, the size of the DAG, and
    that of what is found; just within them there is a table."""
    dag = side_by_side(8)
    assert len(build_table(dag, Family.SLOWER_DEVICE)) == 2**8
    with pytest.raises(TooManyCutsError, match="comparisons"):
        build_table(dag, Family.SLOWER_DEVICE, most_comparisons=10_000)
    monkeypatch.setattr(frontier, "MOST_MEMBERS", 2**8 * 8 - 1)
    with pytest.raises(TooManyCutsError, match="256 cuts can be best, too many"):
        build_table(dag, Family.SLOWER_DEVICE)
    monkeypatch.setattr(frontier, "MOST_MEMBERS", 2**8 * 8)
    assert len(build_table(dag, Family.SLOWER_DEVICE)) == 2**8
    monkeypatch.setattr(frontier, "MOST_BITS", 8 * (8 + 9) - 1)
    with pytest.raises(TooManyCutsError, match="8 nodes are too many"):
        build_table(dag, Family.SLOWER_DEVICE)


@given(constrained_dags(), st.data())
@settings(max_examples=150, deadline=None)
def test_measured_seconds_take_the_place_of_flops(
    case: tuple[CostedDag, ForcedSides], data: st.DataObject
) -> None:
    """With any seconds per node on either side, the rows are exactly the vectors that none
    dominates in seconds of computation and the other quantities."""
    dag, forced = case
    seconds = st.lists(
        st.integers(0, 50).map(float), min_size=dag.node_count, max_size=dag.node_count
    ).map(np.array)
    work = NodeWork(data.draw(seconds), data.draw(seconds))
    columns = [name for name in COMPARED[Family.SLOWER_DEVICE] if name != "device_flops"]

    def vector(device: frozenset[int]) -> Vector:
        mask = mask_of(dag, device)
        computing = work.device[mask].sum() + work.server[~mask].sum()
        return (float(computing), *(figures(dag, device)[name] for name in columns))

    table = build_table(dag, Family.MEASURED, forced, work)
    picked = table.quantities[:, [COLUMNS.index(name) for name in columns]]
    computing = table.quantities[:, :2].sum(axis=1, keepdims=True)
    rows = [tuple(row) for row in np.concatenate([computing, picked], axis=1).tolist()]
    assert len(rows) == len(set(rows))
    assert set(rows) == pareto_front({vector(device) for device in allowed_sets(dag, forced)})
