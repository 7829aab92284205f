"""Helpers: both clients driven in one way, what goes over the wire, servers that misbehave."""

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.client import AsyncClient, Client


class Awaited:
    """An ``AsyncClient`` whose methods are called as those of ``Client``, in a loop of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def make() -> AsyncClient:
            return AsyncClient(url, **options)

        try:
            self._client = self._runner.run(make())
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """Close the client and its loop."""
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            if isinstance(found, AsyncIterator):
                return self._iterated(found)
            return self._runner.run(_awaiting(found))

        return call

    def _iterated(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                item = self._runner.run(_awaiting(anext(items)))
            except StopAsyncIteration:
                return
            yield item


async def _awaiting(found: Awaitable[Any]) -> Any:
    return await found


MAKERS: dict[str, Callable[..., Any]] = {"sync": Client, "async": Awaited}


@dataclass
class Exchange:
    """What went over the wire: a request with its whole body, and the status that came back."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    body: bytes
    status: int


@dataclass
class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The real transport, of either kind, with a record of what passes."""

    exchanges: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sync, self._async = httpx.HTTPTransport(), httpx.AsyncHTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        body = b"".join(request.stream)
        request.stream = httpx.ByteStream(body)
        return self._recorded(request, body, self._sync.handle_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([piece async for piece in request.stream])
        request.stream = httpx.ByteStream(body)
        return self._recorded(request, body, await self._async.handle_async_request(request))

    def _recorded(
        self, request: httpx.Request, body: bytes, response: httpx.Response
    ) -> httpx.Response:
        exchange = Exchange(
            request.method, request.url, request.headers, body, response.status_code
        )
        self.exchanges.append(exchange)
        return response

    def close(self) -> None:
        """Give the connections up."""
        self._sync.close()

    async def aclose(self) -> None:
        """Give the connections up."""
        await self._async.aclose()


@contextmanager
def answering(
    *pieces: bytes,
    resets: bool = False,
    holds: bool = False,
    after_s: float = 0.0,
    reads_bytes: int | None = None,
) -> Iterator[str]:
    """The URL of a server that answers every request with these bytes, and hangs up.

    ``resets``: abruptly, as a machine does whose process was killed. ``holds``: not, but keeps the
    connection, and says nothing more. ``after_s``: how late it answers. ``reads_bytes``: of the
    request, before it answers; all of it by default.
    """
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if ended.is_set():
                        return
                    if reads_bytes is None:
                        _read_request(connection)
                    else:
                        connection.recv(reads_bytes)
                    ended.wait(after_s)
                    for piece in pieces:
                        connection.sendall(piece)
                    if holds:
                        ended.wait()
                    if resets:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


_NO_LINGER = (1).to_bytes(4, "little") + bytes(4)


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    declared = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
    length = int(declared[1]) if declared else 0
    while len(body) < length and (piece := connection.recv(65536)):
        body += piece


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """An answer in HTTP; ``length``: as declared, where that is not the truth."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode() + body
