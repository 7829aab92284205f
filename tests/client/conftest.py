"""Fixtures: a client of either kind, of the shared service or another one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.client import Client
from tests.client.driving import MAKERS
from tests.server import Server

Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind, called as ``Client``; they are closed when the test ends."""
    made: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        made.append(MAKERS[request.param](url, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def kerf(connect: Connect, server: Server) -> Any:
    """A client, of one kind, of the shared service; called as ``Client``."""
    return connect(server.url)


@pytest.fixture(scope="session")
def waiting(server: Server) -> Iterator[Client]:
    """A client that waits, of the shared service."""
    with Client(server.url) as client:
        yield client
