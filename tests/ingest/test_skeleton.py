"""The skeleton of a model: what is left of a file without the data of its weights.

The oracle takes the data out of the parsed model. Models are written here by hand as well, in
other forms that mean the same: unpacked numbers, messages in pieces, padded tags and lengths.
"""

import io
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    StringStringEntryProto,
    TensorProto,
    TrainingInfoProto,
)

from app.errors import LimitExceededError, NotOnnxError
from app.ingest.constants import SMALL_BYTES
from app.ingest.left_out import KEY, left_out_bytes, left_out_of
from app.ingest.limits import Limits
from app.ingest.skeleton import Skeleton, read_skeleton
from app.ingest.wire import length_header, varint
from tests.fixture_models import FIXTURES, Fixture

LIMITS = Limits()
PACKED = {"float_data": 5, "int32_data": 0, "int64_data": 0, "double_data": 1, "uint64_data": 0}
DOCUMENTED = (ModelProto, GraphProto, NodeProto, AttributeProto, FunctionProto, TensorProto)


def skeleton_of(data: bytes, limits: Limits = LIMITS) -> Skeleton:
    return read_skeleton(io.BytesIO(data), limits)


def parsed(data: bytes) -> bytes:
    """A model in the one form that protobuf gives it, however it was written, and wherever data
    are that were left out (``tests/halves/test_restoring.py`` holds these)."""
    model = ModelProto.FromString(data)
    forget_places(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def forget_places(message: Any) -> None:
    """Take out of a message, and all in it, where in its file left-out data are."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                forget_places(part)
    if isinstance(message, TensorProto):
        kept = [entry for entry in message.external_data if entry.key != KEY]
        del message.external_data[:]
        message.external_data.extend(kept)


def without_weights(data: bytes) -> bytes:
    """What the skeleton has to mean: the parsed model, with the data taken out of each tensor."""
    model = ModelProto.FromString(data)
    take_out(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def written(message: Any, name: str, part: slice = slice(None)) -> bytes:
    """One field of a message, or a part of it, as protobuf writes it."""
    alone, value = type(message)(), getattr(message, name)
    if message.DESCRIPTOR.fields_by_name[name].is_repeated:
        getattr(alone, name).extend(value[part])
    else:
        setattr(alone, name, value)
    content: bytes = alone.SerializeToString()
    return content


def content_of(field: bytes) -> bytes:
    """A field without its tag, of one byte, and its length."""
    at = 1
    while at < len(field) and field[at] >= 0x80:
        at += 1
    return field[at + 1 :]


def take_out(message: Any) -> None:
    """The oracle: large data and long documentation leave a message and all in it."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                take_out(part)
    if isinstance(message, DOCUMENTED):
        if len(message.doc_string.encode()) > SMALL_BYTES:
            message.ClearField("doc_string")
        is_model = isinstance(message, ModelProto)
        metadata = [] if is_model else getattr(message, "metadata_props", [])
        for entry in [entry for entry in metadata if entry.ByteSize() > SMALL_BYTES]:
            metadata.remove(entry)
    if isinstance(message, TensorProto):
        take_data(message)


def take_data(tensor: TensorProto) -> None:
    """Numbers count as they are encoded, each string one byte more than it has."""
    payload_bytes = len(tensor.raw_data) + sum(len(text) + 1 for text in tensor.string_data)
    for name in PACKED:
        payload_bytes += len(content_of(written(tensor, name)))
    if payload_bytes <= SMALL_BYTES:
        return
    length = None
    if tensor.HasField("raw_data"):
        length = len(tensor.raw_data)
    elif tensor.string_data:
        length = sum(map(len, tensor.string_data))
    for name in ("raw_data", "string_data", *PACKED):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    if length is not None:
        tensor.external_data.add(key="length", value=str(length))


class Writer:
    """Serialises messages in forms that protobuf reads as the same: numbers packed or not,
    fields in any order, single messages in pieces, ``raw_data`` that later ones replace, tags and
    lengths with more bytes than they need, unknown fields between."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice

    def write(self, message: Any) -> bytes:
        queues = [self._field(message, field, value) for field, value in message.ListFields()]
        if self._choice.random() < 0.1:
            size = self._choice.choice([0, 10, 1025, 3000])
            queues.append([length_header(1000, size) + b"\x2a" * size])
        content = []
        while queues:
            queue = self._choice.choice(queues)
            content.append(queue.pop(0))
            queues = [queue for queue in queues if queue]
        return b"".join(content)

    def _field(self, message: Any, field: Any, value: Any) -> list[bytes]:
        if field.message_type is not None and field.is_repeated:
            return [self._nested(field.number, self.write(part)) for part in value]
        if field.message_type is not None:
            return [self._nested(field.number, piece) for piece in self._pieces(value)]
        if field.name in PACKED:
            return self._numbers(message, field)
        whole = written(message, field.name)
        if field.name == "raw_data" and self._choice.random() < 0.3:
            size = self._choice.choice([0, 5, 1024, 1025, 5000])
            return [length_header(field.number, size) + bytes(size), whole]
        return [whole]

    def _nested(self, number: int, content: bytes) -> bytes:
        tag, length = varint(number << 3 | 2), varint(len(content))
        if self._choice.random() < 0.2:
            tag, length = (
                data[:-1] + bytes([data[-1] | 0x80]) + b"\x80" * self._choice.randrange(2) + b"\0"
                for data in (tag, length)
            )
        return tag + length + content

    def _pieces(self, message: Any) -> list[bytes]:
        """A message as two that protobuf puts together: of the repeated fields, each has a part."""
        whole = [self.write(message)]
        if self._choice.random() < 0.5:
            return whole
        parts = type(message)(), type(message)()
        for field, value in message.ListFields():
            part = self._choice.choice(parts)
            if field.is_repeated:
                cut = self._choice.randint(0, len(value))
                getattr(parts[0], field.name).extend(value[:cut])
                getattr(parts[1], field.name).extend(value[cut:])
            elif field.message_type is not None:
                getattr(part, field.name).CopyFrom(value)
            else:
                setattr(part, field.name, value)
        return [self.write(part) for part in parts]

    def _numbers(self, tensor: Any, field: Any) -> list[bytes]:
        count = len(getattr(tensor, field.name))
        cut = self._choice.choice([0, count, self._choice.randint(0, count)])
        tag = varint(field.number << 3 | PACKED[field.name])
        single = tag + content_of(written(tensor, field.name, slice(0, 1)))  # all are equal
        packed = written(tensor, field.name, slice(0, cut))
        return [packed, length_header(field.number, 0), *[single] * (count - cut)]


TEXTS = st.sampled_from(["", "w", "node_2Z*", "x" * 1023, "x" * 1024, "x" * 1025, "é" * 600])
SIZES = st.sampled_from([0, 1, 100, 1000, 1023, 1024, 1025, 1026, 3000])
METADATA = st.lists(
    st.builds(lambda value: StringStringEntryProto(key="trace", value=value), TEXTS), max_size=2
)
NUMBERS: dict[str, list[Any]] = {
    "float_data": [0.0, -1.5],
    "int32_data": [0, 127, 128, 2**31 - 1, -1],
    "int64_data": [0, 127, 128, 2**63 - 1, -1],
    "double_data": [0.0, -1.5],
    "uint64_data": [0, 127, 128, 2**64 - 1],
}


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """A tensor of any type with any kind of data, often two, about as large as what is small."""
    tensor = TensorProto(
        name=draw(TEXTS),
        dims=draw(st.lists(st.integers(-1, 2**40), max_size=3)),
        data_type=draw(st.sampled_from(TensorProto.DataType.values())),
        doc_string=draw(TEXTS),
        metadata_props=draw(METADATA),
    )
    kinds = st.sampled_from(["raw_data", "string_data", *NUMBERS])
    for kind in draw(st.lists(kinds, max_size=2, unique=True)):
        size = draw(SIZES)
        if kind == "raw_data":
            tensor.raw_data = b"\x2a" * size
        elif kind == "string_data":
            each = draw(st.sampled_from([0, 1, 31, 1024, 1025]))
            tensor.string_data.extend([b"\x2a" * each] * (size // (each + 1)))
        else:
            getattr(tensor, kind).append(draw(st.sampled_from(NUMBERS[kind])))
            one = content_of(written(tensor, kind))
            getattr(tensor, kind).extend(getattr(tensor, kind)[:] * (size // len(one)))
    if draw(st.booleans()):
        tensor.data_location = draw(st.sampled_from(TensorProto.DataLocation.values()))
        tensor.external_data.add(key="location", value="weights.bin")
    return tensor


SPARSE = st.builds(
    lambda values, indices, dims: SparseTensorProto(values=values, indices=indices, dims=dims),
    tensors(),
    tensors(),
    st.lists(st.integers(0, 9), max_size=2),
)


@st.composite
def attributes(draw: st.DrawFn, depth: int) -> AttributeProto:
    """An attribute of any kind, graphs included where ``depth`` is not used up."""
    attribute = AttributeProto(name=draw(TEXTS), doc_string=draw(TEXTS))
    kinds = ["t", "tensors", "sparse_tensor", "sparse_tensors", "numbers"]
    kind = draw(st.sampled_from([*kinds, "g", "graphs"] if depth else kinds))
    if kind == "t":
        attribute.t.CopyFrom(draw(tensors()))
    elif kind == "tensors":
        attribute.tensors.extend(draw(st.lists(tensors(), max_size=2)))
    elif kind == "sparse_tensor":
        attribute.sparse_tensor.CopyFrom(draw(SPARSE))
    elif kind == "sparse_tensors":
        attribute.sparse_tensors.extend([draw(SPARSE)])
    elif kind == "numbers":
        attribute.ints.extend([-1] * draw(SIZES))
        attribute.floats.extend([0.5] * draw(SIZES))
        attribute.strings.extend([b"text"] * draw(SIZES))
    elif kind == "g":
        attribute.g.CopyFrom(draw(graphs(depth - 1)))
    else:
        attribute.graphs.extend(draw(st.lists(graphs(depth - 1), max_size=2)))
    return attribute


@st.composite
def nodes(draw: st.DrawFn, depth: int) -> NodeProto:
    return NodeProto(
        name=draw(TEXTS),
        op_type="Any",
        input=["x", ""],
        attribute=draw(st.lists(attributes(depth), max_size=2)),
        doc_string=draw(TEXTS),
        metadata_props=draw(METADATA),
    )


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2) -> GraphProto:
    return GraphProto(
        name=draw(TEXTS),
        node=draw(st.lists(nodes(depth), max_size=2)),
        initializer=draw(st.lists(tensors(), max_size=2)),
        sparse_initializer=draw(st.lists(SPARSE, max_size=1)),
        doc_string=draw(TEXTS),
        metadata_props=draw(METADATA),
    )


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    """A model with tensors at any place that may hold one. Its operators mean nothing."""
    model = ModelProto(ir_version=10, graph=draw(graphs()), metadata_props=draw(METADATA))
    model.opset_import.add(version=20)
    if draw(st.booleans()):
        functions = st.builds(
            lambda node, attribute: FunctionProto(
                name="f", node=[node], attribute_proto=[attribute], doc_string="x" * 2000
            ),
            nodes(1),
            attributes(1),
        )
        model.functions.extend(draw(st.lists(functions, max_size=2)))
    if draw(st.booleans()):
        model.training_info.append(TrainingInfoProto(algorithm=draw(graphs(0))))
    return model


IN_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(models())
@IN_ANY_TIME
def test_the_skeleton_is_the_model_without_its_weights(model: ModelProto) -> None:
    """Of a model as protobuf writes it, the skeleton means the same with large data taken out."""
    data = model.SerializeToString()
    skeleton = skeleton_of(data)
    assert parsed(skeleton.content) == without_weights(data)
    assert (skeleton.dropped_bytes == 0) == (len(skeleton.content) == len(data))


@given(models(), st.randoms(use_true_random=False))
@IN_ANY_TIME
def test_every_form_of_a_model_has_its_skeleton(model: ModelProto, choice: random.Random) -> None:
    """However a model is written, its skeleton means what that of the parsed model does."""
    data = Writer(choice).write(model)
    same = ModelProto.FromString(data)
    same.DiscardUnknownFields()
    assert parsed(same.SerializeToString()) == parsed(model.SerializeToString())
    assert parsed(skeleton_of(data).content) == without_weights(data)


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_fixtures_keep_all_but_their_weights(fixture: Fixture) -> None:
    """Every fixture model has the skeleton that the oracle makes of it."""
    data = fixture.path.read_bytes()
    skeleton = skeleton_of(data)
    assert parsed(skeleton.content) == without_weights(data)
    assert len(data) - skeleton.dropped_bytes <= len(skeleton.content)


def inside(content: bytes, *numbers: int) -> bytes:
    """Content as a field, in the field of the next number, and so on outwards."""
    for number in numbers:
        content = length_header(number, len(content)) + content
    return content


def serialised(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content


def tensor_model(tensor: TensorProto) -> bytes:
    """The bytes of a model with one initializer."""
    return serialised(ModelProto(graph=GraphProto(initializer=[tensor])))


def initializer(content: bytes) -> TensorProto:
    tensor: TensorProto = ModelProto.FromString(content).graph.initializer[0]
    return tensor


@pytest.mark.parametrize(
    ("data", "length"),
    [
        ({"raw_data": bytes(1025)}, "1025"),
        ({"raw_data": bytes(10**6)}, "1000000"),
        ({"raw_data": b"", "float_data": [1.0] * 257}, "0"),
        ({"string_data": [b"x" * 1023, b"y"]}, "1024"),
        ({"string_data": [b""] * 1025}, "0"),
        ({"float_data": [1.0] * 257}, None),
        ({"int32_data": [1] * 1025}, None),
        ({"int64_data": [-1] * 103}, None),
        ({"double_data": [1.0] * 129}, None),
        ({"uint64_data": [300] * 513}, None),
        ({"float_data": [1.0] * 250, "int32_data": [1] * 25}, None),
    ],
    ids=lambda case: None if case is None else "-".join(case) if isinstance(case, dict) else case,
)
def test_large_data_lie_elsewhere(data: dict[str, Any], length: str | None) -> None:
    """A tensor of more than 1024 bytes is marked as external, with the place of its data and the
    length of raw data and strings, and keeps all else."""
    tensor = TensorProto(name="w", dims=[3, 5], data_type=TensorProto.FLOAT, **data)
    content = tensor_model(tensor)
    left = initializer(skeleton_of(content).content)
    assert left.data_location == TensorProto.EXTERNAL
    place = left_out_of(left)
    assert place is not None
    found = b"".join(content[part.start : part.end] for part in place.ranges)
    if place.is_raw:
        assert found == data["raw_data"]
    else:
        assert TensorProto.FromString(found) == TensorProto(**data)
    lengths = [item.value for item in left.external_data if item.key != KEY]
    assert lengths == ([] if length is None else [length])
    assert (left.name, list(left.dims), left.data_type) == ("w", [3, 5], TensorProto.FLOAT)
    assert not any(getattr(left, name) for name in ("raw_data", "string_data", *PACKED))


@pytest.mark.parametrize(
    "data",
    [
        {"raw_data": bytes(1024)},
        {"string_data": [b"x" * 511] * 2},
        {"string_data": [b""] * 1024},
        {"float_data": [1.0] * 256},
        {"int32_data": [1] * 1024},
        {"int64_data": [-1] * 102},
        {"double_data": [1.0] * 128},
        {"uint64_data": [300] * 512},
    ],
    ids=lambda case: "-".join(case),
)
@pytest.mark.parametrize("name", ["w", "w" * 5000], ids=["small", "long name"])
def test_small_data_stay(data: dict[str, Any], name: str) -> None:
    """A tensor of 1024 bytes keeps them, whatever else it holds."""
    content = tensor_model(TensorProto(name=name, dims=[3], data_type=1, **data))
    skeleton = skeleton_of(content)
    assert parsed(skeleton.content) == parsed(content)
    assert len(skeleton.content) == len(content)
    assert skeleton.dropped_bytes == 0


def test_an_external_tensor_stays_external() -> None:
    """A tensor with data here and elsewhere is marked behind what it says itself."""
    tensor = TensorProto(raw_data=bytes(2000), data_location=TensorProto.DEFAULT)
    for key, value in (("location", "weights.bin"), ("length", "7")):
        tensor.external_data.add(key=key, value=value)
    left = initializer(skeleton_of(tensor_model(tensor)).content)
    assert left.data_location == TensorProto.EXTERNAL
    entries = [(item.key, item.value) for item in left.external_data if item.key != KEY]
    assert entries == [("location", "weights.bin"), ("length", "7"), ("length", "2000")]
    place = left_out_of(left)
    assert place is not None
    assert place.nbytes == 2000


def holders(tensor: TensorProto) -> dict[str, ModelProto]:
    """A model for each place where ONNX has a tensor."""
    sparse = [
        SparseTensorProto(values=tensor),
        SparseTensorProto(indices=tensor),
    ]
    attributes = {
        "t": AttributeProto(t=tensor),
        "tensors": AttributeProto(tensors=[TensorProto(name="small"), tensor]),
        "values": AttributeProto(sparse_tensor=sparse[0]),
        "indices": AttributeProto(sparse_tensor=sparse[1]),
        "sparse tensors": AttributeProto(sparse_tensors=sparse),
        "g": AttributeProto(g=GraphProto(initializer=[tensor])),
        "graphs": AttributeProto(graphs=[GraphProto(), GraphProto(initializer=[tensor])]),
    }
    graphs = {
        name: GraphProto(node=[NodeProto(attribute=[attributes[name]])]) for name in attributes
    }
    graphs["initializer"] = GraphProto(initializer=[tensor])
    graphs["sparse initializer"] = GraphProto(sparse_initializer=sparse)
    models = {name: ModelProto(graph=graph) for name, graph in graphs.items()}
    node = graphs["t"].node[0]
    functions = {
        "function": FunctionProto(node=[node]),
        "function's attribute": FunctionProto(attribute_proto=[attributes["t"]]),
    }
    training = {
        "initialization": TrainingInfoProto(initialization=graphs["t"]),
        "algorithm": TrainingInfoProto(algorithm=graphs["initializer"]),
    }
    models |= {name: ModelProto(functions=[function]) for name, function in functions.items()}
    return models | {name: ModelProto(training_info=[info]) for name, info in training.items()}


@pytest.mark.parametrize("place", holders(TensorProto()))
def test_data_are_found_wherever_they_lie(place: str) -> None:
    """Large data leave every place of a model that can hold a tensor."""
    model = holders(TensorProto(name="w", raw_data=b"\x2a" * 5000))[place]
    data = model.SerializeToString()
    skeleton = skeleton_of(data)
    assert len(skeleton.content) < 200
    assert skeleton.dropped_bytes >= 5000
    assert parsed(skeleton.content) == without_weights(data)


def test_a_model_in_pieces() -> None:
    """A graph or a tensor that comes in several pieces means what protobuf puts together."""
    relu, large = NodeProto(op_type="Relu"), TensorProto(name="w", raw_data=bytes(5000))
    parts = [ModelProto(graph=GraphProto(node=[relu])), ModelProto(graph=GraphProto(name="g"))]
    parts.append(ModelProto(graph=GraphProto(initializer=[large])))
    data = b"".join(map(serialised, parts))
    left = ModelProto.FromString(skeleton_of(data).content)
    assert (left.graph.name, len(left.graph.node), len(left.graph.initializer)) == ("g", 1, 1)
    pieces = [
        TensorProto(raw_data=bytes(5000)),
        TensorProto(raw_data=b"last", name="c" * 2000),
        TensorProto(data_location=TensorProto.DEFAULT),
    ]
    for one in (pieces, pieces[::-1]):
        sparse = [SparseTensorProto(values=piece) for piece in one]
        for attributes_of_one in (
            [AttributeProto(t=piece) for piece in one],
            [AttributeProto(sparse_tensor=piece) for piece in sparse],
        ):
            data = inside(b"".join(map(serialised, attributes_of_one)), 5, 1, 7)
            assert parsed(skeleton_of(data).content) == without_weights(data)


def test_a_tensor_in_30_000_pieces() -> None:
    """A tensor that comes as 30,000 empty pieces is put together in little memory."""
    data = inside(b"\x2a\x00" * 30_000 + b"\x2a\x03\x42\x01w", 5, 1, 7)
    tracemalloc.start()
    skeleton = skeleton_of(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ModelProto.FromString(skeleton.content).graph.node[0].attribute[0].t.name == "w"
    assert len(skeleton.content) < 100
    assert peak_bytes < 2**20


def test_long_documentation_is_left_out() -> None:
    """Documentation of more than 1024 bytes goes, and what is shorter stays."""
    node = NodeProto(op_type="Relu", doc_string="x" * 1024)
    node.metadata_props.add(key="trace", value="x" * 1000)
    node.metadata_props.add(key="trace", value="x" * 1100)
    graph = GraphProto(node=[node], doc_string="x" * 1025)
    model = ModelProto(graph=graph, doc_string="x" * 10**6)
    left = ModelProto.FromString(skeleton_of(model.SerializeToString()).content)
    assert not left.doc_string
    assert not left.graph.doc_string
    assert len(left.graph.node[0].doc_string) == 1024
    assert [len(item.value) for item in left.graph.node[0].metadata_props] == [1000]


def test_what_is_unknown_stays() -> None:
    """Fields that onnx does not know, or of another type than it knows, are kept as they are."""
    unknown = length_header(1000, 3000) + bytes(3000) + b"\x38\x01" * 2000  # a graph is no number
    tensor = length_header(99, 2000) + bytes(2000) + b"\x48\x05" + b"\x3d1234"
    data = unknown + inside(tensor, 5, 7) + unknown
    assert skeleton_of(data) == Skeleton(data, 0, False)


def test_an_empty_file_has_an_empty_skeleton() -> None:
    """No bytes are a model without anything, as for protobuf."""
    assert skeleton_of(b"") == Skeleton(b"", 0, False)


def test_200_000_numbers_that_are_not_packed() -> None:
    """Numbers written one by one are dropped like any data, and none of them is held."""
    numbers = (b"\x38" + varint(2**64 - 1)) * 200_000
    tensor = TensorProto(name="w", data_type=TensorProto.INT64).SerializeToString() + numbers
    data = inside(tensor, 5, 7)
    tracemalloc.start()
    skeleton = skeleton_of(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert initializer(skeleton.content).data_location == TensorProto.EXTERNAL
    assert skeleton.dropped_bytes == len(numbers)
    assert peak_bytes < 2**20 < len(numbers)


def test_packed_numbers_without_any() -> None:
    """Fields of packed numbers that hold none mean nothing, and are not held."""
    data = inside(b"\x3a\x00" * 10**5 + b"\x42\x01w" + b"\x3a\x01\x05", 5, 7)
    skeleton = skeleton_of(data)
    assert parsed(skeleton.content) == parsed(data)
    assert len(skeleton.content) < 100
    assert skeleton.dropped_bytes == 2 * 10**5


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_limits_on_the_graph_are_exact(fixture: Fixture) -> None:
    """A skeleton as large as the limit is taken; one larger is refused with what would allow it."""
    data = fixture.path.read_bytes()
    size = len(skeleton_of(data).content)
    assert len(skeleton_of(data, Limits(graph_bytes=size)).content) == size
    with pytest.raises(LimitExceededError, match=f"{size - 1} bytes.*KERF_GRAPH_BYTES"):
        skeleton_of(data, Limits(graph_bytes=size - 1))


class CountingFile(io.FileIO):
    """A file that counts what is read of it."""

    reads = 0
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads += 1
        self.read_bytes += len(data)
        return data


def write_sparsely(path: Path, weights: int, each_bytes: int) -> None:
    """A model file whose weights are holes, which take no room on the disk."""
    head = TensorProto(name="w" * 100, dims=[each_bytes], data_type=TensorProto.INT8)
    start = head.SerializeToString() + length_header(9, each_bytes)
    start = length_header(5, len(start) + each_bytes) + start
    with path.open("wb") as file:
        file.write(length_header(7, weights * (len(start) + each_bytes)))
        for _ in range(weights):
            file.write(start)
            file.seek(each_bytes, io.SEEK_CUR)
        file.truncate()


def test_a_file_of_1_9_gb_is_hardly_read(tmp_path: Path) -> None:
    """Of 300 weights in 1.9 GB, one short read each is made, and no memory taken."""
    path = tmp_path / "large.onnx"
    write_sparsely(path, 300, 6_400_000)
    assert path.stat().st_size > 1.9e9
    with CountingFile(path) as file:
        tracemalloc.start()
        skeleton = read_skeleton(file, LIMITS)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert file.reads <= 301
    assert file.read_bytes <= 301 * 4096
    assert peak_bytes < 2**18
    left = ModelProto.FromString(skeleton.content).graph.initializer
    assert [left_out_bytes(tensor) for tensor in left] == [6_400_000] * 300
    assert len(skeleton.content) + skeleton.dropped_bytes >= path.stat().st_size


@pytest.mark.parametrize("number", [2, 7, 1000], ids=["producer_name", "graph", "unknown"])
def test_what_is_too_large_is_not_read(tmp_path: Path, number: int) -> None:
    """A name of a gigabyte is refused before it is read."""
    path = tmp_path / "large.onnx"
    name = length_header(2, 10**9)
    header = (
        length_header(7, len(name) + 10**9) + name if number == 7 else length_header(number, 10**9)
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 10**9)
    with CountingFile(path) as file:
        with pytest.raises(LimitExceededError, match="KERF_GRAPH_BYTES"):
            read_skeleton(file, LIMITS)
        assert file.read_bytes <= 2 * 4096


def test_lengths_count_as_well() -> None:
    """The length that is put in front of a graph at last counts, too."""
    data = nested(0, 2000)
    assert skeleton_of(data, Limits(graph_bytes=len(data))).content == data
    with pytest.raises(LimitExceededError):
        skeleton_of(data, Limits(graph_bytes=len(data) - 1))


def test_many_small_things_are_too_large() -> None:
    """What is kept is bounded while it is read, in memory of the order of the limit."""
    data = length_header(7, 4 * 10**6) + b"\x12\x02ab" * 10**6
    tracemalloc.start()
    with pytest.raises(LimitExceededError, match="KERF_GRAPH_BYTES"):
        skeleton_of(data, Limits(graph_bytes=10**5))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20


def nested(levels: int, padding: int = 0, number: int = 6) -> bytes:
    """A model whose main graph has a body in a body, ``levels`` deep, each with a long name."""
    name = length_header(2, padding) + b"x" * padding if padding else b""
    headers = [name]
    size = len(name)
    for _ in range(levels):
        for field in (number, 5, 1):
            headers.append(length_header(field, size))
            size += len(headers[-1])
        headers.append(name)
        size += len(name)
    headers.append(length_header(7, size))
    return b"".join(reversed(headers))


@pytest.mark.parametrize("limit", [0, 1, 16, 32])
@pytest.mark.parametrize("padding", [0, 30, 2000], ids=["small", "medium", "large"])
@pytest.mark.parametrize("number", [6, 11], ids=["g", "graphs"])
def test_nesting_is_limited(limit: int, padding: int, number: int) -> None:
    """Graphs as deep as the limit are taken as they are; deeper ones are refused, however small."""
    data = nested(limit, padding, number)
    assert skeleton_of(data, Limits(nesting=limit)) == Skeleton(data, 0, False)
    ModelProto.FromString(data)
    for more in (1, 2, 50):
        with pytest.raises(LimitExceededError, match=f"more than {limit} deep, .*KERF_NESTING"):
            skeleton_of(nested(limit + more, padding, number), Limits(nesting=limit))


@pytest.mark.parametrize("nesting", [16, 33, 34, 10**9])
def test_depth_bombs_are_refused(nesting: int) -> None:
    """A hundred thousand graphs in each other are refused under any limit, without recursion."""
    with pytest.raises(LimitExceededError, match=r"more than \d+ deep"):
        skeleton_of(nested(100_000), Limits(nesting=nesting))


def test_no_setting_goes_beyond_protobuf() -> None:
    """As deep as protobuf reads is the deepest that any setting allows."""
    data = nested(33)
    ModelProto.FromString(data)
    assert skeleton_of(data, Limits(nesting=10**6)).content == data
    with pytest.raises(DecodeError):
        ModelProto.FromString(nested(34))
    with pytest.raises(LimitExceededError, match="more than 33 deep, which is as deep as protobuf"):
        skeleton_of(nested(34), Limits(nesting=10**6))


@pytest.mark.parametrize(
    "numbers", [(7,), (1, 7), (5, 7), (9, 5, 7), (5, 1, 7), (5, 5, 1, 7), (25,), (1000,)], ids=str
)
@pytest.mark.parametrize("length", [2000, 2**31, 2**63, 2**64 - 1])
def test_lengths_beyond_the_end_are_refused(numbers: tuple[int, ...], length: int) -> None:
    """A length that goes beyond the file, or what is around it, is refused at any level."""
    content = varint(numbers[0] << 3 | 2) + varint(length) + bytes(1500)
    for data in (inside(content, *numbers[1:]), inside(content, *numbers[1:]) + b"\x08\x01" * 10):
        with pytest.raises(DecodeError):
            ModelProto.FromString(data)
        with pytest.raises(NotOnnxError, match="truncated"):
            skeleton_of(data)


def sample() -> ModelProto:
    """A small model with a bit of everything, and 20 kB of weights."""
    weights = [
        TensorProto(name="raw", dims=[3000], data_type=TensorProto.INT8, raw_data=bytes(3000)),
        TensorProto(name="typed", dims=[500], data_type=TensorProto.FLOAT, float_data=[0.5] * 500),
        TensorProto(name="ints", dims=[500], data_type=TensorProto.INT64, int64_data=[300] * 600),
        TensorProto(
            name="text", dims=[99], data_type=TensorProto.STRING, string_data=[b"abc"] * 500
        ),
        TensorProto(name="shape", dims=[3], data_type=TensorProto.INT64, int64_data=[1, -1, 64]),
    ]
    models = list(holders(weights[0]).values())
    model = ModelProto(ir_version=10, producer_name="mutated")
    model.opset_import.add(version=20)
    for part in models:
        model.MergeFrom(part)
    model.graph.initializer.extend(weights)
    return model


def mutated(data: bytes, choice: random.Random) -> bytes:
    """A few bytes of a file changed, taken out, put in or moved, or the end cut off."""
    changed = bytearray(data)
    for _ in range(choice.choice([1, 1, 1, 2, 5])):
        at = choice.randrange(len(changed))
        kind = choice.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << choice.randrange(8)
        elif kind == 1:
            changed[at] = choice.choice([0, 1, 0x7F, 0x80, 0xFF, 0x2A, 0x32, 0x3A, 0x4A])
        elif kind == 2:
            del changed[at : at + choice.randint(1, 4)]
        elif kind == 3:
            changed[at:at] = choice.randbytes(choice.randint(1, 4))
        elif kind == 4:
            start = choice.randrange(len(changed))
            changed[at:at] = changed[start : start + choice.randint(1, 40)]
        else:
            del changed[max(at, 1) :]
    return bytes(changed)


def agrees(data: bytes) -> str:
    """Whether protobuf reads a file, and checks that the skeleton says the same."""
    try:
        expected = without_weights(data)
    except DecodeError:
        try:
            skeleton = skeleton_of(data)
            parsed(skeleton.content)
        except (NotOnnxError, DecodeError):
            return "refused"
        assert skeleton.dropped_bytes > 0
        return "broken in what was skipped"
    try:
        assert parsed(skeleton_of(data).content) == expected
    except NotOnnxError as error:
        if "group" not in str(error):
            raise
        return "a group"
    return "taken"


@pytest.mark.parametrize("seed", range(8))
def test_mutated_files(seed: int) -> None:
    """What protobuf parses has the skeleton of what it parsed; what it does not is refused, by the
    scanner or by the parser after it, but for errors within skipped data."""
    choice = random.Random(seed)
    whole = sample().SerializeToString()
    headers = [index for index, byte in enumerate(whole) if byte]
    outcomes = []
    for _ in range(400):
        data = whole
        if choice.random() < 0.5:  # zeros are mostly weights: aim at what is not
            at = choice.choice(headers)
            data = data[:at] + choice.randbytes(1) + data[at + 1 :]
        outcomes.append(agrees(mutated(data, choice)))
    assert min(outcomes.count("taken"), outcomes.count("refused")) > 40


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_mutated_fixtures(fixture: Fixture) -> None:
    """The same holds of the fixture models: mutated, scanner and parser agree about them."""
    choice = random.Random(fixture.name)
    whole = fixture.path.read_bytes()
    for _ in range(10):
        assert agrees(mutated(whole, choice))


def test_every_truncation() -> None:
    """A file cut off anywhere is refused, unless protobuf reads what is left."""
    whole = sample().SerializeToString()
    outcomes = [agrees(whole[:length]) for length in range(0, len(whole), 31)]
    assert outcomes.count("taken") < 10


@pytest.mark.parametrize("place", ["initializer", "t", "values", "g", "function"])
@pytest.mark.parametrize("size", [0, 2000], ids=["small", "large"])
def test_marks_that_a_file_brings_along_are_dropped(place: str, size: int) -> None:
    """Of a file's own word that data of it were left out nothing is believed: its marks are gone,
    and where data are left out the mark is Kerf's; of a skeleton's word all is."""
    tensor = TensorProto(name="w", dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=KEY, value="fields 0-1000000,0-1000000")
    tensor.external_data.add(key="offset", value="3")
    tensor.raw_data = bytes(size)
    content = holders(tensor)[place].SerializeToString()
    kept = read_skeleton(io.BytesIO(content), LIMITS)
    assert b"1000000" not in kept.content
    assert kept.content.count(KEY.encode()) == (1 if size else 0)
    own = read_skeleton(io.BytesIO(content), LIMITS, marks="own")
    assert b"1000000" in own.content
