"""Data that reading left out, put back: the skeleton and the file make the file again.

However a file is written, and wherever its data lie: what is restored parses to the model that the
file parses to, but for long documentation, and for what a tensor with data inside says of data
elsewhere.
"""

import io
import random
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from app.errors import NotOnnxError
from app.halves.external import lost_data
from app.halves.pieces import Piece, nbytes_of_pieces, pieces_of
from app.ingest.constants import SMALL_BYTES
from app.ingest.left_out import KEY, MOST_RANGES, FileRange
from app.ingest.limits import Limits
from app.ingest.skeleton import read_skeleton
from app.ingest.wire import length_header
from tests.fixture_models import FIXTURES, QUIRKY_FIXTURES, SDPA_FIXTURES, Fixture
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.ingest.test_skeleton import (
    DOCUMENTED,
    IN_ANY_TIME,
    PACKED,
    Writer,
    holders,
    inside,
    models,
    mutated,
    sample,
    serialised,
    written,
)
from tests.ingest.test_stripping import payload_bytes
from tests.mutations import mutant

LIMITS = Limits()
DATA = ("raw_data", "string_data", *PACKED)


def pieces_from(data: bytes) -> list[Piece]:
    """The file again, in pieces, from its skeleton."""
    skeleton = read_skeleton(io.BytesIO(data), LIMITS)
    return pieces_of(ModelProto.FromString(skeleton.content))


def joined(pieces: list[Piece], data: bytes) -> bytes:
    """What the pieces are, with the ranges read from the file."""
    return b"".join(
        data[piece.start : piece.end] if isinstance(piece, FileRange) else piece for piece in pieces
    )


def restored(data: bytes) -> bytes:
    """The file again, from its skeleton and itself."""
    pieces = pieces_from(data)
    content = joined(pieces, data)
    assert len(content) == nbytes_of_pieces(pieces)
    return content


