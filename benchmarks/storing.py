"""What storing costs, and what a second worker brings: ``POST /split`` at 16 connections.

The load comes from wrk, on the same machine: what it takes of the two cores is told, and taken into
account where two workers are compared with one.
"""

import json
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.http import scenario
from tests import databases
from tests.processes import PROC, tree
from tests.server import DEMO_BYTES, Server, serving, uploaded

CONNECTIONS = 16
SECONDS = 5
TURNS = 5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{body}]]
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """Requests per second, and the cores that service and load generator kept busy for it."""

    requests_per_s: float
    service_cores: float
    wrk_cores: float


def run(console: Console) -> None:
    """Print requests per second, stored and not, on either database, with one worker and two."""
    with ExitStack() as stack:
        services = {
            (kind, workers): stack.enter_context(_service(kind, workers))
            for kind in databases.KINDS
            for workers in (1, 2)
        }
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shots: dict[tuple[databases.Kind, int, bool], list[Shot]] = {}
        for _ in range(TURNS):
            for (kind, workers), server in services.items():
                for store in (False, True):
                    shot = _shot(server, directory, store)
                    shots.setdefault((kind, workers, store), []).append(shot)
    found = {key: _median(each) for key, each in shots.items()}
    _print_storing(console, found)
    _print_workers(console, found)


@contextmanager
def _service(kind: databases.Kind, workers: int) -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="storing-") as name,
        databases.using(kind),
        serving(Path(name), arguments=("--workers", str(workers))) as server,
    ):
        yield server


def _shot(server: Server, directory: Path, store: bool) -> Shot:
    model_id = uploaded(server.client(), DEMO_BYTES)["id"]
    body = json.dumps({"model_id": model_id, **scenario(), "store": store})
    script = directory / "split.lua"
    script.write_text(_SCRIPT.format(body=body))
    _wrk(server, script, 1)  # Every worker has the model in memory.
    began_s, children = _cpu_s(server), _children_s()
    output = _wrk(server, script, SECONDS)
    service_s, wrk_s = _cpu_s(server) - began_s, _children_s() - children
    if "Non-2xx" in output:
        raise RuntimeError(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return Shot(float(rate[1]), service_s / SECONDS, wrk_s / SECONDS)


def _wrk(server: Server, script: Path, seconds: int) -> str:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"{server.url}/split"], capture_output=True, text=True, check=True
    )
    return done.stdout


def _cpu_s(server: Server) -> float:
    """Seconds that the processes of a service have computed."""
    ticks = 0
    for pid in tree(server.pid):
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(shots: list[Shot]) -> Shot:
    return Shot(
        median(shot.requests_per_s for shot in shots),
        median(shot.service_cores for shot in shots),
        median(shot.wrk_cores for shot in shots),
    )


_Found = Mapping[tuple[databases.Kind, int, bool], Shot]


def _print_storing(console: Console, found: _Found) -> None:
    table = Table(
        title=f"POST /split, one worker, {CONNECTIONS} connections, median of {TURNS} x {SECONDS} s"
    )
    for column in ("database", "store: false, per s", "stored, per s", "stored / not"):
        table.add_column(column, justify="right")
    for kind in databases.KINDS:
        free, stored = found[kind, 1, False], found[kind, 1, True]
        ratio = stored.requests_per_s / free.requests_per_s
        table.add_row(
            kind, f"{free.requests_per_s:,.0f}", f"{stored.requests_per_s:,.0f}", f"{ratio:.2f}"
        )
    console.print(table)


def _print_workers(console: Console, found: _Found) -> None:
    """``ratio per core``: what two workers would do over what one does if each had a core of its
    own, by the requests that a core of service time answers."""
    table = Table(title="Two workers over one, on two cores that the load generator shares")
    for column in (
        *("database", "store", "one, per s", "two, per s", "ratio", "cores: service, wrk (one)"),
        *("cores: service, wrk (two)", "ratio per core"),
    ):
        table.add_column(column, justify="right")
    for kind in databases.KINDS:
        for store in (False, True):
            one, two = found[kind, 1, store], found[kind, 2, store]
            per_core = [shot.requests_per_s / shot.service_cores for shot in (one, two)]
            table.add_row(
                kind,
                str(store).lower(),
                f"{one.requests_per_s:,.0f}",
                f"{two.requests_per_s:,.0f}",
                f"{two.requests_per_s / one.requests_per_s:.2f}",
                f"{one.service_cores:.2f}, {one.wrk_cores:.2f}",
                f"{two.service_cores:.2f}, {two.wrk_cores:.2f}",
                f"{2 * per_core[1] / per_core[0]:.2f}",
            )
    console.print(table)
