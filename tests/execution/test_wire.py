"""Messages on a connection: what is sent comes, and nothing else is taken for a message."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.errors import KerfError
from app.errors import CannotRunError
from app.execution.errors import BrokenLinkError, BusyServerError, NotOurProtocolError
from app.execution.messages import (
    MOST_HEADER_BYTES,
    Header,
    Hello,
    Kind,
    Ping,
    Pong,
    Port,
    Refusal,
    Tensor,
    Tensors,
    require_sizes,
)
from app.execution.tensors import Incoming, outgoing, require_due, require_tensors
from app.execution.wire import Connection
from tests.execution.sides import prelude

Pair = tuple[Connection, socket.socket]


def pair(silence_s: float = 10.0) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname(), silence_s)
        far, _ = listener.accept()
    return near, far


@pytest.fixture
def ends() -> Iterator[Pair]:
    """A connection, and the bare socket at its other end."""
    near, far = pair()
    with near, far:
        yield Connection(near, 10.0), far


def sent(end: socket.socket, data: bytes) -> None:
    """Send bytes and no more."""
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)


ARRAYS: dict[str, NDArray[Any]] = {
    "float32": np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5),
    "float16": np.arange(4, dtype=np.float16),
    "float64": np.array(np.pi),
    "bfloat16": np.arange(6).astype(ml_dtypes.bfloat16),
    "float8e4m3fn": np.arange(5).astype(ml_dtypes.float8_e4m3fn),
    "bool": np.array([[True, False, True]]),
    "int8": np.array([-128, 127], dtype=np.int8),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "int4": np.array([[-8, 7, 3]]).astype(ml_dtypes.int4),
    "int64": np.zeros((0, 4), dtype=np.int64),
}


def test_arrays_of_every_type_come_as_they_were_sent(ends: Pair) -> None:
    """Types that numpy does not know, types below 8 bits, arrays that are not contiguous, without
    axes and without elements; twice, so that the memory of the first time is used again."""
    connection, far = ends
    other = Connection(far, 10.0)
    ports = [Port(name=name, dtype=name) for name in ARRAYS]
    ports.append(Port(name="transposed", dtype="float32"))
    incoming = Incoming()
    for factor in (1, 0):
        arrays = {name: array * np.array(factor, array.dtype) for name, array in ARRAYS.items()}
        arrays["transposed"] = arrays["float32"].T
        tensors, data = outgoing(arrays, ports)
        assert tensors[8].nbytes == len(data[8]) == 2
        other.send(Kind.ROUND, Tensors(tensors=tensors), data)
        message = connection.expect()
        header = message.read(Kind.ROUND, Tensors)
        require_sizes(header.tensors, message.nbytes, 10_000)
        require_due(header.tensors, ports)
        found = incoming.receive(connection, header.tensors)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert np.array_equal(found[name], array)


def test_more_than_fits_into_the_kernel_comes_in_one_piece(ends: Pair) -> None:
    """A message of many tensors and of tens of megabytes is sent in as many steps as it takes."""
    connection, far = ends
    ports = [Port(name=str(index), dtype="float32") for index in range(3000)]
    arrays = {port.name: np.full(index, index, np.float32) for index, port in enumerate(ports)}
    tensors, data = outgoing(arrays, ports)
    sender = threading.Thread(
        target=Connection(far, 10.0).send, args=(Kind.ROUND, Tensors(tensors=tensors), data)
    )
    sender.start()
    header = connection.expect().read(Kind.ROUND, Tensors)
    found = Incoming().receive(connection, header.tensors)
    sender.join()
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_the_end_between_messages_is_no_error(ends: Pair) -> None:
    """Whoever has nothing more to say may close."""
    connection, far = ends
    Connection(far, 10.0).send(Kind.PING, Ping())
    far.shutdown(socket.SHUT_WR)
    connection.expect().read(Kind.PING, Ping)
    assert connection.receive() is None
    with pytest.raises(BrokenLinkError, match="the other side closed"):
        connection.expect()


def test_an_end_anywhere_in_a_message_is_told() -> None:
    """A message that ends after any number of its bytes but none is broken off."""
    header = Tensors(tensors=[Tensor(name="x", dtype="float32", shape=[3])])
    text = header.model_dump_json().encode()
    whole = prelude(Kind.ROUND, len(text), 12) + text + bytes(12)
    for length in range(1, len(whole)):
        near, far = pair()
        with near, far:
            sent(far, whole[:length])
            with pytest.raises(BrokenLinkError, match="in the middle of a message"):
                receive_round(Connection(near, 10.0))


def receive_round(connection: Connection) -> None:
    """Receive a message as a server receives a round."""
    message = connection.expect()
    header = message.read(Kind.ROUND, Tensors)
    require_sizes(header.tensors, message.nbytes, 10_000)
    Incoming().receive(connection, header.tensors)


def test_silence_in_a_message_is_told() -> None:
    """A connection on which nothing comes any more is given up."""
    near, far = pair()
    with near, far:
        far.sendall(prelude(Kind.PING, 2))
        with pytest.raises(BrokenLinkError, match="silent for too long"):
            Connection(near, 0.05).expect()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_round(data: bytes) -> None:
    """Whatever comes is refused in words of Kerf's."""
    near, far = pair()
    with near, far:
        sent(far, data)
        with pytest.raises((BrokenLinkError, NotOurProtocolError)):
            receive_round(Connection(near, 10.0))


