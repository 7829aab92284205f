"""The halves as models: what goes in and out, and what of the whole they hold."""

from collections import Counter

import numpy as np
import pytest
from onnx import (
    FunctionProto,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    TensorAnnotation,
    TensorProto,
    helper,
)

from app.errors import WrongFileError
from app.halves.dividing import Halves, divide
from app.halves.division import Division, Side
from app.ingest import IngestOptions
from app.ingest.captures import with_inner
from app.ingest.inlining import call_key, function_key
from tests.halves.divided import (
    MODEL_ID,
    SPLIT_ID,
    Divided,
    both,
    extents,
    inputs,
    made,
    metadata,
    outputs,
    some_cuts,
    types,
    used,
    weights,
)
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    floats,
    graph,
    ints,
    model,
    node,
    scalar,
    value,
)
from tests.oracles import crossing_tensors

DOMAINS = {"local": 1}
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]


@pytest.mark.parametrize("weighted", MODELS, ids=str)
def test_what_the_halves_of_any_model_are(weighted: WeightedModel) -> None:
    """On random cuts of every model with weights: inputs and outputs are the stated ones in the
    stated order, weights are held once and only where they are used, and versions are kept."""
    whole = weighted.build()
    divided = Divided.of(whole, weighted.options)
    for mask in some_cuts(divided.dag):
        halves = divided.at_mask(mask)
        require_interface(divided, mask, halves, weighted.options.parameters)
        for half in (halves.device, halves.server):
            if half is not None:
                require_economy(half, whole)


def require_interface(
    divided: Divided, mask: np.ndarray, halves: Halves, parameters: tuple[str, ...]
) -> None:
    """Check the names of inputs and outputs, and their order, against the DAG."""
    dag, whole = divided.dag, divided.model.original.graph
    device = frozenset(np.flatnonzero(mask).tolist())
    held = {*weights(divided.model.original)}
    fed = [value.name for value in whole.input if value.name not in held.union(parameters)]
    results = [value.name for value in whole.output]
    makers = {
        name: int(maker) for name, maker in zip(dag.tensor_names, dag.tensor_producers, strict=True)
    }
    crossing = [dag.tensor_names[index] for index in crossing_tensors(dag, device)]
    late = [name for name in results if makers.get(name, -1) >= 0 and makers[name] not in device]
    early = [name for name in results if name not in late]
    if halves.device is None:
        assert halves.server is not None
        assert not device
        assert outputs(halves.server) == results
        assert inputs(halves.server) == [*fed, *fed_parameters(halves.server, parameters)]
        return
    own = fed_parameters(halves.device, parameters)
    assert inputs(halves.device) == [*fed, *own]
    if halves.server is None:
        assert outputs(halves.device) == results
        return
    assert outputs(halves.device) == [*crossing, *(name for name in early if name not in crossing)]
    assert outputs(halves.server) == late
    assert inputs(halves.server) == [*crossing, *fed_parameters(halves.server, parameters)]
    if not divided.model.original.functions:
        counts = Counter([*made(halves.device.graph), *made(halves.server.graph)])
        assert all(counts[name] == 1 for name, maker in makers.items() if maker >= 0)


def fed_parameters(half: ModelProto, parameters: tuple[str, ...]) -> list[str]:
    """Of the inputs that are parameters those that a half uses."""
    return [name for name in parameters if name in used(half.graph)]


def require_economy(half: ModelProto, whole: ModelProto) -> None:
    """Check that a half holds what it uses, once, under the versions of the whole."""
    held = weights(half)
    annotated = {
        entry.value
        for item in half.graph.quantization_annotation
        for entry in item.quant_parameter_tensor_names
    }
    assert len(set(held)) == len(held)
    assert set(held) <= used(half.graph) | annotated
    assert [name for name in weights(whole) if name in held] == held
    names = [*inputs(half), *made(half.graph)]
    assert len(set(names)) == len(names)
    assert set(names).isdisjoint(held)
    assert half.ir_version == whole.ir_version
    assert {item.domain: item.version for item in half.opset_import}.items() >= {
        "" if item.domain == "ai.onnx" else item.domain: item.version for item in whole.opset_import
    }.items()
    called = {
        call_key(inner)
        for nodes in (half.graph.node, *(function.node for function in half.functions))
        for inner in with_inner(nodes)
    }
    stated = [function_key(item) for item in whole.functions]
    held_here = [function_key(item) for item in half.functions]
    assert [name for name in stated if name in held_here] == held_here
    assert called.issuperset(held_here)


