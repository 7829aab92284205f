"""The machine at hand: what is measured on it is told with it."""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime as ort

_CPU_FACTS = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts of a machine, for people to compare by.

    ``cpu``: as its maker names it, and the board where that is known. ``cores``: how many this
    process may use.
    """

    cpu: str
    cores: int
    os: str
    python: str
    onnxruntime: str

    def as_json(self) -> dict[str, str | int]:
        """As the body of a profile has it."""
        return asdict(self)


def describe_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        cpu=_cpu(),
        cores=usable_cores(),
        os=f"{platform.system()} {platform.release()} ({platform.machine()})",
        python=platform.python_version(),
        onnxruntime=str(ort.__version__),
    )


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Memory that this process may use at most; None where the system does not tell."""
    found = []
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = _text(_MEMORY_LIMIT)
    if limit.isdecimal():
        found.append(int(limit))
    return min(found, default=None)


def _cpu() -> str:
    lines = (line.partition(":") for line in _text(_CPU_FACTS).splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    # ARM kernels tell numbers of implementer and part only, but the name of the board.
    board = _text(_BOARD) or facts.get("Model", "")
    named = facts.get("model name") or platform.processor() or platform.machine()
    return f"{named} ({board})" if board else named


def _text(path: Path) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
