"""Every model that the installed onnx ships, its node tests included: accepted, with a DAG whose
parts are consistent, or refused for one of a few reasons, and none of them silently.

``corpus_refusals.txt`` lists what is refused, and why. A model that joins the list or leaves it
fails a test here, which says what to write.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from onnx import ModelProto, TensorProto, TypeProto

from app.core.constraints import Constraints, forced_sides
from app.core.dag import NO_PRODUCER, CostedDag
from app.core.errors import TooManyCutsError
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.network import build_network
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_row
from app.errors import IngestError, UnknownShapeError
from app.ingest import IngestedModel, ingest
from app.ingest.element_types import ELEMENT_TYPES
from app.services.graphs import graphml, node_link
from app.services.models import graph_of
from tests.ingest.corpus import Sample, corpus
from tests.ingest.file_truth import LiveGraph, bytes_of
from tests.oracles import all_cuts, delay_s

REFUSALS = Path(__file__).parent / "corpus_refusals.txt"
SHIPPED, NODE_TESTS = 149, 1884
"""How many there are in the onnx that is locked: a corpus that is not found proves nothing."""
CHUNKS = 16
FEW_NODES = 7
"""So many that all cuts are tried."""
FAMILY = Family.SLOWER_DEVICE
MOST_COMPARISONS = 5_000_000
"""A service spends more on a table; here there are two thousand to build."""

SCENARIOS = [Scenario(1e9, 1e11, Link(1e7, 4e7, 0.01), mode, local_iterations=10) for mode in Mode]


def holds_strings(proto: TypeProto) -> bool:
    """A tensor whose elements have no size of their own."""
    return bool(proto.tensor_type.elem_type == TensorProto.STRING)


def is_no_tensor(proto: TypeProto) -> bool:
    """A sequence or an optional, of which the file tells neither number nor size."""
    return proto.WhichOneof("value") in ("sequence_type", "optional_type", "map_type")


REASONS = {
    "reads-strings": (UnknownShapeError, "nothing of the model could be cut", holds_strings),
    "reads-no-tensors": (UnknownShapeError, "nothing of the model could be cut", is_no_tensor),
}
"""The closed list: the error, how its message begins, and what of an input's type it comes of."""


def reason_of(error: IngestError, model: ModelProto) -> str:
    """Which reason of the list an error is; its words where it is none of them."""
    for reason, (kind, words, accounts) in REASONS.items():
        says_so = type(error) is kind and str(error).startswith(words)
        if says_so and any(accounts(value.type) for value in model.graph.input):
            return reason
    return f"{type(error).__name__}: {error}"


def listed_refusals() -> dict[str, str]:
    """The reason of each model that is known to be refused."""
    lines = [
        line.split() for line in REFUSALS.read_text().splitlines() if line[:1] not in ("", "#")
    ]
    return dict(lines)


def shares() -> str:
    """How much of the corpus is accepted, and how much is refused for which reason."""
    refusals = Counter(listed_refusals().values())
    total = len(corpus())
    counts = {"accepted": total - refusals.total(), **refusals}
    parts = [f"{count} {what} ({count / total:.2%})" for what, count in counts.items()]
    return f"{total} models: {', '.join(parts)}"


def test_the_corpus_is_whole() -> None:
    """All models of the installed onnx are found."""
    node_tests = sum(sample.name.startswith("node/") for sample in corpus())
    assert (len(corpus()) - node_tests, node_tests) == (SHIPPED, NODE_TESTS)


def test_the_list_states_the_shares(record_property: Callable[[str, object], None]) -> None:
    """The list of refusals knows the corpus, gives reasons of the closed list, and says how much
    is accepted."""
    refusals = listed_refusals()
    assert refusals.keys() <= {sample.name for sample in corpus()}
    assert set(refusals.values()) <= REASONS.keys()
    record_property("figures", f"the models of onnx: {shares()}")
    assert f"# {shares()}" in REFUSALS.read_text().splitlines()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_model_is_accepted_or_listed(chunk: int) -> None:
    """Each model is accepted and consistent, or refused for the reason that the list gives."""
    refusals = listed_refusals()
    faults = []
    for sample in corpus()[chunk::CHUNKS]:
        fault = fault_of(sample, refusals.get(sample.name))
        if fault:
            faults.append(f"{sample.name}: {fault}")
    assert not faults, "\n".join(faults)


def fault_of(sample: Sample, listed: str | None) -> str | None:
    """What is wrong with how a model is taken, or with the list; None where nothing is."""
    try:
        ingested = ingest(sample.data)
    except IngestError as error:
        reason = reason_of(error, sample.model)
        if reason == listed:
            return None
        return f"refused ({reason}), listed as {listed}: an acceptance is lost, or the list is old"
    if listed:
        return f"accepted, listed as {listed}: take it off {REFUSALS.name}, and mend the shares"
    try:
        check_against_file(ingested, sample)
        check_sizes(ingested.dag)
        check_against_data(ingested.dag, sample)
        check_cuts(ingested.dag, sample.name)
        check_answers(ingested)
    except AssertionError as error:
        return f"inconsistent: {error}"
    return None


