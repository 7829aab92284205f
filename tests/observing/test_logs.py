"""The log: what it tells of requests and failures, and what it never tells."""

import json
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from sqlalchemy.exc import IntegrityError

from app.demo.demo import free_port, wait_until_ready
from app.errors import ReaderFailedError
from app.logs import told
from app.services.workers import WorkerLimits, _Job
from app.worker.frames import Frame
from tests.databases import KINDS, Kind, using
from tests.keys import client_with, made_key
from tests.server import (
    DEMO_BYTES,
    chain,
    environment,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

Record = dict[str, Any]
NODE = "NODE-OF-A-SECRET-MODEL"


def records(path: Path) -> list[Record]:
    """The records of a log in JSON, each of which must have what every record has."""
    found = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        assert {"time", "level", "logger", "message"} <= set(record), line
        moment = datetime.fromisoformat(record["time"])
        assert moment.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - moment) < timedelta(minutes=10)
        found.append(record)
    return found


def of_requests(path: Path) -> dict[str, Record]:
    """The records of requests by the ids of these."""
    found = [record for record in records(path) if record["logger"] == "app.requests"]
    by_id = {record["request_id"]: record for record in found}
    assert len(by_id) == len(found)
    return by_id


@pytest.mark.parametrize("workers", [1, 2])
def test_every_line_is_a_record(tmp_path: Path, workers: int) -> None:
    """In JSON every line of the log, of uvicorn and of Kerf, from the start to the end of the
    service, is an object with time, level, logger and message."""
    arguments = ("--workers", str(workers), "--host", "0.0.0.0")
    settings: Record = {"log_format": "json", "log_level": "debug", "auth_off_anywhere": True}
    with serving(tmp_path, arguments, **settings) as server:
        client = server.client()
        split(client, scenario(uploaded(client, DEMO_BYTES)["id"]))
        upload(client, b"nonsense")
        log = server.log_path
    found = records(log)
    assert {"uvicorn.error", "app.cli.serving"} <= {record["logger"] for record in found}
    messages = [record["message"] for record in found]
    assert any("KERF_AUTH=off" in message for message in messages)
    assert any("Application shutdown complete" in message for message in messages)
    assert not any("\x1b" in message for message in messages)


def test_a_request_has_a_line_with_its_id(tmp_path: Path) -> None:
    """With KERF_LOG_REQUESTS each request has one record: its id, which came back in the header,
    its method, route, status and seconds, and the tenant and the key that asked."""
    settings: Record = {"auth": "keys", "log_format": "json", "log_requests": True}
    with serving(tmp_path, **settings) as server:
        key = made_key(tmp_path, "acme")
        with client_with(server.url, key) as client:
            model_id = uploaded(client, DEMO_BYTES)["id"]
            answers = {
                ("POST", "/split", 200): client.post("/split", json=scenario(model_id)),
                ("POST", "/split", 422): client.post("/split?x=1", json={}),
                ("GET", "/models/{model_id}", 404): client.get("/models/none"),
                ("GET", "unmatched", 404): client.get("/nowhere/at/all"),
            }
            own = client.get("/models", headers={"X-Request-Id": "my.own-id_7"})
        refused = httpx.get(f"{server.url}/models")
        time.sleep(0.2)
        lines = of_requests(server.log_path)
    for (method, route, status), answer in answers.items():
        line = lines[answer.headers["x-request-id"]]
        assert (line["method"], line["route"], line["status"]) == (method, route, status)
        assert (line["tenant"], line["key"]) == ("acme", key.row.id)
        assert 0 < line["seconds"] < 60
    assert own.headers["x-request-id"] == "my.own-id_7"
    assert lines["my.own-id_7"]["route"] == "/models"
    line = lines[refused.headers["x-request-id"]]
    assert (line["status"], line["tenant"], line["key"]) == (401, None, None)


