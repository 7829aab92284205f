"""Uploads that are not models, broken models, and models that try to be a nuisance: whatever
arrives, ingest takes it or raises ``IngestError``."""

from collections.abc import Callable
from contextlib import suppress

import onnx
import pytest
from onnx import (
    AttributeProto,
    ModelProto,
    SparseTensorProto,
    TensorProto,
    helper,
)

from app.errors import IngestError, InvalidModelError, NotOnnxError
from app.ingest import ingest
from tests.fixture_models import BY_NAME
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    dag_of,
    floats,
    function,
    graph,
    ints,
    model,
    node,
    scalar,
    taken,
    value,
)

GOOD = model([node("Relu", "x", "y")], [value("x")], [value("y")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"not a model",
        b"%PDF-1.7\n" + bytes(range(256)),
        b"PK\x03\x04" + bytes(64),
        b"{}",
        b"\xff" * 1000,
        ModelProto().SerializeToString(),
        GOOD.graph.SerializeToString(),
        helper.make_tensor("t", FLOAT, [1], [1.0]).SerializeToString(),
    ],
    ids=["empty", "zeros", "text", "pdf", "zip", "json", "ff", "no graph", "a graph", "a tensor"],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    """Bytes that hold no ONNX model are refused with what to upload instead."""
    with pytest.raises(NotOnnxError, match=r"upload .*\.onnx"):
        ingest(data)


def test_a_truncated_model_is_refused() -> None:
    """A model cut off at any of a hundred places is refused."""
    data = BY_NAME["mobilenet_v2"].path.read_bytes()
    for part in range(1, 100):
        with pytest.raises(IngestError):
            ingest(data[: len(data) * part // 100])
    assert ingest(data).dag.node_count == 100


def test_operator_sets_that_are_not_imported_are_supplied() -> None:
    """Operator sets that a model uses without importing them are supplied, and said so: that of
    ONNX as of the model's format, any other in its first version."""
    proto = ModelProto()
    proto.CopyFrom(GOOD)
    del proto.opset_import[:]
    proto.ir_version = 8
    facts = taken(proto).facts
    assert facts.opsets == {"ai.onnx": 18}
    assert "which operator set of ai.onnx it uses: taken as version 18" in facts.warnings[0]
    proto = model([node("F", "x", "y", domain="there")], [value("x")], [value("y")])
    facts = taken(proto).facts
    assert facts.opsets["there"] == 1
    assert "which operator set of there it uses: taken as version 1" in facts.warnings[0]


@pytest.mark.parametrize("version", [0, -1, -(2**40)])
def test_operator_sets_that_do_not_exist_are_refused(version: int) -> None:
    """A version of ONNX's operators that there is not is refused."""
    with pytest.raises(InvalidModelError):
        taken(model([node("Relu", "x", "y")], [value("x")], [value("y")], opset=version))


@pytest.mark.parametrize("version", [99, 2**40])
def test_operator_sets_newer_than_the_known_ones_are_taken_as_the_newest(version: int) -> None:
    """A model of an operator set to come is read by the newest definitions, and that is said."""
    facts = taken(model([node("Relu", "x", "y")], [value("x")], [value("y")], opset=version)).facts
    newest = onnx.defs.onnx_opset_version()
    assert facts.opsets == {"ai.onnx": newest}
    assert f"operator set {version} of ai.onnx is newer than {newest}" in facts.warnings[0]


@pytest.mark.parametrize("version", [10_000, 2**62])
def test_formats_newer_than_the_known_ones_are_taken_as_the_newest(version: int) -> None:
    """A format to come is read as the newest that is known, and that is said."""
    proto = model([node("Relu", "x", "y")], [value("x")], [value("y")], ir_version=version)
    facts = taken(proto).facts
    assert facts.ir_version == version
    assert f"version {version} of the ONNX format is newer than" in facts.warnings[0]


@pytest.mark.parametrize("version", [0, -1])
def test_format_versions_that_do_not_exist_are_refused(version: int) -> None:
    """A version of ONNX's format that there is not is refused."""
    with pytest.raises(InvalidModelError):
        taken(model([node("Relu", "x", "y")], [value("x")], [value("y")], ir_version=version))


def test_unknown_operators_are_opaque() -> None:
    """An operator that the stated operator set does not have is a node like others, counted by
    its output elements, and a warning names it."""
    ingested = taken(model([node("Relux", "x", "y")], [value("x")], [value("y")]))
    assert ingested.dag.node_op_types == ("Relux",)
    assert ingested.dag.total_flops == 4
    assert ingested.facts.warnings == (
        "operator Relux has no FLOPs entry: counted as one FLOP per output element (100.00% of the "
        "model's FLOPs)",
    )


def test_graphs_without_running_nodes_are_taken() -> None:
    """A graph without nodes, without outputs, without inputs or without anything has a DAG of no
    nodes, and a warning says that there is nothing to split."""
    relu, fill = node("Relu", "x", "y"), node("Constant", "", "y", value_floats=[1.0, 2.0])
    for nodes, inputs, outputs in (
        ([], [], []),
        ([], [value("x")], []),
        ([], [value("x")], [value("x")]),
        ([relu], [value("x")], []),
        ([fill], [], [value("y", [2])]),
    ):
        ingested = taken(model(nodes, inputs, outputs))
        assert ingested.dag.node_count == 0
        assert "there is nothing to split" in ingested.facts.warnings[-1]


def _broken_text(field: str) -> bytes:
    """The bytes of a model in which a text is no UTF-8."""
    proto = model(
        [node("Relu", "x", "hhhh", name="nnnn", domain="dddd"), node("Foo", "hhhh wwww", "y")],
        [value("x", ["ssss"])],
        [value("y", ["ssss"])],
        [floats("wwww", 4)],
        domains={"dddd": 1},
    )
    proto.graph.node[1].attribute.append(helper.make_attribute("aaaa", 1))
    data = proto.SerializeToString()
    mark = (field * 4).encode()
    assert mark in data
    return bytes(data.replace(mark, b"\xff\xfe\xfd\xfc"))


@pytest.mark.parametrize("field", ["h", "n", "d", "s", "w", "a"])
def test_text_that_is_no_text_is_refused(field: str) -> None:
    """Names of tensors, nodes, domains, symbols, weights and attributes have to be UTF-8."""
    with pytest.raises(InvalidModelError):
        ingest(_broken_text(field))


def with_attribute(change: Callable[[AttributeProto], None]) -> ModelProto:
    """A model of one Concat whose attribute is broken."""
    proto = model(
        [node("Concat", "x x", "m", axis=0, name="cat"), node("Relu", "m", "y")],
        [value("x")],
        [value("y", [8])],
    )
    change(proto.graph.node[0].attribute[0])
    return proto


def _set(**fields: object) -> Callable[[AttributeProto], None]:
    def change(attribute: AttributeProto) -> None:
        for name, content in fields.items():
            setattr(attribute, name, content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(ref_attr_name="outer"),
        _set(type=AttributeProto.UNDEFINED),
        _set(type=AttributeProto.FLOAT),
        _set(type=AttributeProto.GRAPH),
        _set(type=AttributeProto.TENSOR),
        _set(name=""),
        _set(name="axes"),
        lambda attribute: attribute.Clear(),
    ],
    ids=["reference", "undefined", "float", "graph", "tensor", "no name", "wrong name", "empty"],
)
def test_broken_attributes_are_refused(change: Callable[[AttributeProto], None]) -> None:
    """An attribute without a value of its operator's type is refused."""
    with pytest.raises(InvalidModelError):
        taken(with_attribute(change))


def test_broken_attributes_of_custom_operators_are_named() -> None:
    """An attribute of an operator that onnx cannot check is named with its node."""
    proto = model(
        [node("Foo", "x", "y", name="foo", domain="there", level=1)],
        [value("x")],
        [value("y")],
        domains={"there": 1},
    )
    proto.graph.node[0].attribute[0].ref_attr_name = "outer"
    with pytest.raises(InvalidModelError, match="'level' of node 'foo'"):
        taken(proto)


def test_duplicate_weights_are_refused() -> None:
    """Two weights of one name are refused, small or large."""
    for count in (4, 400):
        proto = model(
            [node("Add", "x w", "y")],
            [value("x", [count])],
            [value("y", [count])],
            [floats("w", count), floats("w", count)],
        )
        with pytest.raises(InvalidModelError, match="w"):
            taken(proto)


def test_duplicate_inputs_are_refused() -> None:
    """Two graph inputs of one name are refused."""
    proto = model([node("Relu", "x", "y")], [value("x"), value("x", [5])], [value("y")])
    with pytest.raises(InvalidModelError, match="x"):
        taken(proto)


def test_duplicate_outputs_count_once() -> None:
    """A graph output that is listed twice is one tensor, or the model is refused."""
    proto = model([node("Relu", "x", "y")], [value("x")], [value("y"), value("y")])
    try:
        dag = taken(proto).dag
    except IngestError:
        return
    assert dag.tensor_names == ("x", "y")


def test_a_weight_may_be_a_graph_output() -> None:
    """A graph output that is a weight is left out with a warning."""
    for count in (4, 400):
        ingested = taken(
            model(
                [node("Relu", "x", "y")],
                [value("x")],
                [value("y"), value("w", [count])],
                [floats("w", count)],
            )
        )
        assert ingested.dag.tensor_names == ("x", "y")
        assert "'w' depends on no graph input" in ingested.facts.warnings[0]


def test_sequences_and_optionals_between_nodes_are_never_cut() -> None:
    """A value that is no tensor has no size: it is named with the operator that makes it, and the
    nodes around it stay together."""
    nodes = [
        node("SplitToSequence", "x", "parts"),
        node("ConcatFromSequence", "parts", "y", axis=0),
    ]
    ingested = taken(model(nodes, [value("x")], [value("y")]))
    assert ingested.dag.requirements.groups.tolist() == [0, 0]
    assert "'parts (made by SplitToSequence)'" in ingested.facts.warnings[0]
    nodes = [node("Optional", "x", "maybe"), node("OptionalGetElement", "maybe", "y")]
    ingested = taken(model(nodes, [value("x")], [value("y")]))
    assert ingested.dag.tensor_dtypes[1] == "optional(float32)"
    assert "'maybe (made by Optional)'" in ingested.facts.warnings[0]


def test_a_graph_output_that_is_no_tensor_has_no_size() -> None:
    """A sequence as graph output is never cut, and a warning names it."""
    proto = model([node("SplitToSequence", "x", "parts")], [value("x")], [])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))
    proto.graph.output.append(helper.make_value_info("parts", kind))
    ingested = taken(proto)
    assert ingested.dag.tensor_dtypes == ("float32", "sequence(float32)")
    assert ingested.dag.tensor_is_cuttable.tolist() == [True, False]
    assert "'parts (made by SplitToSequence)'" in ingested.facts.warnings[-1]


