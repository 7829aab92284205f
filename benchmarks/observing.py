"""What it costs to be observed: lines for requests, traces, and metrics that processes share."""

import subprocess
import sys
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from benchmarks.load import CONNECTIONS, SECONDS, TURNS, Shot, median_of, service, shot
from tests.observing.collector import collecting

_METER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from app.metric_files import shared_by

with TemporaryDirectory() as directory, shared_by(int(sys.argv[1]), Path(directory)):
    from app import metrics
    from app.api.observing import meters_of
    count, observe = meters_of("/split", "POST", 200)
    print(min(repeat(lambda: (count(), observe(0.001)), repeat=20, number=10_000)) / 10_000)
    metrics.leave()
"""


def run(console: Console) -> None:
    """Print what lines and traces take of the rate of a warm ``POST /split``, and the time in which
    a request is counted."""
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        services = {
            "metrics alone": stack.enter_context(service()),
            "a line for each request": stack.enter_context(
                service(log_requests=True, log_format="json")
            ),
            "a trace of each request": stack.enter_context(service(otlp_endpoint=collector.url)),
        }
        shots: dict[str, list[Shot]] = {name: [] for name in services}
        for _ in range(TURNS):
            for name, server in services.items():
                shots[name].append(shot(server, store=False))
    table = Table(
        title=f"POST /split, store: false, one worker, {CONNECTIONS} connections, "
        f"median of {TURNS} x {SECONDS} s"
    )
    for column in ("what is told", "per s", "over metrics alone", "per s of a core, over it"):
        table.add_column(column, justify="left" if column == "what is told" else "right")
    alone = median_of(shots["metrics alone"])
    for name, each in shots.items():
        found = median_of(each)
        table.add_row(
            name,
            f"{found.requests_per_s:,.0f}",
            f"{found.requests_per_s / alone.requests_per_s:.2f}",
            f"{found.requests_per_core_s / alone.requests_per_core_s:.2f}",
        )
    console.print(table)
    own, shared = (_meter_s(workers) for workers in (1, 2))
    console.print(
        f"To count and time a request: {own * 1e6:.1f} us in a service of one process, "
        f"{shared * 1e6:.1f} us where several share their metrics.\n"
    )


def _meter_s(workers: int) -> float:
    """Seconds for the metrics of one request, in a process that is one of so many."""
    done = subprocess.run(
        [sys.executable, "-c", _METER, str(workers)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
