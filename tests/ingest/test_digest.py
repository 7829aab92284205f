"""The digest of a graph: equal for two files of one model, different for two models.

Which fields of a file count is stated here once, by message; every field of every message of a
model with one of everything is then changed in turn.
"""

import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import pytest
from hypothesis import given
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from app.ingest.digest import graph_sha256
from app.ingest.limits import Limits
from app.ingest.skeleton import read_skeleton
from app.ingest.stripping import strip_file
from app.ingest.tensors import tensors_of_model
from tests.fixture_models import FIXTURES, QUIRKY_FIXTURES, SDPA_FIXTURES, Fixture
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.ingest.build import FLOAT, INT64, floats, function, graph, ints, model, node, value
from tests.ingest.test_skeleton import IN_ANY_TIME, models, take_out
from tests.mutations import seed_model

LIMITS = Limits()


def digest_of(data: bytes) -> str:
    """The digest of a file, as ingest takes it."""
    return graph_sha256(ModelProto.FromString(read_skeleton(io.BytesIO(data), LIMITS).content))


def digest(proto: ModelProto) -> str:
    """The digest of a model's file."""
    return digest_of(proto.SerializeToString())


def stripped(data: bytes) -> bytes:
    """The file without its weights."""
    return strip_file(io.BytesIO(data), "model.onnx").content


def names_its_weights(proto: ModelProto) -> bool:
    """Whether some of its data lie in other files already."""
    return any(tensor.external_data for tensor in tensors_of_model(proto))


REAL = [*FIXTURES, *QUIRKY_FIXTURES, *SDPA_FIXTURES]
HOLD_THEIR_WEIGHTS = [model for model in MODELS if not names_its_weights(model.build())]


@pytest.mark.parametrize("fixture", REAL, ids=str)
def test_a_fixture_without_its_weights_has_its_digest(fixture: Fixture) -> None:
    """The digest of every fixture is that of the same without weights, and of its skeleton."""
    data = fixture.path.read_bytes()
    assert digest_of(stripped(data)) == digest_of(data)
    assert digest_of(read_skeleton(io.BytesIO(data), LIMITS).content) == digest_of(data)
    assert graph_sha256(ModelProto.FromString(data)) == digest_of(data)


@pytest.mark.parametrize("weighted", MODELS, ids=str)
def test_a_model_without_its_weights_has_its_digest(weighted: WeightedModel) -> None:
    """The same of every model with weights, stripped once and twice."""
    data = weighted.build().SerializeToString()
    assert digest_of(stripped(data)) == digest_of(data)
    assert digest_of(stripped(stripped(data))) == digest_of(data)


@pytest.mark.parametrize("weighted", HOLD_THEIR_WEIGHTS, ids=str)
def test_a_model_saved_with_external_data_has_its_digest(
    weighted: WeightedModel, tmp_path: Path
) -> None:
    """With its weights in external data, in one file or many, and loaded from there again, a model
    has one digest."""
    right = digest(weighted.build())
    for number, (size_threshold, is_one_file) in enumerate([(0, True), (100, False), (1024, True)]):
        directory = tmp_path / str(number)
        directory.mkdir()
        path = directory / "moved.onnx"
        onnx.save_model(
            weighted.build(),
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=is_one_file,
            size_threshold=size_threshold,
            convert_attribute=size_threshold == 1024,
        )
        assert digest_of(path.read_bytes()) == right
        assert digest(onnx.load(path)) == right


@given(models())
@IN_ANY_TIME
def test_data_of_weights_do_not_count(proto: ModelProto) -> None:
    """Whatever a model holds and wherever, its digest is that of the same without large data."""
    bare = ModelProto()
    bare.CopyFrom(proto)
    take_out(bare)
    assert digest(bare) == digest(proto)
    assert digest_of(stripped(proto.SerializeToString())) == digest(proto)


def document(proto: ModelProto) -> None:
    """Add documentation and metadata to every message that can have them."""
    for message in messages(proto):
        fields = message.DESCRIPTOR.fields_by_name
        if "doc_string" in fields:
            message.doc_string = "what a tool writes " * 9
        if "metadata_props" in fields:
            message.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="line 1")


def sign(proto: ModelProto) -> None:
    """State another producer, and another version of the model."""
    proto.producer_name, proto.producer_version, proto.domain = "somebody", "2.0", "org.example"
    proto.model_version, proto.graph.name = 7, "renamed"


def state_types(proto: ModelProto) -> None:
    """Add types of inner tensors."""
    for held in [item for item in messages(proto) if isinstance(item, GraphProto)]:
        held.value_info.append(value("some", [1, 2]))
        held.value_info.extend(value(made, None) for item in held.node for made in item.output)


