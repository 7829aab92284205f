"""The stores over a real SQLite database: rows, pages, cascades, indexes, writers."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from app.core.splitting.cut_table import Family, build_table
from app.errors import BadCursorError
from app.store import cut_tables as table_store
from app.store import models as model_store
from app.store import splits as split_store
from app.store.database import Database
from app.store.packing import pack_dag, pack_table
from app.store.pages import Page
from app.store.tables import cut_tables, models, prepared_models, splits
from app.store.tenants import DEFAULT_TENANT
from tests.fixture_models import ingested
from tests.store.plans import assert_finds_by_key, assert_walks
from tests.store.rows import DAG, GRAPH, MOMENT, add_model, add_split, model_row, split_row


def count(database: Database, table: Any) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def walk(read: Callable[[str | None], Page]) -> list[str]:
    """The ids of all rows, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = read(cursor)
        found += [row["id"] for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_model_reads_back(database: Database) -> None:
    """A stored model reads back as it was, its moment to the microsecond, its DAG whole; another id
    finds nothing."""
    row = add_model(database, model_row(name="模型 🎉"))
    with database.reading() as connection:
        assert model_store.get(connection, DEFAULT_TENANT, row.id) == row
        dag = model_store.get_dag(connection, DEFAULT_TENANT, row.id)
        assert dag is not None
        assert dag.node_names == DAG.node_names
        for other in ("0" * 32, "", "\x00", "\ud800", row.id.upper(), f"{row.id} ", "x" * 10_000):
            assert model_store.get(connection, DEFAULT_TENANT, other) is None
            assert model_store.get_dag(connection, DEFAULT_TENANT, other) is None
            assert split_store.get(connection, DEFAULT_TENANT, other) is None
    with database.writing() as connection:
        assert not model_store.remove(connection, DEFAULT_TENANT, "\ud800")


def test_split_reads_back(database: Database) -> None:
    """A stored result reads back as it was, the mask bit by bit."""
    row = add_split(database, split_row(add_model(database).id))
    with database.reading() as connection:
        assert split_store.get(connection, DEFAULT_TENANT, row.id) == row


@pytest.mark.parametrize("hours", [-11, 0, 5.5])
def test_moments_are_kept_in_utc(database: Database, hours: float) -> None:
    """A moment of any time zone is stored and read as the same moment in UTC."""
    local = MOMENT.astimezone(timezone(timedelta(hours=hours)))
    row = add_model(database, model_row(local))
    with database.reading() as connection:
        found = model_store.get(connection, DEFAULT_TENANT, row.id)
    assert found is not None
    assert found.created_at == MOMENT
    assert found.created_at.utcoffset() == timedelta(0)
    assert found.created_at.isoformat() == MOMENT.isoformat()


def test_removing_a_model_removes_what_hangs_on_it(database: Database) -> None:
    """With a model go its DAG, its cut tables and its results, and nothing of another's."""
    doomed, kept = add_model(database), add_model(database)
    for row in (doomed, kept):
        for family in (Family.SLOWER_DEVICE, Family.HULL_TRAINING):
            with database.writing() as connection:
                table_store.put(connection, row.id, family, pack_table(build_table(DAG, family)))
    for row in (doomed, doomed, kept):
        add_split(database, split_row(row.id))
    with database.writing() as connection:
        assert model_store.remove(connection, DEFAULT_TENANT, doomed.id)
        assert not model_store.remove(connection, DEFAULT_TENANT, doomed.id)
    tables = (models, prepared_models, cut_tables, splits)
    assert [count(database, table) for table in tables] == [1, 1, 2, 1]
    with database.reading() as connection:
        assert table_store.all_of(connection, doomed.id) == {}
        page = split_store.page(connection, DEFAULT_TENANT, 10, None, None)
    assert [row["model_id"] for row in page.items] == [kept.id]


def test_result_without_its_model_is_refused(database: Database) -> None:
    """The database itself refuses a result of a model that is not there, and a second model of the
    same id, and keeps nothing of either."""
    with pytest.raises(IntegrityError):
        add_split(database, split_row("0" * 32))
    row = add_model(database)
    with pytest.raises(IntegrityError):
        add_model(database, row)
    assert [count(database, table) for table in (models, prepared_models, splits)] == [1, 1, 0]


def test_cut_table_reads_back(database: Database) -> None:
    """A stored table reads back as it was, by its family; putting it again replaces it; one of a
    model that is not there is refused."""
    dag = ingested("light_squeezenet").dag
    row = add_model(database)
    made = {family: build_table(dag, family) for family in Family}
    for family in (*Family, *Family):
        with database.writing() as connection:
            table_store.put(connection, row.id, family, pack_table(made[family]))
    with database.reading() as connection:
        found = table_store.all_of(connection, row.id)
        assert table_store.all_of(connection, "0" * 32) == {}
    assert set(found) == set(Family)
    for family, table in found.items():
        assert table.node_count == made[family].node_count
        for name in ("quantities", "on_device_bits"):
            left, right = getattr(table, name), getattr(made[family], name)
            np.testing.assert_array_equal(left, right, strict=True)
    packed = pack_table(made[Family.SLOWER_DEVICE])
    with pytest.raises(IntegrityError), database.writing() as connection:
        table_store.put(connection, "0" * 32, Family.SLOWER_DEVICE, packed)


def test_failed_block_leaves_nothing(database: Database) -> None:
    """A block of writes that raises leaves none of its rows."""

    def fail() -> None:
        with database.writing() as connection:
            model_store.add(connection, model_row(), pack_dag(DAG), GRAPH)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert count(database, models) == 0


def test_pages_hold_every_row_once(database: Database) -> None:
    """Pages of any size hold every row once, newest first, though many have the same moment."""
    rows = [add_model(database, model_row(MOMENT + timedelta(seconds=i // 7))) for i in range(30)]
    expected = [
        row.id for row in sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    ]
    owner = rows[0].id
    results = [
        add_split(database, split_row(owner, MOMENT + timedelta(seconds=i // 5))) for i in range(20)
    ]
    newest = [
        row.id for row in sorted(results, key=lambda row: (row.created_at, row.id), reverse=True)
    ]
    with database.reading() as connection:
        for limit in (1, 2, 7, 29, 30, 31):
            assert walk(partial(model_store.page, connection, DEFAULT_TENANT, limit)) == expected
        read = partial(split_store.page, connection, DEFAULT_TENANT, 3)
        for model_id, ids in ((None, newest), (owner, newest), (rows[1].id, []), ("nope", [])):
            assert walk(partial(read, model_id=model_id)) == ids


@pytest.mark.parametrize("cursor", ["", "x", "====", "MjAyNnx4", "é", "\ud800", "A" * 200])
def test_foreign_cursor_is_refused(database: Database, cursor: str) -> None:
    """A cursor that Kerf did not make is refused, before the database sees it."""
    with database.reading() as connection, pytest.raises(BadCursorError, match="next_cursor"):
        model_store.page(connection, DEFAULT_TENANT, 10, cursor)


def test_pages_walk_an_index(database: Database) -> None:
    """Every page is read along an index: the first from its end, a later one from the cursor's row
    on, without a look at the rows before it and without sorting."""
    owner = add_model(database)
    for i in range(3):
        add_model(database, model_row(MOMENT + timedelta(seconds=i)))
        add_split(database, split_row(owner.id, MOMENT + timedelta(seconds=i)))
    tenant = DEFAULT_TENANT
    with database.reading() as connection:
        read: dict[str, Callable[[str | None], Page]] = {
            "ix_models_tenant_id_created_at_id": lambda at: model_store.page(
                connection, tenant, 1, at
            ),
            "ix_splits_tenant_id_created_at_id": lambda at: split_store.page(
                connection, tenant, 1, at, None
            ),
            "ix_splits_model_id_created_at_id": lambda at: split_store.page(
                connection, tenant, 1, at, owner.id
            ),
        }
        for index, page in read.items():
            cursor = page(None).next_cursor
            assert cursor is not None
            for at in (None, cursor):
                assert_walks(connection, index, lambda page=page, at=at: page(at))  # type: ignore[misc]


def test_single_rows_are_found_by_key(database: Database) -> None:
    """A model, its DAG, its cut tables and a result are each found by their key, without a scan; so
    are those of many models that are still there."""
    row = add_split(database, split_row(add_model(database).id))
    with database.reading() as connection:
        for read in (
            lambda: model_store.get(connection, DEFAULT_TENANT, row.model_id),
            lambda: model_store.get_dag(connection, DEFAULT_TENANT, row.model_id),
            lambda: model_store.get_packed_dag(connection, row.model_id),
            lambda: model_store.get_graph(connection, row.model_id),
            lambda: model_store.still_there(connection, [row.model_id, "0" * 32]),
            lambda: table_store.all_of(connection, row.model_id),
            lambda: split_store.get(connection, DEFAULT_TENANT, row.id),
        ):
            assert_finds_by_key(connection, read)


def test_rows_of_another_tenant_are_not_there(database: Database) -> None:
    """What one tenant has is found, listed and deleted by that tenant alone."""
    model = add_model(database, replace(model_row(), tenant_id="acme"))
    result = add_split(database, replace(split_row(model.id), tenant_id="acme"))
    for tenant, there in ((DEFAULT_TENANT, False), ("acme", True)):
        with database.reading() as connection:
            assert (model_store.get(connection, tenant, model.id) == model) is there
            assert (model_store.get_dag(connection, tenant, model.id) is not None) is there
            assert (split_store.get(connection, tenant, result.id) == result) is there
            assert len(model_store.page(connection, tenant, 10, None).items) == there
            for model_id in (None, model.id):
                page = split_store.page(connection, tenant, 10, None, model_id)
                assert len(page.items) == there
            held = model_store.holdings(connection, tenant)
            assert (held.models, held.file_bytes) == (int(there), 0)
        with database.writing() as writing:
            assert model_store.remove(writing, tenant, model.id) is there


def test_sqlite_is_set_up_to_last(database: Database) -> None:
    """Every connection of SQLite writes ahead, syncs fully, enforces foreign keys and waits for its
    turn; PostgreSQL is asked for no less than it does by itself."""
    if not database.is_sqlite:
        with database.writing() as connection:
            for name, value in {
                "synchronous_commit": "on",
                "fsync": "on",
                "timezone": "UTC",
            }.items():
                assert connection.execute(text(f"SHOW {name}")).scalar() == value
        return
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }
    for block in (database.reading, database.writing):
        with block() as connection:
            found = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in expected}
        assert found == expected


def test_writers_take_turns(database: Database) -> None:
    """Eight threads here and two processes beside them write at once; nobody is told that the
    database is locked, and every row is there."""
    owner = add_model(database)
    command = [sys.executable, "-m", "tests.store.rows"]
    arguments = [database.url.render_as_string(hide_password=False), owner.id, "50"]
    others = [
        subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    def work(_i: int) -> None:
        for _ in range(25):
            add_split(database, split_row(owner.id, datetime.now(UTC)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for other in others:
        _, errors = other.communicate(timeout=120)
        assert (other.returncode, errors) == (0, "")
    assert count(database, splits) == 8 * 25 + 2 * 50


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    """While one transaction writes, another reads what was there before, at once."""
    add_model(database)
    with database.writing() as writing:
        model_store.add(writing, model_row(), pack_dag(DAG), GRAPH)
        with database.reading() as reading:
            assert len(model_store.page(reading, DEFAULT_TENANT, 10, None).items) == 1
    assert count(database, models) == 2
