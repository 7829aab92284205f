"""Blobs in S3: servers that are not there, refuse or stop; failed uploads; shared buckets."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from app.demo.demo import free_port
from app.errors import DiskFullError, NotReadyError
from app.store.blobs import BlobStore, open_blobs
from app.store.blobs import s3 as s3_module
from tests.store.blobs.files import MIB, LosingFile, LostFileError, content, file, keys, value
from tests.store.blobs.s3_server import BUCKET, SECRET_KEY, S3Server, s3_server

URL = f"s3://{BUCKET}/some/prefix"
PART_BYTES = 8 * MIB
PointAt = Callable[[str], None]


@pytest.fixture
def blobs(s3: S3Server) -> BlobStore:
    """An empty store in the bucket."""
    return open_blobs(f"s3://{BUCKET}/{uuid4().hex}")


def calls(blobs: BlobStore) -> list[Callable[[], object]]:
    """Every verb, small and large."""
    return [
        lambda: blobs.put("a", file(b"1")),
        lambda: blobs.put("a", file(content(PART_BYTES))),
        lambda: blobs.read("a"),
        lambda: blobs.read("a", 1, 1),
        lambda: blobs.size_bytes("a"),
        lambda: blobs.delete("a"),
        lambda: list(blobs.list("")),
        blobs.clear_leftovers,
    ]


def assert_not_ready(blobs: BlobStore, reason: str) -> None:
    """Every verb says that the bucket cannot be used, and why, and no secret."""
    for call in calls(blobs):
        with pytest.raises(NotReadyError, match=rf"bucket '.*' of .* cannot be .*{reason}") as told:
            call()
        assert SECRET_KEY not in str(told.value)


def uploads() -> list[str]:
    """The keys of uploads in parts that are under way in the bucket."""
    found = boto3.client("s3").list_multipart_uploads(Bucket=BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", [])]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_server_comes_from_the_environment(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The server is the one that a variable of AWS names, over plain HTTP as well."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv(name, s3.url)
    open_blobs(URL).put(uuid4().hex, file(b"1"))


@pytest.mark.parametrize("silent", [False, True])
def test_a_server_out_of_reach(
    point_at: PointAt, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """Where nothing listens, or nothing answers, every verb gives up and says so."""
    quick = Config(
        connect_timeout=1, read_timeout=0.1, retries={"mode": "standard", "total_max_attempts": 1}
    )
    with socket.create_server(("127.0.0.1", 0)) as silence:
        port = silence.getsockname()[1] if silent else free_port()
        point_at(f"http://127.0.0.1:{port}")
        monkeypatch.setattr(s3_module, "_CONFIG", s3_module._CONFIG.merge(quick))
        reason = "ReadTimeoutError" if silent else "EndpointConnectionError"
        assert_not_ready(open_blobs(URL), reason)


def test_a_server_out_of_reach_is_given_up(point_at: PointAt) -> None:
    """With the service's own time limits and retries, a verb gives up where nothing listens."""
    point_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NotReadyError):
        open_blobs(URL).size_bytes("a")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId|403"),
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch|403"),
    ],
)
def test_wrong_credentials(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    """With credentials that the server does not accept, every verb says so."""
    monkeypatch.setenv(name, "wrong")
    assert_not_ready(open_blobs(URL), reason)


def test_no_credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, every verb says so."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert_not_ready(open_blobs(URL), "NoCredentialsError")


def test_a_missing_bucket(s3: S3Server) -> None:
    """Where there is no bucket, every verb says so, rather than that there is no blob."""
    assert_not_ready(open_blobs("s3://no-such-bucket"), "NoSuchBucket|404")


def test_settings_that_the_library_refuses(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library refuses of its environment is a ValueError when the store is opened."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no endpoint")
    with pytest.raises(ValueError, match=r"S3 cannot be used: .*no endpoint"):
        open_blobs(URL)
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(ValueError, match=r"S3 cannot be used: .*no-such-profile"):
        open_blobs(URL)


def test_a_server_that_stops_in_the_middle(tmp_path: Path, point_at: PointAt) -> None:
    """When the server ends while a blob is read, the reader is told, rather than given less."""
    with s3_server(tmp_path / "log") as server:
        point_at(server.url)
        blobs = open_blobs(URL)
        blobs.put("a", file(content(64 * MIB)))
        pieces = blobs.read("a")
        next(pieces)
        server.process.kill()
        server.process.wait()
        with pytest.raises(NotReadyError, match=r"cannot be read \(.*Error\)"):
            list(pieces)
        assert list(pieces) == []


class FullServer(BaseHTTPRequestHandler):
    """Answers everything as S3 servers do that have no room."""

    protocol_version = "HTTP/1.1"
    body = b"<Error><Code>StorageFull</Code><Message>No room.</Message></Error>"

    def answer(self) -> None:
        """Say so."""
        self.send_response(507)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.body)

    do_PUT = do_POST = answer  # noqa: N815

    def log_message(self, *_message: object) -> None:
        """Say nothing."""


@contextmanager
def full_server() -> Iterator[str]:
    """The URL of a server without room, until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), FullServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_without_room(point_at: PointAt) -> None:
    """A server that answers 507 has no room for a file, small or large."""
    with full_server() as url:
        point_at(url)
        blobs = open_blobs(URL)
        for size_bytes in (1, PART_BYTES + 1):
            with pytest.raises(DiskFullError, match="no room for this file"):
                blobs.put("a", file(content(size_bytes)))


def test_a_failed_upload_is_aborted(blobs: BlobStore) -> None:
    """A large file that fails in the middle leaves no parts on the server."""
    with pytest.raises(LostFileError):
        blobs.put("a", LosingFile(content(3 * PART_BYTES), 2 * PART_BYTES))
    assert uploads() == []


def test_remains_go_after_a_day(
    tmp_path: Path, point_at: PointAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that a killed process left are not listed, and removed when they are a day old."""
    with s3_server(tmp_path / "log") as server:
        point_at(server.url)
        for url in (URL, f"s3://{BUCKET}/other"):
            leave_remains(url)
        blobs = open_blobs(URL)
        assert keys(blobs) == []
        assert blobs.size_bytes("a") is None
        blobs.clear_leftovers()
        assert sorted(uploads()) == ["other/a", "some/prefix/a"]
        monkeypatch.setattr(s3_module, "LEFTOVER_AGE_S", -60)
        blobs.clear_leftovers()
        assert uploads() == ["other/a"]


def leave_remains(url: str) -> None:
    """Kill a process in the middle of a large put."""
    command = [sys.executable, "-m", "tests.store.blobs.stalled", url, "a", str(2 * PART_BYTES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "stopped\n"
        process.send_signal(signal.SIGKILL)


def test_stores_may_share_a_bucket(s3: S3Server) -> None:
    """Stores with different prefixes in a bucket see nothing of each other."""
    prefix = uuid4().hex
    one, two, long = (open_blobs(f"s3://{BUCKET}/{prefix}{end}") for end in ("/1", "/2/", "/11"))
    one.put("a", file(b"1"))
    two.put("a", file(b"2"))
    assert (value(one, "a"), value(two, "a")) == (b"1", b"2")
    assert keys(one) == keys(two) == ["a"]
    assert keys(long) == []
    two.delete("a")
    assert keys(one) == ["a"]


def test_objects_of_others_are_not_listed(s3: S3Server) -> None:
    """Objects under the prefix that are no blobs are not listed."""
    prefix = uuid4().hex
    blobs = open_blobs(f"s3://{BUCKET}/{prefix}")
    blobs.put("a", file(b"1"))
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/README", Body=b"")
    assert keys(blobs) == ["a"]
