"""Workers that are killed in the middle of anything lose nothing that was acknowledged."""

import os
import random
import signal
import time
from pathlib import Path

from tests.load import assert_kept, loading
from tests.processes import PROC, tree
from tests.server import Server, serving

KILLS = int(os.environ.get("KERF_TEST_KILLS", "4"))
"""`make soak` asks for more."""
BETWEEN = 5
"""Results that are acknowledged between two kills at least."""


def _workers(server: Server) -> list[int]:
    """The processes that serve requests, by uvicorn's way of starting them."""
    found = []
    for pid in tree(server.pid):
        try:
            command = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue
        if b"multiprocessing.spawn" in command and b"spawn_main" in command:
            found.append(pid)
    return found


def test_killed_workers_lose_nothing(tmp_path: Path) -> None:
    """Of two workers under mixed load one is killed at a random moment, again and again; another
    takes its place each time, and in the end every acknowledged model and result is there, none
    twice, and nothing by half."""
    draw = random.Random(7)
    with serving(tmp_path, arguments=("--workers", "2")) as server:
        killed = 0
        with loading(server.url, clients=4) as account:
            while killed < KILLS:
                account.wait_for_more(BETWEEN)
                time.sleep(draw.uniform(0.0, 0.5))
                workers = _workers(server)
                if len(workers) == 2:
                    os.kill(draw.choice(workers), signal.SIGKILL)
                    killed += 1
        assert len(account.splits) >= BETWEEN * KILLS
        assert account.models
        assert_kept(account, server.client(), tmp_path)
