"""What a worker may take of the machine."""

import ctypes
import os
import resource
import signal
import sys

OPEN_FILES = 64
"""Modules that are imported late need some; a model needs none."""
STACK_BYTES = 8 * 2**20
"""Recursion in C++ ends here, wherever the machine's own limit lies."""
NICENESS = 10
"""Whoever asks for a cut goes before whoever has a model read."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that ends. Linux only; elsewhere the limit
    on processor time is what ends it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def confine(memory_bytes: int, seconds: float) -> None:
    """Limit this process for the rest of its life.

    ``memory_bytes``: of all private writable memory, what the interpreter has taken so far
    included. (Not of the address space: mapped libraries would count, which take no memory.)
    ``seconds``: of processor time; whoever waits for the process keeps the time of the clock.
    """
    whole_seconds = int(seconds) + 1
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_CPU, whole_seconds),
        (resource.RLIMIT_DATA, memory_bytes),
    ):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # A hard limit a second later: at the soft one SIGXCPU says why.
        above = int(limit == resource.RLIMIT_CPU and value != hard)
        resource.setrlimit(limit, (value, value + above))
    os.nice(NICENESS)