def meaning(data: bytes) -> bytes:
    """A model in the one form that protobuf gives it, without what restoring leaves out."""
    model = ModelProto.FromString(data)
    forget(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def forget(message: Any) -> None:
    """Take out of a message, and of all in it, long documentation; and what tensors with large
    data inside say of data elsewhere."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                forget(part)
    if isinstance(message, DOCUMENTED):
        if len(message.doc_string.encode()) > SMALL_BYTES:
            message.ClearField("doc_string")
        is_model = isinstance(message, ModelProto)
        metadata = [] if is_model else getattr(message, "metadata_props", [])
        for entry in [entry for entry in metadata if entry.ByteSize() > SMALL_BYTES]:
            metadata.remove(entry)
    if isinstance(message, TensorProto) and payload_bytes(message) > SMALL_BYTES:
        message.ClearField("data_location")
        message.ClearField("external_data")


@given(models())
@IN_ANY_TIME
def test_a_model_is_restored(model: ModelProto) -> None:
    """A model as protobuf writes it, with tensors of all kinds at all places, comes back."""
    data = model.SerializeToString()
    assert meaning(restored(data)) == meaning(data)


@given(models(), st.randoms(use_true_random=False))
@IN_ANY_TIME
def test_every_form_of_a_model_is_restored(model: ModelProto, choice: random.Random) -> None:
    """However a model is written (numbers packed or not, raw data replaced by later ones, messages
    in pieces, unknown fields between), it comes back."""
    data = Writer(choice).write(model)
    assert meaning(restored(data)) == meaning(data)


@given(models(), st.randoms(use_true_random=False))
@IN_ANY_TIME
def test_restoring_twice_is_restoring_once(model: ModelProto, choice: random.Random) -> None:
    """What is restored is itself a file that can be read without its data and restored."""
    once = restored(Writer(choice).write(model))
    assert restored(once) == once


@pytest.mark.parametrize("fixture", [*FIXTURES, *QUIRKY_FIXTURES, *SDPA_FIXTURES], ids=str)
def test_fixtures_are_restored(fixture: Fixture) -> None:
    """Every fixture model comes back."""
    data = fixture.path.read_bytes()
    assert meaning(restored(data)) == meaning(data)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_models_with_weights_are_restored(model: WeightedModel) -> None:
    """Every model with weights of the execution tests comes back, and none of its large data was
    in a piece that is held."""
    data = model.build().SerializeToString()
    pieces = pieces_from(data)
    assert meaning(joined(pieces, data)) == meaning(data)
    held = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    raw = [content for content in raw_data_of(ModelProto.FromString(data)) if any(content)]
    assert not [content for content in raw if len(content) > SMALL_BYTES and content in held]


def raw_data_of(message: Any) -> list[bytes]:
    """The raw data of all tensors in a message, at any depth."""
    found = [message.raw_data] if isinstance(message, TensorProto) else []
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                found += raw_data_of(part)
    return found


KINDS: dict[str, dict[str, Any]] = {
    "raw_data": {"raw_data": bytes(range(256)) * 20},
    "string_data": {"string_data": [b"text %d" % number for number in range(500)]},
    "float_data": {"float_data": [number / 8 for number in range(600)]},
    "int32_data": {"int32_data": list(range(-300, 300))},
    "int64_data": {"int64_data": [number**5 for number in range(-300, 300)]},
    "double_data": {"double_data": [number / 8 for number in range(600)]},
    "uint64_data": {"uint64_data": [number**6 for number in range(600)]},
    "two kinds": {"float_data": [0.5] * 400, "int32_data": list(range(300))},
    "raw and numbers": {"raw_data": bytes(range(256)), "float_data": [0.5] * 400},
}


@pytest.mark.parametrize("place", holders(TensorProto()))
@pytest.mark.parametrize("kind", KINDS)
def test_all_data_are_restored_at_all_places(place: str, kind: str) -> None:
    """Large data of every field come back at every place of a model that can hold a tensor, and no
    trace is left of their having been left out."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 5], **KINDS[kind])
    data = holders(tensor)[place].SerializeToString()
    assert ModelProto.FromString(restored(data)) == ModelProto.FromString(data)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_one_by_one_are_restored(kind: str) -> None:
    """A tensor whose data come in many pieces, with other fields between, comes back."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, **KINDS[kind])
    for seed in range(5):
        choice = random.Random(seed)
        fields = [b"\x42\x01%c" % letter for letter in b"abcdefgh"]
        for name in DATA:
            if not getattr(tensor, name):
                continue
            is_many = name != "raw_data"
            steps = [slice(at, at + 50) for at in range(0, 600, 50)] if is_many else [slice(None)]
            fields += [written(tensor, name, step) for step in steps]
        order = sorted(range(len(fields)), key=lambda _: choice.random())
        data = inside(b"".join(fields[at] for at in order), 5, 7)
        assert ModelProto.FromString(restored(data)) == ModelProto.FromString(data)


def test_raw_data_replaced_by_later_ones() -> None:
    """Of several raw data of one tensor the last come back, be they the smaller or the larger."""
    fields = [written(TensorProto(raw_data=bytes([size % 251]) * size), "raw_data") for size in
              (5000, 3, 2000, 1024, 1025)]  # fmt: skip
    for turn in range(len(fields)):
        data = inside(b"".join([*fields[turn:], b"\x42\x01w", *fields[:turn]]), 5, 7)
        assert ModelProto.FromString(restored(data)) == ModelProto.FromString(data)


def test_a_tensor_in_pieces() -> None:
    """A tensor of an attribute that comes in pieces, data in more than one of them, comes back."""
    pieces = [
        TensorProto(raw_data=bytes(5000)),
        TensorProto(float_data=[0.25] * 300, name="c" * 2000),
        TensorProto(raw_data=b"\x2a" * 3000),
        TensorProto(float_data=[0.5] * 300, doc_string="d"),
    ]
    for turn in range(len(pieces)):
        turned = pieces[turn:] + pieces[:turn]
        sparse = [SparseTensorProto(values=piece, indices=piece) for piece in turned]
        for one in (
            [AttributeProto(t=piece) for piece in turned],
            [AttributeProto(sparse_tensor=piece) for piece in sparse],
        ):
            data = inside(b"".join(map(serialised, one)), 5, 1, 7)
            assert ModelProto.FromString(restored(data)) == ModelProto.FromString(data)


def test_bodies_in_bodies() -> None:
    """Data in bodies nested 16 deep come back, one tensor at each level."""
    graph = GraphProto(name="innermost")
    for level in range(17):
        tensor = TensorProto(name=f"w{level}", raw_data=bytes([level]) * (1025 + level))
        graph.initializer.append(tensor)
        if level < 16:
            graph = GraphProto(node=[NodeProto(attribute=[AttributeProto(g=graph)])])
    data = ModelProto(graph=graph).SerializeToString()
    assert restored(data) == data


@pytest.mark.parametrize("size", [0, 3, 1024, 1025, 5000])
def test_what_happens_to_hold_the_mark(size: int) -> None:
    """Names, documentation and data of the very text by which left-out data are marked stay."""
    text = (KEY.encode() * 600)[:size]
    tensors = [
        TensorProto(name=KEY, raw_data=text),
        TensorProto(name="w", raw_data=text, doc_string=KEY),
        TensorProto(name="t", string_data=[KEY.encode(), text]),
    ]
    nodes = [
        NodeProto(name=KEY, attribute=[AttributeProto(name=KEY, s=text)]),
        NodeProto(op_type="Constant", attribute=[AttributeProto(t=tensor) for tensor in tensors]),
    ]
    model = ModelProto(graph=GraphProto(name=KEY, node=nodes, initializer=tensors), domain=KEY)
    data = model.SerializeToString()
    assert ModelProto.FromString(restored(data)) == model


@pytest.mark.parametrize(
    "value",
    ["", "raw", "raw ", "raw 5", "raw 5-", "raw -5", "raw 9-5", "raw 1-2-3", "raw 0x1-2",
     "raw 1-" + "9" * 5000, "fields 1-2,", "fields", "raw 1-2,3-4", "1-2", "other 1-2"],
)  # fmt: skip
def test_marks_that_kerf_did_not_write(value: str) -> None:
    """A file that says of its own that data were left out, but in other words, is taken as it
    is."""
    tensor = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=KEY, value=value)
    model = ModelProto(graph=GraphProto(initializer=[tensor]))
    assert pieces_of(model) == [model.SerializeToString()]


def test_marks_that_are_no_text() -> None:
    """The same of marks that are not UTF-8."""
    tensor = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=KEY, value="raw 1-2?")
    tensor.external_data.add(key="length?", value="3?")
    data = ModelProto(graph=GraphProto(initializer=[tensor])).SerializeToString()
    model = ModelProto.FromString(data.replace(b"?", b"\xff"))
    assert pieces_of(model) == [model.SerializeToString()]


def test_far_too_many_pieces_are_lost() -> None:
    """Data in so many pieces that nobody remembers them are reported as lost, not left away."""
    for count, is_lost in ((MOST_RANGES, False), (MOST_RANGES + 1, True)):
        numbers = written(TensorProto(float_data=[0.5] * 3), "float_data")
        data = inside((b"\x42\x01w" + numbers) * count, 5, 7)
        skeleton = ModelProto.FromString(read_skeleton(io.BytesIO(data), LIMITS).content)
        assert lost_data(skeleton) == ("w" if is_lost else None)
        if not is_lost:
            assert ModelProto.FromString(restored(data)) == ModelProto.FromString(data)


def test_a_wrong_field_of_the_same_number() -> None:
    """Fields of a data field's number but another type are unknown to protobuf, and stay."""
    tensor = TensorProto(name="w", raw_data=bytes(range(256)) * 8).SerializeToString()
    unknown = b"\x48\x05" + b"\x31" + bytes(8) + length_header(99, 2000) + bytes(2000)
    data = inside(unknown + tensor + unknown, 5, 7)
    assert meaning(restored(data)) == meaning(data)


def outcome(data: bytes) -> str:
    """Whether a file is refused, or checks that it comes back."""
    try:
        expected = meaning(data)
    except DecodeError:
        return "refused"
    try:
        content = restored(data)
    except NotOnnxError as error:
        if "group" not in str(error):
            raise
        return "a group"
    assert meaning(content) == expected
    return "restored"


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_restored(seed: int) -> None:
    """What protobuf still parses of a mutated file comes back as what it parses to."""
    choice = random.Random(seed)
    whole = sample().SerializeToString()
    headers = [index for index, byte in enumerate(whole) if byte]
    outcomes = []
    for _ in range(300):
        at = choice.choice(headers)
        data = whole[:at] + choice.randbytes(1) + whole[at + 1 :]
        outcomes.append(outcome(data if choice.random() < 0.5 else mutated(data, choice)))
    assert outcomes.count("restored") > 40


def test_mutants_are_restored() -> None:
    """The same of a valid model with one of everything, changed in its fields and its bytes."""
    outcomes = [outcome(mutant(number)[1]) for number in range(300)]
    assert outcomes.count("restored") > 100
