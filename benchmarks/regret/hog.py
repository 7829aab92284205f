"""``python -m benchmarks.regret.hog CORE ON_US OFF_US``: takes a core away, time and again.

A real-time process that spins for so many microseconds and then sleeps for so many, for ever; what
else runs on the core has only the rest. Prints a line when it begins.
"""

import os
import sys
import time


def main(core: str, on_us: str, off_us: str) -> None:
    """Spin and sleep."""
    os.sched_setaffinity(0, {int(core)})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    spin_ns, sleep_s = int(on_us) * 1000, int(off_us) / 1e6
    print(flush=True)
    now = time.perf_counter_ns
    while True:
        until = now() + spin_ns
        while now() < until:
            pass
        time.sleep(sleep_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
