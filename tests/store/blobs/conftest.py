"""Fixtures: a blob store of each kind, empty, and the S3 server behind one of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from app.store.blobs import BlobStore, open_blobs
from tests.store.blobs.s3_server import BUCKET, S3Server, s3_server, variables


@pytest.fixture(scope="session")
def running_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this process."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the environment so that clients use the server at a URL, and nothing else of AWS's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    def point(url: str) -> None:
        for name, text in variables(url).items():
            monkeypatch.setenv(name, text)

    return point


@pytest.fixture
def s3(running_s3: S3Server, point_at: Callable[[str], None]) -> S3Server:
    """The server, which clients use."""
    point_at(running_s3.url)
    return running_s3


@pytest.fixture(params=["directory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind."""
    if request.param == "directory":
        return (tmp_path / "blobs").as_uri()
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture
def blobs(url: str) -> Iterator[BlobStore]:
    """An empty store, of each kind, emptied again."""
    blobs = open_blobs(url)
    yield blobs
    # The server holds them in memory.
    for blob in blobs.list(""):
        blobs.delete(blob.key)
