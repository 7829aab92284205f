"""Uploads that are not models, broken models, and models that try to be a nuisance: whatever
arrives, ingest takes it or raises ``IngestError``."""

import random
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import (
    AttributeProto,
    FunctionProto,
    ModelProto,
    SparseTensorProto,
    TensorProto,
    helper,
)

from app.errors import IngestError, InvalidModelError, NotOnnxError, UnknownShapeError
from app.ingest import ingest
from tests.fixture_models import BY_NAME
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    dag_of,
    external,
    floats,
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


def test_a_model_without_operator_sets_is_refused() -> None:
    """A model that imports no operator set, or not that of its nodes, is refused."""
    proto = ModelProto()
    proto.CopyFrom(GOOD)
    del proto.opset_import[:]
    with pytest.raises(InvalidModelError, match="opset_import"):
        taken(proto)
    proto = model([node("F", "x", "y", domain="there")], [value("x")], [value("y")])
    with pytest.raises(InvalidModelError, match="there"):
        taken(proto)


@pytest.mark.parametrize("version", [0, -1, -(2**40)])
def test_operator_sets_that_do_not_exist_are_refused(version: int) -> None:
    """A version of ONNX's operators that there is not is refused."""
    with pytest.raises(InvalidModelError):
        taken(model([node("Relu", "x", "y")], [value("x")], [value("y")], opset=version))


@pytest.mark.parametrize("version", [0, -1, 10_000, 2**62])
def test_format_versions_that_do_not_exist_are_refused(version: int) -> None:
    """A version of ONNX's format that there is not is refused."""
    with pytest.raises(InvalidModelError):
        taken(model([node("Relu", "x", "y")], [value("x")], [value("y")], ir_version=version))


def test_unknown_operators_are_refused() -> None:
    """An operator that the stated operator set does not have is named."""
    with pytest.raises(InvalidModelError, match="Relux"):
        taken(model([node("Relux", "x", "y")], [value("x")], [value("y")]))


def test_empty_graphs_are_refused() -> None:
    """A graph without nodes, without outputs or without anything is refused."""
    for inputs, outputs in (([], []), ([value("x")], []), ([value("x")], [value("x")])):
        with pytest.raises(InvalidModelError):
            taken(model([], inputs, outputs))
    with pytest.raises(InvalidModelError):
        taken(model([node("Relu", "x", "y")], [value("x")], []))
    with pytest.raises(InvalidModelError):
        taken(model([node("RandomNormal", "", "y", shape=[2])], [], [value("y", [2])]))


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


def test_sequences_and_optionals_between_nodes_are_refused_by_name() -> None:
    """A value that is no tensor has no size: it is named with the operator that makes it."""
    nodes = [
        node("SplitToSequence", "x", "parts"),
        node("ConcatFromSequence", "parts", "y", axis=0),
    ]
    with pytest.raises(UnknownShapeError, match=r"'parts' \(made by SplitToSequence\)"):
        taken(model(nodes, [value("x")], [value("y")]))
    nodes = [node("Optional", "x", "maybe"), node("OptionalGetElement", "maybe", "y")]
    with pytest.raises(UnknownShapeError, match=r"'maybe' \(made by Optional\)"):
        taken(model(nodes, [value("x")], [value("y")]))


def test_a_graph_output_that_is_no_tensor_is_refused() -> None:
    """A sequence as graph output is named."""
    proto = model([node("SplitToSequence", "x", "parts")], [value("x")], [])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))
    proto.graph.output.append(helper.make_value_info("parts", kind))
    with pytest.raises(UnknownShapeError, match="'parts'"):
        taken(proto)


def function(name: str, *op_types: str) -> FunctionProto:
    """A function of one operand that applies these operators in a row."""
    names = ["X", *(f"t{i}" for i in range(len(op_types) - 1)), "Y"]
    nodes = [
        helper.make_node(op_type, [names[i]], [names[i + 1]], domain=domain)
        for i, (domain, op_type) in enumerate(item.rpartition(".")[::2] for item in op_types)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("there", 1)]
    made: FunctionProto = helper.make_function("there", name, ["X"], ["Y"], nodes, opsets)
    return made


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


