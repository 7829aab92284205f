"""Bounds: what a key may have and do, and how much a process lets wait."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.services.access import KeyLimits
from tests import databases
from tests.keys import client_with, made_key
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    listed,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)


@pytest.fixture(scope="module")
def guarded(kind: databases.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for keys."""
    with serving(tmp_path_factory.mktemp(f"limits-{kind}"), auth="keys") as server:
        yield server


def test_rate_of_a_key(guarded: Server) -> None:
    """A key that may make ten requests a second gets 429 for more, with the seconds to wait, after
    which it may go on; another key of the same tenant is not concerned."""
    limited = made_key(guarded.data_dir, "fast", limits=KeyLimits(requests_per_s=10))
    free = made_key(guarded.data_dir, "fast")
    with client_with(guarded.url, limited) as client, client_with(guarded.url, free) as other:
        statuses = []
        for _ in range(40):
            response = client.get("/models")
            statuses.append(response.status_code)
            assert other.get("/models").status_code == 200
            if response.status_code == 429:
                break
        assert statuses.count(200) >= 10
        problem = assert_problem(response, 429, "rate-limited")
        assert "10 requests per second" in problem["detail"]
        wait_s = int(response.headers["retry-after"])
        assert 1 <= wait_s <= 2
        time.sleep(wait_s)
        assert client.get("/models").status_code == 200


def test_a_slow_rate(guarded: Server) -> None:
    """A key that may make one request in twenty seconds is told how long to wait."""
    key = made_key(guarded.data_dir, "slow", limits=KeyLimits(requests_per_s=0.05))
    with client_with(guarded.url, key) as client:
        assert client.get("/models").status_code == 200
        response = client.get("/models")
        assert_problem(response, 429, "rate-limited")
        assert 1 <= int(response.headers["retry-after"]) <= 20


def test_models_of_a_key(guarded: Server) -> None:
    """A key that may have two models is refused a third, until one is deleted; the same file again
    is no other model, and the models of all keys of the tenant count."""
    key = made_key(guarded.data_dir, "few", limits=KeyLimits(most_models=2))
    with client_with(guarded.url, made_key(guarded.data_dir, "few")) as client:
        first = uploaded(client, chain("a"))
    with client_with(guarded.url, key) as client:
        file = chain("b")
        uploaded(client, file)
        problem = assert_problem(upload(client, chain("c")), 403, "quota-exceeded")
        assert "2 models" in problem["detail"]
        assert upload(client, file).status_code == 200
        assert client.delete(f"/models/{first['id']}").status_code == 204
        assert upload(client, chain("c")).status_code == 201


def test_models_at_the_same_moment(guarded: Server) -> None:
    """Ten uploads at once by a key that may have three models make three."""
    key = made_key(guarded.data_dir, "crowd", limits=KeyLimits(most_models=3))
    files = [chain("a", f"b{i}") for i in range(10)]

    def work(file: bytes) -> int:
        with client_with(guarded.url, key) as client:
            return upload(client, file).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(work, files))
    assert sorted(statuses) == [201] * 3 + [403] * 7


def test_bytes_of_a_key(guarded: Server) -> None:
    """Files count as they were uploaded, those of a model that is deleted no longer; a body that is
    larger than all that the key may have is refused before it is read."""
    size = len(DEMO_BYTES)
    key = made_key(guarded.data_dir, "small", limits=KeyLimits(most_bytes=size + 100))
    with client_with(guarded.url, key) as client:
        model = uploaded(client, DEMO_BYTES)
        problem = assert_problem(upload(client, chain("a", "b", "c")), 403, "quota-exceeded")
        assert str(size) in problem["detail"]
        assert client.delete(f"/models/{model['id']}").status_code == 204
        assert upload(client, chain("a", "b", "c")).status_code == 201
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as connection:
        connection.sendall(
            b"POST /models HTTP/1.1\r\nHost: kerf\r\nContent-Length: 1000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n"
            + f"Authorization: Bearer {key.text}\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_uploads_that_wait_are_bounded(tmp_path: Path) -> None:
    """While as many uploads are under way as the service takes, one more is 503 with Retry-After,
    before its body is read; when one has ended, there is room again."""
    with serving(tmp_path, queue_uploads=2) as server:
        held = [_begun_upload(server) for _ in range(2)]
        client = server.client()
        _until(lambda: upload(client, chain("a")).status_code == 503)
        response = upload(client, chain("a"))
        assert_problem(response, 503, "busy")
        assert int(response.headers["retry-after"]) >= 1
        held.pop().close()
        _until(lambda: upload(client, DEMO_BYTES).status_code in (200, 201))
        while held:
            held.pop().close()


def _begun_upload(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(
        b"POST /models HTTP/1.1\r\nHost: kerf\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    return connection


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_requests_under_way_are_bounded(tmp_path: Path) -> None:
    """While as many requests are under way as a process takes, more are 503 with Retry-After, and
    probes are answered all the same."""
    with serving(tmp_path, most_requests=3, queue_uploads=10) as server:
        held = [_begun_upload(server) for _ in range(3)]
        client = server.client()
        _until(lambda: client.get("/models").status_code == 503)
        response = client.get("/models")
        assert_problem(response, 503, "busy")
        assert response.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        for connection in held:
            connection.close()
        _until(lambda: client.get("/models").status_code == 200)


def test_results_that_wait_are_bounded(tmp_path: Path) -> None:
    """With a queue of one row, stored splits by many clients at once are answered with 200 or, past
    the queue, 503 with Retry-After; what was answered with 200 is stored, and nothing else."""
    with serving(tmp_path, queue_rows=1) as server:
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]
        split(server.client(), scenario(model_id))
        acknowledged: list[str] = []
        refused = threading.Event()

        def work(_i: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                until = time.monotonic() + 10
                while not refused.is_set() and time.monotonic() < until:
                    response = client.post("/split", json=scenario(model_id))
                    if response.status_code == 200:
                        acknowledged.append(response.json()["id"])
                    else:
                        assert_problem(response, 503, "busy")
                        assert response.headers["retry-after"] == "1"
                        refused.set()

        with ThreadPoolExecutor(24) as pool:
            list(pool.map(work, range(24)))
        assert refused.is_set()
        stored = [row["id"] for row in listed(server.client(), "/splits")]
        assert set(acknowledged) <= set(stored)
        assert len(stored) == len(acknowledged) + 1
