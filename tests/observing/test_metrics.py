"""What /metrics tells of a running service is true, with one process and with several."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.metrics import METHODS, OTHER, UNMATCHED
from tests import databases
from tests.databases import OwnPostgresql
from tests.observing.exposition import Exposition, exposition, scattered, settled
from tests.processes import PROC, listening_sockets, tree
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

REQUESTS = "kerf_http_requests_total"
SECONDS = "kerf_http_request_seconds"


@pytest.fixture(params=[1, 2], ids=["one-process", "two-processes"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A service with one process or two, just started."""
    with serving(tmp_path, arguments=("--workers", str(request.param))) as server:
        yield server


def workers_of(server: Server) -> list[int]:
    """The processes that answer requests, where there are several."""
    marks = (b"multiprocessing.spawn", b"spawn_main")
    return [
        pid
        for pid in tree(server.pid)
        if all(mark in (PROC / str(pid) / "cmdline").read_bytes() for mark in marks)
    ]


def kill_one_of_two(server: Server, pid: int) -> None:
    """Kill a process of two, and return when its socket is gone, and all connections that it was
    given and had not accepted."""
    while listening_sockets(server.port) < 2:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    while listening_sockets(server.port) > 1:
        time.sleep(0.01)


def ask(url: str, method: str, path: str, count: int, status: int, **options: object) -> None:
    """So many requests, each over a connection of its own, so that all processes get some."""
    for _ in range(count):
        response = scattered().request(method, f"{url}{path}", **options)  # type: ignore[arg-type]
        assert response.status_code == status, response.text


def counted(told: Exposition) -> dict[tuple[str, str, str], float]:
    """The requests by route, method and status, but for those that ask how the service is."""
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for sample in told.named(REQUESTS)
        if sample.labels["route"] not in ("/metrics", "/readyz", "/healthz")
    }


def test_requests_are_counted_truly(service: Server) -> None:
    """Every request is counted once, by the template of its route, its method and its status,
    refusals and unknown paths too, and stands in the histogram of its route; whichever process
    answers tells of all."""
    url = service.url
    model_id = uploaded(service.client(), DEMO_BYTES)["id"]
    ask(url, "POST", "/split", 40, 200, json=scenario(model_id, store=False))
    ask(url, "POST", "/split", 10, 200, json=scenario(model_id))
    ask(url, "POST", "/split", 7, 404, json=scenario("0" * 32))
    ask(url, "POST", "/split", 5, 422, json={})
    ask(url, "GET", f"/models/{model_id}", 6, 200)
    ask(url, "GET", "/models/nothing", 3, 404)
    ask(url, "PUT", "/models", 4, 405)
    ask(url, "GET", "/nowhere", 8, 404)
    ask(url, "GET", "/openapi.json", 2, 200)
    expected = {
        ("/models", "POST", "201"): 1,
        ("/split", "POST", "200"): 50,
        ("/split", "POST", "404"): 7,
        ("/split", "POST", "422"): 5,
        ("/models/{model_id}", "GET", "200"): 6,
        ("/models/{model_id}", "GET", "404"): 3,
        ("/models", "PUT", "405"): 4,
        (UNMATCHED, "GET", "404"): 8,
        ("/openapi.json", "GET", "200"): 2,
    }
    told = settled(url, lambda told: counted(told) == expected)
    assert counted(told) == expected
    for _ in range(5):
        assert counted(exposition(url)) == expected
    for route in {route for route, _, _ in expected}:
        total = sum(count for (of, _, _), count in expected.items() if of == route)
        buckets = [sample.value for sample in told.named(f"{SECONDS}_bucket", route=route)]
        assert buckets == sorted(buckets)
        assert buckets[-1] == told.total(f"{SECONDS}_count", route=route) == total
        assert told.total(f"{SECONDS}_sum", route=route) > 0
    problems = {sample.labels["type"]: sample.value for sample in told.named("kerf_problems_total")}
    assert {kind: count for kind, count in problems.items() if count} == {
        "not-found": 7 + 3 + 8,
        "invalid-request": 5,
        "method-not-allowed": 4,
    }
    assert problems["disk-full"] == problems["rate-limited"] == problems["internal-error"] == 0


def test_latencies_are_of_the_right_size(service: Server) -> None:
    """The sum of the seconds of splits is no more than what their clients waited, and most of them
    are below ten milliseconds; what comes after an answer, as more tables do after an upload, is no
    part of it."""
    client = service.client()
    model_id = uploaded(client, DEMO_BYTES)["id"]
    body = scenario(model_id, store=False)
    split(client, body)
    before = settled(service.url, lambda told: told.total(f"{SECONDS}_count", route="/split") == 1)
    began = time.perf_counter()
    for _ in range(100):
        split(client, body)
    waited = time.perf_counter() - began
    told = settled(service.url, lambda told: told.total(f"{SECONDS}_count", route="/split") == 101)
    name = f"{SECONDS}_sum"
    spent = told.total(name, route="/split") - before.total(name, route="/split")
    assert 0 < spent < waited
    assert told.total(f"{SECONDS}_bucket", route="/split", le="0.01") > 80


