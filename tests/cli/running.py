"""Helpers: the command as users run it, in a process of its own or in this one."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from app.cli import main
from tests.server import environment

RATES = ("--device", "5G", "--server", "5T", "--uplink", "20M", "--downlink", "100M")
"""With these, in inference, the demo model is cut in its middle."""
ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
"""How long a test waits for a command that is to end."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        """Standard output as JSON; it must be nothing else."""
        assert self.status in (0, 1), self.stderr
        return json.loads(self.stdout)

    @property
    def problem(self) -> dict[str, Any]:
        """Standard error as a problem, without a word on standard output."""
        assert self.status != 0
        assert self.stdout == ""
        problem: dict[str, Any] = json.loads(self.stderr)
        assert {"type", "title", "detail"} <= set(problem) <= {*_MEMBERS}
        return problem


_MEMBERS = ("type", "title", "status", "detail", "errors", "request_id")


def kerf(*arguments: object, url: str = "", stdin: str | None = None, **variables: str) -> Done:
    """Run a command in this process, which spares it the start.

    ``url``: of the service that it is to ask; by default there is none.
    """
    done = CliRunner().invoke(
        main, [str(each) for each in arguments], input=stdin, env=_variables(url, variables)
    )
    return _checked(Done(done.exit_code, done.stdout, done.stderr))


def kerf_process(
    *arguments: object, url: str = "", most_file_bytes: int | None = None, **variables: str
) -> Done:
    """Run a command in a process of its own, as installed.

    ``most_file_bytes``: of each file that it writes, as on a disk that is full.
    """
    done = subprocess.run(
        command(*arguments),
        env=process_environment(url, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=partial(_limit_files, most_file_bytes),
    )
    return _checked(Done(done.returncode, done.stdout, done.stderr))


@dataclass
class Running:
    """A command that runs; ``stderr`` is the file that its standard error goes to.

    ``address``: where it listens, if it does.
    """

    process: "subprocess.Popen[str]"
    stderr: Path
    address: str = ""

    def told(self, text: str) -> str:
        """What is on standard error as soon as a text is there."""
        while text not in (told := self.stderr.read_text()):
            assert self.process.poll() is None, (text, self.stderr.read_text())
        return told

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """End it by a signal; its status and what was on standard output and was not read."""
        self.process.send_signal(number)
        stdout, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, stdout


@contextmanager
def running(directory: Path, *arguments: object) -> Iterator[Running]:
    """A command that runs until it is ended, at the latest with the block."""
    stderr = directory / f"{len(list(directory.glob('*.err')))}.err"
    with stderr.open("w") as file:
        process = subprocess.Popen(
            command(*arguments),
            env=process_environment(),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            # Whoever runs the tests in the background may have Ctrl-C ignored, which is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield Running(process, stderr)
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def command(*arguments: object) -> list[str]:
    """The words of a command, as installed."""
    return [str(Path(sys.executable).with_name("kerf")), *map(str, arguments)]


def process_environment(url: str = "", **variables: str) -> dict[str, str]:
    """Of a process that runs a command."""
    return {**environment(Path("nowhere")), **_variables(url, variables)}


def _limit_files(most_bytes: int | None) -> None:
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


NO_SERVICE = "http://127.0.0.1:9"
"""Nothing listens at the port of the discard protocol."""


def _variables(url: str, variables: Mapping[str, str]) -> dict[str, str]:
    return {"KERF_URL": url or NO_SERVICE, "COLUMNS": "200", **variables}


def _checked(done: Done) -> Done:
    """Whatever a command was given, Python's own account of it is not shown."""
    assert "Traceback" not in done.stdout + done.stderr, done
    assert "Exception ignored" not in done.stderr, done
    return done


def rows(table: str) -> list[list[str]]:
    """The cells of a printed table, row by row, its head first."""
    lines = [line for line in table.splitlines() if line[:1] in ("│", "┃")]
    return [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in lines]


def cells(table: str) -> dict[str, str]:
    """The second cell of each row of a printed table, by the first."""
    return {row[0]: row[1] for row in rows(table)}
