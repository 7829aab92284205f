"""A model without its weights: none of them remains, and nothing else is lost."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from app.errors import IngestError, LimitExceededError, NotOnnxError
from app.halves.comparison import compare
from app.halves.verification import run_whole
from app.ingest import IngestedModel, IngestOptions, ingest_file
from app.ingest.constants import ARGUMENT_BYTES, ARGUMENT_TYPES, SMALL_BYTES
from app.ingest.left_out import KEY, entries_of, is_external
from app.ingest.limits import Limits
from app.ingest.stripping import StrippedFile, strip_file
from app.ingest.tensors import tensors_of_model
from app.store.packing import pack_dag
from tests.fixture_models import FIXTURES, QUIRKY_FIXTURES, SDPA_FIXTURES, Fixture
from tests.halves.weighted_models import BY_NAME, MODELS, WeightedModel
from tests.ingest.build import FLOAT, INT64, floats, graph, ints, model, node, scalar, value
from tests.ingest.test_skeleton import (
    IN_ANY_TIME,
    PACKED,
    CountingFile,
    Writer,
    content_of,
    holders,
    models,
    write_sparsely,
    written,
)
from tests.mutations import DIMS, mutant

LOCATION = "model.onnx"
WINDOW_BYTES = 8


def strip(data: bytes, location: str = LOCATION) -> StrippedFile:
    """A file without its weights."""
    return strip_file(io.BytesIO(data), location)


def stripped(data: bytes) -> ModelProto:
    """The model that is left of a file."""
    proto: ModelProto = ModelProto.FromString(strip(data).content)
    return proto


def is_argument(tensor: TensorProto) -> bool:
    """Whether the data of a tensor are what stripping is to leave."""
    return payload_bytes(tensor) <= (
        SMALL_BYTES if tensor.data_type in ARGUMENT_TYPES else ARGUMENT_BYTES
    )


def payload_bytes(tensor: TensorProto) -> int:
    """Bytes of a tensor's data as they are encoded; a string counts one more than it has."""
    numbers = sum(len(content_of(written(tensor, name))) for name in PACKED)
    return len(tensor.raw_data) + numbers + sum(len(text) + 1 for text in tensor.string_data)


def values_of(tensor: TensorProto) -> bytes:
    """A tensor's data as they are encoded."""
    numbers = [content_of(written(tensor, name)) for name in PACKED if getattr(tensor, name)]
    encoded: bytes = b"".join([tensor.raw_data, *numbers, *tensor.string_data])
    return encoded


def windows(content: bytes) -> set[bytes]:
    """All that stands in a row somewhere, of some bytes, but for one byte again and again."""
    found = {content[at : at + WINDOW_BYTES] for at in range(len(content) - WINDOW_BYTES + 1)}
    return {window for window in found if len(set(window)) > 2}


def element_types() -> list[int]:
    """Every type that a tensor may have."""
    return [code for code in TensorProto.DataType.values() if code != TensorProto.UNDEFINED]


@pytest.mark.parametrize("place", holders(TensorProto()))
def test_no_byte_of_a_weight_remains(place: str) -> None:
    """Of no type, in no field, of no size beyond that of arguments, and at no place of a model
    does anything of the data of a tensor remain; the same tensor with less of them keeps all."""
    choice = random.Random(place)
    for code in element_types():
        most_bytes = SMALL_BYTES if code in ARGUMENT_TYPES else ARGUMENT_BYTES
        for size in (0, most_bytes, most_bytes + 1, 5000):
            secret = choice.randbytes(size)
            tensor = TensorProto(name="w", dims=[size], data_type=code, raw_data=secret)
            data = holders(tensor)[place].SerializeToString()
            content = strip_anything(data)
            if size > most_bytes:
                assert not windows(secret) & windows(content)
                assert KEY.encode() not in content
                assert str(data.index(secret)).encode() in content
            else:
                assert secret in content


def strip_anything(data: bytes) -> bytes:
    """What is left of a file that need not be a whole model; all that makes it one in front."""
    head = ModelProto(ir_version=10, graph=model([], [], []).graph).SerializeToString()
    content = strip(data + head).content
    assert len(content) < 5000
    return content


