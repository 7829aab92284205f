"""``python -m benchmarks.regret.hog CORE ON_US OFF_US``: takes a core away, time and again.

A real-time process that sleeps for so many microseconds and then spins until its share of the
time is that of the two figures, for ever; what else runs on the core has only the rest. A sleep
that took longer than it was to (up to ten times) is made up for, so the share holds on machines
whose timers are late. Prints a line when it begins.
"""

import os
import sys
import time


def main(core: str, on_us: str, off_us: str) -> None:
    """Sleep and spin."""
    os.sched_setaffinity(0, {int(core)})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    spins_per_sleep, sleep_s = int(on_us) / int(off_us), int(off_us) / 1e6
    most_away_ns = int(off_us) * 10_000
    print(flush=True)
    now = time.perf_counter_ns
    began = now()
    while True:
        time.sleep(sleep_s)
        awake = now()
        # Not what passed while this process was stopped.
        away_ns = min(awake - began, most_away_ns)
        until = awake + int(away_ns * spins_per_sleep)
        while now() < until:
            pass
        began = now()


if __name__ == "__main__":
    main(*sys.argv[1:])