def check_against_file(ingested: IngestedModel, sample: Sample) -> None:
    """Nodes, tensors, producers and consumers are those of the file, folded; inputs and outputs
    are flagged."""
    dag, model = ingested.dag, sample.model
    dag.check()
    assert not model.functions
    live = LiveGraph(model)
    expected = Counter(
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for node in live.nodes
    )
    assert Counter(dag.node_op_types) == expected, "nodes"
    assert set(dag.tensor_names) == live.tensors(), "tensors"
    producers = dag.tensor_producers.tolist()
    place_of = {
        producers[t]: live.makers[name]
        for t, name in enumerate(dag.tensor_names)
        if producers[t] != NO_PRODUCER
    }
    assert sorted(place_of.values()) == list(range(len(live.nodes))), "producers"
    for t, (name, users) in enumerate(
        zip(dag.tensor_names, dag.tensor_consumers.to_lists(), strict=True)
    ):
        assert place_of.get(producers[t]) == live.makers.get(name), f"producer of {name}"
        assert {place_of[user] for user in users} == live.consumers(name), f"consumers of {name}"
        assert bool(dag.tensor_is_output[t]) == (name in live.outputs), f"output {name}"


def check_sizes(dag: CostedDag) -> None:
    """A tensor that can cross has the bytes of its elements; one that cannot has none."""
    codes = {element_type.name: code for code, element_type in ELEMENT_TYPES.items()}
    for t, name in enumerate(dag.tensor_names):
        shape, nbytes = dag.tensor_shapes[t], int(dag.tensor_bytes[t])
        if dag.tensor_is_cuttable[t]:
            assert shape is not None, f"shape of {name}"
            assert nbytes == bytes_of(codes[dag.tensor_dtypes[t]], shape), f"bytes of {name}"
        else:
            assert nbytes == 0, f"bytes of {name}"
    assert dag.total_flops == sum(dag.node_flops.tolist()), "FLOPs"


def check_against_data(dag: CostedDag, sample: Sample) -> None:
    """What the model's test feeds it, and what comes out, has the stated shape and type."""
    for t, name in enumerate(dag.tensor_names):
        value, shape = sample.values.get(name), dag.tensor_shapes[t]
        if isinstance(value, np.ndarray | np.generic) and shape is not None:
            assert shape == value.shape, f"shape of {name}: {shape}, in its test {value.shape}"
            if dag.tensor_is_cuttable[t] and dag.tensor_dtypes[t] == value.dtype.name:
                assert int(dag.tensor_bytes[t]) == value.nbytes, f"bytes of {name}"


def check_cuts(dag: CostedDag, name: str) -> None:
    """The table is built, and its best cut priced; it is that of the flow network, and no worse
    than any cut. Only where Attention is written out are the cuts too many for a table here."""
    try:
        table = build_table(dag, FAMILY, most_comparisons=MOST_COMPARISONS)
    except TooManyCutsError:
        assert "attention" in name, "too many cuts"
        assert name.endswith("_expanded"), "too many cuts"
        table = None
    network, forced = build_network(dag), forced_sides(dag, Constraints())
    for scenario in SCENARIOS:
        prices = prices_of(scenario, dag.model_batch)
        solution = best_cut_by_flow(dag, network, prices, scenario.mode, forced)
        device = frozenset(solution.cut.on_device.nonzero()[0].tolist())
        assert solution.certificate.proves_optimality, "optimality"
        assert delay_s(dag, device, scenario) == pytest.approx(solution.value, rel=1e-9), "delay"
        if table is not None:
            pricing = pricing_of(scenario, prices, dag.model_batch)
            best = best_row(CutTables(dag, known={FAMILY: table}), scenario, pricing)
            assert best.value == pytest.approx(solution.value, rel=1e-9), "best row"
        if dag.node_count <= FEW_NODES:
            least = min(delay_s(dag, rival, scenario) for rival in all_cuts(dag))
            assert solution.value == pytest.approx(least, rel=1e-9), "best cut"


def check_answers(ingested: IngestedModel) -> None:
    """The graph and the facts can be written as JSON, and the graph in its other formats."""
    graph = orjson.loads(orjson.dumps(graph_of(ingested.dag)))
    assert len(graph["nodes"]) == ingested.dag.node_count, "/graph"
    assert [t["uncuttable"] for t in graph["tensors"]] == (
        (~ingested.dag.tensor_is_cuttable).tolist()
    ), "/graph"
    assert orjson.dumps(node_link(ingested.dag)), "node-link"
    assert graphml(ingested.dag).startswith("<graphml"), "GraphML"
    orjson.dumps({"opsets": ingested.facts.opsets, "warnings": ingested.facts.warnings})
