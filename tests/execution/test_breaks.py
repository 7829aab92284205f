"""Connections that break, and what else may come to a server: the next round works."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import CannotRunError
from app.execution import Address, Execution, Half, Plan, run_rounds
from app.execution.errors import (
    BrokenLinkError,
    BusyServerError,
    NoServerError,
    NotOurProtocolError,
)
from app.execution.messages import (
    MOST_HEADER_BYTES,
    Bye,
    HalfIdentity,
    Header,
    Hello,
    Kind,
    Ping,
    Pong,
    Port,
    Refusal,
    Results,
    Runtime,
    Tensor,
    Tensors,
    Welcome,
)
from app.execution.wire import Connection
from app.halves.division import Side
from tests.execution.sides import DEADLINE_S, Process, Served, one_node, prelude, serving
from tests.processes import PROC

ELEMENTS = 1000
FEEDS: dict[str, Any] = {"x": np.linspace(-1, 1, ELEMENTS, dtype=np.float32)}
PORT = Port(name="y", dtype="float32", shape=[ELEMENTS])
HELLO = Hello(half=HalfIdentity(), gives=[PORT], parameters=[])
ONCE = Plan(rounds=1, warm_up_rounds=0)
LARGE = 2**24
"""Floats: more than the kernel holds of a connection."""


@pytest.fixture
def device(tmp_path: Path) -> Half:
    """A half that makes y of x."""
    return Half(one_node(tmp_path / "d.onnx", "Relu", "x", "y", ELEMENTS), Side.DEVICE)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server that makes z of y."""
    half = Half(one_node(tmp_path / "s.onnx", "Neg", "y", "z", ELEMENTS), Side.SERVER)
    with serving(half, silence_s=DEADLINE_S) as running:
        yield running


def require_round(device: Half, address: Address) -> Execution:
    """Have a round work."""
    execution = run_rounds(device, address, FEEDS, ONCE)
    assert np.array_equal(execution.server_outputs["z"], -np.maximum(FEEDS["x"], 0))
    assert execution.interruptions == ()
    return execution


