"""What a model is fed with: seeded values and those of a file."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from app.errors import BadBindingError, CannotRunError, NotOnnxError, UnboundDimensionError
from app.halves.feeds import load_feeds, seeded_feeds
from tests.ingest.build import BOOL, INT64, floats, model, node, value


def saved(directory: Path, proto: ModelProto) -> Path:
    """A model's file."""
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def of_inputs(*inputs: Any, weights: Any = (), nodes: Any = None) -> ModelProto:
    """A model that has these inputs."""
    return model(nodes or [node("Relu", "w", "y")], inputs, [value("y", [4])], weights)


ALL_KINDS = [
    value("floats", [50]),
    value("halves", [50], TensorProto.FLOAT16),
    value("brain", [50], TensorProto.BFLOAT16),
    value("doubles", [50], TensorProto.DOUBLE),
    value("ids", [50], INT64),
    value("short_ids", [50], TensorProto.INT32),
    value("bytes", [500], TensorProto.UINT8),
    value("codes", [500], TensorProto.INT8),
    value("large", [50], TensorProto.UINT64),
    value("flags", [50], BOOL),
    value("words", [5, 3], TensorProto.STRING),
    value("scalar", []),
]


def test_values_are_of_the_type_and_shape_that_an_input_states(tmp_path: Path) -> None:
    """Every input gets an array of its own element type and shape; none is constant."""
    feeds = seeded_feeds(saved(tmp_path, of_inputs(*ALL_KINDS)), {}, 1)
    assert list(feeds) == [item.name for item in ALL_KINDS]
    for item in ALL_KINDS:
        kind = item.type.tensor_type
        assert feeds[item.name].dtype == helper.tensor_dtype_to_np_dtype(kind.elem_type)
        assert feeds[item.name].shape == tuple(dim.dim_value for dim in kind.shape.dim)
        if item.name != "scalar":
            assert len(set(feeds[item.name].reshape(-1).tolist())) > 1
    assert {str(number) for number in feeds["ids"]} == {"0", "1"}
    assert {int(number) for number in feeds["short_ids"]} == {0, 1}
    assert {int(number) for number in feeds["large"]} == {0, 1}
    assert int(feeds["bytes"].max()) > 250
    assert int(feeds["codes"].min()) < -120
    assert -5 < float(feeds["floats"].min()) < 0 < float(feeds["floats"].max()) < 5
    assert all(word.isalpha() for word in feeds["words"].reshape(-1))


def test_the_seed_decides_the_values(tmp_path: Path) -> None:
    """The same seed gives the same values, another seed others."""
    path = saved(tmp_path, of_inputs(*ALL_KINDS))
    first, again, other = (seeded_feeds(path, {}, seed) for seed in (1, 1, 2))
    for name, array in first.items():
        assert array.tobytes() == again[name].tobytes() or array.dtype == object
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, other[name])


def test_dimensions_are_bound_as_an_upload_binds_them(tmp_path: Path) -> None:
    """By symbol, by place, and the batch to 1 where nothing is said."""
    inputs = [value("x", ["batch", "length"]), value("z", [None, 3, None])]
    path = saved(tmp_path, of_inputs(*inputs))
    feeds = seeded_feeds(path, {"x:1": 7, "z:2": 5}, 1)
    assert [array.shape for array in feeds.values()] == [(1, 7), (1, 3, 5)]
    feeds = seeded_feeds(path, {"length": 7, "z:2": 5, "batch": 2, "z:0": 4}, 1)
    assert [array.shape for array in feeds.values()] == [(2, 7), (4, 3, 5)]
    with pytest.raises(UnboundDimensionError, match="'length' is axis 1 of 'x'"):
        seeded_feeds(path, {"z:2": 5}, 1)
    with pytest.raises(BadBindingError, match="no such symbolic dimension"):
        seeded_feeds(path, {"length": 7, "z:2": 5, "width": 1}, 1)


def test_indices_into_weights_go_up_to_their_end(tmp_path: Path) -> None:
    """Token ids cover the table that they pick from; of two tables, and by way of a Cast, the
    shorter one counts."""
    proto = of_inputs(
        value("ids", [2000], INT64),
        value("segments", [2000], INT64),
        value("columns", [200], INT64),
        weights=[floats("words", 40, 2), floats("kinds", 1, 2), floats("short", 9, 30)],
        nodes=[
            node("Gather", "words ids", "a"),
            node("Cast", "ids", "narrow", to=TensorProto.INT32),
            node("Gather", "short narrow", "b"),
            node("Gather", "kinds segments", "c"),
            node("Gather", "short columns", "y", axis=-1),
        ],
    )
    feeds = seeded_feeds(saved(tmp_path, proto), {}, 1)
    assert set(feeds["ids"].tolist()) == set(range(9))
    assert set(feeds["segments"].tolist()) == {0}
    assert 20 < feeds["columns"].max() < 30


def test_inputs_with_a_default_are_left_to_it(tmp_path: Path) -> None:
    """A weight that stands among the inputs is none that has to be fed."""
    proto = of_inputs(value("w", [4]), value("x"), weights=[floats("w", 4)])
    assert list(seeded_feeds(saved(tmp_path, proto), {}, 1)) == ["x"]


def test_inputs_that_cannot_be_made_up_are_refused(tmp_path: Path) -> None:
    """A sequence, or a tensor whose rank nobody states, asks for values of the user's own."""
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2]))
    path = saved(tmp_path, of_inputs(helper.make_value_info("parts", sequence)))
    with pytest.raises(CannotRunError, match=r"'parts' is a sequence\(float32\); give the inputs"):
        seeded_feeds(path, {}, 1)
    path = saved(tmp_path, of_inputs(value("x", None)))
    with pytest.raises(CannotRunError, match="'x' has no rank in the file; give the inputs"):
        seeded_feeds(path, {}, 1)
    path.write_bytes(b"\xff\xffnone")
    with pytest.raises(NotOnnxError):
        seeded_feeds(path, {}, 1)


def test_arrays_of_a_file_come_back_by_name(tmp_path: Path) -> None:
    """What numpy saved is what the model is fed, text included."""
    arrays = {"x": np.ones((2, 3), np.float32), "words": np.array(["a", "bc"]), "n": np.array(3)}
    np.savez(tmp_path / "inputs.npz", **arrays)  # type: ignore[arg-type]
    loaded = load_feeds(tmp_path / "inputs.npz")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_a_type_that_numpy_does_not_know_comes_back_by_its_bits(tmp_path: Path) -> None:
    """bfloat16 is in such a file without its name."""
    array = np.array([1, -2.5], dtype=ml_dtypes.bfloat16)
    np.savez(tmp_path / "inputs.npz", x=array)
    assert load_feeds(tmp_path / "inputs.npz")["x"].tobytes() == array.tobytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text", b"\x93NUMPY"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that holds no arrays is told from one that is not there."""
    path = tmp_path / "inputs.npz"
    path.write_bytes(content)
    with pytest.raises(CannotRunError, match=r"inputs\.npz is no \.npz file of arrays"):
        load_feeds(path)
    with pytest.raises(FileNotFoundError):
        load_feeds(tmp_path / "none.npz")


def test_arrays_of_objects_and_lone_arrays_are_refused(tmp_path: Path) -> None:
    """Nothing is unpickled, and an array needs a name."""
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(CannotRunError, match=r"is no \.npz file of arrays"):
        load_feeds(tmp_path / "objects.npz")
    np.save(tmp_path / "lone.npy", np.ones(3))
    with pytest.raises(CannotRunError, match="holds one array without a name"):
        load_feeds(tmp_path / "lone.npy")
