"""What goes on behind the requests: a little at a time, and on after trouble."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from app.errors import NotReadyError
from app.services import upkeep
from app.services.upkeep import ROWS_AT_ONCE, Retention, Upkeep
from app.store import splits as split_store
from app.store.database import Database
from app.store.tables import splits
from tests import databases
from tests.store.rows import MOMENT, add_model, add_split, split_row


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of either kind."""
    with databases.using(request.param):
        database = databases.database_at(tmp_path)
    yield database
    database.close()


def _count(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(splits)).scalar_one()


def test_old_results_go_in_batches(database: Database) -> None:
    """Many old results are deleted in transactions of a bounded number of rows each; somebody who
    writes meanwhile has turns between them, and keeps what he wrote."""
    owner = add_model(database).id
    old = [split_row(owner, MOMENT + timedelta(seconds=i)) for i in range(5 * ROWS_AT_ONCE + 7)]
    with database.writing() as connection:
        split_store.add_all(connection, old)
    now = MOMENT + timedelta(days=10)
    deleted: list[int] = []
    written: list[int] = []
    ended = threading.Event()

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM splits"):
            deleted.append(cursor.rowcount)

    def write() -> None:
        while not ended.is_set():
            add_split(database, split_row(owner, now))
            written.append(len(deleted))

    event.listen(Engine, "after_cursor_execute", note)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        Upkeep(database, (), Retention(age=timedelta(days=1))).sweep(now)
    finally:
        ended.set()
        writer.join()
        event.remove(Engine, "after_cursor_execute", note)
    assert max(deleted) <= ROWS_AT_ONCE
    assert sum(deleted) == len(old)
    assert _count(database) == len(written)
    # It had its turns while batches were still to come.
    assert len({place for place in written if 0 < place < len(deleted)}) >= 2


def test_it_goes_on_after_trouble(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look that fails, for whatever reason, is made again; that the database is away is said once
    until it is back."""
    monkeypatch.setattr(upkeep, "LOOK_S", 0.01)
    troubles: list[Exception | None] = [
        NotReadyError("away"),
        NotReadyError("away"),
        RuntimeError("of a kind that nobody foresaw"),
        None,
        NotReadyError("away again"),
    ]
    looks: list[Exception | None] = []
    done = threading.Event()

    def look() -> None:
        if not troubles:
            done.set()
            return
        looks.append(trouble := troubles.pop(0))
        if trouble is not None:
            raise trouble

    running = Upkeep(database, (look,), Retention())
    running.start()
    try:
        assert done.wait(10)
    finally:
        running.stop()
    time.sleep(0.05)
    assert len(looks) == 5
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "away" in text] == [
        "upkeep waits for the database: away",
        "upkeep waits for the database: away again",
    ]
    assert len([text for text in said if text.startswith("upkeep failed")]) == 1