@settings(deadline=None)
@given(st.binary(max_size=100) | st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_no_header_is_taken_that_is_not_right(content: Any) -> None:
    """A header that is no JSON, or other JSON than the message has, is refused."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    near, far = pair()
    with near, far:
        sent(far, prelude(Kind.ROUND, len(text)) + text)
        with pytest.raises(NotOurProtocolError, match="the header of ROUND is not right"):
            receive_round(Connection(near, 10.0))


@pytest.mark.parametrize(
    ("begin", "complaint"),
    [
        (b"GET / HTTP/1.1\r\nHost: kerf\r\n", "not how a message of Kerf's begins"),
        (prelude(Kind.PING, 2, magic=b"kerF"), "not how a message of Kerf's begins"),
        (prelude(Kind.PING, 2, protocol=2), "speaks version 2 of the protocol"),
        (prelude(99, 2), "a message of kind 99"),
        (prelude(0, 2), "a message of kind 0"),
        (prelude(Kind.PING, MOST_HEADER_BYTES + 1), "with a header of 1048577 bytes"),
    ],
)
def test_what_does_not_begin_as_a_message_is_refused(
    ends: Pair, begin: bytes, complaint: str
) -> None:
    """Before any more of it is read."""
    connection, far = ends
    far.sendall(begin)
    with pytest.raises(NotOurProtocolError, match=complaint):
        connection.expect()


def round_of(shape: list[int], nbytes: int, dtype: str = "float32") -> bytes:
    """The beginning of a message that announces one tensor."""
    tensors: dict[str, Any] = {"tensors": [{"name": "x", "dtype": dtype, "shape": shape}]}
    text = json.dumps(tensors).encode()
    return prelude(Kind.ROUND, len(text), nbytes) + text


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (round_of([4000], 16000), "16000 bytes is announced, and at most 10000"),
        (round_of([2**31 - 1] * 60, 2**63), "at most 10000 are taken"),
        (round_of([2**31 - 1] * 60, 16), "16 bytes is announced for tensors of "),
        (round_of([4], 20), "20 bytes is announced for tensors of 16"),
        (round_of([-4], 16), "not right: tensors.0.shape.0: Input should be greater than"),
        (round_of([2**31], 16), "not right: tensors.0.shape.0: Input should be less than"),
        (round_of([1] * 65, 4), "not right: tensors.0.shape: List should have at most 64"),
        (round_of([4], 16, "string"), "type 'string', which is none"),
        (round_of([4], 16, "object"), "type 'object', which is none"),
        (prelude(Kind.PING, 2, 5) + b"{}", "ROUND is due, and PING came"),
    ],
)
def test_tensors_of_another_size_than_announced_are_refused(
    ends: Pair, data: bytes, complaint: str
) -> None:
    """Before memory is taken for them."""
    connection, far = ends
    far.sendall(data)
    with pytest.raises(NotOurProtocolError, match=complaint):
        receive_round(connection)


def test_only_messages_of_tensors_have_tensors(ends: Pair) -> None:
    """A ping that announces bytes is refused."""
    connection, far = ends
    far.sendall(prelude(Kind.PING, 2, 5) + b"{}")
    with pytest.raises(NotOurProtocolError, match="PING comes with 5 bytes of tensors"):
        connection.expect().read(Kind.PING, Ping)


def test_numbers_too_large_for_a_clock_are_refused(ends: Pair) -> None:
    """A clock that shows what no clock does is refused, not computed with."""
    connection, far = ends
    text = json.dumps({"received_ns": 10**400, "answered_ns": 0}).encode()
    far.sendall(prelude(Kind.PONG, len(text)) + text)
    with pytest.raises(NotOurProtocolError, match="not right: received_ns"):
        connection.expect().read(Kind.PONG, Pong)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [("busy", BusyServerError), ("cannot-run", CannotRunError), ("protocol", NotOurProtocolError)],
)
def test_a_refusal_is_raised_whatever_is_due(
    ends: Pair, problem: str, kind: type[KerfError]
) -> None:
    """With the words of the other side; and it comes though the other side had bytes unread."""
    connection, far = ends
    connection.send(Kind.PING, Ping())
    other = Connection(far, 10.0)
    refusing = threading.Thread(target=other.refuse, args=(problem, "not now"))
    refusing.start()
    with pytest.raises(kind, match="not now"):
        connection.expect().read(Kind.PONG, Pong)
    connection.close()
    refusing.join()


def test_messages_have_the_form_that_is_documented(ends: Pair) -> None:
    """20 bytes, JSON, and the raw little-endian data of the tensors, nothing between."""
    connection, far = ends
    tensors, data = outgoing(
        {"x": np.array([1, -2], np.int16)}, [Port(name="x", dtype="int16", shape=[2])]
    )
    connection.send(Kind.ROUND, Tensors(tensors=tensors), data)
    connection.close()
    with far.makefile("rb") as file:
        content = file.read()
    text = b'{"tensors":[{"name":"x","dtype":"int16","shape":[2]}]}'
    assert content[:4] == b"kerf"
    assert struct.unpack("<HHIQ", content[4:20]) == (1, 7, len(text), 4)
    assert content[20:] == text + b"\x01\x00\xfe\xff"


@pytest.mark.parametrize("dtype", ["string", "seq(tensor(float))"])
def test_what_has_no_bytes_of_its_own_is_not_sent(dtype: str) -> None:
    """Strings and sequences are refused with the name of the tensor."""
    with pytest.raises(CannotRunError, match="'words' of the server half is " + dtype[:3]):
        require_tensors([Port(name="words", dtype=dtype)], "the server half")


HEADERS: list[Header] = [
    Ping(),
    Refusal(problem="busy", detail="täglich"),
    Hello(half=None, gives=[Port(name="x", dtype="float32", shape=[None, 3])], parameters=[]),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: type(header).__name__)
def test_headers_come_as_they_were_sent(ends: Pair, header: Header) -> None:
    """Text beyond ASCII and open extents included."""
    connection, far = ends
    Connection(far, 10.0).send(Kind.HELLO, header)
    assert type(header).model_validate_json(connection.expect().header) == header