def test_functions_are_inlined() -> None:
    """A call of a function of the model, and of one that this calls, counts as its operators."""
    dag = dag_of(
        [node("Outer", "x", "y", domain="there")],
        [value("x")],
        [value("y")],
        domains={"there": 1},
        functions=[function("Inner", "Neg", "Abs"), function("Outer", "there.Inner", "Relu")],
    )
    assert dag.node_op_types == ("Neg", "Abs", "Relu")
    assert dag.total_flops == 12


def test_functions_that_are_not_there_are_opaque() -> None:
    """A call of a function that the model does not have has a result of unknown size."""
    proto = model(
        [node("Ghost", "x", "m", domain="there"), node("Relu", "m", "y")],
        [value("x")],
        [value("y")],
        domains={"there": 1},
        functions=[function("Inner", "Neg")],
    )
    ingested = taken(proto)
    assert ingested.dag.node_op_types == ("there.Ghost", "Relu")
    assert "'m (made by there.Ghost)'" in ingested.facts.warnings[0]


def test_operands_that_are_left_out_are_refused_where_they_are_needed() -> None:
    """A required operand that is an empty name is refused, not looked up."""
    for nodes in (
        [node("MatMul", "x -", "y")],
        [node("Conv", "x -", "y")],
        [node("ConstantOfShape", "-", "s"), node("Add", "x s", "y")],
        [node("Shape", "-", "s"), node("Expand", "x s", "y")],
        [node("Range", "- - -", "s"), node("Add", "x s", "y")],
        [node("Gemm", "- - x", "y")],
    ):
        with pytest.raises(IngestError):
            taken(model(nodes, [value("x", [1, 2, 4, 4])], [value("y", ["a", "b", "c", "d"])]))