@pytest.mark.parametrize(
    "data",
    [
        {"float_data": [0.1 * number for number in range(17)]},
        {"int32_data": list(range(1000, 1040))},
        {"int64_data": list(range(10**6, 10**6 + 400))},
        {"double_data": [0.1 * number for number in range(9)]},
        {"uint64_data": list(range(10**6, 10**6 + 400))},
        {"string_data": [b"secret number %d" % number for number in range(80)]},
    ],
    ids=lambda data: next(iter(data)),
)
@pytest.mark.parametrize("place", ["initializer", "t", "values", "g", "function", "algorithm"])
def test_no_number_of_a_typed_field_remains(data: dict[str, Any], place: str) -> None:
    """Numbers and text in fields of their own go as well; nothing is left that refers to them."""
    code = INT64 if "int64_data" in data else TensorProto.STRING if "string_data" in data else FLOAT
    tensor = TensorProto(name="w", dims=[3], data_type=code, **data)
    content = strip_anything(holders(tensor)[place].SerializeToString())
    assert not windows(values_of(tensor)) & windows(content)
    (left,) = (item for item in tensors_of_model(ModelProto.FromString(content)) if item.name)
    assert is_external(left)
    assert not {KEY, "location", "offset"} & set(entries_of(left))
    assert (left.name, list(left.dims), left.data_type) == ("w", [3], code)


@given(models(), st.randoms(use_true_random=False))
@IN_ANY_TIME
def test_only_arguments_remain(proto: ModelProto, choice: random.Random) -> None:
    """However a model is written, and whatever it holds, each tensor of what remains has as few
    data as an argument, and all that it said beside these."""
    data = Writer(choice).write(proto)
    found = strip(data)
    left = ModelProto.FromString(found.content)
    assert found.saved_bytes == len(data) - len(found.content)
    pairs = zip(tensors_of_model(proto), tensors_of_model(left), strict=True)
    for before, after in pairs:
        assert is_argument(after)
        if is_argument(before):
            assert values_of(after) == values_of(before)
        else:
            assert is_external(after)
        assert (after.name, after.dims, after.data_type) == (
            before.name,
            before.dims,
            before.data_type,
        )
        assert KEY not in entries_of(after)


REAL = [*FIXTURES, *QUIRKY_FIXTURES, *SDPA_FIXTURES]


@pytest.mark.parametrize("fixture", REAL, ids=str)
def test_a_stripped_fixture_is_the_same_model(fixture: Fixture) -> None:
    """Every fixture without its weights is costed as it is with them: the same DAG byte for byte,
    the same warnings, dimensions and digest."""
    options = IngestOptions(dict(fixture.dims), None, fixture.parameters)
    require_same(fixture.path.read_bytes(), options)


@pytest.mark.parametrize("weighted", MODELS, ids=str)
def test_a_stripped_model_is_the_same_model(weighted: WeightedModel) -> None:
    """The same of every model with weights."""
    require_same(weighted.build().SerializeToString(), weighted.options)


def require_same(data: bytes, options: IngestOptions) -> None:
    """Have a file and what is left of it be one model; and no weight be in it."""
    whole = ingest_file(io.BytesIO(data), options)
    found = strip(data)
    bare = ingest_file(io.BytesIO(found.content), options)
    require_equal(whole, bare)
    assert not bare.facts.has_data
    assert found.saved_bytes == len(data) - len(found.content)
    assert all(map(is_argument, tensors_of_model(ModelProto.FromString(found.content))))


def require_equal(whole: IngestedModel, bare: IngestedModel) -> None:
    """Have two costed models be one."""
    assert pack_dag(bare.dag) == pack_dag(whole.dag)
    for fact in ("warnings", "graph_sha256", "bound_dims", "opsets", "ir_version", "parameters"):
        assert getattr(bare.facts, fact) == getattr(whole.facts, fact)


def test_stripped_mutants_are_the_same_models() -> None:
    """A mutated model that is taken is taken without its weights, and is the same."""
    options = IngestOptions(DIMS)
    taken = 0
    for number in range(400):
        data = mutant(number)[1]
        try:
            whole = ingest_file(io.BytesIO(data), options)
        except IngestError:
            continue
        taken += 1
        require_equal(whole, ingest_file(io.BytesIO(strip(data).content), options))
    assert taken > 50


def typed_data(proto: ModelProto) -> bool:
    """Whether a model has large data that are not raw, to which nothing can refer."""
    return any(not is_argument(item) and not item.raw_data for item in tensors_of_model(proto))


RAW = [weighted for weighted in MODELS if not typed_data(weighted.build())]


@pytest.mark.parametrize("weighted", RAW, ids=str)
def test_a_stripped_model_runs_beside_its_file(weighted: WeightedModel, tmp_path: Path) -> None:
    """ONNX Runtime finds the weights of a stripped model in the file that it was made from: the
    outputs are the same, bit for bit."""
    path = weighted.write(tmp_path)
    bare = tmp_path / "stripped.onnx"
    with path.open("rb") as file:
        bare.write_bytes(strip_file(file, path.name).content)
    feeds = weighted.inputs(path)
    right = run_whole(path, feeds, optimised=False).outputs
    found = run_whole(bare, feeds, optimised=False).outputs
    assert list(found) == list(right)
    assert all(compare(right[name], found[name]).is_equal for name in right)


