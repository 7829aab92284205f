"""Uploads: large ones, cut-off ones, and ones whose reader dies; and what others notice of them."""

import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from onnx import TensorProto, helper

from app.core.splitting.cut_table import Family
from app.store import cut_tables as table_store
from tests.api.small_models import wide
from tests.databases import database_at, url_for
from tests.large_models import write_large_model
from tests.processes import PROC, open_files, resident_bytes, status, watched
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    listed,
    model_of,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

MB = 10**6
PATIENCE_S = 60
SLOW = chain(*(f"n{i}" for i in range(10_000)))
"""A model that takes long enough to read for its worker to be caught at it."""
PART = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
HEAD = (
    b"POST /models HTTP/1.1\r\nHost: kerf\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n%s\r\n"
)


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Return when something holds; fail where it does not come to hold."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def held_files(pid: int) -> list[Path]:
    """The files of uploads that a process holds, whether or not they have a name."""
    found = []
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if "/uploads/" in str(descriptor.readlink()):
                    found.append(descriptor)
    return found


def descriptors(server: Server) -> int:
    """How many the service holds, but for those of its connections to the database: several
    requests at once need several, and these stay."""
    count = 0
    for entry in (PROC / str(server.pid) / "fd").iterdir():
        with suppress(OSError):
            count += "/kerf.db" not in str(entry.readlink())
    url = url_for(server.data_dir)
    if url is None:
        return count
    with psycopg.connect(url) as connection:
        (others,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone() or (0,)
    return count - int(others)


def readers(server: Server) -> list[int]:
    """The workers that read an upload now; others may be building tables."""
    service, *others = server.processes()
    assert service == server.pid
    return [pid for pid in others[1:] if held_files(pid)]


def at_rest(server: Server) -> None:
    """Wait until the service and its zygote are all there is."""
    eventually(lambda: len(server.processes()) == 2, "a worker is left")


def named_files(server: Server) -> list[str]:
    """The files in the directory of uploads."""
    return [path.name for path in (server.data_dir / "uploads").iterdir()]


def all_end(processes: list[int]) -> None:
    """Wait until none of these processes is there."""
    eventually(lambda: not any(map(status, processes)), "a process is left")


def thread_count(server: Server) -> int:
    """Threads of the service."""
    return int(status(server.pid)["Threads"])


def nested() -> bytes:
    """A model with a graph in a graph."""
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 8))
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "body", [], [value])
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", 9, (), [True]))
    choose = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    return model_of([yes, choose], (1, 8), (1, 8))


class InBackground(threading.Thread):
    """An upload under way; ``response`` is its answer, for which it waits."""

    def __init__(self, server: Server, data: bytes) -> None:
        super().__init__()
        self._url, self._data = server.url, data
        self._response: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        with (
            suppress(httpx.TransportError),
            httpx.Client(base_url=self._url, timeout=PATIENCE_S) as client,
        ):
            self._response = upload(client, self._data)

    @property
    def response(self) -> httpx.Response:
        self.join(PATIENCE_S)
        assert self._response is not None, "no answer"
        return self._response


def caught_reading(server: Server) -> tuple[InBackground, int]:
    """An upload of ``SLOW`` whose worker is stopped at it, and the worker's process."""
    at_rest(server)
    underway = InBackground(server, SLOW)
    eventually(lambda: len(readers(server)) == 1, "no worker")
    (worker,) = readers(server)
    os.kill(worker, signal.SIGSTOP)
    return underway, worker


def large_upload(server: Server, path: Path) -> httpx.Response:
    """Upload a file from disk, piece by piece."""
    with path.open("rb") as file:
        return server.client().post("/models", files={"file": file})