def infer_types(proto: ModelProto) -> None:
    """Add types of inner tensors as onnx infers them, and keep the outputs as they are."""
    found = onnx.shape_inference.infer_shapes(proto)
    proto.graph.value_info.extend(found.graph.value_info)


def refill(proto: ModelProto) -> None:
    """Other numbers in all initializers."""
    for tensor in proto.graph.initializer:
        if tensor.HasField("raw_data"):
            tensor.raw_data = bytes(byte ^ 1 for byte in tensor.raw_data)
        else:
            tensor.float_data[:] = [number + 1 for number in tensor.float_data]
            tensor.int64_data[:] = [number + 1 for number in tensor.int64_data]


def as_raw(proto: ModelProto) -> None:
    """Data of initializers as raw data instead of numbers."""
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))


SAME: list[Callable[[ModelProto], None]] = [document, sign, state_types, infer_types, as_raw]


@pytest.mark.parametrize("change", SAME, ids=lambda change: change.__name__)
def test_what_tools_add_does_not_count(change: Callable[[ModelProto], None]) -> None:
    """Documentation, metadata, versions of the model, types of inner tensors and the form of data
    can change, and the model is the same."""
    for build in (seed_model, plain):
        proto = build()
        change(proto)
        assert proto.SerializeToString() != build().SerializeToString()
        assert digest(proto) == digest(build())


def test_the_numbers_of_weights_do_not_count() -> None:
    """Other weights of the same types and shapes are the same graph."""
    proto = plain()
    refill(proto)
    assert proto.graph.initializer[0].raw_data != plain().graph.initializer[0].raw_data
    assert digest(proto) == digest(plain())


@pytest.mark.parametrize("fixture", REAL[::6], ids=str)
def test_a_file_written_again_has_its_digest(fixture: Fixture) -> None:
    """Reading and writing a fixture with onnx's tools, documented on the way, changes nothing."""
    proto = onnx.load(fixture.path, load_external_data=False)
    document(proto)
    state_types(proto)
    again = ModelProto.FromString(proto.SerializeToString(deterministic=True))
    assert digest(again) == digest_of(fixture.path.read_bytes())


def plain() -> ModelProto:
    """Attributes of all kinds, in a graph that onnx's tools take."""
    numbers = np.linspace(0, 1, 24 * 16, dtype=np.float32).reshape(16, 24)
    branches = {
        f"{name}_branch": graph([node(kind, "h", name)], [], [value(name, [2, 24])])
        for name, kind in (("then", "Relu"), ("else", "Neg"))
    }
    return model(
        [
            node("MatMul", "x w", "h", name="first"),
            helper.make_node("Constant", [], ["k"], value=floats("k", 4)),
            helper.make_node("Constant", [], ["c"], value_ints=[1, 2, 3]),
            node("If", "go", "r", name="choose", **branches),
            node("Twice", "r", "t", domain="there"),
            node("Softmax", "t", "y", axis=1),
        ],
        [value("x", [2, 16]), value("go", [], TensorProto.BOOL)],
        [value("y", [2, 24])],
        [numpy_helper.from_array(numbers, "w"), floats("b", 3), ints("s", 1, 2)],
        domains={"there": 1},
        functions=[function("Twice", "Relu", "Relu")],
    )


def messages(message: Any) -> Iterator[Any]:
    """A message, and all in it."""
    yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in content if field.is_repeated else [content]:
                yield from messages(part)


IGNORED: dict[str, set[str]] = {
    "ModelProto": {
        *("producer_name", "producer_version", "domain", "model_version"),
        *("doc_string", "metadata_props", "training_info", "configuration"),
    },
    "GraphProto": {"name", "doc_string", "metadata_props", "value_info", "quantization_annotation"},
    "NodeProto": {"doc_string", "metadata_props", "device_configurations"},
    "AttributeProto": {"doc_string"},
    "FunctionProto": {"doc_string", "metadata_props", "value_info"},
    "ValueInfoProto": {"doc_string", "metadata_props"},
    "TensorProto": {"doc_string", "metadata_props", "external_data"},
}
"""Fields of which a change is none, by message."""

AROUND = {"metadata_props", "value_info", "quantization_annotation", "external_data"}
"""Nothing inside of these counts."""

DATA = {
    *("raw_data", "float_data", "int32_data", "int64_data", "double_data"),
    *("uint64_data", "string_data", "segment", "data_location"),
}
"""Whether these count depends on what holds the tensor; other tests say how."""