@pytest.mark.parametrize("weighted", MODELS, ids=str)
def test_references_lead_to_the_data(weighted: WeightedModel) -> None:
    """Each tensor that refers to the file names the bytes of its raw data there; each that does
    not has lost typed data."""
    data = weighted.build().SerializeToString()
    tensors = zip(
        tensors_of_model(ModelProto.FromString(data)), tensors_of_model(stripped(data)), strict=True
    )
    for before, after in tensors:
        entries = entries_of(after)
        if is_external(before) or is_argument(before):
            assert after == before
        elif before.raw_data:
            start, length = int(entries["offset"]), int(entries["length"])
            assert data[start : start + length] == before.raw_data
            assert entries["location"] == LOCATION
        else:
            assert not {"location", "offset"} & set(entries)


@pytest.mark.parametrize("location", ["m.onnx", "größe 重み.onnx", "with space", "a/b.onnx"])
def test_the_location_is_what_it_was_told(location: str) -> None:
    """Tensors refer to the file by the name that was given."""
    data = BY_NAME["shared_weight"].build().SerializeToString()
    left = ModelProto.FromString(strip(data, location).content)
    found = {entries_of(tensor)["location"] for tensor in left.graph.initializer}
    assert found == {location}


@pytest.mark.parametrize("weighted", MODELS, ids=str)
def test_stripping_twice_is_stripping_once(weighted: WeightedModel) -> None:
    """A file without weights stays as it is, and saves nothing."""
    once = strip(weighted.build().SerializeToString())
    assert strip(once.content, "other.onnx") == StrippedFile(once.content, 0)


def test_external_data_stay_where_they_are() -> None:
    """What refers to other files goes on doing so, with all that it says, however small; weights
    inside the same file refer to it."""
    weighted = BY_NAME["external_several_files"]
    before = weighted.build()
    inside = [tensor for tensor in before.graph.initializer if not is_external(tensor)]
    assert inside
    after = stripped(before.SerializeToString())
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        if is_external(old):
            assert new == old
        else:
            assert entries_of(new)["location"] == LOCATION


SHAPES = {
    "Reshape": ([ints("s", 6, 4)], "x s", {}, [4, 6]),
    "Expand": ([ints("s", 3, 4, 6)], "x s", {}, [4, 6]),
    "Tile": ([ints("s", 2, 3)], "x s", {}, [4, 6]),
    "Slice": ([ints("a", 1, 2), ints("b", 3, 5), ints("c", 0, 1)], "x a b c", {}, [4, 6]),
    "Pad": ([ints("p", 1, 2, 3, 4)], "x p", {}, [4, 6]),
    "Unsqueeze": ([ints("p", 0, 3)], "x p", {}, [4, 6]),
    "ReduceSum": ([ints("p", 1)], "x p", {"keepdims": 0}, [4, 6]),
    "Split": ([ints("s", 1, 3)], "x s", {"axis": 0}, [4, 6]),
    "TopK": ([ints("k", 2)], "x k", {"axis": 1}, [4, 6]),
    "OneHot": ([scalar("d", 7), floats("v", 2)], "i d v", {}, [4]),
}


@pytest.mark.parametrize("op_type", SHAPES)
def test_arguments_survive(op_type: str) -> None:
    """Shapes, axes, paddings and counts stay, so that the sizes of tensors are known as before."""
    weights, inputs, attributes, shape = SHAPES[op_type]
    outputs = ["y", "z"] if op_type in {"Split", "TopK"} else ["y"]
    name, dtype = ("i", INT64) if op_type == "OneHot" else ("x", FLOAT)
    proto = model(
        [
            node(op_type, inputs, " ".join(outputs), **attributes),
            *(node("Cast", made, f"{made}.out", to=FLOAT) for made in outputs),
        ],
        [value(name, shape, dtype)],
        [value(f"{made}.out", None) for made in outputs],
        weights,
    )
    data = proto.SerializeToString()
    dag = ingest_file(io.BytesIO(data)).dag
    assert dag.tensor_is_cuttable.all()
    require_same(data, IngestOptions())
    assert list(stripped(data).graph.initializer) == list(proto.graph.initializer)


def test_arguments_of_many_numbers_survive() -> None:
    """As many 64-bit integers as are an argument decide a shape; one more are a weight."""
    for count, is_known in ((128, True), (129, False)):
        counts = numpy_helper.from_array(np.ones(count, np.int64), "s")
        proto = model(
            [node("ReduceSum", "s -", "n", keepdims=1), node("Expand", "x n", "y")],
            [value("x", [1])],
            [value("y", None)],
            [counts],
        )
        data = proto.SerializeToString()
        require_same(data, IngestOptions())
        assert is_external(stripped(data).graph.initializer[0]) is not is_known


