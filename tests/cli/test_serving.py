"""`kerf serve`, `kerf migrate` and `kerf demo`, run as a user runs them."""

import re
import socket
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from app.cli import faults
from app.cli.figures import SECONDS, figure_of
from app.demo.demo import free_port
from tests.cli.running import kerf, kerf_process, rows
from tests.processes import PROC, listening_sockets
from tests.server import Server, serving

LINKS = ("good", "normal", "poor")
PARTS = (
    *("total", "device compute", "server compute", "uplink", "downlink", "round trip"),
    "model transfer",
)


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    """`kerf migrate` makes the database, and says so; doing it again is no error."""
    for _ in range(2):
        done = kerf_process("migrate", KERF_DATA_DIR=str(tmp_path / "new"))
        assert (done.status, done.stderr) == (0, "")
        assert done.stdout == "the database has the newest schema\n"
    assert (tmp_path / "new" / "kerf.db").stat().st_size > 0


def test_demo_shows_the_main_job(tmp_path: Path) -> None:
    """`kerf demo` needs nothing but itself: it splits a real model under three links in both modes,
    and shows where the cut lies, the delay broken down, and what is saved against both baselines.
    """
    done = kerf_process("demo", KERF_DATA_DIR=str(tmp_path), KERF_URL="")
    assert done.status == 0, done.stderr
    check_demo(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_demo_against_a_running_service(server: Server) -> None:
    """With --url, or KERF_URL, the demo uses the service that is there."""
    check_demo(kerf("demo", "--url", server.url).stdout)
    check_demo(kerf("demo", url=server.url).stdout)


def check_demo(output: str) -> None:
    """The output has a table for each mode, and its numbers agree with each other."""
    assert re.search(r"\d+ nodes in \d+ blocks", output)
    tables = re.split(r"^(inference|training)\b.*$", output, flags=re.M)[1:]
    assert tables[::2] == ["inference", "training"]
    seconds_of = figure_of(SECONDS, "1s")
    for table in tables[1::2]:
        told = {label: cells for label, *cells in rows(table)}
        assert [heading.split()[0] for heading in told[""]] == list(LINKS)
        for cut in told["nodes, device | server"]:
            assert re.fullmatch(r"\d+ \| \d+|all on (device|server)", cut)
        assert all(told["cut tensors"])
        seconds = {part: [seconds_of(text) for text in told[part]] for part in PARTS}
        for i in range(len(LINKS)):
            parts = sum(seconds[part][i] for part in PARTS[1:])
            assert seconds["total"][i] == pytest.approx(parts, rel=0.01)
        for baseline in ("device", "server"):
            for gain in told[f"saved against {baseline} only"]:
                assert 0 <= float(gain.removesuffix("%")) <= 100
        assert told["proved optimal"] == ["yes"] * 3
        assert len(set(told["total"])) == 3


def test_demo_without_a_service_says_so() -> None:
    """Where nothing listens at --url, the demo says that in a sentence and fails."""
    url = f"http://127.0.0.1:{free_port()}"
    done = kerf("demo", "--url", url)
    assert (done.status, done.stdout) == (faults.NO_SERVICE, "")
    assert url in done.stderr


def test_the_database_may_be_elsewhere(tmp_path: Path) -> None:
    """KERF_DATABASE_URL takes the database elsewhere."""
    elsewhere = tmp_path / "elsewhere.db"
    done = kerf(
        "migrate",
        KERF_DATA_DIR=str(tmp_path / "data"),
        KERF_DATABASE_URL=f"sqlite:///{elsewhere}",
    )
    assert done.status == 0, done.stderr
    assert elsewhere.exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_wrong_settings_are_told(tmp_path: Path, command: str) -> None:
    """A setting that cannot be is told by its name with what is wrong, with the status of bad
    input."""
    arguments = (command, "--port", "0") if command == "serve" else (command,)
    for name, value in (
        ("KERF_CACHE_BYTES", "-1"),
        ("KERF_CACHE_BYTES", "much"),
        ("KERF_LOG_LEVEL", "loud"),
        ("KERF_BLOB_URL", "ftp://somewhere"),
        ("KERF_LOG_FORMAT", "xml"),
        ("KERF_OTLP_ENDPOINT", "user:password@collector:4318"),
    ):
        done = kerf(*arguments, KERF_DATA_DIR=str(tmp_path), **{name: value})
        assert (done.status, done.stdout) == (faults.BAD_INPUT, "")
        # A URL may hold a password.
        shown = "" if name.endswith(("_URL", "_ENDPOINT")) else f" is {value!r}"
        assert done.stderr.startswith(f"A setting is not right: {name}{shown}: ")


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgres://kerf:secret@127.0.0.1/kerf",
        "postgresql://kerf:secret@127.0.0.1:port/kerf",
        "http://kerf:secret@127.0.0.1",
    ],
)
def test_a_url_of_no_database_is_told(tmp_path: Path, command: str, url: str) -> None:
    """A database URL that names none is a setting that is not right; the password in it is not
    told."""
    done = kerf(command, KERF_DATA_DIR=str(tmp_path), KERF_DATABASE_URL=url)
    assert (done.status, done.stdout) == (faults.BAD_INPUT, "")
    assert done.stderr.startswith("A setting is not right: KERF_DATABASE_URL ")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_that_cannot_be_used_is_told(tmp_path: Path, command: str) -> None:
    """A file that is no database, a directory in its place, and a data directory that cannot be
    made are told in a sentence, with the status of what is wrong with this machine."""
    (tmp_path / "file").write_text("nothing of a database" * 100)
    (tmp_path / "directory").mkdir()
    for database, said in (
        ("file", "file is not a database"),
        ("directory", "unable to open database file"),
        ("file/kerf.db", "file: File exists"),
    ):
        url = f"sqlite:///{tmp_path / database}"
        done = kerf(command, KERF_DATA_DIR=str(tmp_path), KERF_DATABASE_URL=url)
        assert (done.status, done.stdout) == (faults.MACHINE, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = kerf(command, KERF_DATA_DIR=str(tmp_path / "file"))
    assert done.status == faults.MACHINE
    assert f"{tmp_path / 'file'}" in done.stderr


def test_a_database_of_a_newer_kerf_serves(tmp_path: Path) -> None:
    """A database at a revision that this version does not know is left as it is, `kerf migrate`
    says so, and the service runs on it: after a rollback it has to."""
    kerf("migrate", KERF_DATA_DIR=str(tmp_path))

    def revision(new: str | None = None) -> str:
        with closing(sqlite3.connect(tmp_path / "kerf.db")) as connection, connection:
            if new is not None:
                connection.execute("UPDATE alembic_version SET version_num = ?", (new,))
            (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(found)

    revision("9999")
    done = kerf("migrate", KERF_DATA_DIR=str(tmp_path))
    assert done.status == 0
    assert "newer schema than this version of Kerf knows" in done.stdout
    with serving(tmp_path) as running:
        assert running.client().get("/readyz").status_code == 200
    assert revision() == "9999"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_without_keys_it_listens_on_this_machine_only(tmp_path: Path, host: str) -> None:
    """With KERF_AUTH=off an address that others can reach is refused, and nothing is started; the
    problem says what to do."""
    done = kerf("serve", "--host", host, "--port", "1", KERF_DATA_DIR=str(tmp_path / "data"))
    assert (done.status, done.stdout) == (faults.BAD_INPUT, "")
    for word in ("KERF_AUTH=keys", "kerf keys create", "KERF_AUTH_OFF_ANYWHERE=true"):
        assert word in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "is_warned"), [({"auth": "keys"}, False), ({"auth_off_anywhere": "true"}, True)]
)
def test_it_listens_everywhere_where_it_may(
    tmp_path: Path, settings: dict[str, Any], is_warned: bool
) -> None:
    """With keys, or where it is forced, the service listens on every address; forced, the log has a
    warning."""
    with serving(tmp_path, arguments=("--host", "0.0.0.0"), **settings) as running:
        assert ("warning: KERF_AUTH=off" in running.log_path.read_text()) == is_warned
        assert running.client().get("/models").status_code == (200 if is_warned else 401)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_serve_listens_where_it_is_told(tmp_path: Path, first: int, second: int) -> None:
    """`kerf serve` answers on its port, and a second one on the same port fails at once, however
    many processes either has."""
    with serving(tmp_path, arguments=("--workers", str(first))) as running:
        arguments = ("--port", running.port, "--workers", second)
        done = kerf_process("serve", *arguments, KERF_DATA_DIR=str(tmp_path / "other"))
        assert done.status == faults.MACHINE
        assert "address already in use" in done.stderr.lower()
        assert running.client().get("/healthz").status_code == 200


def test_processes_share_the_connections(tmp_path: Path) -> None:
    """Connections that are opened at once and kept are dealt out: neither of two processes has less
    than a fifth of a hundred."""
    with serving(tmp_path, arguments=("--workers", "2")) as running, ExitStack() as stack:
        while listening_sockets(running.port) < 2:
            time.sleep(0.05)
        before = Counter({pid: sockets(pid) for pid in running.processes()})
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        while ((after := Counter({pid: sockets(pid) for pid in before})) - before).total() < 100:
            time.sleep(0.05)
        shares = [count for count in (after - before).values() if count > 2]
        assert len(shares) == 2
        assert min(shares) >= 20


def sockets(pid: int) -> int:
    """How many sockets a process holds."""
    count = 0
    for entry in (PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count
