"""Places of processes that share their metrics: held while they live, free when they are gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.metric_files import VARIABLE, joined, shared_by

JOIN = """
import sys
from app.metric_files import joined
place = joined()
print(place.number, place.is_restart, flush=True)
sys.stdin.readline()
"""

MEET = """
import os, threading, time
from pathlib import Path
from app import metrics
metrics.enter()
new = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / "gauge_livesum_1.db"
new.touch()
def write():
    time.sleep(0.1)
    new.write_bytes(bytes(1 << 16))
threading.Thread(target=write).start()
print(metrics.exposition().decode())
"""


@contextmanager
def process() -> Iterator[tuple[int, bool, "subprocess.Popen[str]"]]:
    """A process that has taken a place: its number, whether it is a restart, and itself."""
    command = [sys.executable, "-c", JOIN]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        number, is_restart = running.stdout.readline().split()
        yield int(number), is_restart == "True", running
        running.kill()


def test_whoever_comes_takes_the_lowest_free_place(tmp_path: Path) -> None:
    """Two processes have the places 0 and 1; when the first is killed, the next one has its place,
    counts as a restart, and finds what was counted, but not what was told of the moment."""
    with shared_by(2, tmp_path), process() as first, process() as second:
        directory = Path(os.environ[VARIABLE])
        assert first[:2] == (0, False)
        assert second[:2] == (1, False)
        for number in (0, 1, 10):
            for kind in ("counter", "histogram", "gauge_livesum"):
                (directory / f"{kind}_{number}.db").touch()
        first[2].send_signal(signal.SIGKILL)
        first[2].wait()
        with process() as third, process() as fourth:
            assert third[:2] == (0, True)
            assert fourth[:2] == (2, True)
        left = {path.name for path in directory.glob("*.db")}
        assert "gauge_livesum_0.db" not in left
        assert len(left) == 8
    assert VARIABLE not in os.environ
    assert not list(tmp_path.iterdir())


def test_leftovers_go_and_what_is_in_use_stays(tmp_path: Path) -> None:
    """A service that starts removes the directory of one that was killed with all its processes; as
    long as any process of one lives, its directory stays."""
    with shared_by(2, tmp_path):
        living = Path(os.environ[VARIABLE])
        leftover = tmp_path / "metrics-of-the-dead"
        leftover.mkdir()
        (leftover / "counter_0.db").touch()
        with shared_by(2, tmp_path):
            assert not leftover.exists()
            assert living.exists()
            assert Path(os.environ[VARIABLE]) != living
        os.environ[VARIABLE] = str(living)
        with process():
            assert living.exists()


def test_a_process_that_starts_is_waited_for(tmp_path: Path) -> None:
    """While another process has made a file and written nothing yet, the metrics are told all the
    same, a moment later."""
    with shared_by(2, tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", MEET], capture_output=True, text=True, check=True
        )
    assert "kerf_workers 1.0" in done.stdout


def test_one_process_needs_no_files(tmp_path: Path) -> None:
    """A service of one process makes nothing, and takes no directory that is not Kerf's."""
    os.environ[VARIABLE] = str(tmp_path)
    assert joined() is None
    with shared_by(1, tmp_path / "data"):
        assert VARIABLE not in os.environ
        assert joined() is None
    assert not list(tmp_path.iterdir())
