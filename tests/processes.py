"""A tree of processes as Linux shows it: who is in it, and what it takes."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SAMPLE_S = 0.01


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    found, children = [root], _children()
    for pid in found:
        found += children.get(pid, [])
    return found


def zygotes() -> list[int]:
    """The zygotes that this process itself has started."""
    own = _children().get(os.getpid(), [])
    return [
        pid for pid in own if b"app.worker.zygote" in (PROC / str(pid) / "cmdline").read_bytes()
    ]


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # After the name, which is in brackets and may hold anything: state, parent.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    return children


def status(pid: int) -> dict[str, str]:
    """What ``/proc/PID/status`` says; nothing where the process has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def resident_bytes(pids: list[int], field: str = "VmRSS") -> int:
    """Memory of processes, pages that they share counted for each; ``VmHWM`` for the most ever."""
    sizes = [status(pid).get(field, "0 kB").split()[0] for pid in pids]
    return 1024 * sum(map(int, sizes))


def open_files(pid: int) -> int:
    """How many descriptors a process holds."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


def listening_sockets(port: int) -> int:
    """How many sockets of this machine listen on a port."""
    lines = (PROC / "net" / "tcp").read_text().splitlines()[1:]
    places = [(fields[1].rpartition(":")[2], fields[3]) for fields in map(str.split, lines)]
    return places.count((f"{port:04X}", "0A"))


@dataclass
class Peak:
    """The most that a tree of processes took at any moment looked at."""

    nbytes: int = 0
    processes: int = 0


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Watch a tree of processes during a block, every 10 ms."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            pids = tree(root)
            peak.nbytes = max(peak.nbytes, resident_bytes(pids))
            peak.processes = max(peak.processes, len(pids))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
