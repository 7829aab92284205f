"""API keys, names of requests and retention in either database."""

import secrets
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app.services.upkeep import KEY_AGE, Retention, Upkeep
from app.store import idempotency, retention
from app.store import keys as key_store
from app.store import splits as split_store
from app.store.database import Database
from app.store.idempotency import KeyUse
from app.store.keys import KeyRow
from app.store.tables import idempotency_keys, splits
from app.store.tenants import DEFAULT_TENANT
from tests.store.plans import assert_finds_by_key, assert_walks
from tests.store.rows import MOMENT, add_model, add_split, model_row, split_row
from tests.store.test_stores import walk


def key_row(tenant_id: str = "acme", seconds: int = 0) -> KeyRow:
    moment = MOMENT + timedelta(seconds=seconds)
    return KeyRow(secrets.token_hex(16), tenant_id, "名前 🎉", "0" * 64, ["read", "split"], moment)


def added(database: Database, row: KeyRow) -> KeyRow:
    with database.writing() as connection:
        key_store.add(connection, row)
    return row


def ids(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(select(splits.c.id)).scalars())


def test_key_reads_back(database: Database) -> None:
    """A key reads back as it was stored, with and without limits; no other id finds it."""
    limited = replace(key_row(), requests_per_s=0.5, most_models=7, most_bytes=2**40)
    for row in (added(database, key_row()), added(database, limited)):
        with database.reading() as connection:
            assert key_store.get(connection, row.id) == row
            for other in ("", "0" * 32, "\x00", "\ud800"):
                assert key_store.get(connection, other) is None


def test_revoked_key_stays_in_the_list(database: Database) -> None:
    """A key is revoked once, by its own tenant or by whoever names none, and stays in the list."""
    row = added(database, key_row())
    with database.writing() as connection:
        assert not key_store.revoke(connection, "other", row.id, MOMENT)
        assert not key_store.revoke(connection, None, "0" * 32, MOMENT)
    for tenant, hours in (("acme", 1), (None, 2)):
        with database.writing() as connection:
            assert key_store.revoke(connection, tenant, row.id, MOMENT + timedelta(hours=hours))
    with database.reading() as connection:
        found = key_store.get(connection, row.id)
        assert found is not None
        assert found.revoked_at == MOMENT + timedelta(hours=1)
        assert key_store.valid(connection, [row.id]) == set()