def test_functions_that_are_not_there_are_refused() -> None:
    """A call of a function that the model does not have has a result of unknown size."""
    proto = model(
        [node("Ghost", "x", "m", domain="there"), node("Relu", "m", "y")],
        [value("x")],
        [value("y")],
        domains={"there": 1},
        functions=[function("Inner", "Neg")],
    )
    with pytest.raises(UnknownShapeError, match=r"there\.Ghost"):
        taken(proto)


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
    """Arguments of shapes that are scalars, fractions, texts, huge or negative leave a size
    unknown, and the tensor is named."""
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
                [value("f", ["p", "q"])],
                [argument],
            )
            with pytest.raises(IngestError):
                taken(proto)


def test_long_names_and_odd_names_are_taken() -> None:
    """Names may be long, blank, or look like something else."""
    names = ["x" * 100_000, " ", "../../etc/passwd", "<script>", "a\0b", "größe", "0", "None"]
    nodes = []
    last = "x"
    for name in names:
        made = helper.make_node("Relu", [last], [name + "'"], name=name)
        nodes.append(made)
        last = name + "'"
    dag = dag_of(nodes, [value("x")], [value(last)])
    assert dag.node_names == tuple(names)


def test_deeply_nested_bodies_are_taken() -> None:
    """Bodies within bodies do no harm (protobuf itself ends at a hundred messages)."""
    for depth in (5, 20):
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


def seed_model() -> ModelProto:
    """One of everything that ingest treats in its own way."""
    branches = [
        graph([node("Add", "a w", "t")], [], [value("t", [2, 2])], [floats("w", 2, 2)]),
        graph([node("Sub", "a b", "e")], [], [value("e", [2, 2])]),
    ]
    carry = [value("i", [], INT64), value("go", [], BOOL), value("u", [2, 2])]
    body = graph(
        [node("Identity", "go", "on"), node("MatMul", "u big", "v")],
        carry,
        [value("on", [], BOOL), value("v", [2, 2])],
        [external("big", "weights.bin", [2, 2])],
    )
    proto = model(
        [
            node("Constant", "", "b", value=floats("b", 2, 2)),
            node("Constant", "", "k", value_ints=[2, 2]),
            node("If", "c", "o", then_branch=branches[0], else_branch=branches[1]),
            node("Loop", "li - o", "l", body=body),
            node("Shape", "l", "s"),
            node("Concat", "s k", "s2", axis=0),
            node("Slice", "s2 st en", "s3"),
            node("Reshape", "l s3", "r"),
            node("ConstantOfShape", "s3", "cs", value=floats("f", 1)),
            node("Range", "z li d", "rg"),
            node("Expand", "rg k", "ex"),
            node("Conv", "img kw", "cv", kernel_shape=[3, 3]),
            node("Einsum", "r cs", "y", equation="ij,jk->ik"),
            node("MaxPool", "cv", "mp", kernel_shape=[2, 2]),
            node("LSTM", "seq lw lr", "ly", hidden_size=3),
            node("Mystery", "cv", "my", domain="custom", level=[1, 2]),
            node("Inner", "r", "fo", domain="there"),
            node("Add", "fo sp", "q"),
        ],
        [
            value("c", [], BOOL),
            value("a", ["n", 2]),
            value("img", [1, 3, 8, 8]),
            value("seq", [4, 1, 2]),
        ],
        [
            value("y", ["u", "v"]),
            value("mp", ["p"] * 4),
            value("ex", ["p", "p"], INT64),
            value("ly", ["p"] * 4),
            value("my", [1, 2, 6, 6]),
            value("q", ["p", "p"]),
        ],
        [
            ints("st", 0),
            ints("en", 2),
            scalar("z", 0),
            scalar("li", 2),
            scalar("d", 1),
            floats("kw", 2, 3, 3, 3),
            floats("lw", 1, 12, 2),
            floats("lr", 1, 12, 3),
        ],
        [value("l", [2, 2])],
        domains={"custom": 1, "there": 1},
        functions=[function("Inner", "Neg", "Relu")],
    )
    indices = helper.make_tensor("", INT64, [1], [1])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(floats("sp", 1), indices, [2]))
    return proto


