"""Calibration of models as people have them."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from app.calibration import Calibration, calibrate, describe_machine
from app.errors import CannotRunError, NotOnnxError, UnboundDimensionError
from app.ingest import IngestOptions, ingest_file
from tests.calibration.stripped import write_stripped
from tests.fixture_models import BY_NAME, QUIRKY_FIXTURES, Fixture
from tests.halves.weighted_models import BY_NAME as WEIGHTED
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.halves.weighted_models.weighted import weight
from tests.ingest.build import floats, model, node, value

SECONDS = 0.2
"""Of runs: enough to see that seconds are shared out, not what they are."""
LARGE = (
    *("light_squeezenet", "light_densenet121", "resnet50", "mobilenet_v2", "efficientnet_b0"),
    *("torchscript/resnet18", "torchscript/bert_tiny", "bert_base"),
)
UNFED = "sklearn/columns"
"""It takes one of three words, and refuses any other."""
EMPTY = "nothing_to_split"
FIXTURES = [
    *(BY_NAME[name] for name in LARGE),
    *(fixture for fixture in QUIRKY_FIXTURES if fixture.name != UNFED),
]


def options_of(fixture: Fixture) -> IngestOptions:
    """What the upload of a fixture states."""
    return IngestOptions(dict(fixture.dims), None, fixture.parameters)


def calibrated(path: Path, options: IngestOptions | None = None) -> Calibration:
    """A short calibration."""
    return calibrate(path, options, threads=1, seconds=SECONDS)


def saved(directory: Path, proto: ModelProto) -> Path:
    """A model's file."""
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def require_whole(found: Calibration, path: Path, options: IngestOptions) -> None:
    """Assert that a calibration accounts for all of a model."""
    with path.open("rb") as file:
        dag = ingest_file(file, options).dag
    assert tuple(node.name for node in found.nodes) == dag.node_names
    assert tuple(node.op_type for node in found.nodes) == dag.node_op_types
    assert found.flops == dag.total_flops
    assert found.model_batch == dag.model_batch
    seconds = [node.seconds for node in found.nodes]
    assert all(math.isfinite(each) and each >= 0.0 for each in seconds)
    assert sum(seconds) == pytest.approx(found.whole_s, rel=0.05)
    assert found.run_overhead_s >= 0.0
    assert found.spread >= 0.0
    assert found.runs >= 3
    assert found.profiled_runs >= 3
    assert found.agreement > 0.0


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_node_seconds_sum_to_the_whole(fixture: Fixture) -> None:
    """Every node of the DAG has its seconds, none of them negative, and they sum to the measured
    whole within 5 %: with fused groups, folded nodes, bodies, quantisation and words alike."""
    found = calibrated(fixture.path, options_of(fixture))
    require_whole(found, fixture.path, options_of(fixture))
    assert found.has_made_up_weights == (fixture.name in LARGE and "light" not in fixture.name)


def test_stripped_models_are_calibrated_as_whole_ones_are(tmp_path: Path) -> None:
    """Weights that were stripped are made up, and those that are there are not."""
    small = WEIGHTED["residual"]
    path = write_stripped(small, tmp_path)
    for each, is_made_up in ((path, True), (tmp_path / path.name, False)):
        found = calibrated(each, small.options)
        require_whole(found, each, small.options)
        assert found.has_made_up_weights == is_made_up


@pytest.mark.parametrize("small", [each for each in MODELS if each.name != EMPTY], ids=str)
def test_models_of_every_kind_are_calibrated(small: WeightedModel, tmp_path: Path) -> None:
    """Wherever weights lie, whatever names are, in any element type, with functions, bodies,
    sequences and numbers drawn at random: every node has its seconds."""
    path = small.write(tmp_path)
    feeds = small.inputs(path)
    found = calibrate(path, small.options, threads=1, seconds=SECONDS / 10, feeds=feeds)
    require_whole(found, path, small.options)
    assert not found.has_made_up_weights


def test_a_heavy_node_gets_the_most(tmp_path: Path) -> None:
    """A product of a thousand times the work of all else gets most of the time, with an activation
    fused into it or not, and its operator comes first."""
    proto = model(
        [
            node("Gemm", "x small", "a", name="light"),
            node("Relu", "a", "b", name="first"),
            node("Gemm", "b wide", "c", name="heavy"),
            node("Relu", "c", "d", name="second"),
            node("MatMul", "d narrow", "y", name="last"),
        ],
        [value("x", [64, 8])],
        [value("y", [64, 4])],
        [weight("small", 8, 1024), weight("wide", 1024, 2048), weight("narrow", 2048, 4)],
    )
    found = calibrated(saved(tmp_path, proto))
    assert [node.name for node in found.slowest(1)] == ["heavy"]
    assert found.slowest(1)[0].seconds > found.whole_s / 2
    operators = found.by_op_type()
    assert operators[0].op_type == "Gemm"
    assert {item.op_type: item.nodes for item in operators} == {"Gemm": 2, "Relu": 2, "MatMul": 1}
    assert sum(item.seconds for item in operators) == pytest.approx(found.whole_s)
    assert sum(item.flops for item in operators) == found.flops