def one_of_everything() -> ModelProto:
    """The seed of mutations, with what it lacks: a function's defaults, sparse data in attributes,
    inputs of other types, and operators with overloads."""
    proto = seed_model()
    tensor = TensorProto(name="t", data_type=FLOAT, dims=[2], float_data=[1.0, 2.0])
    indices = TensorProto(data_type=INT64, dims=[2], int64_data=[0, 3])
    sparse = SparseTensorProto(values=tensor, indices=indices, dims=[9])
    attributes = [
        AttributeProto(name="t", type=AttributeProto.TENSOR, t=tensor),
        AttributeProto(name="ts", type=AttributeProto.TENSORS, tensors=[tensor, tensor]),
        AttributeProto(name="s", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse),
        AttributeProto(name="ss", type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse]),
        AttributeProto(name="gs", type=AttributeProto.GRAPHS, graphs=[plain().graph]),
        AttributeProto(name="f", type=AttributeProto.FLOATS, floats=[1.0, 2.0]),
        AttributeProto(name="w", type=AttributeProto.STRINGS, strings=[b"one", b"two"]),
        AttributeProto(name="r", type=AttributeProto.INT, ref_attr_name="outer"),
    ]
    proto.graph.node.append(NodeProto(op_type="Any", domain="custom", attribute=attributes))
    proto.functions.append(
        FunctionProto(
            name="Defaults",
            domain="there",
            overload="one",
            input=["a", "b"],
            output=["c"],
            attribute=["p"],
            attribute_proto=attributes[:2],
            node=[NodeProto(op_type="Any", input=["a"], output=["c"], attribute=attributes[3:5])],
            opset_import=[helper.make_opsetid("", 17)],
        )
    )
    listed = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1, "n"]))
    proto.graph.input.append(helper.make_value_info("list", listed))
    for message in messages(proto):
        if isinstance(message, NodeProto):
            message.overload = "o"
    return proto


def settings_of(message: Any, field: Any) -> Iterator[Callable[[Any], None]]:
    """Changes of one field of a message: set, cleared, and in lists one more, one less, and the
    order."""
    content = getattr(message, field.name)
    if field.is_repeated:
        if len(content):
            yield lambda held: getattr(held, field.name).pop()
            yield lambda held: getattr(held, field.name).append(content[0])
        elif field.message_type is None:
            yield lambda held: getattr(held, field.name).append(_other(field, None))
        if len(content) > 1 and content[0] != content[1]:
            yield lambda held: _swap(getattr(held, field.name))
    elif field.message_type is not None:
        if message.HasField(field.name):
            yield lambda held: held.ClearField(field.name)
    else:
        yield lambda held: setattr(held, field.name, _other(field, content))


def _other(field: Any, content: Any) -> Any:
    if field.enum_type is not None:
        return next(item.number for item in field.enum_type.values if item.number != content)
    if field.type == field.TYPE_STRING:
        return f"{content or ''}x"
    if field.type == field.TYPE_BYTES:
        return (content or b"") + b"x"
    return (content or 0) + 1


def _swap(items: Any) -> None:
    copies = [items[1], items[0]]
    if hasattr(items[0], "CopyFrom"):
        copies = [type(item)() for item in copies]
        copies[0].CopyFrom(items[1])
        copies[1].CopyFrom(items[0])
    rest = list(items)[2:]
    del items[:]
    items.extend([*copies, *rest])