def test_the_seed_of_the_mutations_is_taken() -> None:
    """The model that mutations start from is a valid one."""
    assert taken(seed_model(), {"n": 2}).dag.node_count > 10


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, content in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in content if field.is_repeated else [content]:
                yield from _messages(part)


SMALL_INTS = [0, 1, -1, 2, 3, 7, 16]


def _mutate(proto: ModelProto, rng: random.Random) -> None:
    """Change one field of one message: clear it, repeat or replace a part, set another value."""
    messages = list(_messages(proto))
    message = rng.choice(messages)
    field = rng.choice(list(message.DESCRIPTOR.fields))
    if rng.random() < 0.3:
        message.ClearField(field.name)
        return
    content: object
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        same = [item for item in messages if item.DESCRIPTOR is field.message_type]
        content = rng.choice(same) if same else None
        if not isinstance(content, Message) or content.ByteSize() > 10_000:
            return
        copy = type(content)()
        copy.CopyFrom(content)
        if field.is_repeated:
            getattr(message, field.name).append(copy)
        else:
            getattr(message, field.name).CopyFrom(copy)
        return
    if field.type == FieldDescriptor.TYPE_STRING:
        names = [item.name for item in messages if isinstance(item, TensorProto)]
        content = rng.choice(["", "x", "a\0b", "n", "../weights", *names])
    elif field.type == FieldDescriptor.TYPE_BYTES:
        content = rng.choice([b"", b"\xff\xfe", b"NOTSET", b"1234"])
    elif field.type == FieldDescriptor.TYPE_ENUM:
        content = rng.choice(field.enum_type.values).number
    elif field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        content = rng.choice([0.0, -1.0, float("nan"), float("inf")])
    else:
        content = rng.choice(
            [number for number in SMALL_INTS if number >= 0 or "u" not in field.name]
        )
    if not field.is_repeated:
        setattr(message, field.name, content)
        return
    many = getattr(message, field.name)
    if many and rng.random() < 0.5:
        many[rng.randrange(len(many))] = content
    else:
        many.append(content)


def _outcome(data: bytes) -> str:
    """Whether a model is taken or refused; any other error is the test's failure."""
    try:
        ingest(data, {"n": 2})
    except IngestError as error:
        return type(error).__name__
    return "taken"


@pytest.mark.parametrize("seed", range(8))
def test_mutated_models_are_taken_or_refused(seed: int) -> None:
    """A model with a few fields changed at random is taken or refused, never an accident."""
    rng = random.Random(seed)
    base = seed_model()
    outcomes = set()
    for _ in range(150):
        proto = ModelProto()
        proto.CopyFrom(base)
        for _ in range(rng.choice([1, 1, 2, 4])):
            _mutate(proto, rng)
        outcomes.add(_outcome(proto.SerializeToString()))
    assert {"taken", "InvalidModelError"} <= outcomes


@pytest.mark.parametrize("seed", range(4))
def test_mutated_bytes_are_taken_or_refused(seed: int) -> None:
    """A file with letters of its texts changed at random is taken or refused."""
    rng = random.Random(seed)
    data = seed_model().SerializeToString()
    places = [i for i, byte in enumerate(data) if 0x41 <= byte < 0x7B]
    outcomes = set()
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 5])):
            changed[rng.choice(places)] = rng.choice(b"abxyAZ\x00\xff")
        outcomes.add(_outcome(bytes(changed)))
    assert len(outcomes) > 1