def test_arguments_of_the_wrong_kind_do_not_stop_the_service() -> None:
    """Arguments of shapes that are scalars, fractions, texts, huge or negative are refused, or
    leave what hangs on them without a size."""
    strings = TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"7"])
    arguments = [
        scalar("a", 3),
        ints("a", -1, -1),
        ints("a", -5),
        ints("a", 2**62, 2**62),
        helper.make_tensor("a", FLOAT, [1], [1.5]),
        helper.make_tensor("a", FLOAT, [1], [float("nan")]),
        strings,
    ]
    for argument in arguments:
        argument.name = "a"
        for nodes in (
            [node("ConstantOfShape", "i", "m")],
            [node("Expand", "x i", "m")],
            [node("Reshape", "x i", "m")],
            [node("Range", "i i i", "m")],
            [node("Tile", "x i", "m")],
            [node("Slice", "x i i", "m")],
        ):
            chain = [node("Shape", "x", "s"), node("Identity", "a", "i"), *nodes]
            proto = model(
                [*chain, node("NonZero", "m", "z"), node("Cast", "z", "f", to=FLOAT)],
                [value("x")],
                [value("x"), value("f", ["p", "q"])],
                [argument],
            )
            with suppress(IngestError):
                dag = taken(proto).dag
                assert "f" not in dag.tensor_names or not dag.tensor_is_cuttable[-1]


