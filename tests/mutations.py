"""Valid models changed at random: in their bits, lengths, wire types, attributes and edges."""

import random
from collections.abc import Callable, Iterator
from functools import cache

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.fixture_models import BY_NAME
from tests.ingest.build import (
    BOOL,
    INT64,
    external,
    floats,
    function,
    graph,
    ints,
    model,
    node,
    scalar,
    value,
)


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


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, content in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in content if field.is_repeated else [content]:
                yield from _messages(part)


SMALL_INTS = [0, 1, -1, 2, 3, 7, 16]


def change_field(proto: ModelProto, rng: random.Random) -> None:
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


def change_attribute(proto: ModelProto, rng: random.Random) -> None:
    """Give an attribute another value: small, negative, huge, none, or too many."""
    nodes = [item for item in _messages(proto) if isinstance(item, NodeProto) and item.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    number = rng.choice([0, -1, 1, 7, 2**31, 2**62, -(2**63)])
    change = rng.randrange(5)
    if change == 0:
        attribute.i = number
    elif change == 1:
        attribute.ints[:] = [number] * rng.choice([0, 1, 2, 4, 500])
    elif change == 2:
        attribute.type = rng.randrange(15)
    elif change == 3:
        attribute.s = rng.choice([b"", b"SAME_UPPER", b"ij,jk->ki", b"...", b"\xff" * 2000])
    else:
        attribute.f = rng.choice([0.0, -1.0, 1e38, float("nan")])


def change_edge(proto: ModelProto, rng: random.Random) -> None:
    """Have a node read or make another tensor: its own, one to come, none, or one of a body."""
    nodes = [item for item in _messages(proto) if isinstance(item, NodeProto)]
    names = [name for item in nodes for name in (*item.input, *item.output)]
    chosen = rng.choice(nodes)
    many = rng.choice([chosen.input, chosen.output])
    if not many or rng.random() < 0.2:
        many.append(rng.choice(names))
    else:
        many[rng.randrange(len(many))] = rng.choice(["", *names, *names])


def change_bits(data: bytearray, rng: random.Random) -> None:
    """Turn a few bits over."""
    for _ in range(rng.choice([1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def change_lengths(data: bytearray, rng: random.Random) -> None:
    """Overwrite a byte that looks like a length, cut the end off, or repeat a part."""
    place = rng.randrange(len(data))
    change = rng.randrange(4)
    if change == 0:
        data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif change == 1:
        data[place : place + 1] = b"\xff" * rng.choice([1, 4, 9, 10])
    elif change == 2:
        del data[place:]
    else:
        data[place:place] = data[place : place + rng.choice([1, 16, 200])]


def change_wire_types(data: bytearray, rng: random.Random) -> None:
    """Give bytes that look like tags of small fields another wire type."""
    for _ in range(rng.choice([1, 1, 3])):
        place = rng.randrange(len(data))
        data[place] = (data[place] & 0xF8) | rng.randrange(8)


def change_letters(data: bytearray, rng: random.Random) -> None:
    """Change letters of texts, at times to what is no text."""
    places = [i for i, byte in enumerate(data) if 0x41 <= byte < 0x7B]
    for _ in range(rng.choice([1, 2, 5])):
        data[rng.choice(places)] = rng.choice(b"abxyAZ\x00\xff")


IN_MODELS: list[Callable[[ModelProto, random.Random], None]] = [
    change_field,
    change_attribute,
    change_edge,
]
IN_BYTES: list[Callable[[bytearray, random.Random], None]] = [
    change_bits,
    change_lengths,
    change_wire_types,
    change_letters,
]
KINDS = [change.__name__ for change in (*IN_MODELS, *IN_BYTES)]
DIMS = {"n": 2}
"""What binds the dimensions of the seed model."""


@cache
def seeds() -> tuple[bytes, ...]:
    """The files that mutations start from: one of everything, and a real export."""
    return seed_model().SerializeToString(), BY_NAME["mobilenet_v2"].path.read_bytes()


def mutant(number: int) -> tuple[str, bytes]:
    """A kind of change, and a file with changes of that kind: the same for the same number."""
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    data = bytearray(rng.choices(seeds(), weights=[4, 1])[0])
    in_bytes = {change.__name__: change for change in IN_BYTES}
    if kind in in_bytes:
        in_bytes[kind](data, rng)
        return kind, bytes(data)
    change = {change.__name__: change for change in IN_MODELS}[kind]
    proto = ModelProto.FromString(bytes(data))
    for _ in range(rng.choice([1, 1, 2, 4])):
        change(proto, rng)
    return kind, proto.SerializeToString()
