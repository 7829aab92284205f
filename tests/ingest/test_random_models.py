"""Models that Hypothesis makes up: valid and not, with bodies, with data that decide shapes."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto
from onnx.reference import ReferenceEvaluator

from app.errors import IngestError
from tests.ingest.build import BOOL, FLOAT, INT64, floats, graph, ints, model, node, taken, value

EXAMPLES = int(os.environ.get("KERF_TEST_EXAMPLES", "150"))

UNARY = ["Relu", "Neg", "Shape", "NonZero", "Size", "Identity", "Softmax", "Not", "Flatten"]
BINARY = ["Add", "Mul", "MatMul", "Gather", "Reshape", "Expand", "Equal", "Where"]
EXTENTS = st.lists(st.integers(0, 4), max_size=3)


@st.composite
def operators(draw: st.DrawFn, names: list[str], made: str, depth: int) -> NodeProto:
    """A node that makes ``made`` of any of the names, of any kind, fitting or not."""
    name = st.sampled_from(names)
    kinds = ["unary", "binary", "concat", "reduce", "cast", "slice", "foreign"]
    kind = draw(st.sampled_from([*kinds, "if", "loop"] if depth else kinds))
    if kind == "unary":
        return node(draw(st.sampled_from(UNARY)), draw(name), made)
    if kind == "binary":
        return node(draw(st.sampled_from(BINARY)), f"{draw(name)} {draw(name)}", made)
    if kind == "concat":
        axis = draw(st.integers(-3, 3))
        return node(
            "Concat", " ".join(draw(st.lists(name, min_size=1, max_size=3))), made, axis=axis
        )
    if kind == "reduce":
        return node(
            "ReduceSum", f"{draw(name)} {draw(name)}", made, keepdims=draw(st.integers(0, 1))
        )
    if kind == "cast":
        return node("Cast", draw(name), made, to=draw(st.sampled_from([FLOAT, INT64, BOOL])))
    if kind == "slice":
        return node("Slice", " ".join(draw(st.lists(name, min_size=3, max_size=5))), made)
    if kind == "foreign":
        return node("Mystery", draw(name), made, domain="there")
    if kind == "if":
        branches = {
            branch: draw(bodies(names, f"{made}_{branch[0]}", depth - 1))
            for branch in ("then_branch", "else_branch")
        }
        return node("If", draw(name), made, **branches)
    inner = draw(bodies([*names, f"{made}_a"], f"{made}_l", depth - 1, carried=f"{made}_a"))
    return node("Loop", f"{draw(name)} - {draw(name)}", made, body=inner)


@st.composite
def bodies(
    draw: st.DrawFn, outer: list[str], prefix: str, depth: int, carried: str | None = None
) -> GraphProto:
    """The body of an If, or of a Loop that carries a value."""
    nodes, result = draw(chains(outer, prefix, depth))
    if carried is None:
        return graph(nodes, [], [value(result, None)])
    inputs = [value(f"{prefix}_i", [], INT64), value(f"{prefix}_c", [], BOOL), value(carried, None)]
    nodes.append(node("Identity", f"{prefix}_c", f"{prefix}_on"))
    return graph(nodes, inputs, [value(f"{prefix}_on", [], BOOL), value(result, None)])


@st.composite
def chains(
    draw: st.DrawFn, outer: list[str], prefix: str, depth: int
) -> tuple[list[NodeProto], str]:
    """A few nodes, each of what came before, and the last name."""
    names, nodes = list(outer), []
    for i in range(draw(st.integers(1, 4))):
        nodes.append(draw(operators(names, f"{prefix}{i}", depth)))
        names.append(f"{prefix}{i}")
    return nodes, names[-1]


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    """A model of two inputs, a flag and a few constants."""
    names = ["x", "i", "flag", "w", "k", "one"]
    nodes, last = draw(chains(names, "t", 2))
    outputs = [value(last, None), *([value("t0", None)] if len(nodes) > 1 else [])]
    return model(
        nodes,
        [value("x", draw(EXTENTS)), value("i", [], INT64), value("flag", [], BOOL)],
        outputs,
        [
            floats("w", 2, 2),
            ints("k", *draw(st.lists(st.integers(-2, 4), max_size=3))),
            ints("one", 1),
        ],
        domains={"there": 1},
        opset=17,
    )


def ran(proto: ModelProto) -> Mapping[str, NDArray[Any]] | None:
    """What onnx's evaluator makes of the model, or None where it does not take it.

    (ONNX Runtime dies of some of these models.)
    """
    untyped = ModelProto()
    untyped.CopyFrom(proto)
    for output in untyped.graph.output:
        output.ClearField("type")
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {
        "x": np.ones(shape, dtype=np.float32),
        "i": np.array(1, dtype=np.int64),
        "flag": np.array(True),
    }
    names = [output.name for output in untyped.graph.output]
    try:
        results = ReferenceEvaluator(untyped).run(names, feeds)
    except Exception:  # noqa: BLE001 - a model that does not fit
        return None
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


@given(models())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_made_up_models_are_taken_or_refused(proto: ModelProto) -> None:
    """Ingest takes a made-up model or raises an ``IngestError``; what can be run has the
    shapes and types that were told of it, wherever any were told."""
    try:
        dag = taken(proto).dag
    except IngestError:
        return
    dag.check()
    results = ran(proto) or {}
    index = {name: i for i, name in enumerate(dag.tensor_names)}
    for name, result in results.items():
        if name in index and dag.tensor_shapes[index[name]] is not None:
            assert dag.tensor_shapes[index[name]] == result.shape, str(proto)
            assert dag.tensor_dtypes[index[name]] == str(result.dtype)


def test_some_made_up_models_run() -> None:
    """The comparison above is no empty one: a model of this make runs."""
    proto = model(
        [node("Add", "x w", "t0"), node("NonZero", "t0", "t1")],
        [value("x", [2, 2]), value("i", [], INT64), value("flag", [], BOOL)],
        [value("t1", None), value("t0", None)],
        [floats("w", 2, 2)],
    )
    results = ran(proto)
    assert results is not None
    assert results["t0"].shape == (2, 2)
    with pytest.raises(IngestError):
        taken(model([node("Add", "x w w", "y")], [value("x")], [value("y")], [floats("w", 2)]))
