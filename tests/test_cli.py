"""The command line, run as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.demo.demo import free_port
from tests.server import Server, environment, serving

LINKS = ("good", "normal", "poor")
PARTS = (
    "total",
    "device compute",
    "server compute",
    "uplink",
    "downlink",
    "round trip",
    "model transfer",
)


def kerf(*arguments: str, data_dir: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command, as installed."""
    program = Path(sys.executable).with_name("kerf")
    return subprocess.run(
        [program, *arguments],
        env={**environment(data_dir), "COLUMNS": "120", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_names_the_commands(tmp_path: Path) -> None:
    """`kerf --help`, and `kerf` alone, list the commands with what each does."""
    for arguments in (("--help",), ()):
        done = kerf(*arguments, data_dir=tmp_path)
        for command in ("serve", "migrate", "demo"):
            assert re.search(rf"\b{command}\b +\w", done.stdout + done.stderr)
    assert kerf("--help", data_dir=tmp_path).returncode == 0
    assert "Traceback" not in kerf(data_dir=tmp_path).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "options"),
    [("serve", ("--host", "--port", "--workers")), ("migrate", ()), ("demo", ("--url",))],
)
def test_commands_explain_themselves(
    tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    """Each command's help says what it does and lists its options."""
    done = kerf(command, "--help", data_dir=tmp_path)
    assert done.returncode == 0
    assert all(option in done.stdout for option in options)


def test_wrong_use_is_told_briefly(tmp_path: Path) -> None:
    """A command or option that is not there ends with status 2 and a sentence, no traceback."""
    for arguments in (("splat",), ("serve", "--port", "70000"), ("serve", "--prot", "1")):
        done = kerf(*arguments, data_dir=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Error" in done.stderr


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    """`kerf migrate` makes the database, and says so; doing it again is no error."""
    for _ in range(2):
        done = kerf("migrate", data_dir=tmp_path / "new")
        assert (done.returncode, done.stderr) == (0, "")
        assert "newest schema" in done.stdout
    assert (tmp_path / "new" / "kerf.db").stat().st_size > 0


def test_demo_shows_the_main_job(tmp_path: Path) -> None:
    """`kerf demo` needs nothing but itself: it splits a real model under three links in both modes,
    and shows where the cut lies, the delay broken down, and what is saved against both baselines.
    """
    done = kerf("demo", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    check_demo(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_demo_against_a_running_service(server: Server, tmp_path: Path) -> None:
    """With --url, or KERF_URL, the demo uses the service that is there."""
    check_demo(kerf("demo", "--url", server.url, data_dir=tmp_path).stdout)
    check_demo(kerf("demo", data_dir=tmp_path, KERF_URL=server.url).stdout)


def check_demo(output: str) -> None:
    """The output has a table for each mode, and its numbers agree with each other."""
    assert re.search(r"\d+ nodes in \d+ blocks", output)
    tables = re.split(r"^(inference|training)\b.*$", output, flags=re.M)[1:]
    assert tables[::2] == ["inference", "training"]
    for table in tables[1::2]:
        rows = dict(_rows(table))
        assert [heading.split()[0] for heading in rows[""]] == list(LINKS)
        for cut in rows["nodes, device | server"]:
            assert re.fullmatch(r"\d+ \| \d+|all on (device|server)", cut)
        assert all(rows["cut tensors"])
        seconds = {part: [_seconds(text) for text in rows[part]] for part in PARTS}
        for i in range(len(LINKS)):
            parts = sum(seconds[part][i] for part in PARTS[1:])
            assert seconds["total"][i] == pytest.approx(parts, rel=0.01, abs=1e-4)
        for baseline in ("device", "server"):
            for gain in rows[f"saved against {baseline} only"]:
                assert 0 <= float(gain.removesuffix("%")) <= 100
        assert rows["proved optimal"] == ["yes"] * 3
        assert len(set(rows["total"])) == 3


def _rows(table: str) -> list[tuple[str, list[str]]]:
    """Label and cells of each row; a cell that was wrapped is joined again."""
    rows: list[tuple[str, list[str]]] = []
    for line in table.splitlines():
        if line[:1] not in ("│", "┃"):
            continue
        label, *cells = (cell.strip() for cell in re.split("[│┃]", line)[1:-1])
        if not label and rows:
            _, above = rows[-1]
            above[:] = [f"{a}{cell}" for a, cell in zip(above, cells, strict=True)]
        else:
            rows.append((label, cells))
    return rows


def _seconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"s": 1.0, "ms": 1e-3}[unit]


def test_demo_without_a_service_says_so(tmp_path: Path) -> None:
    """Where nothing listens at --url, the demo says that in a sentence and fails."""
    url = f"http://127.0.0.1:{free_port()}"
    done = kerf("demo", "--url", url, data_dir=tmp_path)
    assert done.returncode == 1
    assert url in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    """KERF_DATABASE_URL takes the database elsewhere, and a wrong setting is told in a sentence."""
    elsewhere = tmp_path / "elsewhere.db"
    done = kerf("migrate", data_dir=tmp_path / "data", KERF_DATABASE_URL=f"sqlite:///{elsewhere}")
    assert done.returncode == 0, done.stderr
    assert elsewhere.exists()
    assert not (tmp_path / "data").exists()
    for variables in (
        {"KERF_CACHE_BYTES": "-1"},
        {"KERF_CACHE_BYTES": "much"},
        {"KERF_LOG_LEVEL": "loud"},
    ):
        done = kerf("serve", "--port", "0", data_dir=tmp_path, **variables)
        assert done.returncode not in (0, None)
        assert next(iter(variables)) in done.stderr
        assert "Traceback" not in done.stderr


def test_serve_listens_where_it_is_told(tmp_path: Path) -> None:
    """`kerf serve` answers on its port, and a second one on the same port fails at once."""
    with serving(tmp_path) as running:
        port = running.url.rpartition(":")[2]
        done = kerf("serve", "--port", port, data_dir=tmp_path / "other")
        assert done.returncode != 0
        assert "address already in use" in done.stderr
        assert running.client().get("/healthz").status_code == 200
