"""What a client says where there is no service, or no Kerf, or half an answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.client import (
    ClientError,
    ProblemError,
    UnexpectedAnswerError,
    UnreachableError,
    service,
)
from app.demo.demo import free_port
from tests.client.conftest import Connect
from tests.client.driving import answering, http

HTML = http("200 OK", b"<html>Welcome</html>", "Content-Type: text/html; charset=utf-8")
EVERY_CALL: dict[str, Callable[[Any, Path], Any]] = {
    "upload": lambda kerf, path: kerf.upload(path, send_weights=True),
    "models": lambda kerf, _: list(kerf.models()),
    "model": lambda kerf, _: kerf.model("m"),
    "delete": lambda kerf, _: kerf.delete("m"),
    "split": lambda kerf, _: kerf.split({}),
    "split_batch": lambda kerf, _: kerf.split_batch("m", []),
    "splits": lambda kerf, _: list(kerf.splits()),
    "split_result": lambda kerf, _: kerf.split_result("s"),
    "cuts": lambda kerf, _: kerf.cuts("m"),
    "download_half": lambda kerf, path: kerf.download_half("s", "device", path),
    "measure_link": lambda kerf, _: kerf.measure_link(),
}


@pytest.fixture
def some_file(tmp_path: Path) -> Path:
    """A file to send, or to write to."""
    path = tmp_path / "some.onnx"
    path.write_bytes(b"as it was")
    return path


@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_service_that_is_not_there(connect: Connect, some_file: Path, name: str) -> None:
    """Every call says that nothing answers, at which address, and what the system says of it."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError) as error:
        EVERY_CALL[name](connect(url), some_file)
    assert error.value.url == url
    assert str(error.value) == (
        f"nothing answers at {url} (Connection refused); is the service running there?"
    )
    assert some_file.read_bytes() == b"as it was"


@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_service_that_is_not_kerf(connect: Connect, some_file: Path, name: str) -> None:
    """Every call says that what answers there is not Kerf; a file to write is as it was."""
    with answering(HTML) as url, pytest.raises(UnexpectedAnswerError) as error:
        EVERY_CALL[name](connect(url), some_file)
    assert str(error.value).startswith(f"{url}/")
    assert "200 with text/html" in str(error.value) or "text/html, which" in str(error.value)
    assert [path.name for path in some_file.parent.iterdir()] == ["some.onnx"]
    assert some_file.read_bytes() == b"as it was"


@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_service_that_says_nothing(
    connect: Connect, some_file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call gives up after its time, and says so."""
    monkeypatch.setattr(service, "MORE_PATIENCE_S", 0.0)
    with (
        answering(holds=True) as url,
        pytest.raises(UnreachableError, match=f"{url} does not answer in time"),
    ):
        EVERY_CALL[name](connect(url, timeout_s=0.1), some_file)


@pytest.mark.parametrize("name", ["upload", "download_half"])
def test_what_reads_a_model_may_take_longer(connect: Connect, some_file: Path, name: str) -> None:
    """Answers for which the service has to read a model are awaited beyond the time of others."""
    with answering(http("422 No", b"", "Content-Type: text/plain"), after_s=0.5) as url:
        kerf = connect(url, timeout_s=0.1)
        with pytest.raises(UnexpectedAnswerError, match="answers 422"):
            EVERY_CALL[name](kerf, some_file)
        with pytest.raises(UnreachableError):
            kerf.model("m")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("502 Bad Gateway", b"<html>", "Content-Type: text/html"), "502 with text/html"),
        (http("500 Oops", b"", "Content-Type: text/plain"), "500 with text/plain"),
        (http("404 Not Found", b"{}"), "404 with no media type"),
        (
            http("301 Moved", b"", "Location: https://kerf.example/"),
            "leads to https://kerf.example/",
        ),
        (http("200 OK", b"{}", "Content-Type: application/json"), "where id is not as expected"),
        (http("200 OK", b"[1", "Content-Type: application/json"), "where the body is not as"),
        (http("204 No Content", b""), "204 with no media type"),
        (http("304 Not Modified", b""), "304 with no media type"),
        (
            http("400 Bad", b"<html>", "Content-Type: application/problem+json"),
            "where the body is not as expected",
        ),
        (
            http("200 OK", b"no gzip", "Content-Type: application/json", "Content-Encoding: gzip"),
            "cannot be decoded",
        ),
    ],
)
def test_answers_that_are_not_kerfs(connect: Connect, answer: bytes, words: str) -> None:
    """An answer of another form than Kerf's is named for what it is."""
    with answering(answer) as url, pytest.raises(UnexpectedAnswerError) as error:
        connect(url).model("m")
    assert words in str(error.value)
    assert url in str(error.value)


@pytest.mark.parametrize(
    ("pieces", "resets"),
    [
        ((b"",), False),
        ((b"",), True),
        ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), False),
        ((http("200 OK", b'{"id"', length=100),), False),
        ((http("200 OK", b'{"id"', length=100),), True),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",), False),
    ],
)
def test_connections_that_break(connect: Connect, pieces: tuple[bytes, ...], resets: bool) -> None:
    """A connection that breaks before, or in the middle of, an answer is named so."""
    with answering(*pieces, resets=resets) as url, pytest.raises(UnreachableError) as error:
        connect(url).model("m")
    assert str(error.value).startswith(f"the connection to {url} broke before the answer had ended")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://kerf", "http://", "http://[::1", "file:///etc", "http://\n"],
)
def test_urls_of_no_service(connect: Connect, url: str) -> None:
    """A URL that can lead to no service is refused when the client is made, and named."""
    with pytest.raises(UnreachableError) as error:
        connect(url)
    assert repr(url) in str(error.value)
    assert error.value.url == url


def test_a_name_that_nobody_has(connect: Connect) -> None:
    """A host that cannot be resolved is named, with what the resolver says."""
    with pytest.raises(UnreachableError, match=r"nothing answers at http://kerf\.invalid:1 \(.+\)"):
        connect("http://kerf.invalid:1").model("m")


def test_a_password_in_the_url_is_not_told(connect: Connect) -> None:
    """What a URL holds to let its user in stands in no message."""
    for serve in (HTML, b""):
        with answering(serve) as url, pytest.raises(ClientError) as error:
            connect(url.replace("http://", "http://me:secret@")).model("m")
        assert url in str(error.value)
        assert "secret" not in str(error.value)


def test_a_problem_of_a_proxy_may_lack_members(connect: Connect) -> None:
    """A problem with a title alone is a problem all the same, and its title is what it says."""
    sent = http("503 Busy", b'{"title": "Busy", "x": 1}', "Content-Type: application/problem+json")
    with answering(sent) as url, pytest.raises(ProblemError) as error:
        connect(url).model("m")
    problem = error.value
    assert str(problem) == problem.title == "Busy"
    assert (problem.status, problem.type) == (503, "about:blank")
    assert (problem.errors, problem.request_id) == ([], None)


def test_a_service_under_a_path_is_reached(connect: Connect) -> None:
    """A URL with a path, as a proxy gives it to a service, is what paths are added to."""
    with (
        answering(HTML) as url,
        pytest.raises(UnexpectedAnswerError, match=f"{url}/kerf/models/m "),
    ):
        connect(f"{url}/kerf/").model("m")
