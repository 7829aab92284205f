"""Results are committed in groups, and whoever waits is told when his own are."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from app.errors import BusyError, KeyReusedError, NotFoundError, NotReadyError
from app.services import recorder as recorder_module
from app.services.recorder import Recorder
from app.store.database import Database
from app.store.idempotency import KeyUse
from app.store.splits import SplitRow
from app.store.tables import splits
from tests import databases
from tests.store.rows import add_model, split_row


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of either kind."""
    with databases.using(request.param):
        database = databases.database_at(tmp_path)
    yield database
    database.close()


@pytest.fixture
def model_id(database: Database) -> str:
    """A model to have results of."""
    return add_model(database).id


def rows_of(model_id: str, count: int = 1) -> list[SplitRow]:
    return [split_row(model_id, datetime.now(UTC)) for _ in range(count)]


def use_of(row: SplitRow, key: str, fingerprint: str = "f") -> KeyUse:
    return KeyUse(row.tenant_id, key, fingerprint, row.created_at, split_id=row.id)


def stored(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(splits)).scalar_one()


class _Commits:
    """Counts the transactions of an engine that committed."""

    def __enter__(self) -> "_Commits":
        self.count = 0
        event.listen(Engine, "commit", self._note)
        return self

    def _note(self, _connection: Any) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "commit", self._note)


def test_what_waits_goes_together(database: Database, model_id: str) -> None:
    """Two hundred results that are asked to be stored at once take a few transactions, not two
    hundred; each is there when its client is told."""
    recorder = Recorder(database, 1000)

    async def work() -> None:
        recorder.start()
        waiting = [recorder.record(rows_of(model_id)) for _ in range(200)]
        assert await asyncio.gather(*waiting) == [None] * 200

    with _Commits() as commits:
        asyncio.run(work())
        recorder.stop()
    assert stored(database) == 200
    assert commits.count <= 20


def test_who_comes_alone_waits_for_nobody(
    database: Database, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client at a time is never made to wait for others; several that come back together are
    committed together again and again, though one of them comes first."""
    monkeypatch.setattr(recorder_module, "COMPANY_S", 60.0)
    recorder = Recorder(database, 1000)

    async def client(times: int) -> None:
        for _ in range(times):
            await recorder.record(rows_of(model_id))

    async def work() -> None:
        recorder.start()
        # Would it wait, this would take minutes.
        await client(5)
        with _Commits() as commits:
            await asyncio.gather(*(client(10) for _ in range(8)))
        assert commits.count <= 20

    asyncio.run(work())
    recorder.stop()
    assert stored(database) == 85


def test_what_waits_at_the_end_is_committed(database: Database, model_id: str) -> None:
    """Rows that wait when the service ends are committed before it has ended, and later ones are
    refused."""
    recorder = Recorder(database, 1000)

    async def work() -> None:
        waiting = [asyncio.ensure_future(recorder.record(rows_of(model_id))) for _ in range(50)]
        recorder._is_open = True  # Rows may come, and nobody takes them yet.
        await asyncio.sleep(0)
        assert recorder.waiting_rows == 50
        recorder.start()
        await asyncio.to_thread(recorder.stop)
        assert stored(database) == 50
        assert await asyncio.gather(*waiting) == [None] * 50
        with pytest.raises(NotReadyError, match="stopping"):
            await recorder.record(rows_of(model_id))

    asyncio.run(work())


def test_one_at_fault_fails_alone(database: Database, model_id: str) -> None:
    """In a group, a result of a model that is gone, and one whose id is taken, are refused; the
    others are stored."""
    recorder = Recorder(database, 1000)
    taken = rows_of(model_id)

    async def work() -> list[Any]:
        recorder._is_open = True
        waiting = [
            asyncio.ensure_future(recorder.record(rows))
            for rows in (
                rows_of(model_id),
                rows_of("0" * 32),
                taken,
                taken,
                rows_of(model_id, 3),
            )
        ]
        await asyncio.sleep(0)
        recorder.start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, gone, kept, twice, last = asyncio.run(work())
    recorder.stop()
    assert [first, kept, last] == [None, None, None]
    assert isinstance(gone, NotFoundError)
    assert isinstance(twice, Exception)
    assert stored(database) == 5


def test_the_queue_is_bounded(database: Database, model_id: str) -> None:
    """With room for ten rows, an eleventh is refused at once; a batch that is larger than the queue
    is taken where nothing else waits."""
    recorder = Recorder(database, 10)

    async def work() -> None:
        recorder._is_open = True
        large = asyncio.ensure_future(recorder.record(rows_of(model_id, 25)))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="KERF_QUEUE_ROWS"):
            await recorder.record(rows_of(model_id))
        recorder.start()
        await large
        await asyncio.gather(*(recorder.record(rows_of(model_id)) for _ in range(10)))

    asyncio.run(work())
    recorder.stop()
    assert stored(database) == 35


def test_keys_in_one_group(database: Database, model_id: str) -> None:
    """Of three requests of one key in one group the first is stored and the second is told of it;
    the third, which is another request, is refused."""
    recorder = Recorder(database, 100)
    first, again, other = rows_of(model_id, 3)

    async def work() -> list[Any]:
        recorder._is_open = True
        waiting = [
            asyncio.ensure_future(recorder.record([row], use_of(row, "k", fingerprint)))
            for row, fingerprint in ((first, "f"), (again, "f"), (other, "g"))
        ]
        await asyncio.sleep(0)
        recorder.start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    told = asyncio.run(work())
    assert told[:2] == [None, first.id]
    assert isinstance(told[2], KeyReusedError)
    late = rows_of(model_id)[0]

    async def later() -> str | None:
        return await recorder.record([late], use_of(late, "k"))

    assert asyncio.run(later()) == first.id
    stranger = replace(rows_of(model_id)[0], tenant_id="acme")

    async def elsewhere() -> str | None:
        return await recorder.record([stranger], use_of(stranger, "k"))

    assert asyncio.run(elsewhere()) is None
    recorder.stop()
    assert stored(database) == 2


def test_without_its_database_it_refuses(tmp_path: Path) -> None:
    """Where the database cannot be had, rows are refused with a reason, and it goes on trying with
    the next ones."""
    missing = tmp_path / "there" / "kerf.db"
    database = Database(f"sqlite:///{missing}")
    recorder = Recorder(database, 100)

    async def work() -> None:
        recorder.start()
        with pytest.raises(NotReadyError, match="kerf migrate"):
            await recorder.record(rows_of("0" * 32))
        database.migrate()
        with pytest.raises(NotFoundError):
            await recorder.record(rows_of("0" * 32))
        await recorder.record(rows_of(add_model(database).id))

    asyncio.run(work())
    recorder.stop()
    assert stored(database) == 1
    database.close()