def test_requests_have_no_lines_unless_they_are_wanted(tmp_path: Path) -> None:
    """By default requests have no lines, and the log is for people; with KERF_LOG_REQUESTS a line
    in text tells the same as a record does."""
    with serving(tmp_path / "without") as server:
        assert server.client().get("/models").status_code == 200
        assert "/models" not in server.log_path.read_text()
        assert "INFO:     Application startup complete." in server.log_path.read_text()
    with serving(tmp_path / "with", log_requests=True) as server:
        given = server.client().get("/models").headers["x-request-id"]
        time.sleep(0.2)
        (line,) = [line for line in server.log_path.read_text().splitlines() if given in line]
        for part in ("GET /models 200 in ", "tenant default", "key -", f"[request {given}]"):
            assert part in line


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_and_no_model_is_in_a_log(tmp_path: Path, form: str, kind: Kind) -> None:
    """At level debug, with lines for requests, after uploads, splits and refusals, the log has no
    key, no password, no name of a node or a tensor, nothing of a query, a path or a body."""
    secrets = [
        "PASSWORD-OF-A-COLLECTOR",
        "WORD-OF-A-QUERY",
        "WORD-OF-A-PATH",
        "WORD-OF-A-BODY",
        NODE,
    ]
    settings: Record = {
        "auth": "keys",
        "log_format": form,
        "log_level": "debug",
        "log_requests": True,
        "otlp_endpoint": f"http://user:{secrets[0]}@127.0.0.1:9",
    }
    with using(kind), serving(tmp_path, **settings) as server:
        key = made_key(tmp_path)
        secrets.append(key.text.rpartition("_")[2])
        with client_with(server.url, key) as client:
            model = uploaded(client, chain(NODE, f"{NODE}-2"))
            body = scenario(model["id"], constraints={"pin_device": [NODE]})
            assert NODE in json.dumps(split(client, body, include="nodes"))
            wrong = scenario(model["id"], constraints={"pin_device": [f"{NODE}-3"]})
            assert client.post("/split", json=wrong).status_code == 422
            assert client.post("/split?x=WORD-OF-A-QUERY", json=body).status_code == 422
            assert client.post("/split", content=b"WORD-OF-A-BODY").status_code in (400, 415, 422)
            assert client.get("/WORD-OF-A-PATH").status_code == 404
            assert client.get("/models/WORD-OF-A-PATH").status_code == 404
            broken = onnx.load_from_string(chain(f"{NODE}-4"))
            broken.graph.node[0].input[0] = "WORD-OF-A-BODY"
            assert upload(client, broken.SerializeToString()).status_code == 422
            assert upload(client, chain(f"{NODE}-5")[:-20]).status_code == 422
        refused = {"Authorization": f"Bearer {key.text}x"}
        assert httpx.get(f"{server.url}/models", headers=refused).status_code == 401
        time.sleep(0.2)
        log = server.log_path
    text = log.read_text()
    assert text.count("/split") >= 4
    for secret in secrets:
        assert secret not in text
    assert "pin_device" not in text
    assert not [line for line in text.splitlines() if "SELECT" in line or "INSERT" in line]


FAILING = """
import sys
import uvicorn
from app.logs import config_of
from app.main import create_app

app = create_app()

def fail(*_):
    try:
        {}["NODE-OF-A-SECRET-MODEL"]
    except KeyError as error:
        raise RuntimeError("NODE-OF-A-SECRET-MODEL") from error

app.state.services.models.page = fail
config = config_of(sys.argv[2], "debug")
uvicorn.run(app, port=int(sys.argv[1]), log_config=config, access_log=False)
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_unexpected_is_logged_once(tmp_path: Path, form: str) -> None:
    """Where Kerf itself fails, the log has one record at level error with the id of the request
    that the client got, the exceptions by kind and where they came from; not their words."""
    port, log = free_port(), tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", FAILING, str(port), form],
            env=environment(tmp_path),
            stdout=file,
            stderr=file,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        response = httpx.get(f"{url}/models")
        assert response.status_code == 500
        request_id = response.headers["x-request-id"]
        assert httpx.get(f"{url}/healthz").status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    text = log.read_text()
    assert text.count(request_id) == 1
    assert NODE not in text
    if form == "json":
        (record,) = [record for record in records(log) if record["level"] == "ERROR"]
        assert record["request_id"] == request_id
        text = record["traceback"]
    assert text.count("Traceback (most recent call last):") == 2
    assert "builtins.KeyError\n" in text
    assert "builtins.RuntimeError" in text
    assert "in fail" in text


def test_exceptions_are_told_without_their_words() -> None:
    """An exception is told by its kind, with those that came before it and those in a group; of an
    error of the system also its number, of a database's its code."""

    class DriverError(Exception):
        sqlstate = "23505"

    def raised(error: Exception) -> Exception:
        try:
            raise error
        except Exception as caught:  # noqa: BLE001 - it is the one that was raised
            return caught

    statement = IntegrityError(f"INSERT {NODE}", {"x": NODE}, DriverError(NODE))
    statement.__cause__ = raised(DriverError(NODE))
    full = OSError(28, "No space left on device", f"/data/{NODE}")
    group = ExceptionGroup(NODE, [full, raised(ValueError(NODE))])
    text = told(raised(group)) + told(raised(statement))
    assert NODE not in text
    for part in (
        "OSError: 28 (No space left on device)",
        "builtins.ValueError",
        "SQLSTATE 23505\nafter which:",
        "sqlalchemy.exc.IntegrityError",
    ):
        assert part in text
    loop = raised(ValueError())
    loop.__context__ = other = raised(ValueError())
    other.__context__ = loop
    assert told(loop).count("ValueError") == 2
    assert told(None) == ""


def test_what_a_reader_says_is_not_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Where reading a model fails for a reason of Kerf's own, the log has the kind and the place of
    the error, and its words, which may quote the model, go to the client alone."""
    here, there = socket.socketpair()
    with here, there:
        job = _Job(here, there, WorkerLimits(0, 0, {}), 0)
        frame = Frame({"kind": "failed", "what": f"KeyError at graph.py:7: '{NODE}'"})
        with pytest.raises(ReaderFailedError, match=NODE):
            job._fail(frame)
    assert "KeyError at graph.py:7" in caplog.text
    assert NODE not in caplog.text


def test_a_warning_is_a_record_too(tmp_path: Path) -> None:
    """What Python warns of while the service runs goes through the log, so that it is a record."""
    script = """
import asyncio, logging.config, warnings
from app.logs import config_of
from app.main import create_app

logging.config.dictConfig(config_of("json", "info"))
app = create_app()

async def run():
    async with app.router.lifespan_context(app):
        warnings.warn("something odd", RuntimeWarning)

asyncio.run(run())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment(tmp_path), "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    (record,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert record["logger"] == "py.warnings"
    assert "something odd" in record["message"]
