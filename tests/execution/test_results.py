"""What an execution tells: its terms, over the rounds, and whether the outputs are right."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.core.quantities import Delay
from app.execution import TERMS, Execution, Half, Plan, run_rounds
from app.execution.checking import check
from app.execution.messages import Runtime
from app.halves.division import Side
from tests.execution.sides import one_node

FEEDS = {"x": np.linspace(-1, 1, 8, dtype=np.float32)}


def execution(*totals_s: float) -> Execution:
    """Rounds that took so long, most of it on the device."""
    return Execution(
        rounds=tuple(Delay(total_s, total_s - 3, 1.0, 0.5, 0.5, 1.0, 0.0) for total_s in totals_s),
        warm_up_rounds=3,
        sent_bytes=100,
        received_bytes=8,
        device=Runtime(onnxruntime="1.2", threads=2, optimised=True),
        server=None,
        pings_s=(0.1,),
        interruptions=(),
        device_outputs={},
        server_outputs={},
        crossing_dtypes=frozenset(),
        smashed_dtype=None,
    )


def test_each_term_is_told_by_its_median_and_its_spread() -> None:
    """An outlier moves the ninetieth percentile, and leaves the median."""
    found = execution(*[10.0] * 5, 11.0, *[12.0] * 4, 99.0)
    assert found.delay.total_s == 11.0
    assert found.delay.device_compute_s == 8.0
    assert found.delay.server_compute_s == 1.0
    spread = found.spread("total_s")
    assert (spread.p10, spread.median, spread.p90) == (10.0, 11.0, 12.0)
    assert execution(*[10.0] * 3, 99.0).spread("total_s").p90 == pytest.approx(72.3)


def test_a_program_is_told_everything_but_the_outputs() -> None:
    """In JSON, by the names that the prediction has."""
    found = json.loads(json.dumps(execution(10.0, 12.0).as_json(), allow_nan=False))
    assert list(found["delay"]) == list(TERMS)
    assert found["delay"]["total_s"] == 11.0
    assert found["p10"]["total_s"] == pytest.approx(10.2)
    assert found["p90"]["device_compute_s"] == pytest.approx(8.8)
    assert [each["total_s"] for each in found["per_round"]] == [10.0, 12.0]
    assert (found["rounds"], found["warm_up_rounds"]) == (2, 3)
    assert (found["uplink_bytes"], found["result_bytes"]) == (100, 8)
    assert found["device"] == {"onnxruntime": "1.2", "threads": 2, "optimised": True}
    assert found["server"] is None


def test_outputs_that_are_not_the_model_s_are_found(tmp_path: Path) -> None:
    """A wrong number, an output of another type, and one that neither side makes."""
    path = one_node(tmp_path / "m.onnx", "Relu", "x", "y", 8)
    done = run_rounds(Half(path, Side.DEVICE), None, FEEDS, Plan(2, 1))
    assert [item.is_within_tolerance for item in check(path, FEEDS, done)] == [True]
    right = np.maximum(FEEDS["x"], 0)
    wrong = {
        "y": right + np.float32(1e-3),
        "z": right,
    }
    [item] = check(path, FEEDS, replace(done, device_outputs=wrong))
    assert not item.is_within_tolerance
    [item] = check(path, FEEDS, replace(done, device_outputs={"y": right.astype(np.float64)}))
    assert (item.half, item.problem) == ("device", "is float64 instead of float32")
    [item] = check(path, FEEDS, replace(done, device_outputs={}))
    assert (item.half, item.problem) == (None, "neither side makes it")


def test_precision_that_casts_lose_passes_and_an_overflow_does_not(tmp_path: Path) -> None:
    """Of what the server made of tensors that were cast; the device's outputs lose nothing."""
    path = one_node(tmp_path / "m.onnx", "Relu", "x", "y", 8)
    done = run_rounds(Half(path, Side.DEVICE), None, FEEDS, Plan(1, 0))
    off = {"y": np.maximum(FEEDS["x"], 0) + np.float32(0.1)}
    cast = replace(done, smashed_dtype="int8", device_outputs={}, server_outputs=off)
    [item] = check(path, FEEDS, cast)
    assert (item.is_within_tolerance, item.is_equal) == (True, False)
    [item] = check(path, FEEDS, replace(cast, smashed_dtype=None))
    assert not item.is_within_tolerance
    [item] = check(path, FEEDS, replace(cast, device_outputs=off, server_outputs={}))
    assert not item.is_within_tolerance
    infinite = {"y": np.full(8, np.inf, np.float32)}
    [item] = check(path, FEEDS, replace(cast, server_outputs=infinite))
    assert item.problem == "8 of its numbers are NaN or infinite, and finite in the model"


@pytest.mark.parametrize(("rounds", "warm_up_rounds"), [(0, 1), (-1, 0), (1, -1)])
def test_there_is_at_least_one_round(rounds: int, warm_up_rounds: int) -> None:
    """A plan without rounds measures nothing."""
    with pytest.raises(ValueError, match="at least one round"):
        Plan(rounds, warm_up_rounds)


def test_rounds_are_counted_as_they_are_measured(tmp_path: Path) -> None:
    """Those to warm up are not."""
    half = Half(one_node(tmp_path / "m.onnx", "Relu", "x", "y", 8), Side.DEVICE)
    counted: list[tuple[int, int]] = []
    run_rounds(half, None, FEEDS, Plan(3, 2), on_round=lambda *each: counted.append(each))
    assert counted == [(1, 3), (2, 3), (3, 3)]
