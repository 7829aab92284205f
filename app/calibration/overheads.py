"""What a run costs beside its kernels, and what the profiler adds: measured on kernels that do next
to nothing."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from onnx import TensorProto, helper

from app.calibration.measuring import timed_runs
from app.calibration.sessions import Session, profiling_options
from app.calibration.trace import read_runs

_LENGTH = 64
"""Nodes of the chain: enough to be told apart from the run around them."""
_WARM_UPS, _RUNS = 20, 200


@dataclass(frozen=True, slots=True)
class Overheads:
    """Seconds. ``run_s``: of a run, whatever is in it. ``node_s``: of the least of nodes.
    ``event_s``: what the profiler adds to the time that it tells of a kernel. ``recording_s``: what
    it adds to the whole run for each kernel."""

    run_s: float
    node_s: float
    event_s: float
    recording_s: float


def measured_overheads(threads: int) -> Overheads:
    """The overheads of sessions with so many threads. Raises ``CannotRunError``."""
    with TemporaryDirectory(prefix="kerf-") as directory:
        one_s, _ = _measured(1, threads, Path(directory))
        chain_s, (profiled_s, kernels_s) = _measured(_LENGTH, threads, Path(directory))
    node_s = max(0.0, (chain_s - one_s) / (_LENGTH - 1))
    return Overheads(
        run_s=max(0.0, one_s - node_s),
        node_s=node_s,
        event_s=max(0.0, kernels_s / _LENGTH - node_s),
        recording_s=max(0.0, (profiled_s - chain_s) / _LENGTH),
    )


def _measured(length: int, threads: int, directory: Path) -> tuple[float, tuple[float, float]]:
    """Seconds of a run of a chain without the profiler; and with it, of all and of its kernels."""
    options = profiling_options(threads, directory)
    session = Session(_chain(length), options, {"x0": np.ones(1, dtype=np.float32)})
    timed_runs(session, _WARM_UPS + _RUNS)
    profiled = read_runs(session.end_profiling())[_WARM_UPS:]
    kernels_s = median(sum(kernel.seconds for kernel in run.kernels) for run in profiled)
    whole_s = median(timed_runs(session, _RUNS))
    return whole_s, (median(run.seconds for run in profiled), kernels_s)


def _chain(length: int) -> bytes:
    """A model of so many nodes that change the sign of one number."""
    nodes = [helper.make_node("Neg", [f"x{i}"], [f"x{i + 1}"]) for i in range(length)]
    ends = ("x0", f"x{length}")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ends]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