def test_a_killed_worker_takes_no_count_with_it(tmp_path: Path) -> None:
    """After kill -9 of one of two workers nothing that was counted is lost, the one that takes its
    place counts on, the restart is counted, and gauges are of the living."""
    with serving(tmp_path, arguments=("--workers", "2")) as server:
        url = server.url
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]
        body = scenario(model_id, store=False)
        ask(url, "POST", "/split", 30, 200, json=body)
        labels = {"route": "/split", "method": "POST", "status": "200"}
        before = settled(url, lambda told: told.total(REQUESTS, **labels) == 30)
        assert before.total(REQUESTS, **labels) == 30
        assert before["kerf_worker_restarts_total"] == 0
        for number, victim in enumerate(workers_of(server), start=1):
            kill_one_of_two(server, victim)
            after = settled(url, lambda told, n=number: told["kerf_worker_restarts_total"] == n)  # type: ignore[misc]
            assert after["kerf_worker_restarts_total"] == number
            assert after.total(REQUESTS, **labels) == 30
            after = settled(url, lambda told: told["kerf_workers"] == 2)
            assert after["kerf_workers"] == 2
            assert after["kerf_rows_limit"] == 2 * 10_000
        ask(url, "POST", "/split", 30, 200, json=body)
        after = settled(url, lambda told: told.total(REQUESTS, **labels) == 60)
        assert after.total(REQUESTS, **labels) == 60
        assert after.total("kerf_solve_seconds_count", method="table") == 60
        (directory,) = tmp_path.glob("metrics-*")
        assert len(list(directory.glob("counter_*"))) == 2
        # Whoever kills the whole service leaves its directory to the next one.
        for pid in server.processes():
            os.kill(pid, signal.SIGKILL)
        server.end()
        server.start()
        assert exposition(server.url)["kerf_worker_restarts_total"] == 0
        assert not directory.exists()
        server.end()
        assert not list(tmp_path.glob("metrics-*"))


def test_hostile_requests_make_no_series(service: Server) -> None:
    """Hundreds of made-up paths and methods are one route and one method; after the first of each
    kind no request makes another series."""
    url = service.url

    def attack(seed: int) -> None:
        for number in range(seed, seed + 30):
            for path in (
                f"/{number}",
                f"/models/{number}",
                f"/models/{number}/graph",
                f"/models/{number}/{number}",
                f"/%7Bmodel_id%7D/{number}",
                f"/split/{number}?x={number}",
                f"/static/{number}",
                f"/../{number}",
                f"/{'x' * 3000}{number}",
                f"/é{number}",
            ):
                assert scattered().get(url + path).status_code in (404, 422)
        for method in ("PROPFIND", "REPORT", "M-SEARCH", "OPTIONS", "TRACE"):
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(
                    f"{method} /split HTTP/1.1\r\nHost: kerf\r\nConnection: close\r\n\r\n".encode()
                )
                while connection.recv(65536):
                    pass

    attack(0)
    exposition(url)
    time.sleep(0.2)
    first = exposition(url)
    attack(1000)
    time.sleep(0.2)
    second = exposition(url)
    assert second.series() == first.series()
    known = {*httpx.get(f"{url}/openapi.json").json()["paths"], "/static", "/docs", "/openapi.json"}
    assert second.values("route") <= known | {UNMATCHED}
    assert second.values("method") - {*_solvers(second)} <= METHODS | {OTHER}
    assert second.total(REQUESTS, route=UNMATCHED) > 250


def _solvers(told: Exposition) -> Iterator[str]:
    for sample in told.named("kerf_solve_seconds_count"):
        yield sample.labels["method"]


def test_refusals_before_routing_have_their_route(tmp_path: Path) -> None:
    """A request that is refused before it comes to its route, for want of a key, is counted by the
    route all the same, and by none where there is none."""
    with serving(tmp_path, auth="keys") as server:
        for path in ("/models/some-id", "/split", "/nowhere"):
            assert_problem(httpx.get(server.url + path), 401, "unauthenticated")
        told = settled(server.url, lambda told: told.total(REQUESTS, status="401") == 3)
        for route in ("/models/{model_id}", "/split", UNMATCHED):
            assert told.total(REQUESTS, route=route, status="401") == 1


