"""How commands end where something is in the way: with a sentence and a status."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import faults
from app.client import Client
from app.demo.demo import DEMO_MODEL
from tests.cli.running import RATES, Done, command, kerf, kerf_process, process_environment
from tests.client.driving import answering, http
from tests.server import Server

ASKING: tuple[tuple[object, ...], ...] = (
    ("models",),
    ("models", "m"),
    ("models", "--delete", "m"),
    ("upload", DEMO_MODEL),
    ("split", "m", *RATES),
    ("cuts", "m"),
    ("cut", DEMO_MODEL, "--split", "s", "-o", "halves"),
    ("cut", "--download", "--split", "s", "-o", "halves"),
    ("verify", DEMO_MODEL, "--split", "s"),
    ("bench-link",),
)
"""Every command that asks a service."""


@pytest.mark.parametrize("arguments", ASKING, ids=lambda each: " ".join(map(str, each[:2])))
def test_a_service_that_is_not_there(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens, where no Kerf answers, and where the address is none, every command
    says so, with a status of its own, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    html = http("200 OK", b"<html>Welcome</html>", "Content-Type: text/html")
    with answering(html) as url:
        cases = (
            ("http://127.0.0.1:9", "unreachable", "is the service running there?"),
            (url, "unexpected-answer", "text/html"),
            ("nonsense", "unreachable", "http://127.0.0.1:8000"),
        )
        for address, kind, named in cases:
            done = kerf(*arguments, "--url", address, "--json")
            assert done.status == faults.NO_SERVICE
            assert done.problem["type"] == kind
            assert named in done.problem["detail"]
            told = kerf(*arguments, url=address)
            assert (told.status, told.stdout) == (faults.NO_SERVICE, "")
            assert told.stderr == f"{done.problem['title']}: {done.problem['detail']}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_not_ready() -> None:
    """A service that cannot answer now is a refusal; its request id is told, for whoever reads its
    log."""
    problem = {"type": "not-ready", "title": "Not now", "status": 503, "detail": "busy"}
    headers = ("Content-Type: application/problem+json", "X-Request-Id: 5f0c")
    with answering(http("503 Busy", json.dumps(problem).encode(), *headers)) as url:
        done = kerf("models", url=url)
        assert done.status == faults.REFUSED
        assert done.stderr == "Not now: busy\n  request id: 5f0c\n"
        assert kerf("models", "--json", url=url).problem == {**problem, "request_id": "5f0c"}


FILES: tuple[tuple[object, ...], ...] = (
    ("upload", "{}"),
    ("split", "{}", *RATES),
    ("cuts", "{}"),
    ("split", DEMO_MODEL, "--request", "{}"),
    ("cut", DEMO_MODEL, "--split", "{}", "-o", "halves"),
    ("verify", DEMO_MODEL, "--split", "{}"),
)
"""Every place where a file is named."""


@pytest.mark.parametrize("arguments", FILES, ids=lambda each: " ".join(map(str, each[:3])))
def test_files_that_cannot_be_read(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing, a directory, a path through a file and a link to itself are named
    with what the system says of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory.onnx").mkdir()
    (tmp_path / "circle.onnx").symlink_to(tmp_path / "circle.onnx")
    (tmp_path / "file.onnx").write_bytes(b"")
    for name, said in (
        ("missing.onnx", "No such file or directory"),
        ("directory.onnx", "Is a directory"),
        ("file.onnx/model.onnx", "Not a directory"),
        ("circle.onnx", "Too many levels of symbolic links"),
    ):
        words = [str(word).replace("{}", str(tmp_path / name)) for word in arguments]
        done = kerf(*words, "--json")
        assert done.status == faults.MACHINE, done
        assert done.problem["title"] == "A file cannot be read or written"
        assert done.problem["detail"] == f"{tmp_path / name}: {said}"
    assert not (tmp_path / "halves").exists()


def run(*arguments: object, url: str = "", shell: str = "", **options: Any) -> Done:
    """Run a command with other streams than usual; ``shell``: what a shell makes of them."""
    words = command(*arguments)
    if shell:
        words = ["sh", "-c", f'"$@" {shell}', "sh", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(
        words, env=process_environment(url), text=True, check=False, timeout=60, **streams
    )
    told = Done(done.returncode, done.stdout or "", done.stderr or "")
    assert "Traceback" not in told.stderr
    return told


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """A descriptor to write to that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    "arguments",
    [("models",), ("models", "--json"), ("--help",), ("--version",)],
    ids=" ".join,
)
def test_a_reader_that_has_enough(
    server: Server, broken_pipe: int, arguments: tuple[str, ...]
) -> None:
    """As in `kerf models | head -1`, a command whose output nobody reads to its end is done all the
    same, without a word."""
    done = run(*arguments, url=server.url, stdout=broken_pipe)
    assert (done.status, done.stderr) == (faults.DONE, "")


