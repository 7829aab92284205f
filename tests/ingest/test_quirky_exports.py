"""Exports of several tools with their quirks: what Kerf makes of them, against counts by hand,
against the files themselves, against a run, and against all their cuts."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.inliner
import pytest

from app.core.dag import CostedDag
from app.core.quantities import cut_of, delay_of
from app.core.scenario import Mode, prices_of
from app.core.splitting.cut_table import Family
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_row
from app.ingest.element_types import ELEMENT_TYPES
from tests.fixture_models import QUIRKY_FIXTURES, SDPA_FIXTURES, Fixture, ingested
from tests.ingest.file_truth import LiveGraph, count_data_bytes, run
from tests.ingest.quirky import FIGURES
from tests.oracles import crossing_tensors, delay_s, networkx_optimum_s

EVERY = pytest.mark.parametrize("fixture", QUIRKY_FIXTURES, ids=str)
MOST_SETS = 10_000
"""Closed sets that are tried one by one; where there are more, networkx has to do."""
TRIED_ONE_BY_ONE = 31
LARGEST_FILE_BYTES = 100_000


def inlined(fixture: Fixture) -> onnx.ModelProto:
    """The file, its functions inlined by onnx."""
    model = onnx.load(fixture.path)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def test_every_file_has_figures() -> None:
    """The figures and the files name the same models, and each file is small."""
    assert {fixture.name for fixture in QUIRKY_FIXTURES} == FIGURES.keys()
    assert all(fixture.path.stat().st_size <= LARGEST_FILE_BYTES for fixture in QUIRKY_FIXTURES)


@EVERY
def test_figures_are_those_counted_by_hand(fixture: Fixture) -> None:
    """Nodes, FLOPs and parameter bytes are the closed forms of the model's architecture."""
    dag = ingested(fixture.name).dag
    expected = FIGURES[fixture.name]
    figures = (dag.node_count, dag.total_flops, int(dag.parameter_bytes.sum()))
    assert figures == (expected.nodes, expected.flops, expected.parameter_bytes)


@EVERY
def test_warnings_name_what_was_approximated(fixture: Fixture) -> None:
    """A model warns of exactly what is known of it by approximation."""
    warnings = ingested(fixture.name).facts.warnings
    expected = FIGURES[fixture.name].warns
    assert len(warnings) == len(expected), warnings
    assert all(map(str.startswith, warnings, expected)), warnings


@EVERY
def test_nodes_are_the_live_ones_of_the_file(fixture: Fixture) -> None:
    """The operators are those of the file that depend on an input and matter to an output."""
    live = LiveGraph(inlined(fixture), fixture.parameters)
    dag = ingested(fixture.name).dag
    expected = [
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in live.nodes
    ]
    assert sorted(dag.node_op_types) == sorted(expected)


@EVERY
def test_edges_are_those_of_the_file(fixture: Fixture) -> None:
    """Each tensor has the producer and the consumers that the file gives it; those that only a
    body reads are read by the node that carries the body."""
    live = LiveGraph(inlined(fixture), fixture.parameters)
    dag = ingested(fixture.name).dag
    if onnx.load(fixture.path).functions:
        # Whoever inlines them gives fresh names, so only numbers compare.
        fan_out = sorted(len(live.consumers(name)) for name in live.tensors())
        assert sorted(map(len, dag.tensor_consumers.to_lists())) == fan_out
        return
    assert set(dag.tensor_names) == live.tensors()
    place_of = {
        int(dag.tensor_producers[t]): live.makers[name]
        for t, name in enumerate(dag.tensor_names)
        if dag.tensor_producers[t] >= 0
    }
    for t, name in enumerate(dag.tensor_names):
        assert place_of.get(int(dag.tensor_producers[t])) == live.makers.get(name), name
        consumers = {place_of[user] for user in dag.tensor_consumers.to_lists()[t]}
        assert consumers == live.consumers(name), name


@EVERY
def test_parameters_are_the_data_of_the_file(fixture: Fixture) -> None:
    """The bytes of parameters are those of all data in the file that a live node needs."""
    counted = count_data_bytes(inlined(fixture), fixture.parameters)
    assert int(ingested(fixture.name).dag.parameter_bytes.sum()) == counted


UNSIZED = {
    "control_flow/beam_search": {"sequences"},
    "control_flow/greedy_search": {"sequences"},
    "control_flow/loop_open": {"peaks_of_all"},
    "control_flow/sequence_map": {"items", "mapped_items", "joined"},
    "sklearn/columns": {"colour", "size", "colour01"},
    "sklearn/forest": {"label", "output_label", "output_probability"},
    "sklearn/logistic": {"output_probability"},
    "sklearn/ordinal": {"words", "feature_column", "feature_column1"},
}
"""What never crosses: its size is not known before the model runs."""