def test_large_upload_takes_little_memory(tmp_path: Path) -> None:
    """While 300 MB are uploaded and read, service, zygote and worker together take less than 150 MB
    more than at rest, and no file is left."""
    path = tmp_path / "large.onnx"
    nbytes = write_large_model(path, weights=18, width=2048)
    assert nbytes > 300 * MB
    with serving(tmp_path) as server:
        uploaded(server.client(), DEMO_BYTES)
        at_rest(server)
        idle = server.processes()
        idle_bytes = resident_bytes(idle)
        with watched(server.pid) as peak:
            model = large_upload(server, path).json()
        # The worker that reads was seen; the one that builds more tables may have been, too.
        assert peak.processes in (3, 4)
        assert peak.nbytes - idle_bytes < 150 * MB
        assert resident_bytes(idle, "VmHWM") - idle_bytes < 100 * MB
        assert model["parameter_bytes"] == 18 * 4 * 2048**2
        assert model["nodes"] == 36
        at_rest(server)
        assert (held_files(server.pid), named_files(server)) == ([], [])


def test_service_itself_never_loads_onnx(server: Server, demo_model: dict[str, Any]) -> None:
    """After an upload no library of onnx is mapped into the service's process."""
    assert demo_model["nodes"] > 0
    assert "onnx" not in Path(f"/proc/{server.pid}/maps").read_text()


def exchange(server: Server, head: bytes, body: Iterator[bytes]) -> tuple[int, bytes]:
    """Send a request until it is answered; how many bytes of its body went out, and the answer."""
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            for piece in body:
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(piece)
                sent += len(piece)
        answer = b""
        while piece := _received(connection):
            answer += piece
    return sent, answer


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def endless() -> Iterator[bytes]:
    """A chunked body whose file has no end."""
    yield b"%x\r\n%s\r\n" % (len(PART), PART)
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while True:
        yield piece


@pytest.fixture(scope="module")
def small_limit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that takes files of 5,000,000 bytes."""
    with serving(tmp_path_factory.mktemp("small"), upload_bytes=5 * MB) as server:
        yield server


def test_endless_upload_ends_at_the_limit(small_limit: Server) -> None:
    """A chunked body without an end is answered with 413 and its connection closed after little
    more than the limit, before anything of it is read as a model."""
    head = HEAD % b"Transfer-Encoding: chunked\r\n"
    # What the sockets of both sides hold has left the client, but not reached the service.
    buffers = 16 * MB
    before = len(small_limit.processes())
    sent, answer = exchange(small_limit, head, endless())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"content-too-large"' in answer
    assert b"5000000 bytes" in answer
    assert b"KERF_UPLOAD_BYTES" in answer
    assert b"connection: close" in answer
    assert sent < 5 * MB + buffers
    eventually(lambda: held_files(small_limit.pid) == [], "the file is still there")
    assert len(small_limit.processes()) == before


def test_upload_that_says_it_is_too_large_is_refused_at_once(small_limit: Server) -> None:
    """Where Content-Length says so, 413 comes before a byte of the body is sent."""
    head = HEAD % b"Content-Length: 7000000\r\n"
    sent, answer = exchange(small_limit, head, iter(()))
    assert sent == 0
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_limit_is_that_of_the_file(small_limit: Server) -> None:
    """A file of as many bytes as are allowed is read (and is no model), with one more it is not;
    texts of the form count for themselves."""
    client = small_limit.client()
    name = "x" * 200
    assert_problem(upload(client, bytes(5 * MB), name=name), 422, "not-onnx")
    response = upload(client, bytes(5 * MB + 1), name=name)
    assert_problem(response, 413, "content-too-large")
    response = upload(client, b"x", name="x" * (2**20 + 1))
    assert_problem(response, 413, "content-too-large")


@contextmanager
def half_sent(server: Server) -> Iterator[socket.socket]:
    """An upload of which the service has received a part, and that goes no further."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD % b"Content-Length: 9000000\r\n" + PART + bytes(3 * MB))

        def has_arrived() -> bool:
            return any(path.stat().st_size >= 2 * MB for path in held_files(server.pid))

        eventually(has_arrived, "nothing has arrived")
        yield connection