def test_long_names_and_odd_names_are_taken() -> None:
    """Names may be long, blank, or look like something else."""
    names = ["x" * 4095, " ", "../../etc/passwd", "<script>", "a\0b", "größe", "0", "None"]
    nodes = []
    last = "x"
    for name in names:
        made = helper.make_node("Relu", [last], [name + "'"], name=name)
        nodes.append(made)
        last = name + "'"
    dag = dag_of(nodes, [value("x")], [value(last)])
    assert dag.node_names == tuple(names)


def test_deeply_nested_bodies_are_taken() -> None:
    """Bodies within bodies do no harm, up to the limit."""
    for depth in (5, 16):
        body = graph([node("Relu", "x", "r0")], [], [value("r0")])
        for level in range(1, depth):
            choice = node("If", "c", f"r{level}", then_branch=body, else_branch=body)
            if level > 4:  # one deep branch is enough: two would double with every level
                flat = graph([node("Neg", "x", f"e{level}")], [], [value(f"e{level}")])
                choice = node("If", "c", f"r{level}", then_branch=body, else_branch=flat)
            body = graph([choice], [], [value(f"r{level}")])
        last = node("If", "c", "y", then_branch=body, else_branch=body)
        proto = model([last], [value("x"), value("c", [], BOOL)], [value("y")])
        dag = taken(proto).dag
        assert dag.node_count == 1
        assert dag.tensor_names == ("x", "c", "y")


def test_sparse_weights_without_parts_are_refused() -> None:
    """A sparse weight without values, indices or a valid shape is refused."""
    values, indices = floats("w", 2), helper.make_tensor("i", INT64, [2], [0, 1])
    for sparse in (
        SparseTensorProto(),
        SparseTensorProto(values=values, dims=[4]),
        SparseTensorProto(indices=indices, dims=[4]),
        SparseTensorProto(values=values, indices=indices, dims=[-4]),
    ):
        proto = model([node("Add", "x w", "y")], [value("x")], [value("y")])
        proto.graph.sparse_initializer.append(sparse)
        with pytest.raises(InvalidModelError):
            taken(proto)