def diamond() -> ModelProto:
    """Two inputs, three outputs, and tensors that cross in any number."""
    return model(
        [
            node("MatMul", "x w", "a", name="a"),
            node("Relu", "a", "b", name="b"),
            node("Split", "b halves", "left right", name="split", axis=1),
            node("Add", "left z", "c", name="c"),
            node("Tanh", "right", "d", name="d"),
            node("Mul", "c d", "e", name="e"),
            node("MatMul", "e v", "y", name="y"),
        ],
        [value("z", [2, 4]), value("x", [2, 6])],
        [value("y", [2, 5]), value("b", [2, 8]), value("d", [2, 4])],
        [floats("v", 4, 5), floats("w", 6, 8), ints("halves", 4, 4)],
    )


def test_inputs_and_outputs_come_in_order() -> None:
    """The device half takes the model's inputs in their order and gives what crosses in the order
    of the answer, then its outputs; the server half takes the same and gives the rest."""
    halves = Divided.of(diamond()).at("a", "b", "split", "d")
    device, server = both(halves)
    assert inputs(device) == ["z", "x"]
    assert outputs(device) == ["z", "left", "d", "b"]
    assert inputs(server) == ["z", "left", "d"]
    assert outputs(server) == ["y"]
    assert types(device) == ["MatMul", "Relu", "Split", "Tanh"]
    assert types(server) == ["Add", "Mul", "MatMul"]
    assert weights(device) == ["w", "halves"]
    assert weights(server) == ["v"]


def test_every_cut_of_a_diamond() -> None:
    """At every cut both halves pass the checker, each node is in one of them, and the shapes that
    they state are those of the costed DAG."""
    divided = Divided.of(diamond())
    shapes = dict(zip(divided.dag.tensor_names, divided.dag.tensor_shapes, strict=True))
    count = 0
    for device_nodes, halves in divided.every():
        count += 1
        names = Counter(
            item.name
            for half in (halves.device, halves.server)
            if half is not None
            for item in half.graph.node
        )
        assert names == Counter(divided.dag.node_names)
        for half in (halves.device, halves.server):
            if half is None:
                continue
            ours = {item.name for item in half.graph.node} == set(device_nodes)
            assert ours == (half is halves.device)
            for item in (*half.graph.input, *half.graph.output):
                assert tuple(extents(half, item.name)) == shapes[item.name]
    assert count == 9


def test_types_of_what_crosses() -> None:
    """Integers, booleans, half precision and scalars are stated as what they are."""
    proto = model(
        [
            node("ArgMax", "x", "best", name="best", axis=1, keepdims=0),
            node("Greater", "x zero", "flags", name="flags"),
            node("Cast", "x", "small", name="small", to=TensorProto.FLOAT16),
            node("ReduceSum", "x", "sum", name="sum", keepdims=0),
            node("Cast", "best", "b", name="b", to=FLOAT),
            node("Cast", "flags", "f", name="f", to=FLOAT),
            node("Cast", "small", "s", name="s", to=FLOAT),
            node("ReduceSum", "f", "g", name="g", keepdims=0),
            node("ReduceSum", "b", "h", name="h", keepdims=0),
            node("ReduceSum", "s", "i", name="i", keepdims=0),
            node("Sum", "g h i sum", "y", name="y"),
        ],
        [value("x", [2, 6])],
        [value("y", [])],
        [floats("zero", 1)],
    )
    device, server = both(Divided.of(proto).at("best", "flags", "small", "sum"))
    for half, values in ((device, device.graph.output), (server, server.graph.input)):
        kinds = {
            item.name: (item.type.tensor_type.elem_type, list(extents(half, item.name)))
            for item in values
        }
        assert kinds == {
            "best": (INT64, [2]),
            "flags": (BOOL, [2, 6]),
            "small": (TensorProto.FLOAT16, [2, 6]),
            "sum": (FLOAT, []),
        }