def test_hanging_up_leaves_nothing(tmp_path: Path) -> None:
    """When a client hangs up in the middle of a file, the service gives the file up, and it never
    had a name."""
    with serving(tmp_path) as server:
        files = descriptors(server)
        with half_sent(server):
            assert len(held_files(server.pid)) == 1
            assert named_files(server) == []
        eventually(lambda: held_files(server.pid) == [], "the file is still there")
        eventually(lambda: descriptors(server) <= files, "something is still open")
        assert listed(server.client(), "/models") == []


def test_killed_service_leaves_nothing(tmp_path: Path) -> None:
    """After a SIGKILL in the middle of an upload no file is left; one that a service left behind
    where files must have names is removed at the next start; both processes are gone."""
    with serving(tmp_path) as server:
        processes = server.processes()
        assert len(processes) == 2
        with half_sent(server):
            server.end(signal.SIGKILL)
        assert named_files(server) == []
        all_end(processes)
        (tmp_path / "uploads" / "upload-left").write_bytes(b"left")
        server.start()
        assert named_files(server) == []
        assert upload(server.client(), DEMO_BYTES).status_code == 201


def test_end_of_the_service_ends_its_workers(tmp_path: Path) -> None:
    """Killed or stopped while a model is being read, the service takes zygote and worker with
    it."""
    with serving(tmp_path) as server:
        for how in (signal.SIGKILL, signal.SIGTERM):
            underway, worker = caught_reading(server)
            processes = [*server.processes(), worker]
            server.end(how)
            all_end(processes)
            underway.join(PATIENCE_S)
            server.start()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=str)
def test_dying_worker_costs_its_upload_only(tmp_path: Path, how: signal.Signals) -> None:
    """A worker that dies is a 422 that says of what; meanwhile and afterwards other uploads and
    splits are answered, and the same file again is accepted."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        underway, worker = caught_reading(server)
        assert uploaded(client, chain("a"))["nodes"] == 1
        assert split(client, scenario(model_id))["optimal"] is True
        os.kill(worker, how)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
        problem = assert_problem(underway.response, 422, "reader-failed")
        assert how.name in problem["detail"]
        assert len(listed(client, "/models")) == 2
        assert split(client, scenario(model_id))["optimal"] is True
        assert upload(client, SLOW).status_code == 201


def test_worker_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """A worker that stands still is killed when its time is up, and the upload is a 422 that names
    the setting; with one worker at a time another upload waits for that, and splits do not."""
    with serving(tmp_path, ingest_seconds=4, ingest_workers=1) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        underway, worker = caught_reading(server)
        waiting = InBackground(server, chain("a"))
        for _ in range(20):
            assert split(client, scenario(model_id))["optimal"] is True
        assert waiting.is_alive()
        problem = assert_problem(underway.response, 422, "limit-exceeded")
        assert "4 s" in problem["detail"]
        assert "KERF_INGEST_SECONDS" in problem["detail"]
        assert waiting.response.status_code == 201
        assert not status(worker)


def test_worker_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A model that takes more memory to read than is allowed is a 422 that names the setting; a
    smaller one is accepted by the same service."""
    names = (f"{i:04000}" for i in range(10_000))
    with serving(tmp_path, ingest_memory_bytes=200 * 2**20) as server:
        problem = assert_problem(upload(server.client(), chain(*names)), 422, "limit-exceeded")
        assert "KERF_INGEST_MEMORY_BYTES" in problem["detail"]
        assert upload(server.client(), DEMO_BYTES).status_code == 201


def test_model_is_accepted_without_its_table(tmp_path: Path) -> None:
    """A model whose first table takes longer than its share of the time is accepted without it,
    and split by the method that needs none."""
    with serving(tmp_path, ingest_seconds=8) as server:
        model = uploaded(server.client(), wide(20))
        answer = split(server.client(), scenario(model["id"], method="general"))
        assert answer["certificate"]
        with closing(database_at(tmp_path)) as database, database.reading() as connection:
            assert Family.SLOWER_DEVICE not in table_store.all_of(connection, model["id"])