def paths(message: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every message in a message, and the way to it."""
    yield path, message
    for field, content in message.ListFields():
        if field.message_type is None:
            continue
        if field.is_repeated:
            for index, part in enumerate(content):
                yield from paths(part, (*path, field.name, index))
        else:
            yield from paths(content, (*path, field.name))


def at(message: Any, path: tuple[Any, ...]) -> Any:
    """The message to which a way leads."""
    for step in path:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    return message


def counts(message: Any, field: Any, path: tuple[Any, ...]) -> bool | None:
    """Whether a change of a field is another model; None where this is no subject here."""
    name = type(message).__name__
    if name == "TensorProto" and field.name in DATA:
        return None
    if "sparse_initializer" in path and "indices" in (*path, field.name):
        return False
    return not (AROUND & set(path)) and field.name not in IGNORED.get(name, set())


@cache
def changes() -> tuple[tuple[tuple[Any, ...], Any, bool], ...]:
    """Every field of every message in the model of everything."""
    return tuple(
        (path, field, is_other)
        for path, message in paths(one_of_everything())
        for field in message.DESCRIPTOR.fields
        if (is_other := counts(message, field, path)) is not None
    )


def test_every_field_counts_or_does_not() -> None:
    """A change of any node, name, attribute, type, shape, input, output, function, version or
    order is another digest; a change of what tools add is none."""
    proto = one_of_everything()
    right = graph_sha256(proto)
    made = 0
    wrong: list[tuple[tuple[Any, ...], str, bool]] = []
    for path, field, is_other in changes():
        for change in settings_of(at(proto, path), field):
            changed = ModelProto()
            changed.CopyFrom(proto)
            change(at(changed, path))
            made += 1
            if (graph_sha256(changed) != right) != is_other:
                wrong.append((path, field.name, is_other))
    assert made > 1500
    assert wrong == []


@pytest.mark.parametrize(
    "data",
    [
        {"raw_data": b"\x2a" * 8},
        {"raw_data": b"\x2a" * 60},
        {"float_data": [2.0] * 15},
        {"int64_data": [2] * 40},
        {"string_data": [b"other"]},
    ],
    ids=lambda data: next(iter(data)),
)
@pytest.mark.parametrize("place", ["t", "tensors", "default"])
def test_small_data_of_attributes_count(data: dict[str, Any], place: str) -> None:
    """Data of up to 64 bytes in an attribute, a function's default too, are arguments."""

    def held(**data: Any) -> ModelProto:
        tensor = TensorProto(name="k", data_type=FLOAT, dims=[2], **data)
        attribute = AttributeProto(name="value", type=AttributeProto.TENSOR)
        if place == "tensors":
            attribute.tensors.append(tensor)
        else:
            attribute.t.CopyFrom(tensor)
        proto = plain()
        if place == "default":
            proto.functions[0].attribute_proto.append(attribute)
        else:
            proto.graph.node[0].attribute.append(attribute)
        return proto

    assert len({digest(held()), digest(held(**data)), digest(held(float_data=[1.0]))}) == 3


def test_a_large_default_does_not_count() -> None:
    """Large data in a function's default attribute are weights as well."""

    def held(fill: bytes) -> bytes:
        tensor = TensorProto(name="k", data_type=FLOAT, dims=[500], raw_data=fill * 2000)
        proto = plain()
        proto.functions[0].attribute_proto.append(
            AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor)
        )
        content: bytes = proto.SerializeToString()
        return content

    assert digest_of(held(b"a")) == digest_of(held(b"b")) == digest_of(stripped(held(b"a")))


def test_what_lies_where_is_told() -> None:
    """The same parts in another place are another model: of inputs and outputs, of two nodes, of a
    node and a function."""
    listed = [value("a"), value("b")]
    relu = [NodeProto(op_type="Relu", input=["a"]), NodeProto(op_type="Relu", output=["b"])]
    attribute = AttributeProto(name="a", type=AttributeProto.INT, i=1)
    parts = [
        ModelProto(graph=GraphProto(input=listed)),
        ModelProto(graph=GraphProto(output=listed)),
        ModelProto(graph=GraphProto(input=listed[:1], output=listed[1:])),
        ModelProto(graph=GraphProto(node=relu)),
        ModelProto(graph=GraphProto(node=relu[::-1])),
        ModelProto(graph=GraphProto(node=relu[:1]), functions=[FunctionProto(node=relu[1:])]),
        ModelProto(functions=[FunctionProto(node=relu)]),
        ModelProto(functions=[FunctionProto(node=relu[:1]), FunctionProto(node=relu[1:])]),
        *(
            ModelProto(
                graph=GraphProto(node=[NodeProto(attribute=[attribute] * left), NodeProto()])
            )
            for left in range(3)
        ),
        ModelProto(graph=GraphProto(node=[NodeProto(), NodeProto(attribute=[attribute])])),
        ModelProto(graph=GraphProto(initializer=[floats("w", 2), floats("v", 2)])),
        ModelProto(graph=GraphProto(initializer=[floats("v", 2), floats("w", 2)])),
    ]
    assert len({graph_sha256(part) for part in parts}) == len(parts)


def test_attributes_and_nodes_are_told_apart() -> None:
    """A node and an attribute whose bytes are the same do not stand for each other."""
    attribute = AttributeProto(name="a", s=b"Relu")
    twin = NodeProto.FromString(attribute.SerializeToString())
    assert (list(twin.input), twin.op_type) == (["a"], "Relu")
    one = GraphProto(node=[NodeProto(name="n", attribute=[attribute, attribute]), twin])
    other = GraphProto(node=[NodeProto(name="n", attribute=[attribute]), NodeProto()])
    other.node[1].MergeFrom(twin)
    other.node[1].attribute.append(attribute)
    assert graph_sha256(ModelProto(graph=one)) != graph_sha256(ModelProto(graph=other))


def test_types_of_inputs_count() -> None:
    """The element type, an extent, a symbol, and there being a shape are told apart."""
    kinds: list[ValueInfoProto] = [
        value("x", [2]),
        value("x", [3]),
        value("x", ["n"]),
        value("x", ["m"]),
        value("x", [None]),
        value("x", None),
        value("x", []),
        value("x", [2], INT64),
        value("y", [2]),
    ]
    for held in (
        [GraphProto(input=[kind]) for kind in kinds],
        [GraphProto(output=[kind]) for kind in kinds],
    ):
        assert len({graph_sha256(ModelProto(graph=one)) for one in held}) == len(kinds)
