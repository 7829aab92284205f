"""Processes that end while they serve, alone and behind a balancer."""

import csv
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.demo.demo import free_port
from tests import databases
from tests.databases import shared_server
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    listed,
    scenario,
    serving,
    split,
    uploaded,
)

RESTARTS = int(os.environ.get("KERF_TEST_RESTARTS", "4"))
"""Of either process in turn; `make soak` asks for more."""
DRAIN_S = 1.5
CLIENTS = 6


def _tell(server: Server) -> None:
    """SIGTERM, without waiting for what follows."""
    os.kill(server.pid, signal.SIGTERM)


def test_a_process_that_is_to_end_says_so_first(tmp_path: Path) -> None:
    """After SIGTERM /readyz fails and says why, /healthz is well, requests are answered and their
    connections closed, for as long as the drain takes; then the process ends in order."""
    with serving(tmp_path, drain_seconds=DRAIN_S) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        _tell(server)
        began = time.monotonic()
        while client.get("/readyz").status_code == 200:
            assert time.monotonic() - began < DRAIN_S
        body = assert_problem(client.get("/readyz"), 503, "not-ready")
        assert "ending" in body["detail"]
        response = client.post("/split", json=scenario(model_id))
        assert response.status_code == 200
        assert response.headers["connection"] == "close"
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - began < DRAIN_S
        assert server.ended() == -signal.SIGTERM
        assert time.monotonic() - began >= DRAIN_S
        assert "Application shutdown complete" in server.log_path.read_text()
        server.start()
        assert server.client().get(f"/splits/{response.json()['id']}").json() == response.json()


def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    """Who does not want to wait sends SIGTERM again."""
    with serving(tmp_path, drain_seconds=60) as server:
        _tell(server)
        while server.client().get("/readyz").status_code == 200:
            time.sleep(0.01)
        began = time.monotonic()
        assert server.end() == -signal.SIGTERM
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("drain_s", [0, 1])
def test_requests_under_way_are_finished(tmp_path: Path, drain_s: float) -> None:
    """Requests that are under way when the process is told to end are answered, and what they
    store is there afterwards, with and without a drain."""
    with serving(tmp_path, drain_seconds=drain_s) as server:
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]
        one = {name: scenario(model_id)[name] for name in ("device", "server", "link")}
        batch = {"model_id": model_id, "scenarios": [one] * 4000, "store": True}
        begun = threading.Barrier(3)

        def work(_i: int) -> list[str]:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                client.get("/healthz")
                begun.wait()
                response = client.post("/split/batch", json=batch)
                assert response.status_code == 200
                return [answer["id"] for answer in response.json()["answers"]]

        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(work, i) for i in range(2)]
            begun.wait()
            time.sleep(0.15)
            _tell(server)
            ids = [each for future in waiting for each in future.result()]
        assert server.ended() == -signal.SIGTERM
        server.start()
        assert len(set(ids)) == 8000
        for split_id in (ids[0], ids[3999], ids[4000], ids[-1]):
            assert server.client().get(f"/splits/{split_id}").status_code == 200


HAPROXY = """
global
    maxconn 200
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout check 2s
    retries 3
    option redispatch
frontend kerf
    bind 127.0.0.1:{port}
    default_backend processes
frontend states
    bind 127.0.0.1:{states}
    stats enable
    stats uri /
backend processes
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 100ms fall 2 rise 2
    server one 127.0.0.1:{one}
    server two 127.0.0.1:{two}
"""


@dataclass(frozen=True)
class Balancer:
    """A balancer over two processes."""

    url: str
    states_url: str

    def wait_until_both_are_up(self) -> None:
        """As whoever restarts one process after the other has to."""
        until = time.monotonic() + 30
        while self._states() != ["UP", "UP"]:
            assert time.monotonic() < until, self._states()
            time.sleep(0.05)

    def _states(self) -> list[str]:
        try:
            page = httpx.get(f"{self.states_url}/;csv").text
        except httpx.TransportError:
            return []
        rows = csv.DictReader(page.removeprefix("# ").splitlines())
        return [row["status"] for row in rows if row["svname"] in ("one", "two")]


@contextmanager
def _balanced(directory: Path, ports: tuple[int, int]) -> Iterator[Balancer]:
    """haproxy, once it has found both processes ready."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert program, "no haproxy: install it with scripts/ensure_package.sh haproxy haproxy"
    port, states = free_port(), free_port()
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(port=port, states=states, one=ports[0], two=ports[1]))
    process = subprocess.Popen([program, "-f", str(path), "-db"], stderr=subprocess.DEVNULL)
    balancer = Balancer(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{states}")
    try:
        balancer.wait_until_both_are_up()
        yield balancer
    finally:
        process.kill()
        process.wait()


def test_a_rolling_restart_loses_no_request(tmp_path: Path) -> None:
    """Two processes over one PostgreSQL behind haproxy, which asks /readyz, are restarted in turn
    under load, again and again: every request is answered with 200, and every result that was to be
    stored is there."""
    url = shared_server().new_database()
    first, second = tmp_path / "one", tmp_path / "two"
    ports = (free_port(), free_port())
    with (
        databases.at(first, url),
        databases.at(second, url),
        serving(first, port=ports[0], drain_seconds=DRAIN_S) as one,
        serving(second, port=ports[1], drain_seconds=DRAIN_S) as two,
        _balanced(tmp_path, ports) as balancer,
    ):
        model_id = uploaded(one.client(), DEMO_BYTES)["id"]
        ended = threading.Event()
        ids: list[str] = []
        bad: list[str] = []

        def work(i: int) -> None:
            with httpx.Client(base_url=balancer.url, timeout=30) as client:
                while not ended.is_set():
                    try:
                        response = client.post("/split", json=scenario(model_id, store=bool(i % 2)))
                    except httpx.TransportError as error:
                        bad.append(repr(error))
                        continue
                    if response.status_code != 200:
                        bad.append(response.text)
                    elif i % 2:
                        ids.append(response.json()["id"])

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(work, i) for i in range(CLIENTS)]
            try:
                for number in range(RESTARTS):
                    server = (one, two)[number % 2]
                    assert server.end() == -signal.SIGTERM
                    server.start()
                    balancer.wait_until_both_are_up()
            finally:
                ended.set()
            for client in clients:
                client.result()
        assert bad == []
        assert len(ids) > 10 * RESTARTS
        for server in (one, two):
            answers = [server.client().get(f"/splits/{ids[place]}") for place in (0, -1)]
            assert [answer.status_code for answer in answers] == [200, 200]
        assert set(ids) <= {row["id"] for row in listed(two.client(), "/splits")}
        assert split(one.client(), scenario(model_id))