def test_keys_are_listed_along_an_index(database: Database) -> None:
    """Pages of a tenant's keys, and of all keys, hold each once, newest first, and walk an index;
    one, and many that are still valid, are found by their ids."""
    rows = [added(database, key_row(f"t{i % 2}", i // 3)) for i in range(12)]
    newest = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    with database.reading() as connection:
        for tenant in ("t0", "t1", None):
            expected = [row.id for row in newest if tenant in (None, row.tenant_id)]
            assert walk(partial(key_store.page, connection, tenant, 5)) == expected
            read = partial(key_store.page, connection, tenant, 1)
            index = "ix_api_keys_tenant_id_created_at_id" if tenant else "ix_api_keys_created_at_id"
            for at in (None, read(None).next_cursor):
                assert_walks(connection, index, partial(read, at))
        assert_finds_by_key(connection, lambda: key_store.get(connection, rows[0].id))
        assert_finds_by_key(connection, lambda: key_store.valid(connection, [rows[0].id]))
        assert key_store.valid(connection, [rows[0].id, "0" * 32]) == {rows[0].id}


def use(database: Database, key: str, seconds: int = 0, tenant: str = DEFAULT_TENANT) -> KeyUse:
    """A use of a key for a new result."""
    moment = MOMENT + timedelta(seconds=seconds)
    row = add_split(database, split_row(add_model(database).id, moment))
    return KeyUse(tenant, key, "f" * 64, moment, split_id=row.id)


def claimed(database: Database, *uses: KeyUse) -> list[KeyUse]:
    with database.writing() as connection:
        return idempotency.claim(connection, uses)


def test_a_name_is_claimed_once(database: Database) -> None:
    """The first use of a name stands, for each tenant by itself, in one transaction or several;
    it is found by its key, and goes with what it names."""
    first, second, third = (use(database, "k", i) for i in range(3))
    foreign = replace(third, tenant_id="acme")
    assert claimed(database, first, second) == [first, first]
    assert claimed(database, third, foreign) == [first, foreign]
    with database.reading() as connection:
        assert idempotency.get(connection, DEFAULT_TENANT, "k") == first
        assert idempotency.get(connection, DEFAULT_TENANT, "other") is None
        assert_finds_by_key(connection, lambda: idempotency.get(connection, "acme", "k"))
    with database.writing() as connection:
        last = (MOMENT + timedelta(days=1), "")
        assert retention.remove_up_to(connection, DEFAULT_TENANT, last, 10) == 3
    with database.reading() as connection:
        assert idempotency.get(connection, DEFAULT_TENANT, "k") is None


def test_what_a_name_stands_for_may_be_stored_later(database: Database) -> None:
    """In one transaction a name may be claimed before the row that it names; without that row the
    transaction fails and leaves nothing."""
    model = add_model(database)
    row = split_row(model.id)
    later = KeyUse(DEFAULT_TENANT, "k", "f" * 64, MOMENT, split_id=row.id)
    with pytest.raises(IntegrityError):
        claimed(database, later)
    with database.writing() as connection:
        assert idempotency.claim(connection, [later]) == [later]
        split_store.add_all(connection, [row])
    with database.reading() as connection:
        assert idempotency.get(connection, DEFAULT_TENANT, "k") == later


def test_results_are_kept_by_age_and_count(database: Database) -> None:
    """Of each tenant's results those stay that are young enough and among the newest, whoever's the
    older ones are; without limits all stay; names of requests go after their day."""
    now = MOMENT
    owners = {tenant: replace(model_row(), tenant_id=tenant) for tenant in ("default", "acme")}
    rows = {}
    for tenant, owner in owners.items():
        add_model(database, owner)
        rows[tenant] = [
            add_split(
                database,
                replace(split_row(owner.id, now - timedelta(days=i)), tenant_id=tenant),
            ).id
            for i in range(10)
        ]
    everything = {row for kept in rows.values() for row in kept}

    def sweep(keep: Retention) -> set[str]:
        Upkeep(database, (), keep).sweep(now)
        return ids(database)

    assert sweep(Retention()) == everything
    kept = sweep(Retention(age=timedelta(days=7, hours=1)))
    assert kept == {row for each in rows.values() for row in each[:8]}
    kept = sweep(Retention(age=timedelta(days=7, hours=1), count=3))
    assert kept == {row for each in rows.values() for row in each[:3]}
    claimed(database, KeyUse(DEFAULT_TENANT, "k", "f" * 64, now, split_id=rows["default"][0]))
    for moment, count in ((now + KEY_AGE, 1), (now + KEY_AGE + timedelta(seconds=1), 0)):
        Upkeep(database, (), Retention()).sweep(moment)
        with database.reading() as connection:
            query = select(func.count()).select_from(idempotency_keys)
            assert connection.execute(query).scalar_one() == count


def test_retention_goes_along_indexes(database: Database) -> None:
    """The oldest results beyond a count are found along the index of a tenant's list."""
    owner = add_model(database)
    for i in range(5):
        add_split(database, split_row(owner.id, MOMENT + timedelta(seconds=i)))
    index = "ix_splits_tenant_id_created_at_id"
    with database.reading() as connection:
        assert_walks(
            connection, index, lambda: retention.first_beyond(connection, DEFAULT_TENANT, 2)
        )
        beyond = retention.first_beyond(connection, DEFAULT_TENANT, 2)
        assert beyond is not None
        assert retention.first_beyond(connection, DEFAULT_TENANT, 5) is None
    for expected in (2, 1, 0):
        with database.writing() as connection:
            assert retention.remove_up_to(connection, DEFAULT_TENANT, beyond, 2) == expected