class Bare(Connection):
    """A connection on which a test says what it likes, be it no message."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, DEADLINE_S)
        self.socket = sock


def begin(address: Address) -> Bare:
    """A connection on which the server waits for a round."""
    connection = Bare(socket.create_connection((address.host, address.port)))
    connection.send(Kind.HELLO, HELLO)
    connection.expect().read(Kind.WELCOME, Welcome)
    return connection


def told(served: Served, text: str) -> str:
    """What the server told that holds a text; waits until it has."""
    ends_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_s:
        for event in list(served.events):
            if text in event:
                return event.partition(": ")[2]
        time.sleep(0.005)
    raise AssertionError(served.events)


ROUND = Tensors(tensors=[Tensor(name="y", dtype="float32", shape=[ELEMENTS])])
WHOLE = (
    prelude(Kind.ROUND, len(ROUND.model_dump_json()), 4 * ELEMENTS)
    + ROUND.model_dump_json().encode()
    + bytes(4 * ELEMENTS)
)


@pytest.mark.parametrize("length", [1, 20, 60, len(WHOLE) - 1])
def test_a_device_that_ends_in_a_round_is_told_of(
    length: int, served: Served, device: Half
) -> None:
    """Wherever in its message the connection ends; the next device is served."""
    connection = begin(served.server.address)
    connection.socket.sendall(WHOLE[:length])
    connection.close()
    event = told(served, "the connection broke")
    where = "in round 1, receiving its tensors" if length > 90 else "after 0 rounds"
    assert event == f"the connection broke {where}: the connection ended in the middle of a message"
    require_round(device, served.server.address)


def test_a_device_that_goes_without_a_word_is_told_of(served: Served, device: Half) -> None:
    """Between rounds, too: only a device that says BYE has done what it wanted."""
    begin(served.server.address).close()
    event = told(served, "the connection broke")
    assert event == "the connection broke after 0 rounds: the other side closed the connection"
    require_round(device, served.server.address)
    assert told(served, "done") == "done after 1 round"


GARBAGE: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\nHost: kerf\r\n\r\n",
    "nothing": b"",
    "zeros": bytes(1000),
    "another protocol": prelude(Kind.HELLO, 2, protocol=9) + b"{}",
    "an unknown kind": prelude(77, 0),
    "a large header": prelude(Kind.HELLO, MOST_HEADER_BYTES + 1),
    "no hello": prelude(Kind.PING, 2) + b"{}",
    "no json": prelude(Kind.HELLO, 4) + b"\xff\xfe{}",
    "a pickle": prelude(Kind.HELLO, 30) + b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c",
    "a hello with tensors": prelude(Kind.HELLO, 45, 2**60)
    + b'{"half": null, "gives": [], "parameters": []}',
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_server_outlives_what_is_no_device(data: bytes, served: Served, device: Half) -> None:
    """It says what it refuses, and serves the next device."""
    with socket.create_connection((served.server.address.host, served.server.address.port)) as end:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        while end.recv(2**16):
            pass
    told(served, "HELLO")
    require_round(device, served.server.address)


def test_a_server_outlives_a_hundred_connections_of_garbage(served: Served, device: Half) -> None:
    """Half of them still open, and silent, while the next device is served."""
    rng = np.random.default_rng(1)
    ends = []
    for index in range(100):
        end = socket.create_connection((served.server.address.host, served.server.address.port))
        if index % 2:
            end.sendall(rng.bytes(int(rng.integers(20, 4000))))
        ends.append(end)
    try:
        require_round(device, served.server.address)
    finally:
        for end in ends:
            end.close()
    require_round(device, served.server.address)


BAD_ROUNDS: dict[str, tuple[Header, int, str]] = {
    "too large": (
        Tensors(tensors=[Tensor(name="y", dtype="float32", shape=[2**30])]),
        2**32,
        "a message of 4294967296 bytes is announced, and at most 1073741824 are taken",
    ),
    "of another size": (ROUND, 4 * ELEMENTS + 1, "4001 bytes is announced for tensors of 4000"),
    "of another type": (
        Tensors(tensors=[Tensor(name="y", dtype="int32", shape=[ELEMENTS])]),
        4 * ELEMENTS,
        "the tensors [('y', 'int32')] are announced, and [('y', 'float32')] are due",
    ),
    "of another name": (
        Tensors(tensors=[Tensor(name="w", dtype="float32", shape=[ELEMENTS])]),
        4 * ELEMENTS,
        "the tensors [('w', 'float32')] are announced, and [('y', 'float32')] are due",
    ),
    "of nothing": (Tensors(tensors=[]), 0, "the tensors [] are announced"),
    "of no elements, and too many": (
        Tensors(tensors=[Tensor(name="y", dtype="float32", shape=[0, *[2**31 - 1] * 4])]),
        0,
        "there is no memory for tensors of 0 bytes: ",
    ),
}


@pytest.mark.parametrize(("header", "nbytes", "why"), BAD_ROUNDS.values(), ids=BAD_ROUNDS.keys())
def test_a_round_that_is_not_due_is_refused(
    header: Header, nbytes: int, why: str, served: Served, device: Half
) -> None:
    """On both sides, before its tensors are received; the next round works."""
    connection = begin(served.server.address)
    text = header.model_dump_json().encode()
    connection.socket.sendall(prelude(Kind.ROUND, len(text), nbytes) + text)
    with pytest.raises((NotOurProtocolError, CannotRunError)) as caught:
        connection.expect().read(Kind.RESULTS, Results)
    assert why in caught.value.detail
    connection.close()
    assert why in told(served, "refused in round 1, receiving its tensors")
    require_round(device, served.server.address)


def test_a_round_that_cannot_be_computed_leaves_the_connection(served: Served) -> None:
    """A shape that the half does not take is for ONNX Runtime to refuse; the next round works, on
    the same connection."""
    connection = begin(served.server.address)
    short = Tensors(tensors=[Tensor(name="y", dtype="float32", shape=[2])])
    connection.send(Kind.ROUND, short, [memoryview(bytes(8))])
    with pytest.raises(CannotRunError, match=r"cannot run the server half: .*invalid dimensions"):
        connection.expect().read(Kind.RESULTS, Results)
    connection.socket.sendall(WHOLE)
    message = connection.expect()
    assert message.read(Kind.RESULTS, Results).tensors[0].name == "z"
    assert message.nbytes == 4 * ELEMENTS
    connection.close()


def test_one_device_is_served_at_a_time(served: Served, device: Half) -> None:
    """The other is told, if it does not want to wait; else it is served when the first is done."""
    first = begin(served.server.address)
    busy = r"refuses: it serves another device, and takes one at a time"
    with pytest.raises(BusyServerError, match=busy):
        run_rounds(device, served.server.address, FEEDS, Plan(1, 0, wait_s=0.0))
    waiting = threading.Thread(target=require_round, args=(device, served.server.address))
    waiting.start()
    first.send(Kind.BYE, Bye())
    first.close()
    waiting.join()
    told(served, "done after 1 round")


def test_what_the_server_cannot_take_is_not_sent(device: Half, tmp_path: Path) -> None:
    """A device knows how much a server takes, and says what to do about it."""
    half = Half(one_node(tmp_path / "s.onnx", "Neg", "y", "z", ELEMENTS), Side.SERVER)
    with serving(half, most_bytes=3999) as served:
        with pytest.raises(CannotRunError, match=r"at most 3999 bytes at once, .* be sent 4000"):
            run_rounds(device, served.server.address, FEEDS, ONCE)
        assert told(served, "done") == "done after 0 rounds"


Script = Callable[[Bare], None]


def served_by(*scripts: Script) -> tuple[Address, threading.Thread]:
    """A server that does what each script says, on one connection after the other."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for script in scripts:
                connection = Bare(listener.accept()[0])
                script(connection)
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return Address("127.0.0.1", listener.getsockname()[1]), thread