def test_models_are_hits_or_misses(tmp_path: Path) -> None:
    """The first split of a model in a process is a miss and every later one a hit; the cache's size
    and the rows of the tables that came with the model are told."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        time.sleep(1)  # The tables that are built after the answer are not to empty the cache.
        before = exposition(server.url)
        for _ in range(5):
            split(client, scenario(model_id, store=False))
        told = exposition(server.url)
        hits, misses = (
            told.total("kerf_model_cache_requests_total", result=result)
            - before.total("kerf_model_cache_requests_total", result=result)
            for result in ("hit", "miss")
        )
        assert (hits, misses) == (4, 1)
        assert told["kerf_model_cache_models"] == 1
        assert 0 < told["kerf_model_cache_bytes"] < told["kerf_model_cache_limit_bytes"]
        rows = {s.labels["family"]: s.value for s in told.named("kerf_cut_table_rows_sum")}
        cuts = client.get(f"/models/{model_id}/cuts").json()["cuts"]
        assert rows["slower-device"] == len(cuts)
        assert rows["hull-training"] > 0


def test_methods_are_told_apart(tmp_path: Path) -> None:
    """Seconds of solving are counted by the method that was used, for a batch as a whole."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        for method, count in (("table", 3), ("blockwise", 2), ("general", 1), ("auto", 4)):
            for _ in range(count):
                split(client, scenario(model_id, store=False, method=method))
        one = scenario(model_id)
        del one["model_id"]
        batch = {"model_id": model_id, "scenarios": [one] * 10}
        assert client.post("/split/batch", json=batch).status_code == 200
        told = exposition(server.url)
        counts = {s.labels["method"]: s.value for s in told.named("kerf_solve_seconds_count")}
        assert counts == {
            "table": 7,
            "blockwise": 2,
            "general": 1,
            "integer-programme": 0,
            "batch": 1,
        }


def test_readers_that_die_are_counted(tmp_path: Path) -> None:
    """A reader that takes too long is counted as such, and a zygote that was killed as started
    anew."""
    with serving(tmp_path, ingest_seconds=0.001) as server:
        client = server.client()
        response = upload(client, chain("a"))
        assert_problem(response, 422, "limit-exceeded")
        told = exposition(server.url)
        assert told.total("kerf_reader_deaths_total", reason="too-slow") == 1
        assert told.total("kerf_reader_deaths_total") == 1
        (zygote,) = [
            pid
            for pid in server.processes()
            if b"app.worker.zygote" in (PROC / str(pid) / "cmdline").read_bytes()
        ]
        assert told["kerf_zygote_restarts_total"] == 0
        os.kill(zygote, signal.SIGKILL)
        time.sleep(0.2)
        upload(client, chain("a"))
        assert exposition(server.url)["kerf_zygote_restarts_total"] == 1


def test_uploads_under_way_are_told(tmp_path: Path) -> None:
    """An upload that has not yet arrived whole is under way, as a request and as an upload, also
    where another process is asked; afterwards it is not."""
    with serving(tmp_path, arguments=("--workers", "2"), queue_uploads=5) as server:
        told = settled(server.url, lambda told: told["kerf_workers"] == 2)
        assert told["kerf_uploads_limit"] == 10
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /models HTTP/1.1\r\nHost: kerf\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            for _ in range(3):
                told = settled(server.url, lambda told: told["kerf_uploads_under_way"] == 1)
                assert told["kerf_uploads_under_way"] == 1
                assert told["kerf_requests_under_way"] >= 1
        told = settled(server.url, lambda told: told["kerf_uploads_under_way"] == 0)
        assert told["kerf_uploads_under_way"] == 0


def test_the_database_is_up_or_down(tmp_path: Path) -> None:
    """Within seconds of its going, and of its return, the database is told to be down, or up."""
    postgresql = OwnPostgresql()
    try:
        with databases.at(tmp_path, postgresql.new_database()), serving(tmp_path) as server:
            for is_up in (1, 0, 1):
                told = settled(server.url, lambda told, x=is_up: told["kerf_database_up"] == x)  # type: ignore[misc]
                assert told["kerf_database_up"] == is_up
                postgresql.stop() if is_up else postgresql.start()
    finally:
        postgresql.end()


def test_metrics_need_no_key_and_tell_no_secret(tmp_path: Path) -> None:
    """With keys required, metrics are open to all, and no label has the id of a model, a tenant or
    a key."""
    from tests.keys import client_with, made_key

    with serving(tmp_path, auth="keys") as server:
        key = made_key(tmp_path, "a-certain-tenant")
        with client_with(server.url, key) as client:
            model_id = uploaded(client, DEMO_BYTES)["id"]
            split(client, scenario(model_id))
            client.get(f"/models/{model_id}")
        text = httpx.get(f"{server.url}/metrics").text
        for word in ("a-certain-tenant", model_id, key.row.id, "mobilenet"):
            assert word not in text
