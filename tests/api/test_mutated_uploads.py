"""Mutated models, uploaded to a running service: ``make soak`` uploads twenty thousand."""

import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.mutations import DIMS, mutant
from tests.processes import resident_bytes
from tests.server import DEMO_BYTES, Server, scenario, serving, split, upload, uploaded

COUNT = int(os.environ.get("KERF_TEST_MUTATED_UPLOADS", "210"))
CLIENTS = 3
LONGEST_S = 30.0
"""A hang, on a machine however busy: the service itself ends a reading after a minute."""
GROWTH_BYTES = 64 * 2**20
"""What the service may hold more after hundreds of uploads; a leak of 3 MB each would show in the
short run, of 3 KB each in the long one."""


@contextmanager
def splitting(server: Server, model_id: str) -> Iterator[list[float]]:
    """A client that asks for splits all along; how long each took, in seconds."""
    times: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not done.wait(0.02):
                begun = time.perf_counter()
                split(client, scenario(model_id, store=False))
                times.append(time.perf_counter() - begun)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield times
        finally:
            done.set()
            asking.result(timeout=60)


def send(server: Server, numbers: range) -> Counter[int]:
    """Upload these mutants one after the other; how often each status came."""
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=server.url, timeout=LONGEST_S) as client:
        for number in numbers:
            _, data = mutant(number)
            response = upload(client, data, dims=json.dumps(DIMS))
            statuses[response.status_code] += 1
            if response.status_code == 201:
                client.delete(f"/models/{response.json()['id']}").raise_for_status()
    return statuses


def settle(server: Server, processes: int) -> None:
    """Return once the tables that uploads left behind to be built are built."""
    deadline = time.monotonic() + LONGEST_S
    while len(server.processes()) > processes:
        assert time.monotonic() < deadline, server.processes()
        time.sleep(0.05)


def test_mutated_uploads_harm_nobody(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each upload is taken or refused, within its time; meanwhile and afterwards the service
    answers splits, and it holds no more memory and no more processes than before."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        send(server, range(-2 * CLIENTS, 0))
        with splitting(server, model_id) as usual:
            time.sleep(1)
        idle, processes = resident_bytes(server.processes()), len(server.processes())
        with splitting(server, model_id) as meanwhile, ThreadPoolExecutor(CLIENTS) as pool:
            sent = [
                pool.submit(send, server, range(first, COUNT, CLIENTS)) for first in range(CLIENTS)
            ]
            statuses = sum((future.result() for future in sent), Counter[int]())
        assert {201, 422} <= set(statuses) <= {200, 201, 422}, statuses
        assert statuses.total() == COUNT
        assert len(meanwhile) > 10
        settle(server, processes)
        growth = resident_bytes(server.processes()) - idle
        assert growth < GROWTH_BYTES
        split(client, scenario(model_id))
    ratio = statistics.median(meanwhile) / statistics.median(usual)
    record_property(
        "figures",
        f"{COUNT} mutated uploads: {dict(statuses)}; memory {growth / 2**20:+.1f} MiB; a split "
        f"took {statistics.median(meanwhile) * 1e3:.2f} ms in the median, {ratio:.2f} times the "
        f"usual, at most {max(meanwhile) * 1e3:.0f} ms",
    )
