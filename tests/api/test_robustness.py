"""The service under odd but legal use: many clients at once, odd headers, large numbers."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.server import (
    DEMO_BYTES,
    Server,
    chain,
    listed,
    scenario,
    split,
    upload,
    uploaded,
)

T = TypeVar("T")


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run work in as many threads, which set off at the same moment."""
    barrier = threading.Barrier(count)

    def start(i: int) -> T:
        barrier.wait(timeout=30)
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def test_uploads_of_the_same_model_at_once_make_one(server: Server, client: httpx.Client) -> None:
    """Of eight clients that upload the same model at the same moment one gets 201 and the others
    200, all with the same summary, and there is one model."""
    data = chain(*(f"n{i}" for i in range(200)))

    def work(_i: int) -> httpx.Response:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return upload(own, data)

    responses = together(8, work)
    assert sorted(response.status_code for response in responses) == [200] * 7 + [201]
    summaries = [response.json() for response in responses]
    assert all(summary == summaries[0] for summary in summaries)
    found = [item for item in listed(client, "/models") if item["id"] == summaries[0]["id"]]
    assert found == summaries[:1]


def test_splits_at_once_are_all_stored(server: Server, client: httpx.Client) -> None:
    """Results that many clients have stored at the same moment are all there, each once, and each
    as its own client was answered."""
    model_id = uploaded(client, DEMO_BYTES, dims='{"batch": 5}')["id"]

    def work(i: int) -> list[dict[str, Any]]:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return [split(own, scenario(model_id, batch_size=10 * i + j + 1)) for j in range(10)]

    answers = [answer for some in together(8, work) for answer in some]
    stored = {item["id"]: item for item in listed(client, "/splits", model_id=model_id)}
    assert stored == {answer["id"]: answer for answer in answers}
    assert len(stored) == 80


def test_answers_do_not_mix(server: Server, demo_model: dict[str, Any]) -> None:
    """Clients that ask for different scenarios at the same moment each get the answer to their own,
    the same that they get alone."""
    rates = [10.0**exponent for exponent in range(3, 11)]

    def ask(i: int) -> list[float]:
        link = {"uplink_bits_per_s": rates[i], "downlink_bits_per_s": rates[i]}
        body = scenario(demo_model["id"], link=link, store=False)
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return [split(own, body)["objective_value"] for _ in range(20)]

    crowd = together(len(rates), ask)
    assert crowd == [[value] * 20 for value in (ask(i)[0] for i in range(len(rates)))]


def test_deleting_while_splitting(server: Server, client: httpx.Client) -> None:
    """A model deleted under the hands of those who split it gives them their answer or a 404,
    nothing else, and nothing of it stays behind."""
    model_id = uploaded(client, chain("a", "b"))["id"]

    def work(i: int) -> list[int]:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            if i == 0:
                return [own.delete(f"/models/{model_id}").status_code]
            body = scenario(model_id, store=bool(i % 2))
            return [own.post("/split", json=body).status_code for _ in range(30)]

    statuses = together(6, work)
    assert statuses[0] == [204]
    assert {status for some in statuses[1:] for status in some} <= {200, 404}
    assert listed(client, "/splits", model_id=model_id) == []
    assert client.post("/split", json=scenario(model_id, store=False)).status_code == 404


def test_several_workers_share_one_store(tmp_path: Path) -> None:
    """Four worker processes that start on an empty directory migrate it once between them, and what
    one stores every other one finds."""
    server = Server(tmp_path)
    server.start("--workers", "4")
    try:
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]

        def work(i: int) -> list[dict[str, Any]]:
            answers = []
            for _ in range(5):
                with httpx.Client(base_url=server.url, timeout=60) as own:
                    answers.append(split(own, scenario(model_id, batch_size=i + 1)))
                with httpx.Client(base_url=server.url, timeout=60) as own:
                    assert own.get(f"/splits/{answers[-1]['id']}").json() == answers[-1]
            return answers

        answers = [answer for some in together(8, work) for answer in some]
        stored = {item["id"]: item for item in listed(server.client(), "/splits")}
        assert stored == {answer["id"]: answer for answer in answers}
    finally:
        server.end()
    assert "Traceback" not in server.log_path.read_text()


