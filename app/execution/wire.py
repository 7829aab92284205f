"""Messages over a TCP connection, without copies of what is large.

Tensors go from where ONNX Runtime made them to the kernel, and from the kernel to where ONNX
Runtime reads them.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from app.execution.errors import (
    REFUSALS,
    BrokenLinkError,
    NotOurProtocolError,
    os_reason,
)
from app.execution.messages import (
    MAGIC,
    MOST_HEADER_BYTES,
    PRELUDE,
    PROTOCOL,
    WITH_TENSORS,
    Header,
    Kind,
    Refusal,
)

HeaderOf = TypeVar("HeaderOf", bound=Header)
MOST_PIECES = 512
"""To one call of the system, which takes 1024 on Linux."""
LINGER_S = 1.0
_KEEPALIVE_S = 10


@dataclass(frozen=True, slots=True)
class Message:
    """A message up to the end of its header; ``nbytes`` of tensors are still to be received."""

    kind: Kind
    header: bytes
    nbytes: int

    def read(self, kind: Kind, header: type[HeaderOf]) -> HeaderOf:
        """The header of a message that has to be of a kind.

        Raises ``NotOurProtocolError``, and for a refusal what it says.
        """
        self.raise_refusal()
        if self.kind is not kind:
            raise NotOurProtocolError(f"{kind.name} is due, and {self.kind.name} came")
        if self.nbytes and kind not in WITH_TENSORS:
            raise NotOurProtocolError(f"{kind.name} comes with {self.nbytes} bytes of tensors")
        return self._parsed(header)

    def raise_refusal(self) -> None:
        """Raise what a refusal says; nothing for any other message."""
        if self.kind is Kind.REFUSAL:
            refusal = self._parsed(Refusal)
            raise REFUSALS[refusal.problem](refusal.detail)

    def _parsed(self, header: type[HeaderOf]) -> HeaderOf:
        try:
            return header.model_validate_json(self.header)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise NotOurProtocolError(
                f"the header of {self.kind.name} is not right: {place}: {first['msg']}"
            ) from error


class Connection:
    """One end of a connection. Raises ``BrokenLinkError`` where it ends, breaks or is silent for
    ``silence_s`` in the middle of something, and ``NotOurProtocolError`` for what is no message."""

    def __init__(self, sock: socket.socket, silence_s: float) -> None:
        self._socket = sock
        self.silence_s = silence_s
        # A round is one small message or the end of a large one: it must not wait for more.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)

    @property
    def silence_s(self) -> float:
        """How long the other side may send, or take, nothing while it should. Seconds."""
        return self._silence_s

    @silence_s.setter
    def silence_s(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._socket.settimeout(silence_s)

    def send(self, kind: Kind, header: Header, data: Sequence[memoryview] = ()) -> None:
        """Send a message; ``data``: the bytes of its tensors."""
        text = header.model_dump_json().encode()
        prelude = PRELUDE.pack(MAGIC, PROTOCOL, kind, len(text), sum(map(len, data)))
        left = [memoryview(prelude + text), *filter(len, data)]
        try:
            while left:
                sent_bytes = self._socket.sendmsg(left[:MOST_PIECES])
                done = 0
                while done < len(left) and sent_bytes >= len(left[done]):
                    sent_bytes -= len(left[done])
                    done += 1
                del left[:done]
                if sent_bytes:
                    left[0] = left[0][sent_bytes:]
        except OSError as error:
            raise BrokenLinkError(os_reason(error)) from error

    def receive(self) -> Message | None:
        """The next message, without its tensors; None where the other side closed between two."""
        prelude = bytearray(PRELUDE.size)
        if not self._fill(memoryview(prelude), is_new=True):
            return None
        magic, protocol, kind, header_bytes, nbytes = PRELUDE.unpack(prelude)
        if magic != MAGIC:
            raise NotOurProtocolError(
                f"{bytes(prelude)!r} is not how a message of Kerf's begins; is the other side kerf "
                "run-device or kerf run-server?"
            )
        if protocol != PROTOCOL:
            raise NotOurProtocolError(
                f"the other side speaks version {protocol} of the protocol, and this one version "
                f"{PROTOCOL}; have the same version of Kerf on both"
            )
        if not 0 < kind <= max(Kind) or header_bytes > MOST_HEADER_BYTES:
            raise NotOurProtocolError(
                f"a message of kind {kind} with a header of {header_bytes} bytes is announced; "
                f"kinds go to {max(Kind)}, headers to {MOST_HEADER_BYTES} bytes"
            )
        header = bytearray(header_bytes)
        self._fill(memoryview(header))
        return Message(Kind(kind), bytes(header), nbytes)

    def expect(self) -> Message:
        """The next message, which has to come."""
        message = self.receive()
        if message is None:
            raise BrokenLinkError("the other side closed the connection")
        return message

    def fill(self, buffers: Sequence[memoryview]) -> None:
        """Receive as many bytes as the buffers hold."""
        for buffer in buffers:
            self._fill(buffer)

    def refuse(self, problem: str, detail: str) -> None:
        """Tell the other side why it ends, if it still listens, and have it read that before the
        connection is closed."""
        with suppress(BrokenLinkError, OSError):
            refusal = Refusal.model_validate({"problem": problem, "detail": detail})
            self.send(Kind.REFUSAL, refusal)
            self._socket.shutdown(socket.SHUT_WR)
            # Closed with bytes unread, the connection would be reset, and the refusal with it.
            self._socket.settimeout(LINGER_S)
            ends_s = time.monotonic() + LINGER_S
            while self._socket.recv(2**16) and time.monotonic() < ends_s:
                pass

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _fill(self, buffer: memoryview, *, is_new: bool = False) -> bool:
        """Receive a buffer full; whether anything came, which has to unless ``is_new``."""
        done = 0
        try:
            while done < len(buffer):
                received_bytes = self._socket.recv_into(buffer[done:])
                if received_bytes == 0 and done == 0 and is_new:
                    return False
                if received_bytes == 0:
                    raise BrokenLinkError("the connection ended in the middle of a message")
                done += received_bytes
        except OSError as error:
            raise BrokenLinkError(os_reason(error)) from error
        return True


def _keep_alive(sock: socket.socket) -> None:
    """Have the kernel look whether the other machine is still there while nothing is sent."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_S),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
