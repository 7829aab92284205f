"""Fixtures: one running service per test process, and a client of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.server import DEMO_BYTES, Server, serving, upload


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that the tests of this process share."""
    with serving(tmp_path_factory.mktemp("kerf")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the shared service."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def demo_model(server: Server) -> dict[str, Any]:
    """The summary of the demo model, which the shared service holds."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        response = upload(client, DEMO_BYTES, "mobilenet_v2.onnx")
    assert response.status_code in (200, 201), response.text
    summary: dict[str, Any] = response.json()
    return summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests record, from whichever process ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(str(text))
