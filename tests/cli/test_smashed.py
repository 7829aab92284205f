"""`kerf cut` and `kerf verify` with smashed data in another type."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from app.cli import faults
from tests.cli.running import RATES, kerf, rows
from tests.cli.test_verify import local_split
from tests.halves.weighted_models import BY_NAME, WeightedModel
from tests.ingest.build import model as built
from tests.ingest.build import node, value

PARTS = {"float16": [".float16"], "int8": [".int8", ".scale", ".zero_point"]}


@pytest.fixture
def model() -> WeightedModel:
    """A small model with its weights inside."""
    return BY_NAME["residual"]


@pytest.mark.parametrize("dtype", PARTS)
def test_halves_are_cut_and_verified_with_casts(
    tmp_path: Path, model: WeightedModel, dtype: str
) -> None:
    """The halves take and give the cut tensors in the other type; verify runs them, or such as it
    cuts itself, tells what is lost, and the status is 0."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = local_split(path, model, "--keep-inputs")
    cut_tensors = [each["name"] for each in json.loads(answer.read_text())["cut"]["cut_tensors"]]
    smashed = ("--smashed-dtype", dtype)
    done = kerf("cut", path, "--split", answer, "-o", halves, *smashed, "--json")
    crossing = [name + part for name in cut_tensors for part in PARTS[dtype]]
    assert done.result["device"]["outputs"] == done.result["server"]["inputs"] == crossing
    for more in ((), ("--halves", halves)):
        arguments = ("verify", path, "--split", answer, *smashed, *more)
        found = kerf(*arguments, "--json")
        assert found.status == 0
        assert found.result["agree"] is True
        assert found.result["smashed_dtype"] == dtype
        for run in found.result["runs"]:
            (output,) = run["outputs"]
            assert (output["tolerance"], output["is_equal"]) == (None, False)
            assert 0 < output["largest_relative"] < 0.05
        told = kerf(*arguments)
        assert told.status == 0
        assert told.stderr == f"the halves do what the whole does, but for what {dtype} loses\n"
        for table in told.stdout.split("ONNX Runtime's optimisations ")[1:]:
            _, output = rows(table)
            assert output[5:] == ["any", "loss of precision"]


def test_halves_have_to_be_cut_with_the_type_that_is_asked_for(
    tmp_path: Path, model: WeightedModel
) -> None:
    """Halves with casts that were not asked for, or to another type, are not run: it is told which
    they have. Halves without any have to agree as ever."""
    path, halves, plain = model.write(tmp_path), tmp_path / "halves", tmp_path / "plain"
    answer = local_split(path, model, "--keep-inputs")
    kerf("cut", path, "--split", answer, "-o", halves, "--smashed-dtype", "int8")
    kerf("cut", path, "--split", answer, "-o", plain)
    arguments = ("verify", path, "--split", answer, "--json")
    for more in ((), ("--smashed-dtype", "float16")):
        done = kerf(*arguments, "--halves", halves, *more)
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "other-smashed-dtype")
        assert "verify it with --smashed-dtype int8" in done.problem["detail"]
    done = kerf(*arguments, "--halves", plain, "--smashed-dtype", "float16")
    for item in done.result["runs"][0]["outputs"]:
        assert (item["tolerance"], item["is_equal"]) == (0.0, True)


def test_nothing_on_the_device_but_casts(tmp_path: Path, model: WeightedModel) -> None:
    """Where everything runs on the server, the device half has the casts of the graph inputs, and
    it is run from a directory as well."""
    path, halves = model.write(tmp_path), tmp_path / "halves"
    answer = local_split(path, model, "--device", "1")
    assert json.loads(answer.read_text())["cut"]["device_nodes"] == 0
    smashed = ("--smashed-dtype", "float16")
    done = kerf("cut", path, "--split", answer, "-o", halves, *smashed, "--json")
    assert done.result["device"]["outputs"] == ["x.float16"]
    assert done.stderr == ""
    found = kerf("verify", path, "--split", answer, "--halves", halves, *smashed, "--json")
    assert found.status == 0
    (halves / "device.onnx").unlink()
    missing = kerf("verify", path, "--split", answer, "--halves", halves, *smashed, "--json")
    assert (missing.status, missing.problem["type"]) == (faults.MACHINE, "file-trouble")


def narrow(**versions: Any) -> onnx.ModelProto:
    """Numbers that grow on the device and shrink on the server."""
    big, small = (
        TensorProto(name=name, data_type=TensorProto.FLOAT, float_data=[number])
        for name, number in (("big", 1e6), ("small", 1e-6))
    )
    return built(
        [node("Mul", "x big", "h", name="a"), node("Mul", "h small", "y", name="b")],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
        [big, small],
        **versions,
    )


def pinned(path: Path) -> Path:
    """The split of ``narrow`` between its nodes, in a file."""
    done = kerf(
        "split", path, *RATES, "--pin-device", "a", "--pin-server", "b", "--include-nodes", "--json"
    )
    answer = path.with_suffix(".json")
    answer.write_text(done.stdout)
    return answer


def test_numbers_that_the_type_does_not_hold_fail(tmp_path: Path) -> None:
    """Outputs that are not finite, where the model's are, are a failure that is told, status 1."""
    path = tmp_path / "narrow.onnx"
    onnx.save(narrow(), path)
    answer = pinned(path)
    done = kerf("verify", path, "--split", answer, "--smashed-dtype", "float16", "--json")
    assert done.status == faults.NO
    assert done.result["agree"] is False
    for run in done.result["runs"]:
        assert "NaN or infinite" in run["outputs"][0]["problem"]
        assert run["outputs"][0]["largest_absolute"] is None
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, x=np.full((2, 24), 1e-3, np.float32))
    smaller = ("--smashed-dtype", "float16", "--input", inputs)
    assert kerf("verify", path, "--split", answer, *smaller).status == 0


def test_what_cannot_be_cast_is_told(tmp_path: Path) -> None:
    """An operator set without the cast, halves of the service, and an unknown type: the command is
    not right, it is told why, and nothing is written."""
    path, halves = tmp_path / "old.onnx", tmp_path / "halves"
    onnx.save(narrow(opset=9), path)
    cut = ("cut", "--split", pinned(path), "-o", halves, "--json")
    refused = kerf(*cut, path, "--smashed-dtype", "int8")
    assert (refused.status, refused.problem["type"]) == (faults.BAD_INPUT, "unsupported")
    assert "operator set 9" in refused.problem["detail"]
    download = kerf(*cut, "--download", "--smashed-dtype", "int8")
    assert (download.status, download.problem["type"]) == (faults.BAD_INPUT, "usage")
    assert "the halves that a service makes have no casts" in download.problem["detail"]
    unknown = kerf(*cut, path, "--smashed-dtype", "float8")
    assert (unknown.status, unknown.problem["type"]) == (faults.BAD_INPUT, "usage")
    assert "float16" in unknown.problem["detail"]
    assert not halves.exists()
