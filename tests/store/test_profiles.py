"""Profiles in a real SQLite database."""

import secrets
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy.exc import IntegrityError

from app.store import models as model_store
from app.store import profiles as profile_store
from app.store.database import Database
from app.store.profiles import ProfileRow
from app.store.tables import profile_models, profiles
from app.store.tenants import DEFAULT_TENANT
from tests.store.plans import assert_finds_by_key, assert_walks
from tests.store.rows import MOMENT, add_model
from tests.store.test_stores import count, walk

SECONDS = {"a": 0.1, "模型 🎉": 1e-9, "zero": 0.0, "third": 1 / 3}
NOT_IDS = ("0" * 32, "", "\x00", "\ud800", "x" * 10_000)


def profile_row(created_at: datetime = MOMENT, name: str = "machine") -> ProfileRow:
    summary = {"machine": {"cpu": "some"}, "threads": 1, "models": []}
    return ProfileRow(secrets.token_hex(16), name, created_at, 1.25e9, summary)


def add_profile(database: Database, row: ProfileRow | None = None, *model_ids: str) -> ProfileRow:
    row = row or profile_row()
    with database.writing() as connection:
        profile_store.add(connection, row, dict.fromkeys(model_ids or ("1" * 32,), SECONDS))
    return row


def test_profile_reads_back(database: Database) -> None:
    """A stored profile reads back as it was, its seconds to the last digit, by model or all of
    them; another id, of a profile or of a model, finds nothing."""
    row = add_profile(database, profile_row(name="模型 🎉"), "1" * 32, "2" * 32)
    with database.reading() as connection:
        assert profile_store.get(connection, DEFAULT_TENANT, row.id) == row
        assert profile_store.node_seconds_of(connection, row.id, "2" * 32) == SECONDS
        assert profile_store.node_seconds_of(connection, row.id, "3" * 32) is None
        everything = {"1" * 32: SECONDS, "2" * 32: SECONDS}
        assert profile_store.node_seconds(connection, row.id) == everything
        for other in NOT_IDS:
            assert profile_store.get(connection, DEFAULT_TENANT, other) is None


def test_removing_a_profile_removes_its_seconds(database: Database) -> None:
    """With a profile go its seconds, and nothing of another's; a second time there is nothing to
    remove."""
    doomed, kept = add_profile(database, None, "1" * 32, "2" * 32), add_profile(database)
    for expected in (True, False):
        with database.writing() as connection:
            assert profile_store.remove(connection, DEFAULT_TENANT, doomed.id) is expected
            assert not profile_store.remove(connection, DEFAULT_TENANT, "\ud800")
    assert [count(database, table) for table in (profiles, profile_models)] == [1, 1]
    with database.reading() as connection:
        assert profile_store.get(connection, DEFAULT_TENANT, kept.id) == kept
        assert profile_store.node_seconds(connection, kept.id) == {"1" * 32: SECONDS}


def test_profiles_outlive_their_models(database: Database) -> None:
    """Seconds stay when their model goes: uploaded again, it has the same id."""
    model = add_model(database)
    row = add_profile(database, None, model.id)
    with database.writing() as connection:
        assert model_store.remove(connection, DEFAULT_TENANT, model.id)
    with database.reading() as connection:
        assert profile_store.node_seconds_of(connection, row.id, model.id) == SECONDS


def test_an_id_is_taken_once(database: Database) -> None:
    """A second profile of the same id is refused, and leaves nothing."""
    row = add_profile(database)
    with pytest.raises(IntegrityError):
        add_profile(database, row, "2" * 32)
    assert [count(database, table) for table in (profiles, profile_models)] == [1, 1]


def test_pages_hold_every_profile_once_along_an_index(database: Database) -> None:
    """Pages of any size hold every profile once, newest first, and walk an index, as single rows
    do."""
    rows = [
        add_profile(database, profile_row(MOMENT + timedelta(seconds=i // 4))) for i in range(11)
    ]
    newest = [row.id for row in sorted(rows, key=lambda row: (row.created_at, row.id))][::-1]
    with database.reading() as connection:
        for limit in (1, 4, 10, 11, 12):
            read = partial(profile_store.page, connection, DEFAULT_TENANT, limit)
            assert walk(read) == newest
        read = partial(profile_store.page, connection, DEFAULT_TENANT, 1)
        cursor = read(None).next_cursor
        assert cursor is not None
        for at in (None, cursor):
            assert_walks(connection, "ix_profiles_tenant_id_created_at_id", partial(read, at))
        for find in (
            lambda: profile_store.get(connection, DEFAULT_TENANT, newest[0]),
            lambda: profile_store.node_seconds(connection, newest[0]),
            lambda: profile_store.node_seconds_of(connection, newest[0], "1" * 32),
            lambda: profile_store.still_there(connection, newest[:1]),
        ):
            assert_finds_by_key(connection, find)
