"""Seconds of kernels, from runs with the profiler."""

from app.calibration.kernel_times import KernelTimes
from app.calibration.overheads import Overheads, measured_overheads
from app.calibration.trace import Kernel, Run
from tests.ingest.build import graph, node, value

OVERHEADS = Overheads(run_s=9.0, node_s=0.5, event_s=2.0, recording_s=3.0)
NODES = [
    node("Relu", "x", "h"),
    node("Loop", "count -", "y", body=graph([], [], [value("y")])),
]


def run(relu_s: float, loop_s: float, inner: int) -> Run:
    """A run in which a loop holds some kernels."""
    inside = [Kernel("", "Add", 101.0, 1.0)] * inner
    kernels = [Kernel("", "Relu", 0.0, relu_s), *inside, Kernel("", "Loop", 100.0, loop_s)]
    return Run(1000.0, tuple(kernels))


def test_the_profiler_s_own_work_is_taken_off() -> None:
    """A kernel is told too long by what one event costs, and a node with a body by all that events
    in it cost as well."""
    times = KernelTimes.of([run(10.0, 40.0, 5)], NODES, OVERHEADS)
    assert times.told.tolist() == [[10.0, 40.0]]
    assert times.cleared.tolist() == [[8.0, 40.0 - 2.0 - 5 * 3.0]]


def test_no_kernel_takes_less_than_the_least_of_nodes() -> None:
    """Where the profiler's work is all that there is, what remains is not negative."""
    times = KernelTimes.of([run(1.0, 4.0, 3)], NODES, OVERHEADS)
    assert times.cleared.tolist() == [[0.5, 2.0]]


def test_runs_that_others_slow_down_are_left_out() -> None:
    """The faster half of the runs counts, and of these each kernel's mean."""
    runs = [run(12.0, 100.0, 0), run(1000.0, 22.0, 0), run(14.0, 40.0, 0)]
    times = KernelTimes.of(runs, NODES, OVERHEADS)
    assert times.usual.tolist() == [(10.0 + 12.0) / 2, (98.0 + 38.0) / 2]


def test_a_kernel_that_waits_in_some_of_the_runs_keeps_its_part_of_that() -> None:
    """Where each run waits once, now in one kernel and now in the other, they share the waiting."""
    runs = [run(12.0, 122.0, 0), run(112.0, 22.0, 0), run(900.0, 900.0, 0)] * 2
    times = KernelTimes.of(runs, NODES, OVERHEADS)
    relu_s, loop_s = times.usual.tolist()
    assert relu_s + loop_s == 130.0
    assert relu_s > 40.0


def test_overheads_are_measured_on_the_machine() -> None:
    """Nothing of what a run and the profiler cost is negative, and a profiler costs something."""
    found = measured_overheads(1)
    assert min(found.run_s, found.node_s, found.event_s) >= 0.0
    assert found.recording_s > 0.0
