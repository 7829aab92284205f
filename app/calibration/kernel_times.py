"""Runs of a profiled session to seconds of each kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from app.calibration.overheads import Overheads
from app.calibration.trace import Run, timings_of

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class KernelTimes:
    """Seconds of each kernel (columns) in each run (rows).

    ``told``: by the profiler, which adds its own work. ``cleared``: without that work, and no less
    than the least of nodes takes.
    """

    told: Seconds
    cleared: Seconds

    @classmethod
    def of(
        cls, runs: Sequence[Run], kernels: Sequence[NodeProto], overheads: Overheads
    ) -> "KernelTimes":
        """The times of some runs. Raises ``CannotRunError`` where they are not of these kernels."""
        timings = [timings_of(run, kernels) for run in runs]
        told = np.array([[timing.seconds for timing in row] for row in timings])
        inner = np.array([[timing.inner for timing in row] for row in timings])
        cleared = told - overheads.event_s - inner * overheads.recording_s
        return cls(told, np.maximum(cleared, (1 + inner) * overheads.node_s))

    @property
    def usual(self) -> Seconds:
        """Of each kernel the cleared seconds when nothing else slows the run down: the mean over
        the faster half of the runs. The profiler tells whole microseconds, so one run alone is
        coarse; and what others do on the machine only ever adds. Runs are chosen and not times of
        a kernel, as on a machine whose cores are shared out in slices (a quota) some kernels of
        every run have to wait, and their share of that is their own."""
        order = np.argsort(self.cleared.sum(axis=1), kind="stable")
        faster = order[: (len(order) + 1) // 2]
        return np.asarray(self.cleared[faster].mean(axis=0))
