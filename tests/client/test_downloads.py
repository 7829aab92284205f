"""Halves on their way to a file: whole, or not at all."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from app.client import InterruptedDownloadError, ProblemError, UnexpectedAnswerError
from app.client.downloads import PIECE_BYTES
from tests.client.conftest import Connect
from tests.client.driving import answering, http
from tests.client.weighted import perceptron, weights
from tests.server import chain, scenario, serving, uploaded

INTERRUPTED = InterruptedDownloadError
BINARY = "Content-Type: application/octet-stream"
PINS = {"pin_device": ["middle"], "pin_server": ["second"]}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there before."""
    path = tmp_path / "half.onnx"
    path.write_bytes(b"as it was")
    return path


def assert_untouched(target: Path) -> None:
    assert target.read_bytes() == b"as it was"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_halves_arrive_and_run(connect: Connect, tmp_path: Path) -> None:
    """Both halves of a model whose weights the service keeps are written, with the bytes that it
    answers, and together give what the whole gives."""
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(perceptron(weights(64)))
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data", keep_weights=True) as server:
        kerf = connect(server.url)
        model = kerf.upload(whole, send_weights=True).model
        split = kerf.split(scenario(model.id, mode="inference", constraints=PINS))
        told: list[tuple[int, int]] = []
        device = kerf.download_half(
            split.id, "device", tmp_path / "device.onnx", lambda *now: told.append(now)
        )
        served = kerf.download_half(split.id, "server", str(tmp_path / "server.onnx"))
        assert device.read_bytes() == server.client().get(f"/splits/{split.id}/device.onnx").content
    size_bytes = device.stat().st_size
    assert told[-1] == (size_bytes, size_bytes)
    assert device.stat().st_mode & 0o777 == whole.stat().st_mode & 0o777
    x = np.random.default_rng(1).standard_normal((1, 64), np.float32)
    (crossing,) = ort.InferenceSession(device).run(None, {"x": x})
    (found,) = ort.InferenceSession(served).run(None, {"b": crossing})
    (expected,) = ort.InferenceSession(whole).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_side_on_which_nothing_runs_has_no_file(kerf: Any, client: Any, target: Path) -> None:
    """Where everything is on one side, the other side's half is None, and no file is written."""
    model_id = uploaded(client, chain("a", "b"))["id"]
    split = kerf.split(scenario(model_id, constraints={"pin_device": ["b"]}))
    assert split.cut.server_nodes == 0
    assert kerf.download_half(split.id, "server", target) is None
    assert_untouched(target)
    assert kerf.download_half(split.id, "device", target) == target
    assert target.read_bytes() != b"as it was"


def test_halves_that_the_service_does_not_have(kerf: Any, target: Path, tmp_path: Path) -> None:
    """Without kept weights the service's refusal, which says how to do it locally, is what is
    raised; so is one of a split that is not there."""
    whole = target.parent.parent / f"{target.parent.name}.onnx"
    whole.write_bytes(perceptron(weights(64, seed=3)))
    model = kerf.upload(whole, send_weights=True).model
    split = kerf.split(scenario(model.id, mode="inference", constraints=PINS))
    with pytest.raises(ProblemError, match=r"kerf cut model\.onnx --split") as problem:
        kerf.download_half(split.id, "device", target)
    assert problem.value.status == 409
    with pytest.raises(ProblemError, match="there is no split 'none'"):
        kerf.download_half("none", "device", target)
    assert_untouched(target)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + BINARY.encode() + b"\r\n\r\n"