def welcome(connection: Bare) -> None:
    """Be a server up to the first round."""
    connection.expect().read(Kind.HELLO, Hello)
    runtime = Runtime(onnxruntime="1", threads=None, optimised=True)
    gives = [Port(name="z", dtype="float32", shape=[ELEMENTS])]
    greeting = Welcome(
        half=HalfIdentity(),
        takes=[PORT],
        parameters=[],
        gives=gives,
        most_bytes=2**20,
        runtime=runtime,
    )
    connection.send(Kind.WELCOME, greeting)


def answer_pings(connection: Bare) -> Tensors | None:
    """Answer pings until a round comes; its header, or None where BYE comes."""
    while (message := connection.expect()).kind is Kind.PING:
        now_ns = time.perf_counter_ns()
        connection.send(Kind.PONG, Pong(received_ns=now_ns, answered_ns=now_ns))
    return None if message.kind is Kind.BYE else message.read(Kind.ROUND, Tensors)


def take_round(connection: Bare) -> None:
    """Receive a round."""
    welcome(connection)
    answer_pings(connection)
    connection.fill([memoryview(bytearray(4 * ELEMENTS))])


def answer(connection: Bare) -> None:
    """Serve rounds until the device is done."""
    welcome(connection)
    while answer_pings(connection) is not None:
        connection.fill([memoryview(bytearray(4 * ELEMENTS))])
        results(connection, "z", bytes(4 * ELEMENTS))


