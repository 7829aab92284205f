"""What storing costs, and what a second worker brings: ``POST /split`` at 16 connections for each.

The load comes from wrk, on the same machine: what it takes of the two cores is told, and taken into
account where two workers are compared with one.
"""

from collections.abc import Mapping
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from benchmarks.load import CONNECTIONS, SECONDS, TURNS, Shot, median_of, service, shot
from tests import databases


def run(console: Console) -> None:
    """Print requests per second, stored and not, on either database, with one worker and two."""
    with ExitStack() as stack:
        services = {
            (kind, workers): stack.enter_context(service(kind, workers))
            for kind in databases.KINDS
            for workers in (1, 2)
        }
        shots: dict[tuple[databases.Kind, int, bool], list[Shot]] = {}
        for _ in range(TURNS):
            for (kind, workers), server in services.items():
                for store in (False, True):
                    # As many for each worker: with fewer, commits would be of fewer results.
                    taken = shot(server, store, CONNECTIONS * workers)
                    shots.setdefault((kind, workers, store), []).append(taken)
    found = {key: median_of(each) for key, each in shots.items()}
    _print_storing(console, found)
    _print_workers(console, found)


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
    table = Table(
        title=f"Two workers over one, {CONNECTIONS} connections for each, on two cores that the "
        "load generator shares"
    )
    for column in (
        *("database", "store", "one, per s", "two, per s", "ratio", "cores: service, wrk (one)"),
        *("cores: service, wrk (two)", "ratio per core"),
    ):
        table.add_column(column, justify="right")
    for kind in databases.KINDS:
        for store in (False, True):
            one, two = found[kind, 1, store], found[kind, 2, store]
            table.add_row(
                kind,
                str(store).lower(),
                f"{one.requests_per_s:,.0f}",
                f"{two.requests_per_s:,.0f}",
                f"{two.requests_per_s / one.requests_per_s:.2f}",
                f"{one.service_cores:.2f}, {one.wrk_cores:.2f}",
                f"{two.service_cores:.2f}, {two.wrk_cores:.2f}",
                f"{2 * two.requests_per_core_s / one.requests_per_core_s:.2f}",
            )
    console.print(table)