def test_killed_zygote_is_replaced(tmp_path: Path) -> None:
    """Without the process that workers are forked from, the upload under way is a 503 that says to
    try again, and the next one is accepted."""
    with serving(tmp_path) as server:
        underway, worker = caught_reading(server)
        os.kill(server.processes()[1], signal.SIGKILL)
        problem = assert_problem(underway.response, 503, "not-ready")
        assert "try again" in problem["detail"]
        eventually(lambda: not status(worker), "the worker is left")
        assert upload(server.client(), SLOW).status_code == 201


def test_full_disk_is_told(tmp_path: Path) -> None:
    """Where the disk takes no more of a file, the answer is 507, nothing of it is left, and what
    has room is accepted."""
    with serving(tmp_path) as server:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4 * MB, hard))
        problem = assert_problem(upload(server.client(), bytes(9 * MB)), 507, "disk-full")
        assert "disk" in problem["detail"]
        assert (held_files(server.pid), named_files(server)) == ([], [])
        assert upload(server.client(), DEMO_BYTES).status_code == 201


def test_many_uploads_leak_nothing(tmp_path: Path) -> None:
    """After uploads of all outcomes the service has the processes, threads and descriptors that it
    had after the first few."""
    with serving(tmp_path) as server:
        client = server.client()

        def round_of_uploads() -> None:
            for data, expected in ((chain("a"), 201), (b"no model", 422), (DEMO_BYTES[:-1], 422)):
                assert upload(client, data).status_code == expected
            with half_sent(server):
                pass
            underway, worker = caught_reading(server)
            os.kill(worker, signal.SIGKILL)
            assert underway.response.status_code == 422
            at_rest(server)
            eventually(lambda: held_files(server.pid) == [], "a file is left")

        def held() -> tuple[int, int]:
            return descriptors(server), open_files(server.processes()[1])

        round_of_uploads()
        before, threads = held(), thread_count(server)
        for _ in range(3):
            round_of_uploads()
        eventually(lambda: held() <= before, "descriptors are left")
        assert thread_count(server) <= threads + 2
        assert named_files(server) == []


@pytest.mark.parametrize(
    ("setting", "data"),
    [
        ({"model_nodes": 20}, chain(*(f"n{i}" for i in range(21)))),
        ({"name_bytes": 50}, chain("n" * 51)),
        ({"graph_bytes": 2000}, chain(*(f"n{i}" for i in range(100)))),
        ({"nesting": 0}, nested()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_limits_are_settings(tmp_path: Path, setting: dict[str, Any], data: bytes) -> None:
    """Each limit on what a model may be is a setting: beyond it the refusal names it, and what is
    within it is accepted."""
    with serving(tmp_path, **setting) as server:
        problem = assert_problem(upload(server.client(), data), 422, "limit-exceeded")
        assert str(next(iter(setting.values()))) in problem["detail"]
        assert upload(server.client(), chain("a")).status_code == 201


def test_parameters_are_those_named(client: httpx.Client) -> None:
    """Graph inputs that the upload names as parameters count as parameters, so no tensor of theirs
    is among the inputs, and the model is another than without them."""
    data = wide(2)
    plain = uploaded(client, data)
    named = uploaded(client, data, parameters='["x1"]')
    assert named["id"] != plain["id"]
    assert [tensor["name"] for tensor in named["inputs"]] == ["x0"]
    assert named["parameter_bytes"] == plain["parameter_bytes"] + 4 * 4 * 64
    assert uploaded(client, data, parameters='["x1"]')["id"] == named["id"]
    assert uploaded(client, data, parameters="[]")["id"] == plain["id"]