def test_request_id_is_the_clients_if_it_is_sane(client: httpx.Client) -> None:
    """A sane X-Request-Id comes back; any other is replaced, and two requests never share one."""
    for sane in ("a", "0f-1.2_3", "x" * 128):
        answer = client.get("/healthz", headers={"X-Request-Id": sane})
        assert answer.headers["x-request-id"] == sane
    seen = set()
    for odd in ("", "two words", "<script>", "x" * 129, "a\tb", "é"):
        answer = client.get("/healthz", headers=[(b"X-Request-Id", odd.encode())])
        assert answer.headers["x-request-id"] != odd
        seen.add(answer.headers["x-request-id"])
    seen.add(client.get("/healthz").headers["x-request-id"])
    assert len(seen) == 7


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/html"},
        {"Accept": "nonsense"},
        {"Accept-Encoding": "gzip, br"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "APPLICATION/JSON"},
        {"Content-Type": "application/vnd.kerf+json"},
        {"Host": "evil.example"},
        {"Cookie": "a=b; " * 500 + "c=d"},
        {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https"},
        {"Expect": "100-continue"},
        {"Range": "bytes=0-1"},
        {"If-None-Match": "*"},
    ],
    ids=lambda headers: next(iter(headers.items()))[0],
)
def test_odd_headers_change_nothing(
    client: httpx.Client, demo_model: dict[str, Any], headers: dict[str, str]
) -> None:
    """Headers that Kerf does not need do not keep it from answering."""
    content = json.dumps(scenario(demo_model["id"], store=False))
    response = client.post(
        "/split", content=content, headers={"Content-Type": "application/json", **headers}
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2**31, "local_iterations": 2**31},
        {"batch_size": 1, "local_iterations": 1, "backward_ratio": 1e100},
        {"device": {"flops_per_s": 10**300}},
        {"device": {"flops_per_s": 1e308}, "server": {"flops_per_s": 1e308}},
        {"device": {"flops_per_s": 1e-200}, "server": {"flops_per_s": 1e200}},
        {"device": {"flops_per_s": 1e200}, "server": {"flops_per_s": 1e-200}},
        {"link": {"uplink_bits_per_s": 1e-200, "downlink_bits_per_s": 1e200}},
        {"link": {"uplink_bits_per_s": 1e308, "downlink_bits_per_s": 1e308}},
        {"link": {"uplink_bits_per_s": 1, "downlink_bits_per_s": 1, "round_trip_s": 1e200}},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("method", ["auto", "blockwise", "general"])
def test_extreme_numbers_are_still_solved(
    client: httpx.Client,
    demo_model: dict[str, Any],
    changes: dict[str, Any],
    mode: str,
    method: str,
) -> None:
    """Numbers at the ends of what is accepted give a proved optimum, no worse than the trivial
    cuts, all of it finite."""
    body = scenario(demo_model["id"], mode=mode, store=False, method=method, **changes)
    answer = split(client, body)
    assert answer["optimal"] is True
    best = min(answer["baselines"].values())
    assert 0 <= answer["objective_value"] <= best * (1 + 1e-9)
    if method != "auto":
        assert answer["certificate"]["flow_value"] <= answer["objective_value"] * (1 + 1e-9)


def test_large_model(client: httpx.Client) -> None:
    """A chain of five thousand nodes is taken, cut in a proved optimum and read back whole."""
    names = [f"n{i}" for i in range(5000)]
    model_id = uploaded(client, chain(*names))["id"]
    answer = split(client, scenario(model_id), include="nodes")
    assert answer["optimal"] is True
    assert answer["nodes"]["device"] + answer["nodes"]["server"] == names
    assert client.get(f"/splits/{answer['id']}?include=nodes").json() == answer


def test_half_a_request_does_no_harm(server: Server, client: httpx.Client) -> None:
    """Clients that hang up in the middle of a request leave the service as it was."""
    port = httpx.URL(server.url).port
    assert port is not None
    before = listed(client, "/models")
    for part in (
        b"POST /split HT",
        b"POST /split HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 500\r\n\r\n{"model_id": "',
        b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b'Content-Length: 99999\r\n\r\n--b\r\nContent-Disposition: form-data; name="file"; '
        b'filename="m.onnx"\r\n\r\nabc',
        b"\x16\x03\x01\x02\x00\x01\x00",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(part)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert listed(client, "/models") == before


def test_operations_answer(client: httpx.Client) -> None:
    """/healthz says that the process lives, /readyz that the database is there and current, and
    that the process has not been told to end."""
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": "ok", "process": "ok"},
    }
