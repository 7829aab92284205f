"""Helpers: a real ``kerf serve`` process, small models to upload to it, and what it must answer."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx
from onnx import TensorProto, helper

from app.demo.demo import DEMO_MODEL, free_port, wait_until_ready
from app.settings import Settings
from tests import databases
from tests.processes import tree

PROBLEM = "application/problem+json"
DEMO_BYTES = DEMO_MODEL.read_bytes()


@dataclass
class Server:
    """A ``kerf serve`` process over a data directory; may be stopped, killed and started again."""

    data_dir: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the service, by the names of their variables without ``KERF_``, in any case."""
    url: str = ""
    arguments: Sequence[str] = ()
    """Of ``kerf serve``, whenever it starts."""
    port_wanted: int | None = None
    """At each start; a free one if None."""
    wait_for: str = "/readyz"
    """What has to answer with 200 before it counts as started."""
    _process: "subprocess.Popen[bytes] | None" = None
    _clients: list[httpx.Client] = field(default_factory=list)

    def start(self, *arguments: str) -> None:
        """Start it on a free port, and wait until it is ready."""
        port = self.port_wanted or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
        command += [*self.arguments, *arguments]
        variables = {f"KERF_{name}".upper(): str(value) for name, value in self.settings.items()}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**environment(self.data_dir), **variables},
                stdout=log,
                stderr=log,
            )
        wait_until_ready(self.url, self._process, path=self.wait_for)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process by a signal; its status."""
        while self._clients:
            self._clients.pop().close()
        if self._process is None:
            return 0
        self._process.send_signal(how)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end of a process that has been told; its status."""
        assert self._process is not None
        status = self._process.wait(timeout=30)
        self._process = None
        return status

    def client(self) -> httpx.Client:
        """A new client of it, closed when the server ends."""
        client = httpx.Client(base_url=self.url, timeout=60)
        self._clients.append(client)
        return client

    @property
    def pid(self) -> int:
        """The id of the process, which must be running."""
        assert self._process is not None
        return self._process.pid

    def processes(self) -> list[int]:
        """The ids of the process and of all that descend from it: a zygote, and workers."""
        return tree(self.pid)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def log_path(self) -> Path:
        return self.data_dir / "log.txt"


def environment(data_dir: Path) -> dict[str, str]:
    """This process's environment, with Kerf's settings for a data directory of its own, and for the
    database that goes with it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERF_")}
    url = databases.url_for(data_dir)
    database = {} if url is None else {"KERF_DATABASE_URL": url}
    return {**kept, "KERF_DATA_DIR": str(data_dir), **database}


def settings_in(data_dir: Path, **changes: Any) -> Settings:
    """The settings of a service in this process, over a data directory and its database."""
    return Settings(data_dir=data_dir, database_url=databases.url_for(data_dir), **changes)


@contextmanager
def serving(
    data_dir: Path,
    arguments: Sequence[str] = (),
    wait_for: str = "/readyz",
    port: int | None = None,
    **settings: object,
) -> Iterator[Server]:
    """A running server; the block fails if the server logged an unexpected error."""
    data_dir.mkdir(parents=True, exist_ok=True)
    server = Server(data_dir, settings, arguments=arguments, port_wanted=port, wait_for=wait_for)
    server.start()
    try:
        yield server
    finally:
        server.end()
    assert "Traceback" not in server.log_path.read_text(), server.log_path.read_text()


def upload(
    client: httpx.Client, data: bytes, filename: str = "model.onnx", **fields: str
) -> httpx.Response:
    """POST /models."""
    return client.post("/models", files={"file": (filename, data)}, data=fields)


def uploaded(
    client: httpx.Client, data: bytes, filename: str = "model.onnx", **fields: str
) -> dict[str, Any]:
    """The summary of a model, uploaded or there already."""
    response = upload(client, data, filename, **fields)
    assert response.status_code in (200, 201), response.text
    summary: dict[str, Any] = response.json()
    return summary


def scenario(model_id: str, **changes: Any) -> dict[str, Any]:
    """A body for POST /split that cuts the demo model in its middle, with changes."""
    return {
        "model_id": model_id,
        "device": {"flops_per_s": 5e9},
        "server": {"flops_per_s": 5e12},
        "link": {"uplink_bits_per_s": 2e7, "downlink_bits_per_s": 1e8, "round_trip_s": 0.01},
        **changes,
    }


def split(client: httpx.Client, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
    """The answer of POST /split, which must be 200."""
    response = client.post("/split", json=body, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def listed(client: httpx.Client, path: str, limit: int = 200, **query: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        response = client.get(path, params={**query, "limit": limit, **cursor})
        assert response.status_code == 200, response.text
        page = response.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The body of a problem, which must have this status and type and every promised member."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    assert response.headers["x-request-id"]
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(body) <= {*_PROBLEM_MEMBERS}, body
    assert body["type"] == kind, body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    for error in body.get("errors", []):
        assert set(error) == {"loc", "msg"}
        assert error["loc"][0] in ("body", "path", "query", "header")
        assert error["msg"]
    return body


_PROBLEM_MEMBERS = ("type", "title", "status", "detail", "errors")


_serial = itertools.count()


def chain(*node_names: str, extents: tuple[int | str | None, ...] = (1, 8)) -> bytes:
    """A model of Relu nodes in a row, from ``x`` to ``y``; no two have the same bytes."""
    count = len(node_names)
    tensors = ["x", *(f"t{i}" for i in range(1, count)), "y"]
    nodes = [
        helper.make_node("Relu", [tensors[i]], [tensors[i + 1]], name=name)
        for i, name in enumerate(node_names)
    ]
    return model_of(nodes, extents, extents, doc=f"number {next(_serial)}")


def model_of(
    nodes: list[onnx.NodeProto],
    input_extents: tuple[int | str | None, ...] | None,
    output_extents: tuple[int | str | None, ...] | None,
    doc: str = "",
) -> bytes:
    """A model with the input ``x`` and the output ``y``; extents None: of unknown rank."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_extents)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_extents)],
        doc_string=doc,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data