def results(connection: Bare, name: str, data: bytes) -> None:
    """Answer a round."""
    now_ns = time.perf_counter_ns()
    tensors = [Tensor(name=name, dtype="float32", shape=[len(data) // 4])]
    header = Results(tensors=tensors, arrived_ns=now_ns, computed_ns=now_ns)
    connection.send(Kind.RESULTS, header, [memoryview(data)])


def end_in_results(connection: Bare) -> None:
    """Break off in the midst of the results."""
    take_round(connection)
    now_ns = time.perf_counter_ns()
    tensors = [Tensor(name="z", dtype="float32", shape=[ELEMENTS])]
    text = Results(tensors=tensors, arrived_ns=now_ns, computed_ns=now_ns).model_dump_json()
    connection.socket.sendall(prelude(Kind.RESULTS, len(text), 4 * ELEMENTS) + text.encode())
    connection.socket.sendall(bytes(100))


def end_in_pings(connection: Bare) -> None:
    """Break off when it is asked for its clock."""
    welcome(connection)
    connection.expect().read(Kind.PING, Ping)


@pytest.mark.parametrize(
    ("broken", "told_why"),
    [
        (take_round, "in round 1, while results were awaited: the other side closed the"),
        (end_in_results, "in round 1, while results were awaited: the connection ended in the"),
        (end_in_pings, "while the round trip was measured: the other side closed the connection"),
    ],
)
def test_a_round_that_was_interrupted_is_done_again(
    broken: Script, told_why: str, device: Half
) -> None:
    """On a new connection; the break is told, and is no part of what is measured."""
    address, thread = served_by(broken, answer)
    events: list[str] = []
    plan = Plan(rounds=2, warm_up_rounds=1)
    execution = run_rounds(device, address, FEEDS, plan, on_event=events.append)
    thread.join()
    [interruption] = execution.interruptions
    assert interruption.startswith(f"the connection to {address} broke {told_why}")
    assert events == [f"{interruption}; connecting again"]
    assert len(execution.rounds) == 2


def test_a_device_gives_up_after_so_many_breaks(device: Half) -> None:
    """It says what broke the last time."""
    address, thread = served_by(take_round, take_round, take_round)
    with pytest.raises(BrokenLinkError, match=f"the connection to {address} broke in round 1"):
        run_rounds(device, address, FEEDS, Plan(1, 0, retries=2))
    thread.join()


def refuse_all(connection: Bare) -> None:
    """Read nothing of a round, and end the connection."""
    welcome(connection)
    answer_pings(connection)
    connection.send(Kind.REFUSAL, Refusal(problem="cannot-run", detail="there is no memory"))


def other_results(connection: Bare) -> None:
    """Give what is not due."""
    take_round(connection)
    results(connection, "other", bytes(4 * ELEMENTS))


def no_server(connection: Bare) -> None:
    """Speak of something else."""
    connection.expect()
    connection.socket.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def close_at_once(_connection: Bare) -> None:
    """Say nothing."""


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        (refuse_all, CannotRunError, "there is no memory"),
        (other_results, NotOurProtocolError, r"the tensors \[\('other', 'float32'\)\] are announ"),
        (
            no_server,
            NotOurProtocolError,
            r"cannot talk to 127\.0\.0\.1:\d+: b'HTTP/1\.1 400 Bad Req' is not how",
        ),
        (close_at_once, NoServerError, "broke off before it had said anything"),
    ],
)
def test_a_server_that_is_none_is_told_of(
    script: Script, kind: type[Exception], why: str, device: Half
) -> None:
    """Whatever a server answers in place of results."""
    address, thread = served_by(script)
    with pytest.raises(kind, match=why):
        run_rounds(device, address, FEEDS, Plan(1, 0, wait_s=0.0))
    thread.join()


def waiting_bytes(port: int) -> int:
    """How many bytes lie in the kernel for whoever has accepted connections on a port."""
    found = 0
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port and state == "01":
            found += int(queues.rpartition(":")[2], 16)
    return found


def held_in_a_round(directory: Path, wait_s: float = DEADLINE_S) -> tuple[Process, Process, int]:
    """A server and a device in processes of their own, in the midst of round 2: the server is
    stopped, and has got some of its tensors; and the server's port. ``wait_s``: how long the device
    tries to be served."""
    half = one_node(directory / "s.onnx", "Neg", "y", "z", LARGE)
    server = Process("tests.execution.serve", half, 0)
    port = int(server.wait_for(""))
    path = one_node(directory / "d.onnx", "Relu", "x", "y", LARGE)
    device = Process("tests.execution.drive", path, port, 3, wait_s)
    device.wait_for("1")
    server.send(signal.SIGSTOP)
    device.go_on()
    ends_s = time.monotonic() + DEADLINE_S
    while not waiting_bytes(port):
        assert time.monotonic() < ends_s
        time.sleep(0.005)
    return server, device, port


def test_a_device_that_is_killed_in_a_round_is_told_of(tmp_path: Path) -> None:
    """The server says in which round, serves the next device, and ends cleanly when it is told."""
    server, device, port = held_in_a_round(tmp_path)
    device.end(signal.SIGKILL)
    server.send(signal.SIGCONT)
    event = server.wait_for("the connection broke")
    assert "in round 2, receiving its tensors: " in event
    again = Process("tests.execution.drive", tmp_path / "d.onnx", port, 1, DEADLINE_S)
    again.wait_for("1")
    again.go_on()
    assert (again.wait(), again.lines[-1]) == (0, "done")
    server.wait_for("done after 1 round")
    assert (server.end(signal.SIGTERM), server.lines[-1]) == (0, "stopped")


def test_a_server_that_is_killed_in_a_round_can_be_started_again(tmp_path: Path) -> None:
    """The device connects to the new one and does its rounds there."""
    server, device, port = held_in_a_round(tmp_path)
    server.end(signal.SIGKILL)
    server = Process("tests.execution.serve", tmp_path / "s.onnx", port)
    for number in (2, 3):
        device.wait_for(str(number))
        device.go_on()
    assert (device.wait(), device.lines[-1]) == (0, "done")
    server.wait_for("done after 2 rounds")
    assert (server.end(signal.SIGTERM), server.lines[-1]) == (0, "stopped")


def test_a_server_that_is_told_to_stop_in_a_round_stops(tmp_path: Path) -> None:
    """It says in the midst of what, and the device sees the connection end."""
    server, device, _ = held_in_a_round(tmp_path, wait_s=0.5)
    server.send(signal.SIGTERM)
    server.send(signal.SIGCONT)
    assert server.wait() == 0
    assert "stopped in round 2, receiving its tensors" in server.lines[-2]
    assert server.lines[-1] == "stopped"
    assert device.wait() == 1
    assert "app.execution.errors.NoServerError: there is no server at 127.0.0.1" in device.lines[-1]
