"""Weights made up where a file lacks them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from app.calibration import with_made_up_weights
from app.calibration.made_up import made_up_data
from app.errors import CannotRunError, MissingDataError, WrongFileError
from app.halves import Division, cut_file
from app.halves.feeds import seeded_feeds
from app.halves.verification import run_whole, verify
from app.ingest import IngestOptions, ingest_file
from tests.calibration.stripped import write_stripped
from tests.fixture_models import BY_NAME
from tests.halves.weighted_models import BY_NAME as WEIGHTED
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.ingest.build import FLOAT, external, floats, model, node, value

UNMADE = ("data_in_branches", "text")
"""Places of sparse numbers, and words, are not made up."""
MADE = [small for small in MODELS if small.name not in UNMADE]


def made_up(data_type: int, *shape: int) -> NDArray[Any]:
    """The numbers that a tensor gets."""
    tensor = TensorProto(name="w", data_type=data_type, dims=shape)
    tensor.raw_data = b"".join(made_up_data(tensor))
    return np.asarray(numpy_helper.to_array(tensor))


def adding(*weights: TensorProto) -> ModelProto:
    """A model that adds so many weights of four numbers to its input."""
    names = ["x", *(f"h{place}" for place in range(len(weights)))]
    nodes = [
        node("Add", f"{names[place]} {weight.name}", names[place + 1])
        for place, weight in enumerate(weights)
    ]
    return model(nodes, [value("x")], [value(names[-1])], weights)


def saved(directory: Path, proto: ModelProto) -> Path:
    """A model's file."""
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("small", MADE, ids=str)
def test_a_stripped_model_runs_on_made_up_weights(small: WeightedModel, tmp_path: Path) -> None:
    """Wherever its weights lay, and of whatever type: with others made up in their place it is
    the same model, and gives outputs of the same types and shapes."""
    path = write_stripped(small, tmp_path)
    made = with_made_up_weights(path, tmp_path / "made")
    feeds = small.inputs(tmp_path / path.name)
    right = run_whole(tmp_path / path.name, feeds, optimised=False).outputs
    found = run_whole(made, feeds, optimised=False).outputs
    assert right.keys() == found.keys()
    for name, output in right.items():
        assert type(found[name]) is type(output)
        if isinstance(output, np.ndarray):
            assert (found[name].dtype, found[name].shape) == (output.dtype, output.shape)
    assert digest(made, small) == digest(tmp_path / path.name, small)


def digest(path: Path, small: WeightedModel) -> str:
    """What makes a file the same model."""
    with path.open("rb") as file:
        return ingest_file(file, small.options).facts.graph_sha256


@pytest.mark.parametrize("name", ["mobilenet_v2", "torchscript/bert_tiny"])
def test_made_up_weights_are_ordinary_numbers(name: str, tmp_path: Path) -> None:
    """A fixture without weights gives finite outputs of an ordinary size, not all alike."""
    fixture = BY_NAME[name]
    made = with_made_up_weights(fixture.path, tmp_path)
    feeds = seeded_feeds(made, dict(fixture.dims), 1)
    for output in run_whole(made, feeds, optimised=True).outputs.values():
        assert np.isfinite(output).all()
        assert 1e-6 < float(np.abs(output).max()) < 1e6
        assert float(output.std()) > 0.0


def test_a_complete_model_is_left_alone(tmp_path: Path) -> None:
    """A model that lacks nothing is its own file, be its weights inside or beside it."""
    inside = WEIGHTED["residual"].write(tmp_path)
    (tmp_path / "w.bin").write_bytes(np.ones(4, np.float32).tobytes())
    beside = saved(tmp_path, adding(external("w", "w.bin")))
    for path in (inside, beside):
        assert with_made_up_weights(path, tmp_path / "made") == path
    assert not (tmp_path / "made").exists()


