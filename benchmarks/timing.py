"""Timing of short calls on a noisy machine: medians of interleaved repetitions."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians_s(calls: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each call. The calls take turns, so that noise meets all alike."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def once_s(call: Callable[[], object], repetitions: int = 3) -> float:
    """Fewest seconds of a few calls: for work that is done once."""
    best = float("inf")
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best