def symbolic() -> ModelProto:
    """A batch by symbol that some shapes keep, some lose, and some take part in."""
    return model(
        [
            node("MatMul", "x w", "a", name="a"),
            node("Reshape", "a shape", "b", name="b"),
            node("Transpose", "a", "c", name="c", perm=[1, 0]),
            node("ReduceMean", "a", "d", name="d", axes=[0], keepdims=0),
            node("Concat", "a a", "e", name="e", axis=0),
            node("Relu", "b", "b2", name="b2"),
            node("Relu", "c", "c2", name="c2"),
            node("Relu", "d", "d2", name="d2"),
            node("Relu", "e", "e2", name="e2"),
        ],
        [value("x", ["batch", 6])],
        [
            *(value("b2", [None, 4]), value("c2", [8, "batch"])),
            *(value("d2", [8]), value("e2", [None, 8])),
        ],
        [floats("w", 6, 8), ints("shape", -1, 4)],
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_hold_for_every_batch(batch: int) -> None:
    """Of a model with a symbolic batch, a symbol stays where it is known to be the extent, a count
    where it is one for every batch, and all else is left open, whatever batch was costed."""
    divided = Divided.of(symbolic(), IngestOptions({"batch": batch}))
    device, server = both(divided.at("a", "b", "c", "d", "e"))
    for half in (device, server):
        assert list(extents(half, "b")) == [None, 4]
        assert list(extents(half, "c")) == [8, "batch"]
        assert list(extents(half, "d")) == [8]
        assert list(extents(half, "e")) == [None, 8]
    assert list(extents(device, "x")) == ["batch", 6]
    device, server = both(divided.at("a"))
    assert list(extents(server, "a")) == list(extents(device, "a")) == ["batch", 8]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("extent", [None, -1], ids=["nameless", "old tools"])
def test_shapes_that_only_one_batch_has(batch: int, extent: int | None) -> None:
    """An extent without a name in the file is left open, and what follows from it as well; the -1
    that old tools write there is no extent."""
    proto = model(
        [
            node("Concat", "x x", "a", name="a", axis=0),
            node("MatMul", "a w", "b", name="b"),
            node("Flatten", "b", "c", name="c", axis=2),
            node("Relu", "c", "y", name="y"),
        ],
        [value("x", [extent, extent, 6])],
        [value("y", [None, 8])],
        [floats("w", 6, 8)],
    )
    divided = Divided.of(proto, IngestOptions({"x:0": batch, "x:1": 1}))
    # The checker takes -1 for an extent, so it refuses the whole as well.
    halves = divide(divided.model, Division(("a", "b", "c"), ("y",)))
    assert list(extents(both(halves)[1], "c")) == [None, 8]
    halves = divide(divided.model, Division(("a",), ("b", "c", "y")))
    assert list(extents(both(halves)[1], "a")) == [None, None, 6]


def test_inputs_are_stated_as_the_file_states_them() -> None:
    """Of inputs that pass through the device half raw, both halves state what the file does."""
    proto = model(
        [node("Relu", "x", "a", name="a"), node("Add", "a z", "y", name="y")],
        [value("x", ["n", 6]), value("z", ["m", None])],
        [value("y", [None, 6])],
    )
    device, server = both(Divided.of(proto, IngestOptions({"n": 2, "m": 2, "z:1": 6})).at("a"))
    assert outputs(device) == inputs(server) == ["z", "a"]
    assert list(extents(server, "z")) == list(extents(device, "z")) == ["m", None]
    assert list(extents(server, "a")) == ["n", 6]


def test_weights_among_the_inputs() -> None:
    """In version 3 of the format, where weights have to stand among the inputs, they do so in each
    half that has them, behind what it is fed."""
    proto = model(
        [
            node("MatMul", "x w", "a", name="a"),
            node("Add", "a b", "c", name="c"),
            node("MatMul", "c w", "y", name="y"),
        ],
        [value("w", [4, 4]), value("x", [2, 4]), value("b", [4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4), floats("b", 4)],
        opset=8,
        ir_version=3,
    )
    device, server = both(Divided.of(proto).at("a"))
    assert [item.name for item in device.graph.input] == ["x", "w"]
    assert [item.name for item in server.graph.input] == ["a", "w", "b"]
    assert device.ir_version == server.ir_version == 3
    assert [item.version for item in device.opset_import] == [8]


def test_versions_are_kept() -> None:
    """Operator sets, the producer and the version of the model stay; one that the file forgot to
    state is stated."""
    proto = model(
        [
            node("Relu", "x", "a", name="a"),
            node("Scaler", "a", "b", name="b", domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
        ],
        [value("x", [2, 4])],
        [value("b", [2, 4])],
    )
    proto.producer_name, proto.producer_version = "pytorch", "2.9"
    proto.domain, proto.model_version = "org.example", 7
    for half in both(Divided.of(proto).at("a")):
        assert {item.domain: item.version for item in half.opset_import} == {
            "": 17,
            "ai.onnx.ml": 1,
        }
        assert (half.producer_name, half.producer_version) == ("pytorch", "2.9")
        assert (half.domain, half.model_version, half.ir_version) == ("org.example", 7, 8)


def function(name: str, takes: str, gives: str, *nodes: NodeProto) -> FunctionProto:
    """A function of the domain ``local``."""
    stated: FunctionProto = helper.make_function(
        "local", name, takes.split(), gives.split(), nodes, OPSETS
    )
    return stated


def call(name: str, takes: str, gives: str) -> NodeProto:
    """A call of it, named as its outputs."""
    return node(name, takes, gives, name=gives.replace(" ", "-"), domain="local")


TWO_STEPS = function("Steps", "X", "Y", node("Relu", "X", "m"), node("Tanh", "m", "Y"))


def calls() -> ModelProto:
    """Three calls in a row, of two functions, of which one calls the third."""
    return model(
        [
            call("Steps", "x", "a"),
            call("Outer", "a w", "b"),
            node("Neg", "b", "c", name="c"),
            call("Steps", "c", "y"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4)],
        domains=DOMAINS,
        functions=[
            function("Nobody", "X", "Y", node("Exp", "X", "Y")),
            function(
                "Outer",
                "X W",
                "Y",
                node("MatMul", "X W", "p"),
                node("Inner", "p", "q", domain="local"),
                node("Neg", "q", "Y"),
            ),
            TWO_STEPS,
            function("Inner", "X", "Y", node("Exp", "X", "e"), node("Log", "e", "Y")),
        ],
    )


def test_calls_are_kept_where_no_cut_goes_through_them() -> None:
    """A half calls the functions that it has whole, has those and what they call and no other, and
    has the nodes of a call that the cut divides."""
    divided = Divided.of(calls())
    assert divided.dag.node_op_types == (
        *("Relu", "Tanh", "MatMul", "Exp", "Log", "Neg", "Neg", "Relu", "Tanh"),
    )
    every = ("Outer", "Steps", "Inner")
    steps = ("Steps",)
    expected = {
        1: (["Relu"], (), ["Tanh", "Outer", "Neg", "Steps"], every),
        2: (["Steps"], steps, ["Outer", "Neg", "Steps"], every),
        3: (["Steps", "MatMul"], steps, ["Exp", "Log", "Neg", "Neg", "Steps"], steps),
        4: (["Steps", "MatMul", "Exp"], steps, ["Log", "Neg", "Neg", "Steps"], steps),
        5: (["Steps", "MatMul", "Exp", "Log"], steps, ["Neg", "Neg", "Steps"], steps),
        6: (["Steps", "Outer"], every, ["Neg", "Steps"], steps),
        7: (["Steps", "Outer", "Neg"], every, ["Steps"], steps),
        8: (["Steps", "Outer", "Neg", "Relu"], every, ["Tanh"], ()),
    }
    for count, (early, early_functions, late, late_functions) in expected.items():
        device, server = both(divided.at(*divided.dag.node_names[:count]))
        assert (types(device), types(server)) == (early, late)
        assert tuple(item.name for item in device.functions) == early_functions
        assert tuple(item.name for item in server.functions) == late_functions


def test_a_call_that_reads_in_vain() -> None:
    """A call is kept only where all that it is given is at hand, be it read in vain: what its
    unused input needs does not come along from the other side."""
    vain = function("Vain", "X Unused", "Y", node("Relu", "X", "m"), node("Tanh", "m", "Y"))
    proto = model(
        [
            node("Neg", "x", "a", name="a"),
            node("Exp", "z", "b", name="b"),
            call("Vain", "a b", "y"),
        ],
        [value("x", [2, 4]), value("z", [2, 4])],
        [value("y", [2, 4]), value("b", [2, 4])],
        domains=DOMAINS,
        functions=[vain],
    )
    divided = Divided.of(proto)
    steps = [name for name in divided.dag.node_names if name not in "ab"]
    apart_device, apart_server = both(divided.at("b"))
    assert (types(apart_device), types(apart_server)) == (["Exp"], ["Neg", "Relu", "Tanh"])
    assert not apart_server.functions
    assert inputs(apart_server) == ["x"]
    device, server = both(divided.at("a", *steps))
    assert (types(device), types(server)) == (["Neg", "Relu", "Tanh"], ["Exp"])
    together = divided.at("a", "b", *steps).device
    assert together is not None
    assert types(together) == ["Neg", "Exp", "Vain"]


def test_a_call_of_which_a_part_prepares_weights() -> None:
    """A function makes one output of weights alone: both sides have that part, the call stays where
    the rest runs."""
    mixed = function("Mixed", "X W", "Y T", node("Transpose", "W", "T"), node("MatMul", "X T", "Y"))
    proto = model(
        [
            call("Mixed", "x w", "a turned"),
            node("Relu", "a", "b", name="b"),
            node("MatMul", "b turned", "y", name="y"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4)],
        domains=DOMAINS,
        functions=[mixed],
    )
    divided = Divided.of(proto)
    (product,) = [name for name in divided.dag.node_names if name not in "by"]
    device, server = both(divided.at(product))
    assert (types(device), types(server)) == (["Mixed"], ["Transpose", "Relu", "MatMul"])
    assert inputs(server) == ["a"]
    assert weights(device) == weights(server) == ["w"]


def branches() -> ModelProto:
    """An If whose branches read tensors from around, weights of the main graph, and a body in one
    of them that reads through."""
    inner = {
        "then_branch": graph([node("Add", "a deep", "t2")], [], [value("t2", [2, 4])]),
        "else_branch": graph([node("Identity", "b", "e2")], [], [value("e2", [2, 4])]),
    }
    then = graph(
        [node("MatMul", "a w", "t"), node("If", "go", "u", **inner), node("Add", "t u", "v")],
        [],
        [value("v", [2, 4])],
    )
    other = graph([node("Sub", "b bias", "e")], [], [value("e", [2, 4])])
    return model(
        [
            node("Relu", "x", "a", name="a"),
            node("Tanh", "a", "b", name="b"),
            node("ReduceSum", "b", "s", name="s", keepdims=0),
            node("Greater", "s zero", "go", name="go"),
            node("If", "go", "c", name="if", then_branch=then, else_branch=other),
            node("MatMul", "c w", "y", name="y"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4), floats("deep", 4), floats("bias", 4), floats("zero")],
    )


def test_what_bodies_read_crosses() -> None:
    """Tensors that only a body reads, however deep, cross to it; weights that only bodies read are
    in the half that has the body."""
    device, server = both(Divided.of(branches()).at("a", "b"))
    assert outputs(device) == inputs(server) == ["a", "b"]
    assert weights(device) == []
    assert weights(server) == ["w", "deep", "bias", "zero"]
    device, server = both(Divided.of(branches()).at("a", "b", "s", "go", "if"))
    assert outputs(device) == ["c"]
    assert weights(device) == ["w", "deep", "bias", "zero"]
    assert weights(server) == ["w"]


def test_names_that_bodies_define_themselves_do_not_cross() -> None:
    """A body's own input and its own tensor hide those of the same name outside."""
    body = graph(
        [node("Add", "x a", "n"), node("Identity", "go", "on"), node("Mul", "n h", "m")],
        [value("i", [], INT64), value("go", [], BOOL), value("a", [2, 4])],
        [value("on", [], BOOL), value("m", [2, 4])],
        [floats("h", 2, 4)],
    )
    proto = model(
        [
            node("Neg", "x", "a", name="a"),
            node("Relu", "a", "h", name="h"),
            node("Loop", "trips - h", "l", name="loop", body=body),
            node("Relu", "l", "y", name="y"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [scalar("trips", 3)],
    )
    device, server = both(Divided.of(proto).at("a", "h"))
    assert outputs(device) == inputs(server) == ["x", "h"]


def test_weights_are_held_where_they_are_used() -> None:
    """A weight that both sides use is in both, once; what prepares weights is repeated where it is
    needed and nowhere else; what nobody uses is nowhere."""
    proto = model(
        [
            node("Transpose", "w", "turned", name="turn"),
            node("Mul", "turned scale", "scaled", name="scale"),
            helper.make_node("Constant", [], ["k"], value=floats("k", 4)),
            node("MatMul", "x w", "a", name="a"),
            node("Add", "a k", "b", name="b"),
            node("MatMul", "b turned", "c", name="c"),
            node("MatMul", "c scaled", "d", name="d"),
            node("Sum", "d bias bias k", "y", name="y"),
            node("MatMul", "x nobody", "dead", name="dead"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [
            *(floats("nobody", 4, 4), floats("bias", 4), floats("scale", 4), floats("w", 4, 4)),
            floats("alone", 7),
        ],
    )
    divided = Divided.of(proto)
    device, server = both(divided.at("a", "b"))
    assert weights(device) == ["w"]
    assert types(device) == ["Constant", "MatMul", "Add"]
    assert weights(server) == ["bias", "scale", "w"]
    assert types(server) == ["Transpose", "Mul", "Constant", "MatMul", "MatMul", "Sum"]
    device, server = both(divided.at("a", "b", "c"))
    assert (weights(device), weights(server)) == (["w"], ["bias", "scale", "w"])
    assert "Mul" not in types(device)


def test_sparse_weights_and_annotations() -> None:
    """Sparse weights go with what uses them; so do annotations, with the weights that they name."""
    proto = model(
        [
            node("Add", "x first", "a", name="a"),
            node("Add", "a second", "y", name="y"),
        ],
        [value("x", [4])],
        [value("y", [4])],
        [floats("scale", 1), floats("other", 1)],
    )
    for name in ("first", "second"):
        indices = helper.make_tensor("", INT64, [1], [2])
        proto.graph.sparse_initializer.append(
            helper.make_sparse_tensor(floats(name, 1), indices, [4])
        )
    for tensor, scale in (("a", "scale"), ("y", "other")):
        entry = StringStringEntryProto(key="SCALE_TENSOR", value=scale)
        proto.graph.quantization_annotation.append(
            TensorAnnotation(tensor_name=tensor, quant_parameter_tensor_names=[entry])
        )
    halves = divide(Divided.of(proto).model, Division(("a",), ("y",)))
    device, server = both(halves)
    assert weights(device) == ["scale", "first"]
    assert weights(server) == ["scale", "other", "second"]
    assert [item.tensor_name for item in device.graph.quantization_annotation] == ["a"]
    assert [item.tensor_name for item in server.graph.quantization_annotation] == ["a", "y"]


def test_metadata_name_the_split() -> None:
    """Each half names the model, the split, itself and the other, beside what the file says."""
    proto = diamond()
    helper.set_model_props(proto, {"labels": "cat,dog", "kerf.half": "somebody's"})
    device, server = both(Divided.of(proto).at("a"))
    common = {"labels": "cat,dog", "kerf.model": MODEL_ID, "kerf.split": SPLIT_ID}
    assert metadata(device) == {
        **common,
        "kerf.half": "device",
        "kerf.other_half": "server.onnx",
    }
    assert metadata(server) == {
        **common,
        "kerf.half": "server",
        "kerf.other_half": "device.onnx",
    }
    alone = divide(Divided.of(proto).model, Division(tuple(Divided.of(proto).dag.node_names), ()))
    assert alone.device is not None
    assert metadata(alone.device) == {
        "labels": "cat,dog",
        "kerf.model": "",
        "kerf.split": "",
        "kerf.half": "device",
        "kerf.other_half": "",
    }


def test_a_half_can_be_cut_again() -> None:
    """A half is a model: it divides as any other, keeps its outputs, and its metadata are those of
    the last division."""
    device, server = both(Divided.of(diamond()).at("a", "b", "split", "c"))
    first, rest = both(Divided.of(device).at("a", "b"))
    assert inputs(first) == ["z", "x"]
    assert outputs(first) == inputs(rest) == ["z", "b"]
    assert outputs(rest) == ["right", "c"]
    assert outputs(device) == ["right", "c", "b"]
    assert metadata(first)["kerf.half"] == "device"
    assert metadata(rest)["kerf.half"] == "server"
    first, rest = both(Divided.of(server).at("d"))
    assert inputs(first) == inputs(server)
    assert outputs(rest) == outputs(server)[:1]


def test_outputs_that_no_node_makes() -> None:
    """Outputs that are inputs, weights, constants or made of these come out of the device half, in
    the model's order, wherever the cut is; of the server half where it is alone."""
    proto = model(
        [
            helper.make_node("Constant", [], ["k"], value=floats("k", 3)),
            node("Neg", "w", "minus", name="minus"),
            node("MatMul", "x w", "a", name="a"),
            node("MatMul", "a minus", "y", name="y"),
        ],
        [value("x", [2, 4]), value("aside", [3])],
        [
            *(value("minus", [4, 4]), value("x", [2, 4]), value("y", [2, 4])),
            *(value("k", [3]), value("w", [4, 4]), value("aside", [3])),
        ],
        [floats("w", 4, 4)],
    )
    divided = Divided.of(proto)
    given = ["minus", "x", "y", "k", "w", "aside"]
    device, server = both(divided.at("a"))
    assert outputs(device) == ["a", "minus", "x", "k", "w", "aside"]
    assert outputs(server) == ["y"]
    assert inputs(device) == ["x", "aside"]
    assert inputs(server) == ["a"]
    assert types(device) == ["Constant", "Neg", "MatMul"]
    for halves in (divided.at("a", "y"), divided.at()):
        (half,) = [item for item in (halves.device, halves.server) if item is not None]
        assert outputs(half) == given
        assert inputs(half) == ["x", "aside"]


def test_parameters_are_inputs_of_the_halves_that_use_them() -> None:
    """Inputs that the upload named as parameters never cross: each half has those that it uses,
    behind what it is fed, in the order in which they were named."""
    proto = model(
        [
            node("Gemm", "x w0 b", "a", name="a"),
            node("Relu", "a", "c", name="c"),
            node("Gemm", "c w1 b", "d", name="d"),
            node("Transpose", "w0", "turned", name="turned"),
            node("MatMul", "d turned", "y", name="y"),
        ],
        [
            *(value("w1", [4, 4]), value("w0", [4, 4]), value("x", [2, 4])),
            *(value("b", [4]), value("z", [4])),
        ],
        [value("y", [2, 4])],
    )
    options = IngestOptions(parameters=("b", "w0", "w1", "z"))
    device, server = both(Divided.of(proto, options).at("a", "c"))
    assert inputs(device) == ["x", "b", "w0"]
    assert inputs(server) == ["c", "b", "w0", "w1"]
    assert outputs(device) == ["c"]
    assert sorted(types(server)) == ["Gemm", "MatMul", "Transpose"]


def test_nothing_on_one_side() -> None:
    """Everything on one side is one half, which is the model; the other does not exist."""
    proto = diamond()
    divided = Divided.of(proto)
    halves = divided.at(*divided.dag.node_names)
    assert halves.server is None
    assert halves.of(Side.SERVER) is None
    assert halves.device is not None
    all_server = divided.at()
    assert all_server.device is None
    assert all_server.server is not None
    for half in (halves.device, all_server.server):
        assert list(half.graph.node) == list(proto.graph.node)
        assert list(half.graph.input) == list(proto.graph.input)
        assert list(half.graph.output) == list(proto.graph.output)
        assert list(half.graph.initializer) == list(proto.graph.initializer)
        assert metadata(half)["kerf.other_half"] == ""


@pytest.mark.parametrize(
    "division",
    [
        Division((), ()),
        Division(("a", "b"), ("split", "c", "d", "e")),
        Division(("a", "b"), ("split", "c", "d", "e", "y", "more")),
        Division(("a", "b", "b"), ("split", "c", "d", "e", "y")),
        Division(("a", "b", "b"), ("split", "c", "d", "e")),
        Division(("a", "B"), ("split", "c", "d", "e", "y")),
        Division(("a", "b"), ("b", "split", "c", "d", "e", "y")),
    ],
    ids=["none", "too few", "too many", "twice", "twice for another", "misspelt", "on both sides"],
)
def test_nodes_of_another_model(division: Division) -> None:
    """Names that are not those of the file's nodes, each once, are refused with what to do."""
    with pytest.raises(WrongFileError, match="not the 7 that this file has; take the file that"):
        divide(Divided.of(diamond()).model, division)


def test_a_division_that_is_no_cut() -> None:
    """A division in which something would flow back is refused, and so is one in which a tensor
    without a size would cross."""
    with pytest.raises(WrongFileError, match="no cut of this file: something would flow back"):
        Divided.of(diamond()).at("b")
    proto = model(
        [
            node("Relu", "x", "a", name="a"),
            node("NonZero", "a", "n", name="n"),
            node("Cast", "n", "c", name="c", to=FLOAT),
            node("ReduceSum", "c", "y", name="y", keepdims=0),
        ],
        [value("x", [2, 4])],
        [value("y", [])],
    )
    divided = Divided.of(proto)
    with pytest.raises(WrongFileError, match="a tensor without a size would cross"):
        divided.at("a", "n")
    assert [names for names, _ in divided.every()] != []


RANDOM_TYPES = {"RandomNormal", "RandomUniform", "RandomNormalLike", "Bernoulli", "Multinomial"}


def drawing() -> ModelProto:
    """Numbers drawn of nothing, of a weight's shape and of a weight's values, used early and late;
    one of them through a node that else would only prepare a weight."""
    return model(
        [
            node("RandomNormal", "", "r", name="r", shape=[4]),
            node("RandomNormalLike", "w", "like", name="like"),
            node("Bernoulli", "p", "mask", name="mask"),
            node("Mul", "r p", "scaled", name="scaled"),
            node("MatMul", "x like", "a", name="a"),
            node("Add", "a scaled", "b", name="b"),
            node("Mul", "b mask", "c", name="c"),
            node("MatMul", "c like", "d", name="d"),
            node("Add", "d scaled", "y", name="y"),
        ],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4), floats("p", 4)],
        opset=17,
    )


def test_numbers_are_drawn_once() -> None:
    """Whatever the cut, each generator is in one half alone, and what it drew for the other side
    crosses."""
    divided = Divided.of(drawing())
    assert set(divided.dag.node_op_types) >= {"RandomNormal", "RandomNormalLike", "Bernoulli"}
    crossed = set()
    for _, halves in divided.every():
        drawn = Counter[str]()
        for half in (halves.device, halves.server):
            drawn.update(types(half) if half is not None else [])
        assert all(drawn[name] <= 1 for name in RANDOM_TYPES)
        assert drawn["RandomNormalLike"] == drawn["RandomNormal"] == drawn["Bernoulli"] == 1
        if halves.device is not None and halves.server is not None:
            crossed.update(inputs(halves.server))
    assert {"like", "scaled", "mask", "r"} <= crossed


def test_a_body_that_draws() -> None:
    """A branch that draws at random makes its node one that runs, on one side."""
    branch = {
        "then_branch": graph([node("RandomUniform", "", "t", shape=[4])], [], [value("t", [4])]),
        "else_branch": graph([node("Identity", "w", "e")], [], [value("e", [4])]),
    }
    proto = model(
        [
            node("If", "go", "r", name="if", **branch),
            node("Add", "x r", "a", name="a"),
            node("Mul", "a r", "y", name="y"),
        ],
        [value("x", [4])],
        [value("y", [4])],
        [floats("w", 4), helper.make_tensor("go", BOOL, [], [True])],
    )
    divided = Divided.of(proto)
    assert "if" in divided.dag.node_names
    for _, halves in divided.every():
        found = [half for half in (halves.device, halves.server) if half is not None]
        assert sum("If" in types(half) for half in found) == 1


@pytest.mark.parametrize(
    ("nodes", "results"),
    [
        ([], ["x"]),
        ([node("Neg", "w", "m", name="m")], ["m", "x"]),
        ([node("Relu", "x", "dead", name="dead")], ["x"]),
    ],
    ids=["none at all", "only of weights", "only dead"],
)
def test_a_model_without_nodes_that_run(nodes: list[NodeProto], results: list[str]) -> None:
    """A model in which no node runs is the device's, as it is; there is no server half."""
    proto = model(
        nodes, [value("x", [4])], [value(name, [4]) for name in results], [floats("w", 4)]
    )
    divided = Divided.of(proto)
    assert divided.dag.node_count == 0
    halves = divided.at()
    assert halves.server is None
    assert halves.device is not None
    assert inputs(halves.device) == ["x"]
    assert outputs(halves.device) == results
    assert types(halves.device) == (["Neg"] if "m" in results else [])


def test_nodes_out_of_order_are_put_in_order() -> None:
    """A file whose nodes stand before what they need gives halves that the checker passes."""
    proto = diamond()
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    device, server = both(Divided.of(proto).at("a", "b", "split"))
    assert types(device) == ["MatMul", "Relu", "Split"]
    assert types(server)[-1] == "MatMul"


def test_the_domain_spelt_out() -> None:
    """A file that spells ai.onnx out gives halves that the checker passes."""
    proto = diamond()
    proto.opset_import[0].domain = "ai.onnx"
    for item in proto.graph.node:
        item.domain = "ai.onnx"
    for half in both(Divided.of(proto).at("a", "b")):
        assert [(item.domain, item.version) for item in half.opset_import] == [("", 17)]


def test_stored_types_go_with_their_tensors() -> None:
    """Stored types of inner tensors stay in the half that makes them, but for its own inputs and
    outputs, which state theirs."""
    proto = diamond()
    proto.graph.value_info.extend(
        [value("a", [2, 8]), value("left", [2, 4]), value("c", [2, 4]), value("e", [2, 4])]
    )
    device, server = both(Divided.of(proto).at("a", "b", "split", "d"))
    assert [item.name for item in device.graph.value_info] == ["a"]
    assert [item.name for item in server.graph.value_info] == ["c", "e"]


def test_graphs_have_names() -> None:
    """The checker wants a name of a graph; that of a half says which it is."""
    proto = diamond()
    assert [half.graph.name for half in both(Divided.of(proto).at("a"))] == ["g_device", "g_server"]
    proto.graph.name = ""
    halves = divide(Divided.of(proto).model, Division(("a",), ("b", "split", "c", "d", "e", "y")))
    assert [half.graph.name for half in both(halves)] == ["device", "server"]


def test_the_model_is_left_alone() -> None:
    """Dividing a model changes nothing of it: the same again gives the same halves."""
    divided = Divided.of(calls())
    before = divided.model.original.SerializeToString()
    first = divided.at(*divided.dag.node_names[:4])
    for _, _ in divided.every():
        pass
    again = divided.at(*divided.dag.node_names[:4])
    assert (again.device, again.server) == (first.device, first.server)
    assert divided.model.original.SerializeToString() == before
