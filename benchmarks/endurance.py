"""Ten minutes of mixed load on a service of either database, both at once, and their memory."""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import databases
from tests.load import assert_kept, loading
from tests.processes import resident_bytes
from tests.server import serving

SECONDS = float(os.environ.get("KERF_BENCH_ENDURANCE_SECONDS", "600"))
LOOKS = 10
CLIENTS = 3


def run(console: Console) -> None:
    """Print the memory of each service, a tenth of the time at a time, and how much it did."""
    table = Table(title=f"{SECONDS:.0f} s of uploads, splits, batches and deletes")
    table.add_column("database")
    table.add_column("answers", justify="right")
    for look in range(1, LOOKS + 1):
        table.add_column(f"{look * SECONDS / LOOKS:.0f} s", justify="right")
    with ExitStack() as stack:
        places, servers = {}, {}
        for kind in databases.KINDS:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="endurance-"))
            places[kind] = Path(name)
            with databases.using(kind):
                servers[kind] = stack.enter_context(serving(places[kind]))
        held: dict[databases.Kind, list[int]] = {kind: [] for kind in databases.KINDS}
        with ExitStack() as loads:
            accounts = {
                kind: loads.enter_context(loading(server.url, CLIENTS))
                for kind, server in servers.items()
            }
            for _ in range(LOOKS):
                time.sleep(SECONDS / LOOKS)
                for kind, server in servers.items():
                    held[kind].append(resident_bytes([server.pid]))
        for kind, account in accounts.items():
            with databases.using(kind):
                assert_kept(account, servers[kind].client(), places[kind])
            megabytes = (f"{nbytes / 2**20:.0f} MiB" for nbytes in held[kind])
            table.add_row(kind, f"{sum(account.statuses.values()):,}", *megabytes)
    console.print(table)
