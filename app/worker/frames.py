"""Messages between the service and a worker: a JSON header and raw bytes.

Neither side unpickles anything: what a worker says that has read a hostile file is data.
"""

import json
import math
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

REQUEST = b"w"
"""By which the service asks the zygote for a worker."""
STARTED = b"+"
"""What is said to the service once a worker runs; its exit status follows at its end."""
LARGEST_FRAME_BYTES = 2**28
"""A worker that announces more than this is out of its mind."""
_LENGTHS = struct.Struct("!IQ")


class BrokenFrameError(Exception):
    """The other side sent something that is no frame, or ended in the middle of one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """``header``: any JSON object; ``blob``: bytes that go with it."""

    header: dict[str, Any]
    blob: bytes = field(default=b"", repr=False)


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a frame. Raises ``OSError`` where nobody reads it."""
    header = json.dumps(frame.header, separators=(",", ":")).encode()
    connection.sendall(_LENGTHS.pack(len(header), len(frame.blob)) + header)
    connection.sendall(frame.blob)


def receive(connection: socket.socket, deadline: float = math.inf) -> Frame | None:
    """The next frame, or None where the other side has ended.

    ``deadline``: on the clock of ``time.monotonic``. Raises ``TimeoutError`` when it has passed,
    ``BrokenFrameError``, or ``OSError``.
    """
    lengths = _receive_bytes(connection, _LENGTHS.size, deadline)
    if not lengths:
        return None
    header_bytes, blob_bytes = _LENGTHS.unpack(_whole(lengths, _LENGTHS.size))
    if header_bytes + blob_bytes > LARGEST_FRAME_BYTES:
        raise BrokenFrameError("the frame is too large")
    text = _whole(_receive_bytes(connection, header_bytes, deadline), header_bytes)
    blob = _whole(_receive_bytes(connection, blob_bytes, deadline), blob_bytes)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenFrameError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrameError("the header is not a JSON object")
    return Frame(header, blob)


def _receive_bytes(connection: socket.socket, count: int, deadline: float) -> bytes:
    """As many bytes as asked for, or fewer where the other side ends before."""
    received = bytearray()
    while len(received) < count:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(None if math.isinf(left_s) else left_s)
        some = connection.recv(min(count - len(received), 2**20))
        if not some:
            break
        received += some
    return bytes(received)


def _whole(received: bytes, count: int) -> bytes:
    if len(received) < count:
        raise BrokenFrameError("the other side ended in the middle of a frame")
    return received
