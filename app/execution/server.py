"""The server's side: a half that is run for one device at a time.

Each connection has a thread, and whichever says HELLO first has the half until it ends; the others
are told that the server is busy, and may come again. So neither a connection that says nothing nor
one that says nonsense keeps a device from being served.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType

from app.core.errors import KerfError
from app.execution.address import Address
from app.execution.errors import CannotListenError, os_reason, refusal_name
from app.execution.half import Half
from app.execution.messages import MOST_BYTES
from app.execution.plan import SILENCE_S, OnEvent
from app.execution.session import Served, Session
from app.execution.tensors import require_tensors
from app.execution.wire import Connection

HANDSHAKE_S = 10.0
"""How long a new connection may be silent before it has said HELLO."""
MOST_CONNECTIONS = 64
"""At once; of these one is served. More are closed."""
_BACKLOG = 128


class HalfServer:
    """Serves a half on a port. A context manager, at whose end nothing of it is left.

    ``address``: where it listens.
    """

    def __init__(
        self,
        half: Half,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        silence_s: float = SILENCE_S,
        most_bytes: int = MOST_BYTES,
        on_event: OnEvent | None = None,
    ) -> None:
        """Listen; ``port`` 0 for any that is free. ``most_bytes``: of the tensors of one round.

        Raises ``CannotRunError`` where the half takes or gives what cannot be sent, and
        ``CannotListenError``.
        """
        require_tensors([*half.takes, *half.gives], "the server half")
        self._tell = on_event or _say_nothing
        self._served = Served(half, silence_s, most_bytes, threading.Lock())
        self._listener = _listening(host, port)
        self.address = Address(host, self._listener.getsockname()[1])
        self._waker, self._woken = socket.socketpair()
        self._attended: dict[threading.Thread, socket.socket] = {}
        self._is_stopping = False

    def serve(self) -> None:
        """Serve until ``stop`` is called, or an exception such as ``KeyboardInterrupt`` ends it."""
        with DefaultSelector() as selector:
            selector.register(self._listener, EVENT_READ)
            selector.register(self._woken, EVENT_READ)
            while not self._is_stopping:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._listener in ready:
                    self._accept()

    def stop(self) -> None:
        """Have ``serve`` return; from any thread."""
        self._is_stopping = True
        with suppress(OSError):  # It has been closed.
            self._waker.send(b"s")

    def __enter__(self) -> "HalfServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_stopping = True
        self._listener.close()
        for thread, sock in list(self._attended.items()):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()
        self._waker.close()
        self._woken.close()

    def _accept(self) -> None:
        try:
            sock, peer = self._listener.accept()
        except OSError as error:  # It has gone already, or there are no descriptors left.
            self._tell(f"a connection could not be taken: {os_reason(error)}")
            return
        self._attended = {each: of for each, of in self._attended.items() if each.is_alive()}
        if len(self._attended) >= MOST_CONNECTIONS:
            sock.close()
            return
        visitor = Address(*peer[:2])
        thread = threading.Thread(target=self._attend, args=(sock, visitor), name=str(visitor))
        self._attended[thread] = sock
        thread.start()

    def _attend(self, sock: socket.socket, visitor: Address) -> None:
        """All of one connection, in a thread of its own."""
        with sock:
            connection = Connection(sock, HANDSHAKE_S)
            session = Session(
                self._served, connection, lambda what: self._tell(f"{visitor}: {what}")
            )
            try:
                session.run()
            except KerfError as error:
                session.tell_of(error, is_stopping=self._is_stopping)
                problem = refusal_name(error)
                if problem is not None:
                    connection.refuse(problem, error.detail)


def serve_half(
    half: Half,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    silence_s: float = SILENCE_S,
    most_bytes: int = MOST_BYTES,
    on_ready: Callable[[Address], None] | None = None,
    on_event: OnEvent | None = None,
) -> None:
    """Serve a half until an exception such as ``KeyboardInterrupt`` ends it; then nothing of it is
    left, and whoever is served sees the connection end.

    ``on_ready`` is called once it listens. Raises as ``HalfServer`` does.
    """
    with HalfServer(
        half, host, port, silence_s=silence_s, most_bytes=most_bytes, on_event=on_event
    ) as server:
        if on_ready is not None:
            on_ready(server.address)
        server.serve()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ``CannotListenError``."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        listener = socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListenError(
            f"cannot listen at {Address(host, port)}: {os_reason(error)}; take another host or port"
        ) from error
    listener.setblocking(False)
    return listener


def _say_nothing(_text: str) -> None:
    pass
