"""Fixtures: every test of the API on either kind of database."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import databases
from tests.server import DEMO_BYTES, Server, serving, uploaded


@pytest.fixture(scope="package", autouse=True, params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[databases.Kind]:
    """What every service has its data in while a test of this package runs."""
    with databases.using(request.param):
        yield request.param


@pytest.fixture(scope="package")
def server(kind: databases.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that the tests of this package share, on one kind of database."""
    with serving(tmp_path_factory.mktemp(f"kerf-{kind}")) as running:
        yield running


@pytest.fixture(scope="package")
def demo_model(server: Server) -> dict[str, Any]:
    """The summary of the demo model, which the shared service holds."""
    return uploaded(server.client(), DEMO_BYTES, "mobilenet_v2.onnx")