def test_what_a_file_has_is_kept(tmp_path: Path) -> None:
    """Only what is missing is made up: weights in the file, large and small, and in a file that is
    there stay what they are."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "there.bin").write_bytes(np.full(4, 2.0, np.float32).tobytes())
    large = numpy_helper.from_array(np.full((1000, 4), 3.0, np.float32), "large")
    kept = (floats("small", 4), large, external("there", "there.bin"))
    path = saved(source, adding(*kept, external("gone", "gone.bin")))
    made = with_made_up_weights(path, tmp_path / "made")
    assert sorted(item.name for item in made.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
    ]
    found = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(made).graph.initializer
    }
    assert (found["small"] == 1.0).all()
    assert (found["there"] == 2.0).all()
    assert (found["large"] == 3.0).all()
    assert (found["gone"] == made_up(FLOAT, 4)).all()


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    """Whoever waits learns how much of the file is written, up to all of it."""
    told: list[tuple[int, int]] = []
    path = BY_NAME["mobilenet_v2"].path
    made = with_made_up_weights(path, tmp_path, lambda *done: told.append(done))
    written = sum(item.stat().st_size for item in made.parent.iterdir())
    assert told[0] == (0, written)
    assert told[-1] == (written, written)
    assert told == sorted(told)


@pytest.mark.parametrize("name", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"])
def test_numbers_are_neither_tiny_nor_all_of_one_sign(name: str) -> None:
    """What may be a variance or a scale is positive; what may be a matrix has both signs, and keeps
    what it is multiplied with as large as it was. Nothing is near 0."""
    code = TensorProto.DataType.Value(name)
    for shape in ((50_000,), (1, 50_000, 1, 1), ()):
        vector = made_up(code, *shape).astype(np.float64)
        assert vector.shape == shape
        assert (vector >= 0.5).all()
        assert (vector <= 1.5).all()
    matrix = made_up(code, 300, 1000).astype(np.float64)
    assert np.abs(matrix).min() > 0.02
    assert abs(matrix.mean()) < 0.001
    assert 0.5 < np.linalg.norm(matrix, axis=0).mean() < 2.0


@pytest.mark.parametrize("name", ["INT64", "INT32", "UINT16", "INT8", "UINT8"])
def test_whole_numbers_that_may_be_indices_are_0(name: str) -> None:
    """0 is along every axis, and is the zero point that every operator takes; matrices of codes
    have all values."""
    code = TensorProto.DataType.Value(name)
    assert not made_up(code, 500).any()
    matrix = made_up(code, 200, 200)
    assert len(np.unique(matrix)) == (256 if matrix.dtype.itemsize == 1 else 1)


@pytest.mark.parametrize("name", ["INT4", "UINT4", "FLOAT4E2M1", "FLOAT8E4M3FN", "BOOL"])
def test_narrow_types_are_made_up_in_full(name: str) -> None:
    """Types with several numbers to a byte get as many bytes as they take."""
    assert made_up(TensorProto.DataType.Value(name), 33, 17).shape == (33, 17)


def test_halves_of_a_model_with_made_up_weights_do_what_it_does(tmp_path: Path) -> None:
    """It is cut as any model is."""
    path = with_made_up_weights(BY_NAME["mobilenet_v2"].path, tmp_path)
    options = IngestOptions()
    with path.open("rb") as file:
        names = ingest_file(file, options).dag.node_names
    division = Division(names[:40], names[40:])
    halves = cut_file(path, options, division, tmp_path / "halves")
    assert halves.device is not None
    assert halves.server is not None
    feeds = seeded_feeds(path, {}, 3)
    found = verify(path, halves.device.path, halves.server.path, feeds, optimised=True)
    assert [item.is_within_tolerance for item in found] == [True]


def test_a_model_is_not_written_over_itself(tmp_path: Path) -> None:
    """The directory of the model is no place for the one with made-up weights."""
    path = saved(tmp_path, adding(external("w", "gone.bin")))
    before = path.read_bytes()
    with pytest.raises(WrongFileError, match="another directory"):
        with_made_up_weights(path, tmp_path)
    assert path.read_bytes() == before


def test_weights_beyond_memory_are_refused(tmp_path: Path) -> None:
    """Nothing is written where the weights would not fit this machine, and the message says how
    large they are."""
    path = saved(tmp_path, adding(external("w", "gone.bin", (2**21, 2**21))))
    with pytest.raises(CannotRunError, match=r"take 17592\.2 GB, and this machine has"):
        with_made_up_weights(path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_words_are_not_made_up(tmp_path: Path) -> None:
    """Strings that were stripped are named."""
    path = write_stripped(WEIGHTED["text"], tmp_path)
    with pytest.raises(CannotRunError, match=r"'table'.*strings are not made up"):
        with_made_up_weights(path, tmp_path / "made")


def test_data_that_end_too_early_are_not_made_up(tmp_path: Path) -> None:
    """A file that is there, but too short, is an error of whoever copied it."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "short.bin").write_bytes(bytes(15))
    weights = external("w", "short.bin"), external("gone", "gone.bin")
    path = saved(source, adding(*weights))
    with pytest.raises(MissingDataError, match=r"short\.bin ends at byte 15"):
        with_made_up_weights(path, tmp_path / "made")
