"""A server, as the device calls it."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

from app.core.errors import KerfError
from app.errors import CannotRunError
from app.execution import messages
from app.execution.address import Address
from app.execution.clocks import Ping
from app.execution.errors import (
    BrokenLinkError,
    BusyServerError,
    NoServerError,
    NotOurProtocolError,
    os_reason,
)
from app.execution.messages import (
    MOST_BYTES,
    Bye,
    Hello,
    Kind,
    Pong,
    Results,
    Tensors,
    Welcome,
    require_sizes,
)
from app.execution.tensors import Array, Incoming, outgoing, require_due
from app.execution.wire import Connection
from app.halves.comparison import Value

PAUSE_S = 0.1
"""Between attempts to be served."""
CONNECT_S = 10.0
"""For one attempt."""
MOST_PINGS, FEWEST_PINGS, PINGS_S = 20, 3, 1.0
"""In one burst: no more, and no fewer however long they take."""
_LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server made in a round, and when by its clock: when it had all that it takes, and
    when it was done. Nanoseconds; and what tensors went up and down, in bytes."""

    results: dict[str, Array]
    arrived_ns: int
    served_ns: int
    sent_bytes: int
    received_bytes: int


class Call:
    """A server that serves this device until the block ends; ``welcome``: what it said.

    Where a method raises ``BrokenLinkError``, this call is over.
    """

    def __init__(self, address: Address, connection: Connection, welcome: Welcome) -> None:
        self.welcome = welcome
        self._address = address
        self._connection = connection
        self._incoming = Incoming()

    def send_parameters(self, values: Mapping[str, Value]) -> None:
        """Send what the server half takes once, if it takes any such."""
        if self.welcome.parameters:
            self._send("before the first round", Kind.PARAMETERS, values)

    def pings(self) -> list[Ping]:
        """A burst of pings."""
        found: list[Ping] = []
        ends_s = time.monotonic() + PINGS_S
        with self._telling("while the round trip was measured"):
            while len(found) < FEWEST_PINGS or (
                len(found) < MOST_PINGS and time.monotonic() < ends_s
            ):
                found.append(self._ping())
        return found

    def round(self, number: int, values: Mapping[str, Value]) -> Answer:
        """Have the server half run on values. What it gives lasts until the next round.

        Raises ``CannotRunError`` where it cannot, and ``LinkError``.
        """
        sent_bytes = self._send(f"in round {number}", Kind.ROUND, values)
        with self._telling(f"in round {number}, while results were awaited"):
            message = self._connection.expect()
            header = message.read(Kind.RESULTS, Results)
            require_sizes(header.tensors, message.nbytes, MOST_BYTES)
            require_due(header.tensors, self.welcome.gives)
            results = self._incoming.receive(self._connection, header.tensors)
        return Answer(
            results=results,
            arrived_ns=header.arrived_ns,
            served_ns=header.computed_ns,
            sent_bytes=sent_bytes,
            received_bytes=message.nbytes,
        )

    def _send(self, doing: str, kind: Kind, values: Mapping[str, Value]) -> int:
        """Send tensors; how many bytes they have."""
        ports = self.welcome.takes if kind is Kind.ROUND else self.welcome.parameters
        tensors, data = outgoing(values, ports)
        nbytes = sum(map(len, data))
        if nbytes > self.welcome.most_bytes:
            raise CannotRunError(
                f"the server takes at most {self.welcome.most_bytes} bytes at once, and has to be "
                f"sent {nbytes}; start it so that it takes more"
            )
        with self._telling(f"{doing}, while tensors were sent"):
            try:
                self._connection.send(kind, Tensors(tensors=tensors), data)
            except BrokenLinkError:
                self._raise_last_words()
                raise
        return nbytes

    def _ping(self) -> Ping:
        sent_ns = time.perf_counter_ns()
        self._connection.send(Kind.PING, messages.Ping())
        message = self._connection.expect()
        returned_ns = time.perf_counter_ns()
        pong = message.read(Kind.PONG, Pong)
        return Ping(sent_ns, pong.received_ns, pong.answered_ns, returned_ns)

    def _raise_last_words(self) -> None:
        """Raise what the server said before it ended the connection, if it did."""
        self._connection.silence_s = _LAST_WORDS_S
        with suppress(BrokenLinkError, NotOurProtocolError):
            self._connection.expect().raise_refusal()

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Say in the midst of what the connection broke."""
        try:
            yield
        except BrokenLinkError as error:
            raise BrokenLinkError(
                f"the connection to {self._address} broke {doing}: {error.detail}"
            ) from error

    def __enter__(self) -> "Call":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Else the server may be in the midst of a message, and learns by the end of the connection.
        if error is None or isinstance(error, CannotRunError):
            with suppress(BrokenLinkError):
                self._connection.send(Kind.BYE, Bye())
        self._connection.close()


def call(address: Address, hello: Hello, wait_s: float, silence_s: float) -> Call:
    """Connect to a server, and be served.

    Tries for ``wait_s`` while nobody listens, or another device is served. Raises
    ``NoServerError``, ``BusyServerError``, ``OtherHalfError``, ``NotOurProtocolError``.
    """
    ends_s = time.monotonic() + wait_s
    while True:
        try:
            return _served(address, hello, silence_s)
        except (NoServerError, BusyServerError):
            if time.monotonic() > ends_s:
                raise
        time.sleep(PAUSE_S)


def _served(address: Address, hello: Hello, silence_s: float) -> Call:
    try:
        sock = socket.create_connection((address.host, address.port), CONNECT_S)
    except OSError as error:
        raise NoServerError(
            f"there is no server at {address} ({os_reason(error)}); start it there: kerf "
            "run-server server.onnx"
        ) from error
    connection = Connection(sock, min(silence_s, CONNECT_S))
    try:
        connection.send(Kind.HELLO, hello)
        welcome = connection.expect().read(Kind.WELCOME, Welcome)
        connection.silence_s = silence_s
    except BrokenLinkError as error:
        connection.close()
        raise NoServerError(
            f"the server at {address} broke off before it had said anything: {error.detail}"
        ) from error
    except NotOurProtocolError as error:
        connection.close()
        raise NotOurProtocolError(f"cannot talk to {address}: {error.detail}") from error
    except KerfError as error:
        connection.close()
        raise type(error)(f"the server at {address} refuses: {error.detail}") from error
    return Call(address, connection, welcome)