def test_output_that_cannot_be_written(server: Server) -> None:
    """Where standard output is a full disk, that is told, once; where it is closed, the command
    does its work."""
    for more in ((), ("--json",)):
        done = run("models", *more, url=server.url, shell="> /dev/full")
        assert done.status == faults.MACHINE
        assert done.stderr.count("No space left on device") == 1
        assert "Exception ignored" not in done.stderr
        assert run("models", *more, url=server.url, shell=">&-").status == faults.DONE
    assert run("models", "nope", url=server.url, shell="2>&-").status == faults.REFUSED


def test_a_terminal_of_another_encoding(server: Server) -> None:
    """Names that a terminal cannot show are escaped, and tables are drawn with what it has; JSON
    is the same everywhere."""
    with Client(server.url) as client:
        model_id = client.upload(DEMO_MODEL, name="modèle 模型", model_batch=41).model.id
    done = kerf_process("models", model_id, url=server.url, PYTHONIOENCODING="ascii")
    assert done.status == faults.DONE
    assert done.stdout.isascii()
    assert "mod\\xe8le \\u6a21\\u578b" in done.stdout
    json_text = kerf_process("models", model_id, "--json", url=server.url, PYTHONIOENCODING="ascii")
    assert json_text.result["name"] == "modèle 模型"
    latin = kerf_process("models", "modèle", url=server.url, PYTHONIOENCODING="ascii")
    assert latin.status == faults.REFUSED
    client.close()


def test_no_progress_where_nobody_watches(server: Server, tmp_path: Path) -> None:
    """Where standard error is no terminal, it has words and no bars."""
    done = kerf_process("upload", DEMO_MODEL, url=server.url)
    assert "\x1b" not in done.stderr + done.stdout
    assert done.stderr.startswith("sent 44.51 kB; ")
    assert len(done.stderr.splitlines()) == 1


def test_progress_where_somebody_watches(server: Server, tmp_path: Path) -> None:
    """Where standard error is a terminal, long work shows how far it is there; standard output
    still has the result and nothing else."""
    terminal, its_end = os.openpty()
    arguments = ("upload", DEMO_MODEL, "--name", "watched [bold]", "--json")
    done = run(*arguments, url=server.url, stderr=its_end)
    os.close(its_end)
    shown = os.read(terminal, 2**16).decode()
    os.close(terminal)
    assert json.loads(done.stdout)["nodes"] == 100
    assert "sending mobilenet_v2.onnx" in shown
    assert "\x1b[" in shown


@pytest.fixture
def silent_service() -> Iterator[socket.socket]:
    """A listener that the test answers by hand, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def stopped(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Standard error of a process that ends by a signal, with the status that says so."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (faults.STOPPED, "")
    return stderr


def start(listener: socket.socket, *arguments: object) -> "subprocess.Popen[str]":
    """Start a command that asks the listener."""
    return subprocess.Popen(
        command(*arguments),
        env=process_environment(url_of(listener)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have Ctrl-C ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ctrl_c_stops_a_command(silent_service: socket.socket) -> None:
    """Ctrl-C while a command waits for the service ends it with a word, and the status of a
    stop."""
    process = start(silent_service, "models")
    connection, _ = silent_service.accept()
    with connection:
        assert stopped(process, signal.SIGINT) == "stopped\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_download_leaves_nothing(
    silent_service: socket.socket, tmp_path: Path, number: signal.Signals
) -> None:
    """A download that is stopped in its middle, by Ctrl-C or another signal that ends a process,
    leaves no file and no directory."""
    halves = tmp_path / "halves"
    process = start(silent_service, "cut", "--download", "--split", "s", "-o", halves)
    connection, _ = silent_service.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(http("200 OK", b"half of it", length=1000))
        while not list(tmp_path.rglob("*.part")):
            assert process.poll() is None
        assert stopped(process, number) == "stopped\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (MemoryError(), faults.MACHINE, "Out of memory: "),
        (ZeroDivisionError("by nothing"), faults.BUG, "ZeroDivisionError at test_endings.py:"),
        (RecursionError("too deep"), faults.BUG, "RecursionError at test_endings.py:"),
    ],
)
def test_failures_are_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, told: str
) -> None:
    """Where this machine has too little memory, that is told; where Kerf itself fails, what failed
    where is told in a line, to be reported, with a status of its own."""

    def fail(_client: Client) -> Callable[..., Any]:
        raise error

    monkeypatch.setattr(Client, "models", fail)
    done = kerf("models")
    assert (done.status, done.stdout) == (status, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert kerf("models", "--json").status == status