@EVERY
def test_shapes_are_those_of_a_run(fixture: Fixture) -> None:
    """onnxruntime makes tensors of the very shapes, types and sizes that Kerf states."""
    dag = ingested(fixture.name).dag
    made = run(fixture.path, dict(fixture.dims))
    compared = 0
    for t, name in enumerate(dag.tensor_names):
        value = made.get(name)
        if isinstance(value, np.ndarray) and dag.tensor_is_cuttable[t]:
            dtype = ELEMENT_TYPES[onnx.helper.np_dtype_to_tensor_dtype(value.dtype)].name
            stated = (dag.tensor_shapes[t], dag.tensor_dtypes[t], int(dag.tensor_bytes[t]))
            assert stated == (value.shape, dtype, value.nbytes), name
            compared += 1
    # Within functions the runtime and Kerf name values each in their own way.
    has_functions = bool(onnx.load(fixture.path).functions)
    assert compared >= (2 if has_functions else int(dag.tensor_is_cuttable.sum()))


@EVERY
def test_uncuttable_tensors_are_those_that_only_a_run_tells(fixture: Fixture) -> None:
    """Every other tensor has a size, and can cross."""
    dag = ingested(fixture.name).dag
    names = {name for t, name in enumerate(dag.tensor_names) if not dag.tensor_is_cuttable[t]}
    assert names == UNSIZED.get(fixture.name, set())


def closed_sets(dag: CostedDag) -> Iterator[frozenset[int]]:
    """Sets of nodes that hold all predecessors of their members; more than ``MOST_SETS`` of them
    mean that there are even more."""
    needs: list[set[int]] = [set() for _ in range(dag.node_count)]
    for maker, user in zip(*map(np.ndarray.tolist, dag.edges), strict=True):
        needs[user].add(maker)
    sets = [frozenset[int]()]
    for node, before in enumerate(needs):
        sets += [device | {node} for device in sets if before <= device]
        if len(sets) > MOST_SETS:
            break
    yield from sets


def cuts(dag: CostedDag) -> list[frozenset[int]]:
    """All cuts of a DAG, as device nodes; empty where they are too many to try."""
    sets = list(closed_sets(dag))
    return [
        device
        for device in sets
        if len(sets) <= MOST_SETS
        and all(dag.tensor_is_cuttable[t] for t in crossing_tensors(dag, device))
    ]


@EVERY
def test_best_cut_is_the_stated_one_and_none_is_better(fixture: Fixture) -> None:
    """In the stated scenario the table's best row crosses at the stated tensors, its delay is that
    of the formula, and no cut has less, by trial of all where they are few, and by networkx."""
    dag = ingested(fixture.name).dag
    scenario = FIGURES[fixture.name].scenario
    prices = prices_of(scenario, dag.model_batch)
    best = best_row(CutTables(dag), scenario, pricing_of(scenario, prices, dag.model_batch))
    cut = cut_of(dag, best.table.on_device(best.row), scenario.mode)
    crossing = tuple(dag.tensor_names[t] for t in cut.cut_tensors)
    assert crossing == FIGURES[fixture.name].cut_tensors
    device = frozenset(cut.on_device.nonzero()[0].tolist())
    assert delay_of(cut, prices).total_s == pytest.approx(delay_s(dag, device, scenario), rel=1e-12)
    for rival in cuts(dag):
        assert delay_s(dag, rival, scenario) >= best.value * (1 - 1e-12), rival
    assert networkx_optimum_s(dag, scenario) == pytest.approx(best.value, rel=1e-9)


def test_most_models_have_few_enough_cuts_to_try_them_all() -> None:
    """Trial of all cuts is left out for ten transformers alone, which work out masks aside."""
    tried = [fixture for fixture in QUIRKY_FIXTURES if cuts(ingested(fixture.name).dag)]
    assert len(tried) == TRIED_ONE_BY_ONE


@EVERY
def test_no_uncuttable_tensor_crosses_in_a_table(fixture: Fixture) -> None:
    """Each row of a model's table is a cut, and crosses at tensors whose size is known."""
    dag = ingested(fixture.name).dag
    table = CutTables(dag).get(Family.SLOWER_DEVICE)
    for row in range(len(table)):
        cut = cut_of(dag, table.on_device(row), Mode.TRAINING)
        assert dag.tensor_is_cuttable[cut.cut_tensors].all()


SDPA_SIZES = {
    "sdpa/bert_base": (12, 12, 128, 768),
    "sdpa/gpt2": (12, 12, 128, 768),
    "sdpa/llama": (22, 32, 128, 2048),
    "sdpa/vit_b16": (12, 12, 197, 768),
}
"""Layers, heads, tokens, width."""


@pytest.mark.parametrize("fixture", SDPA_FIXTURES, ids=str)
def test_default_attention_costs_a_guard_against_nan(fixture: Fixture) -> None:
    """torch's own attention has the products of the plain one; it scales queries and keys instead
    of scores, and tests and replaces each score that is not a number."""
    layers, heads, tokens, width = SDPA_SIZES[fixture.name]
    dag = ingested(fixture.name).dag
    plain = ingested(fixture.name.removeprefix("sdpa/")).dag
    scores = heads * tokens * tokens
    guard = layers * (2 * scores + 2 * tokens * width - scores)
    assert dag.total_flops == plain.total_flops + guard
    assert dag.node_op_types.count("IsNaN") == layers
    assert ingested(fixture.name).facts.warnings == ()


def test_every_default_attention_has_sizes() -> None:
    """The sizes and the files name the same models."""
    assert {fixture.name for fixture in SDPA_FIXTURES} == SDPA_SIZES.keys()
