"""What ONNX Runtime's profiler wrote: which kernels ran, and how long each took.

The file is JSON with one event to a line, in the order in which the events ended: the kernels in
the bodies of a node come before the node itself, and all of a run before the run.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import NodeProto

from app.errors import CannotRunError
from app.ingest.captures import bodies

_KERNEL = "_kernel_time"
_RUN = "model_run"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One run of one kernel. ``name``: of its node; ``begun_s``: on the profiler's clock;
    ``seconds``: the profiler's own work during it included. Both in whole microseconds."""

    name: str
    op_type: str
    begun_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of one node of the main graph; ``inner``: how many kernels ran in its bodies."""

    seconds: float
    inner: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the model; ``seconds``: the profiler's own work included."""

    seconds: float
    kernels: tuple[Kernel, ...]


def read_runs(trace: Path) -> list[Run]:
    """The runs of which the profiler recorded all: it stops after a million events."""
    runs: list[Run] = []
    kernels: list[Kernel] = []
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for event in _events(lines):
            name, seconds = str(event["name"]), event["dur"] / 1e6
            if event["cat"] == "Node" and name.endswith(_KERNEL):
                op_type, begun_s = event["args"]["op_name"], event["ts"] / 1e6
                kernels.append(Kernel(name.removesuffix(_KERNEL), op_type, begun_s, seconds))
            elif event["cat"] == "Session" and name == _RUN:
                runs.append(Run(seconds, tuple(kernels)))
                kernels.clear()
    return runs


def timings_of(run: Run, nodes: Sequence[NodeProto]) -> list[Timing]:
    """How long each node of the main graph took; ``nodes``: in the order in which they run.

    Raises ``CannotRunError`` where the run is not one of these nodes.
    """
    kernels = list(run.kernels)
    timings = []
    for node in reversed(nodes):
        kernel = kernels.pop() if kernels else None
        if kernel is None or kernel.op_type != node.op_type:
            raise _disagreement(node, kernel)
        inner = 0
        while any(bodies(node)) and kernels and kernels[-1].begun_s >= kernel.begun_s:
            kernels.pop()
            inner += 1
        timings.append(Timing(kernel.seconds, inner))
    if kernels:
        raise _disagreement(None, kernels[-1])
    return timings[::-1]


def _disagreement(node: NodeProto | None, kernel: Kernel | None) -> CannotRunError:
    expected = f"{node.op_type} {node.name!r}" if node is not None else "nothing more"
    found = f"{kernel.op_type} {kernel.name!r}" if kernel is not None else "nothing"
    return CannotRunError(
        f"the profile of ONNX Runtime does not fit the graph that it runs: it has {found} where "
        f"{expected} was to run; the model cannot be calibrated with this version"
    )


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line.rstrip().rstrip(","))