SOME = bytes(3 * PIECE_BYTES // 2)


@pytest.mark.parametrize(
    ("pieces", "resets", "received_bytes", "expected_bytes"),
    [
        ((http("200 OK", SOME, BINARY, length=2 * len(SOME)),), False, len(SOME), 2 * len(SOME)),
        ((http("200 OK", b"abc", BINARY, length=100),), False, 3, 100),
        ((http("200 OK", b"", BINARY, length=100),), False, 0, 100),
        ((CHUNKED, b"5\r\nabcde\r\n", b"5\r\nab"), False, 7, None),
        ((CHUNKED,), True, None, None),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_connection_that_breaks_in_the_middle(
    connect: Connect,
    target: Path,
    pieces: tuple[bytes, ...],
    resets: bool,
    received_bytes: int | None,
    expected_bytes: int | None,
    exists: bool,
) -> None:
    """A download that ends too early says how much came of how much; the file is as it was, or
    not there, and nothing else is left."""
    if not exists:
        target.unlink()
    with answering(*pieces, resets=resets) as url, pytest.raises(INTERRUPTED) as error:
        connect(url).download_half("s", "device", target)
    assert error.value.expected_bytes == expected_bytes
    if received_bytes is not None:
        assert error.value.received_bytes == received_bytes
        assert f"after {received_bytes} " in str(error.value)
    assert f"{url}/splits/s/device.onnx" in str(error.value)
    assert f"{target} is as it was" in str(error.value)
    if exists:
        assert_untouched(target)
    else:
        assert list(target.parent.iterdir()) == []


def test_a_download_that_stalls(connect: Connect, target: Path) -> None:
    """A download from which nothing more comes is given up after the client's time."""
    stalled = http("200 OK", b"abc", BINARY, length=100)
    words = r"3 of 100 bytes \(nothing more came\)"
    with answering(stalled, holds=True) as url, pytest.raises(INTERRUPTED, match=words):
        connect(url, timeout_s=0.2).download_half("s", "device", target)
    assert_untouched(target)


def test_a_body_that_is_shorter_than_declared(connect: Connect, target: Path) -> None:
    """Where nothing on the way minds the declared length, the client does."""

    def shortened(_request: httpx.Request) -> httpx.Response:
        headers = {"Content-Length": "100", "Content-Type": "application/octet-stream"}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"abc"))

    kerf = connect("http://kerf.invalid", transport=httpx.MockTransport(shortened))
    with pytest.raises(INTERRUPTED, match="after 3 of 100 bytes"):
        kerf.download_half("s", "device", target)
    assert_untouched(target)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("200 OK", b"{}", "Content-Type: application/json"), "application/json, which is no"),
        (http("200 OK", b"x", BINARY, "Content-Encoding: gzip"), "comes in the encoding gzip"),
        (b"HTTP/1.0 200 OK\r\n" + BINARY.encode() + b"\r\n\r\nabc", "does not say how long"),
        (http("206 Partial", b"x", BINARY), "206 with application/octet-stream"),
    ],
)
def test_answers_that_are_no_half(
    connect: Connect, target: Path, answer: bytes, words: str
) -> None:
    """An answer that is no half of a model, or whose end could not be told, is not written."""
    with answering(answer) as url, pytest.raises(UnexpectedAnswerError, match=words):
        connect(url).download_half("s", "device", target)
    assert_untouched(target)


def test_bad_targets_are_refused(connect: Connect, tmp_path: Path) -> None:
    """A directory that is not there, a target that is one, or a device is refused as the system
    refuses it; a device is not replaced."""
    with answering(http("200 OK", b"abc", BINARY)) as url:
        kerf = connect(url)
        with pytest.raises(FileNotFoundError):
            kerf.download_half("s", "device", tmp_path / "none" / "half.onnx")
        for target in (tmp_path, Path("/dev/null")):
            with pytest.raises(FileExistsError, match="no regular file"):
                kerf.download_half("s", "device", target)
        assert Path("/dev/null").is_char_device()
        assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from app.errors import DiskFullError
from tests.client.driving import MAKERS

kind, url, target = sys.argv[1:]
client = MAKERS[kind](url)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
try:
    client.download_half("s", "device", target)
except DiskFullError as error:
    print(error)
client.close()
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_full_disk(kind: str, target: Path) -> None:
    """Where the disk has no room for all of it, that is said, and the file is as it was."""
    with answering(http("200 OK", bytes(20_000), BINARY)) as url:
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, kind, url, str(target)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    assert f"there is no room for {target} on its disk" in done.stdout
    assert_untouched(target)


class StopError(Exception):
    """What a user's own code may raise."""


def test_a_user_who_stops_leaves_nothing(connect: Connect, target: Path) -> None:
    """What the progress callback raises ends the download, and leaves the file as it was."""

    def stop(_received_bytes: int, _total_bytes: int) -> None:
        raise StopError

    with answering(http("200 OK", SOME, BINARY)) as url, pytest.raises(StopError):
        connect(url).download_half("s", "device", target, stop)
    assert_untouched(target)
