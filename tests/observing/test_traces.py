"""Traces, followed into a collector over the wire."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.demo.demo import free_port
from tests.keys import client_with, made_key
from tests.observing.collector import Seen, collecting
from tests.observing.test_logs import of_requests
from tests.server import DEMO_BYTES, chain, environment, scenario, serving, split, uploaded

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SERVER, INTERNAL, ERROR = 2, 1, 2
"""Kinds and statuses of spans, by the numbers that they have on the wire."""


def names(spans: list[Seen]) -> list[str]:
    return [seen.span.name for seen in spans]


def test_a_split_is_followed_from_its_client_to_its_commit(tmp_path: Path) -> None:
    """The span of a split is a child of the client's, has the id that came back in the header, its
    route, method and status, and as children, in order, the loading of the model, the solution with
    its method, and the wait for the commit; a warm one without storing has the solution alone."""
    with collecting() as collector, serving(tmp_path, otlp_endpoint=collector.url) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        time.sleep(1)  # More tables are built after the answer.
        first = client.post("/split", json=scenario(model_id), headers={"traceparent": TRACEPARENT})
        second = client.post("/split", json=scenario(model_id, store=False, method="general"))
        server.end()
        assert collector.paths == {"/v1/traces"}
        root, load, solve, store = collector.of(first.headers["x-request-id"])
        assert root.span.name == "POST /split"
        assert root.span.kind == SERVER
        assert root.span.trace_id.hex() == TRACE
        assert root.span.parent_span_id.hex() == PARENT
        assert root.attributes == {
            "http.request.method": "POST",
            "http.route": "/split",
            "http.response.status_code": 200,
            "kerf.request_id": first.headers["x-request-id"],
        }
        assert root.resource["service.name"] == "kerf"
        assert root.resource["service.version"]
        assert names([load, solve, store]) == ["load", "solve", "store"]
        assert (load.attributes, solve.attributes, store.attributes) == (
            {},
            {"kerf.method": "table"},
            {"kerf.rows": 1},
        )
        before = root.span.start_time_unix_nano
        for child in (load, solve, store):
            assert child.span.parent_span_id == root.span.span_id
            assert child.span.kind == INTERNAL
            assert before <= child.span.start_time_unix_nano <= child.span.end_time_unix_nano
            before = child.span.end_time_unix_nano
        assert before <= root.span.end_time_unix_nano
        root, *children = collector.of(second.headers["x-request-id"])
        assert not root.span.parent_span_id
        assert root.span.trace_id.hex() != TRACE
        assert names(children) == ["solve"]
        assert children[0].attributes == {"kerf.method": "general"}


def test_traces_tell_nothing_of_models_keys_and_queries(tmp_path: Path) -> None:
    """Whatever is asked, also what is refused, a trace has no key, no id or name of a model or a
    node, no path and no query; refusals have their status, and probes have no span."""
    with (
        collecting() as collector,
        serving(tmp_path, otlp_endpoint=f"{collector.url}/", auth="keys") as server,
    ):
        key = made_key(tmp_path)
        with client_with(server.url, key) as client:
            model_id = uploaded(client, chain("SECRET-NODE", "SECRET-NODE-2"))["id"]
            split(client, scenario(model_id, constraints={"pin_device": ["SECRET-NODE"]}))
            wrong = scenario(model_id, constraints={"pin_device": ["SECRET-NODE-3"]})
            refused = client.post("/split", json=wrong)
            client.get("/models/SECRET-PATH?SECRET-QUERY=1")
            nowhere = client.get("/SECRET-PATH")
            for probe in ("/healthz", "/readyz", "/metrics"):
                assert client.get(probe).status_code == 200
        client = server.client()
        unknown = client.get("/models", headers={"traceparent": "00-nonsense", "tracestate": "x"})
        server.end()
        for answer, name, status in (
            (refused, "POST /split", 422),
            (nowhere, "GET unmatched", 404),
            (unknown, "GET /models", 401),
        ):
            root = collector.of(answer.headers["x-request-id"])[0]
            assert root.span.name == name
            assert root.attributes["http.response.status_code"] == status
            assert root.span.status.code != ERROR
            assert not root.span.parent_span_id
        routes = {seen.attributes.get("http.route") for seen in collector.seen}
        assert not routes & {"/healthz", "/readyz", "/metrics"}
        sent = b"".join(collector.bodies)
        for word in ("SECRET", model_id, key.text, key.row.id, key.text.rpartition("_")[2]):
            assert word.encode() not in sent


def test_the_standard_variable_turns_tracing_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Kerf's own setting, OTEL_EXPORTER_OTLP_ENDPOINT says where traces go, and
    OTEL_SERVICE_NAME whose they are; they arrive while the service runs, from each of two
    processes; a line of the log has the id of the trace."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "kerf-at-the-edge")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        settings: dict[str, Any] = {"log_format": "json", "log_requests": True}
        with serving(tmp_path, ("--workers", "2"), **settings) as server:
            answers = [server.client().get("/models") for _ in range(8)]
            collector.wait_for(8)
            lines = of_requests(server.log_path)
        assert collector.paths == {"/v1/traces"}
        for answer in answers:
            request_id = answer.headers["x-request-id"]
            (root,) = collector.of(request_id)
            assert root.resource["service.name"] == "kerf-at-the-edge"
            assert root.span.name == "GET /models"
            assert lines[request_id]["trace_id"] == root.span.trace_id.hex()


def test_a_collector_that_is_away_costs_nothing(tmp_path: Path) -> None:
    """With nobody to take its traces the service answers as ever, and ends in time."""
    away = f"http://127.0.0.1:{free_port()}"
    with serving(tmp_path, otlp_endpoint=away) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        for _ in range(20):
            split(client, scenario(model_id))
        began = time.monotonic()
        server.end()
        assert time.monotonic() - began < 10
        assert server.log_path.read_text().count("\n") < 40


def test_without_an_endpoint_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """A service that traces nothing loads neither OpenTelemetry's SDK nor its exporter."""
    script = """
import asyncio, sys
from app.main import create_app

app = create_app()

async def run():
    async with app.router.lifespan_context(app):
        pass

asyncio.run(run())
foreign = ("opentelemetry.sdk", "opentelemetry.exporter")
loaded = [name for name in sys.modules if name.startswith(foreign)]
assert not loaded, loaded
"""
    kept = environment(tmp_path)
    variables = {name: text for name, text in kept.items() if not name.startswith("OTEL_")}
    subprocess.run(
        [sys.executable, "-c", script],
        env={**variables, "PYTHONPATH": str(Path.cwd())},
        check=True,
    )
