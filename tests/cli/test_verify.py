"""`kerf verify`: the halves are run, and compared with the whole."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.cli import faults
from tests.cli.running import RATES, kerf, kerf_process, rows
from tests.cli.test_cut import given, middle
from tests.halves.weighted_models import BY_NAME, WeightedModel
from tests.server import Server


@pytest.fixture
def model() -> WeightedModel:
    """A small model with its weights inside."""
    return BY_NAME["residual"]


def local_split(path: Path, model: WeightedModel, *options: str) -> Path:
    """An answer of `kerf split` in a file."""
    done = kerf("split", path, *given(model), *RATES, *options, "--include-nodes", "--json")
    answer = path.with_suffix(".json")
    answer.write_text(done.stdout)
    return answer


@pytest.mark.parametrize("name", ["residual", "split_in_three", "external_one_file", "qdq"])
def test_halves_of_a_stored_split_agree(server: Server, tmp_path: Path, name: str) -> None:
    """Of models with residual connections, several outputs, external data and quantised weights the
    halves agree with the whole, bit for bit where the optimisations are off; every output is in
    the table, and the status is 0."""
    model = BY_NAME[name]
    path = model.write(tmp_path)
    answer = middle(server, path, model)
    arguments = ("verify", path, "--split", answer["id"])
    done = kerf(*arguments, "--json", url=server.url)
    assert done.status == 0
    assert done.result["agree"] is True
    outputs = [value.name for value in onnx.load(path, load_external_data=False).graph.output]
    for run, optimised in zip(done.result["runs"], (False, True), strict=True):
        assert run["optimised"] is optimised
        assert [item["name"] for item in run["outputs"]] == outputs
        assert all(item["is_within_tolerance"] for item in run["outputs"])
        assert optimised or all(item["is_equal"] for item in run["outputs"])
    told = kerf(*arguments, url=server.url)
    assert told.status == 0
    assert "the halves do what the whole does" in told.stderr
    for table in told.stdout.split("ONNX Runtime's optimisations ")[1:]:
        assert [row[0] for row in rows(table)[1:]] == outputs


def test_halves_that_differ_are_told(tmp_path: Path, model: WeightedModel) -> None:
    """Halves in a directory are run as they are: one whose weights were changed differs, by how
    much is told, and the status is 1."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = local_split(path, model, "--keep-inputs")
    assert kerf("cut", path, "--split", answer, "-o", halves).status == 0
    arguments = ("verify", path, "--split", answer, "--halves", halves)
    assert kerf(*arguments, "--json").result["agree"] is True
    device = onnx.load(halves / "device.onnx")
    changed = next(each for each in device.graph.initializer if each.raw_data)
    values = onnx.numpy_helper.to_array(changed) * 1.5
    changed.CopyFrom(onnx.numpy_helper.from_array(values, changed.name))
    onnx.save(device, halves / "device.onnx")
    done = kerf(*arguments, "--json")
    assert done.status == faults.NO
    assert done.result["agree"] is False
    worst = max(item["largest_absolute"] for run in done.result["runs"] for item in run["outputs"])
    assert worst > 0.001
    told = kerf(*arguments)
    assert told.status == faults.NO
    assert "differs" in told.stdout
    assert told.stderr.endswith("the halves differ from the whole\n")


def test_halves_that_cannot_run_differ(tmp_path: Path, model: WeightedModel) -> None:
    """A half that is no model is a difference, with what is wrong; JSON has no infinity."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = local_split(path, model, "--keep-inputs")
    kerf("cut", path, "--split", answer, "-o", halves)
    (halves / "device.onnx").write_bytes(b"no model")
    done = kerf("verify", path, "--split", answer, "--halves", halves, "--json")
    assert done.status == faults.NO
    for run in done.result["runs"]:
        for item in run["outputs"]:
            assert item["largest_absolute"] is None
            assert "device half" in item["problem"]


def test_inputs_may_be_given(tmp_path: Path, model: WeightedModel) -> None:
    """Inputs come from a seed, the same for the same seed, or from a file by their names."""
    path = model.write(tmp_path)
    answer = local_split(path, model)
    arguments = ("verify", path, "--split", answer, "--json")
    assert kerf(*arguments, "--seed", "7").stdout == kerf(*arguments, "--seed", "7").stdout
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **model.inputs(path))
    assert kerf(*arguments, "--input", inputs).result["agree"] is True
    np.savez(inputs, other=np.zeros(3))
    done = kerf(*arguments, "--input", inputs)
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "cannot-run")
    assert "'other'" in done.problem["detail"]
    inputs.write_bytes(b"nothing")
    assert kerf(*arguments, "--input", inputs).problem["type"] == "cannot-run"


def test_another_file_is_refused(server: Server, tmp_path: Path, model: WeightedModel) -> None:
    """A file that is not the one that was split is refused, whether it would be cut or not."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = middle(server, path, model)
    kerf("cut", path, "--split", answer["id"], "-o", halves, url=server.url)
    other = BY_NAME["branching"].write(tmp_path)
    for more in ((), ("--halves", halves)):
        arguments = ("verify", other, "--split", answer["id"], *more, "--json")
        done = kerf(*arguments, url=server.url)
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "wrong-file")


def test_halves_that_are_not_there_are_told(tmp_path: Path, model: WeightedModel) -> None:
    """A directory without a half that the split has is named with that half."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = local_split(path, model, "--keep-inputs")
    assert json.loads(answer.read_text())["cut"]["device_nodes"]
    halves.mkdir()
    done = kerf("verify", path, "--split", answer, "--halves", halves, "--json")
    assert (done.status, done.problem["type"]) == (faults.MACHINE, "file-trouble")
    assert done.problem["detail"] == f"{halves / 'device.onnx'}: No such file or directory"


def test_weights_that_are_missing_are_told(tmp_path: Path) -> None:
    """A model whose external data are not there is not run, and they are named."""
    model = BY_NAME["external_one_file"]
    (tmp_path / "model").mkdir()
    path = model.write(tmp_path / "model")
    answer = local_split(path, model)
    for each in (tmp_path / "model").iterdir():
        if each.suffix not in (".onnx", ".json"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    done = kerf("verify", path, "--split", answer, "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "missing-external-data")


def test_nothing_is_left(tmp_path: Path, model: WeightedModel) -> None:
    """The halves that are made for the comparison are gone when it ends, however it ends."""
    path, temporary = model.write(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    answer = local_split(path, model)
    arguments = ("verify", path, "--split", answer)
    done = kerf_process(*arguments, TMPDIR=str(temporary))
    assert done.status == 0
    failed = kerf_process(*arguments, "--input", tmp_path, TMPDIR=str(temporary))
    assert failed.status == faults.MACHINE
    assert list(temporary.iterdir()) == []
