"""Load from wrk on the same machine, and what service and load generator compute for it."""

import json
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

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

    @property
    def requests_per_core_s(self) -> float:
        """Requests that the service answers in a second of its processes' time."""
        return self.requests_per_s / self.service_cores


@contextmanager
def service(kind: databases.Kind = "sqlite", workers: int = 1, **settings: Any) -> Iterator[Server]:
    """A service over a database of its own, with a directory that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="load-") as name,
        databases.using(kind),
        serving(Path(name), arguments=("--workers", str(workers)), **settings) as server,
    ):
        yield server


def shot(server: Server, store: bool, connections: int = CONNECTIONS) -> Shot:
    """Some seconds of ``POST /split`` for the demo model, warm in every worker."""
    model_id = uploaded(server.client(), DEMO_BYTES)["id"]
    body = json.dumps({"model_id": model_id, **scenario(), "store": store})
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(body=body))
        script.flush()
        _wrk(server, script.name, connections, 1)  # Every worker has the model in memory.
        began_s, children_s = _cpu_s(server), _children_s()
        output = _wrk(server, script.name, connections, SECONDS)
        service_s, wrk_s = _cpu_s(server) - began_s, _children_s() - children_s
    if "Non-2xx" in output:
        raise RuntimeError(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return Shot(float(rate[1]), service_s / SECONDS, wrk_s / SECONDS)


def median_of(shots: Sequence[Shot]) -> Shot:
    """Each figure's median."""
    return Shot(
        median(each.requests_per_s for each in shots),
        median(each.service_cores for each in shots),
        median(each.wrk_cores for each in shots),
    )


def _wrk(server: Server, script: str, connections: int, seconds: int) -> str:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script]
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
