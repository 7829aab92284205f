"""What the profiler of ONNX Runtime writes, read."""

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import NodeProto

from app.calibration.trace import Kernel, Run, Timing, read_runs, timings_of
from app.errors import CannotRunError
from tests.ingest.build import graph, node, value

LOOP = node("Loop", "count -", "y", body=graph([], [], [value("y")]))


def event(name: str, begun: int, microseconds: int, op_type: str | None = None) -> str:
    """A line of a profile; of a kernel where it has an ``op_type``."""
    content: dict[str, Any] = {
        "cat": "Session" if op_type is None else "Node",
        "dur": microseconds,
        "ts": begun,
        "ph": "X",
        "name": name if op_type is None else f"{name}_kernel_time",
        "args": {} if op_type is None else {"op_name": op_type},
    }
    return json.dumps(content)


def saved(directory: Path, *lines: str) -> Path:
    """A profile of these events."""
    path = directory / "profile.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return path


def run_of(*kernels: tuple[str, int, int]) -> Run:
    """A run of kernels: operator, begin and length in microseconds."""
    return Run(1.0, tuple(Kernel("", name, at / 1e6, took / 1e6) for name, at, took in kernels))


def nodes(*op_types: str) -> list[NodeProto]:
    """Nodes of these operators; Loop has a body."""
    return [LOOP if name == "Loop" else node(name, "x", "y") for name in op_types]


def test_kernels_are_told_by_run(tmp_path: Path) -> None:
    """Each run has its own kernels and seconds; loading the model is no part of any."""
    path = saved(
        tmp_path,
        event("model_loading_array", 0, 900),
        event("<0>", 1000, 7, "Relu"),
        event("SequentialExecutor::Execute", 990, 20),
        event("model_run", 980, 40),
        event("<0>", 2000, 5, "Relu"),
        event("model_run", 1990, 30),
    )
    first, second = read_runs(path)
    assert (first.seconds, second.seconds) == (40e-6, 30e-6)
    assert first.kernels == (Kernel("<0>", "Relu", 1000e-6, 7e-6),)
    assert second.kernels == (Kernel("<0>", "Relu", 2000e-6, 5e-6),)


def test_a_run_that_is_cut_off_is_none(tmp_path: Path) -> None:
    """The profiler stops in the middle of a run when it has enough; what is left does not count."""
    cut_off = event("<0>", 10, 7, "Relu"), event("model_run", 9, 9), event("<0>", 20, 7, "Relu")
    assert len(read_runs(saved(tmp_path, *cut_off))) == 1


def test_kernels_in_bodies_are_part_of_their_node() -> None:
    """What ran within a node that has a body, however deep, is counted there, and is not taken for
    nodes of the main graph, not even by the same operators."""
    run = run_of(
        ("Add", 0, 5),
        ("Add", 11, 3),
        ("Add", 15, 2),
        ("If", 15, 4),
        ("Loop", 10, 20),
        ("Add", 30, 6),
    )
    found = timings_of(run, nodes("Add", "Loop", "Add"))
    assert found == [Timing(5e-6, 0), Timing(20e-6, 3), Timing(6e-6, 0)]


@pytest.mark.parametrize(
    "op_types", [("Add",), ("Add", "Relu"), ("Relu", "Add", "Mul"), ()], ids=str
)
def test_a_run_of_other_nodes_is_refused(op_types: tuple[str, ...]) -> None:
    """A profile that does not fit the graph is told as such, not misread."""
    run = run_of(("Add", 0, 5), ("Mul", 9, 5))
    with pytest.raises(CannotRunError, match="does not fit the graph"):
        timings_of(run, nodes(*op_types))