def test_scales_survive() -> None:
    """The scales of a Resize, floating-point numbers, decide its shape without the weights, too."""
    scales = numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32), "scales")
    proto = model(
        [node("Resize", "x - scales", "y", mode="nearest")],
        [value("x", [1, 3, 8, 8])],
        [value("y", None)],
        [scales],
    )
    require_same(proto.SerializeToString(), IngestOptions())
    dag = ingest_file(io.BytesIO(strip(proto.SerializeToString()).content)).dag
    assert dag.tensor_shapes[dag.tensor_names.index("y")] == (1, 3, 16, 24)


def test_attributes_that_are_numbers_stay() -> None:
    """Numbers that stand in an attribute itself, and no tensor, stay: nothing can refer to them."""
    proto = model(
        [
            helper.make_node("Constant", [], ["k"], value_floats=[0.5] * 400),
            node("Add", "x k", "y"),
        ],
        [value("x", [400])],
        [value("y", [400])],
    )
    data = proto.SerializeToString()
    assert strip(data) == StrippedFile(data, 0)


def test_small_weights_of_bodies_become_the_same_parameters() -> None:
    """Weights of a body that are small, but none of the arguments, are the parameters of the
    stripped model by the same names."""
    branches = {
        f"{name}_branch": graph(
            [node("Add", f"x {name}", "s"), node("Mul", "s k", "r")],
            [],
            [value("r", [32])],
            [floats(name, 32), floats("k", 32)],
        )
        for name in ("then", "else")
    }
    proto = model(
        [node("If", "c", "y", name="if", **branches)],
        [value("c", [], TensorProto.BOOL), value("x", [32])],
        [value("y", [32])],
    )
    data = proto.SerializeToString()
    require_same(data, IngestOptions())
    dag = ingest_file(io.BytesIO(data)).dag
    assert sorted(dag.parameter_bytes) == [128] * 4


def test_long_documentation_goes() -> None:
    """What torch writes into each node is not sent."""
    proto = model([node("Relu", "x", "y")], [value("x")], [value("y")])
    proto.graph.node[0].metadata_props.add(key="stack_trace", value="line " * 1000)
    proto.metadata_props.add(key="labels", value="cat " * 1000)
    data = proto.SerializeToString()
    left = stripped(data)
    assert not left.graph.node[0].metadata_props
    assert left.metadata_props == proto.metadata_props
    assert strip(data).saved_bytes > 5000


def test_little_of_a_large_file_is_read(tmp_path: Path) -> None:
    """1.9 GB of weights are stripped by reading a page of each."""
    path = tmp_path / "large.onnx"
    write_sparsely(path, 300, 6_400_000)
    with path.open("r+b") as raw:
        size = raw.seek(0, io.SEEK_END)
        raw.write(ModelProto(ir_version=10).SerializeToString())
    with CountingFile(path) as file:
        found = strip_file(file, path.name)
        assert file.read_bytes <= 303 * 4096
    assert found.saved_bytes == path.stat().st_size - len(found.content)
    places = [
        entries_of(tensor) for tensor in ModelProto.FromString(found.content).graph.initializer
    ]
    assert {place["length"] for place in places} == {"6400000"}
    assert int(places[-1]["offset"]) + 6_400_000 == size


@pytest.mark.parametrize("key", [KEY, "location", "length", "offset"])
@pytest.mark.parametrize("text", ["", "raw", "raw 1-2", "raw 1-2,3-4", "fields 9-", "x?", "9" * 99])
def test_external_data_in_any_words(key: str, text: str) -> None:
    """Whatever a file says of where data are, text that is none included, it is read and stripped,
    and what is left is the same model."""
    tensor = TensorProto(name="w", dims=[4], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=key, value=text)
    proto = model([node("Add", "x w", "y")], [value("x")], [value("y")], [tensor])
    data = proto.SerializeToString().replace(b"x?", b"x\xff")
    whole = ingest_file(io.BytesIO(data))
    require_equal(whole, ingest_file(io.BytesIO(strip(data).content)))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotOnnxError),
        (b"not a model", NotOnnxError),
        (BY_NAME["shared_weight"].build().SerializeToString()[:-7], NotOnnxError),
    ],
    ids=["empty", "text", "cut short"],
)
def test_what_is_no_model_is_refused(data: bytes, error: type[Exception]) -> None:
    """A file that is no model is refused before anything is sent."""
    with pytest.raises(error, match="upload the"):
        strip(data)


def test_limits_hold() -> None:
    """The limits on graphs hold for what remains."""
    data = BY_NAME["shared_weight"].build().SerializeToString()
    with pytest.raises(LimitExceededError, match="KERF_MODEL_NODES"):
        strip_file(io.BytesIO(data), LOCATION, Limits(nodes=2))
    with pytest.raises(LimitExceededError, match="KERF_GRAPH_BYTES"):
        strip_file(io.BytesIO(data), LOCATION, Limits(graph_bytes=200))
