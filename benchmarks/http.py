"""The whole ``POST /split`` beside an empty FastAPI endpoint that validates the same body.

Both live in one server process and are asked in turns over one kept-alive connection, by a client
that does no more than write bytes and read bytes.
"""

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Response
from rich.console import Console
from rich.table import Table

from app.api.schemas import SplitIn
from app.demo import DEMO_MODEL
from app.demo.demo import free_port, wait_until_ready
from app.main import create_app
from benchmarks.timing import medians_s
from tests.fixture_models import BY_NAME

MODELS = ("mobilenet_v2", "light_inception_v2", "llama")
REPETITIONS = 2000


def create_benchmark_app() -> FastAPI:
    """Kerf, and beside it an endpoint that validates the same body and does nothing."""
    app = create_app()

    @app.post("/empty")
    async def empty(_scenario: SplitIn) -> Response:
        return Response(b"{}", media_type="application/json")

    return app


class Connection:
    """A kept-alive HTTP/1.1 connection that sends prepared bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> bytes:
        """Send a request; the body of its answer. Raises where the status is not 200."""
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while b"\r\n\r\n" not in received:
            received += self._socket.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(received[:500].decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        parts = [body]
        missing = length - len(body)
        while missing > 0:
            parts.append(self._socket.recv(min(missing, 1 << 20)))
            missing -= len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()


def request_bytes(path: str, body: object) -> bytes:
    """A POST request in full."""
    content = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def run(console: Console) -> None:
    """Print medians of a warm split and of the empty endpoint, and the time of a batch."""
    with _server() as port:
        table = Table(title=f"POST /split, store: false (median us of {REPETITIONS})")
        for column in ("model", "method", "split", "empty endpoint", "split / empty"):
            table.add_column(column, justify="right" if column != "model" else "left")
        ids = {name: _upload(port, name) for name in MODELS}
        for model_id in ids.values():
            _warm(port, model_id)
        for name, model_id in ids.items():
            for method in ("auto", "general"):
                table.add_row(name, method, *_split_row(port, model_id, method))
        console.print(table)
        _batch(console, port, ids["light_inception_v2"])


def scenario(seed: int = 0) -> dict[str, Any]:
    """A scenario; ``seed`` 0 is the usual one."""
    rng = random.Random(seed)
    return {
        "device": {"flops_per_s": 1e11},
        "server": {"flops_per_s": 1e13},
        "link": {
            "uplink_bits_per_s": 10 ** rng.uniform(6, 9) if seed else 2e7,
            "downlink_bits_per_s": 1e8,
            "round_trip_s": 0.01,
        },
        "mode": "training",
        "batch_size": 32,
        "local_iterations": 10,
    }


def _split_row(port: int, model_id: str, method: str) -> list[str]:
    body = {"model_id": model_id, **scenario(), "method": method, "store": False}
    split, empty = request_bytes("/split", body), request_bytes("/empty", body)
    connection = Connection(port)
    for _ in range(100):
        connection.exchange(split)
    times = medians_s(
        {
            "split": lambda: connection.exchange(split),
            "empty": lambda: connection.exchange(empty),
        },
        REPETITIONS,
    )
    connection.close()
    ratio = times["split"] / times["empty"]
    return [f"{times['split'] * 1e6:.0f}", f"{times['empty'] * 1e6:.0f}", f"{ratio:.2f}x"]


def _batch(console: Console, port: int, model_id: str) -> None:
    body = {"model_id": model_id, "scenarios": [scenario(seed) for seed in range(1, 10_001)]}
    request = request_bytes("/split/batch", body)
    connection = Connection(port)
    seconds = medians_s({"batch": lambda: connection.exchange(request)}, 10)["batch"]
    connection.close()
    console.print(f"POST /split/batch, 10,000 scenarios: {seconds * 1e3:.0f} ms (median of 10)\n")


def _upload(port: int, name: str) -> str:
    path = DEMO_MODEL if name == "mobilenet_v2" else BY_NAME[name].path
    with path.open("rb") as file:
        answer = httpx.post(f"http://127.0.0.1:{port}/models", files={"file": file}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _warm(port: int, model_id: str) -> None:
    """Have all tables built that a split may read; after an upload that goes on for a while."""
    connection = Connection(port)
    for mode in ("training", "inference"):
        faster = {**scenario(), "device": {"flops_per_s": 1e14}, "mode": mode, "store": False}
        connection.exchange(request_bytes("/split", {"model_id": model_id, **faster}))
    connection.close()


@contextmanager
def _server() -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "--port", str(port)),
                *("--log-level", "warning", "--no-access-log"),
                "benchmarks.http:create_benchmark_app",
            ],
            env={**os.environ, "KERF_DATA_DIR": directory},
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)