def test_a_profile_has_what_a_service_asks_for(tmp_path: Path) -> None:
    """The entry of a profile names the model, and gives each node's seconds by its name."""
    proto = model(
        [node("MatMul", "x w", "h", name="one"), node("Tanh", "h", "y")],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        [floats("w", 4, 4)],
    )
    found = calibrated(saved(tmp_path, proto))
    profile = found.as_profile_model("m1")
    assert profile == {
        "model_id": "m1",
        "flops_per_s": found.flops / found.whole_s,
        "whole_s": found.whole_s,
        "spread": found.spread,
        "runs": found.runs,
        "run_overhead_s": found.run_overhead_s,
        "node_seconds": {node.name: node.seconds for node in found.nodes},
    }
    assert list(profile["node_seconds"]) == ["one", "Tanh_1"]


def test_progress_is_told_in_seconds(tmp_path: Path) -> None:
    """Whoever waits learns what is done of how much, to the end."""
    proto = model([node("Tanh", "x", "y")], [value("x", [4])], [value("y", [4])])
    told: list[tuple[float, float]] = []
    calibrate(
        saved(tmp_path, proto),
        threads=1,
        seconds=SECONDS,
        on_progress=lambda *done: told.append(done),
    )
    assert len(told) > 6
    assert told == sorted(told)
    assert all(done <= total for done, total in told)
    assert told[0][1] == SECONDS


def test_inputs_may_be_given() -> None:
    """A model that takes certain words only is calibrated on these, and refuses others in its own
    names."""
    fixture = next(item for item in QUIRKY_FIXTURES if item.name == UNFED)
    options = options_of(fixture)
    with pytest.raises(CannotRunError, match="OneHotEncoder"):
        calibrated(fixture.path, options)
    words = np.array([["red"], ["blue"]], dtype=object)
    feeds = {"colour": words, "size": words, "numbers": np.ones((2, 2), np.float32)}
    found = calibrate(fixture.path, options, threads=1, seconds=SECONDS, feeds=feeds)
    require_whole(found, fixture.path, options)


def test_threads_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """A calibration says with how many threads it ran, and on which machine."""
    proto = model([node("Tanh", "x", "y")], [value("x", [4])], [value("y", [4])])
    found = calibrate(saved(tmp_path, proto), threads=2, seconds=SECONDS)
    assert found.threads == 2
    assert found.machine == describe_machine()


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({}, "no values are given for the model's inputs 'x'"),
        ({"x": np.ones(4, np.float32), "z": np.ones(1)}, "for 'z', which the model has no input"),
        ({"x": np.ones(3, np.float32)}, "(?s)cannot run the model.*x"),
        ({"x": np.ones(4, np.float64)}, "(?s)cannot run the model.*x"),
        ({"x": ["word"]}, "cannot"),
    ],
    ids=str,
)
def test_wrong_inputs_are_told(feeds: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    """Inputs that are missing, of no input of the model, or of the wrong shape or type."""
    path = saved(tmp_path, model([node("Tanh", "x", "y")], [value("x", [4])], [value("y", [4])]))
    with pytest.raises(CannotRunError, match=complaint):
        calibrate(path, threads=1, seconds=SECONDS, feeds=feeds)


def test_a_model_that_cannot_be_loaded_is_told_in_its_own_names(tmp_path: Path) -> None:
    """An operator that ONNX Runtime does not know is named with its node."""
    made = node("Strange", "x", "y", name="odd one")
    made.domain = "nowhere"
    proto = model([made], [value("x")], [value("y")], domains={"nowhere": 1})
    with pytest.raises(CannotRunError, match=r"cannot load the model.*Strange"):
        calibrated(saved(tmp_path, proto))


def test_a_model_that_fails_is_told_in_its_own_names(tmp_path: Path) -> None:
    """A node that fails when it runs is named as the file has it."""
    proto = model(
        [node("Gather", "w x", "y", name="far away")],
        [value("x", [1], TensorProto.INT64)],
        [value("y", [1, 4])],
        [floats("w", 2, 4)],
    )
    feeds = {"x": np.array([7])}
    with pytest.raises(CannotRunError, match=r"cannot run the model.*'far away'"):
        calibrate(saved(tmp_path, proto), threads=1, seconds=SECONDS, feeds=feeds)


def test_a_model_in_which_nothing_runs_is_refused(tmp_path: Path) -> None:
    """Where no node depends on an input, there is nothing to time."""
    path = WEIGHTED[EMPTY].write(tmp_path)
    with pytest.raises(CannotRunError, match="nothing to time"):
        calibrated(path, WEIGHTED[EMPTY].options)


def test_what_ingest_refuses_is_refused(tmp_path: Path) -> None:
    """What is no model, and dimensions without a value, are told as they are at an upload."""
    (tmp_path / "noise").write_bytes(b"no model")
    with pytest.raises(NotOnnxError):
        calibrated(tmp_path / "noise")
    with pytest.raises(UnboundDimensionError, match="sequence"):
        calibrated(BY_NAME["torchscript/bert_tiny"].path)
    with pytest.raises(FileNotFoundError):
        calibrated(tmp_path / "nothing.onnx")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a calibration writes meanwhile, made-up weights and profiles, goes with it, be it done
    or broken off."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    calibrated(BY_NAME["mobilenet_v2"].path)
    assert list((tmp_path / "temporary").iterdir()) == []

    def stop(_done: float, _total: float) -> None:
        assert list((tmp_path / "temporary").iterdir()) != []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(BY_NAME["mobilenet_v2"].path, threads=1, seconds=SECONDS, on_progress=stop)
    assert list((tmp_path / "temporary").iterdir()) == []
