"""Runs of a model: how many, how long each took, and how long each of its kernels."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from app.calibration.sessions import Session
from app.calibration.trace import Run, read_runs
from app.errors import CannotRunError

Progress = Callable[[float, float], None]
"""Called with the seconds that have been spent on runs, and all that are to be."""

WARM_UP_SHARE, PROFILE_SHARE, COLD_SHARE = 0.1, 0.35, 0.15
"""Of the time; the rest is for runs without the profiler, of which the whole time is told."""
PAUSE_S = 0.02
"""Before a run that is to start cold: as a half waits for the other side and the link."""
FEWEST_COLD, MOST_COLD = 15, 100
"""The difference between two medians is small, so it takes some runs. A model of which there is no
time for so many is too slow for it to matter."""
FEWEST_RUNS, MOST_PROFILED, MOST_TIMED = 3, 100, 1000
"""Slow models get the fewest runs whatever the time, and more of a fast one would tell no more."""


@dataclass(frozen=True, slots=True)
class Measured:
    """``whole``: seconds of each run without the profiler; ``cold``: of those after a pause, none
    of a slow model; ``profiled``: the runs with it."""

    whole: tuple[float, ...]
    cold: tuple[float, ...]
    profiled: tuple[Run, ...]


def measured(session: Session, seconds: float, on_progress: Progress | None = None) -> Measured:
    """Run a model whose session has the profiler enabled, for about ``seconds``.

    Raises ``CannotRunError``.
    """
    clock = _Clock(seconds, on_progress)
    warm_ups = len(clock.runs(session, 1, MOST_PROFILED, WARM_UP_SHARE))
    clock.runs(session, FEWEST_RUNS, MOST_PROFILED, PROFILE_SHARE)
    profiled = read_runs(session.end_profiling())[warm_ups:]
    if not profiled:
        raise CannotRunError(
            "one run of the model makes more events than ONNX Runtime's profiler records, a "
            "million: its loops turn too often for it to be calibrated"
        )
    share = 1 - WARM_UP_SHARE - PROFILE_SHARE - COLD_SHARE
    whole = clock.runs(session, FEWEST_RUNS, MOST_TIMED, share)
    cold: list[float] = []
    if FEWEST_COLD * (median(whole) + PAUSE_S) < COLD_SHARE * seconds:
        cold = clock.runs(session, FEWEST_COLD, MOST_COLD, COLD_SHARE, PAUSE_S)
    return Measured(tuple(whole), tuple(cold), tuple(profiled))


def timed_runs(session: Session, count: int) -> list[float]:
    """Seconds of each of so many runs. Raises ``CannotRunError``."""
    return [_timed(session) for _ in range(count)]


def _timed(session: Session) -> float:
    begun = time.perf_counter()
    session.run()
    return time.perf_counter() - begun


class _Clock:
    """Runs within a budget of time, and the report of how much of it is spent."""

    def __init__(self, seconds: float, on_progress: Progress | None) -> None:
        self._budget_s = seconds
        self._on_progress = on_progress
        self._spent_s = 0.0

    def runs(
        self, session: Session, fewest: int, most: int, share: float, pause_s: float = 0.0
    ) -> list[float]:
        """Seconds of each of some runs that together, with pauses before them, take a share of the
        time."""
        taken: list[float] = []
        while len(taken) < fewest or (
            len(taken) < most
            and sum(taken) + taken[-1] + len(taken) * pause_s < share * self._budget_s
        ):
            if pause_s:
                time.sleep(pause_s)
            taken.append(_timed(session))
            self._report(pause_s + taken[-1])
        return taken

    def _report(self, seconds: float) -> None:
        self._spent_s += seconds
        if self._on_progress is not None:
            self._on_progress(self._spent_s, max(self._spent_s, self._budget_s))
