"""The database: engine, transactions, migrations, health. SQLite or PostgreSQL."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NewType

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from alembic import command
from app.errors import NotReadyError
from app.store.json_text import dumps, loads

ReadConnection = NewType("ReadConnection", Connection)
"""A connection in a transaction that only reads."""
WriteConnection = NewType("WriteConnection", Connection)
"""A connection in a transaction that may write; committed when its block ends well."""

MIGRATIONS = Path(__file__).parents[2] / "alembic"
CONNECTIONS = 16
"""That one process has open at most; whoever needs one more waits for ``WAIT_S`` at most."""
WAIT_S = 5.0
_CONNECT_S = 2
_STATEMENT_S = 30
_MIGRATION_LOCK = 0x6B657266
"""An advisory lock of PostgreSQL ("kerf" in ASCII): one process migrates at a time."""
_POLL_S = 0.1
_WRITES = "kerf_writes"


class Database:
    """One database by its SQLAlchemy URL. Connects when first used.

    Where it is away, transactions raise ``NotReadyError``, and the next one looks again.
    """

    def __init__(self, url: str) -> None:
        """Raises ``ValueError`` for a URL that is of neither kind of database."""
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._engine = create_engine(
                self.url,
                json_serializer=dumps,
                json_deserializer=loads,
                # What is stored is not for errors, and so not for the log.
                hide_parameters=True,
            )
            event.listen(self._engine, "do_connect", self._make_directory)
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        elif self.url.get_backend_name() == "postgresql":
            self._engine = self._postgresql()
        else:
            raise ValueError(
                f"{self.url.get_backend_name()} is neither sqlite nor postgresql; use a URL such "
                "as postgresql://user@host/database"
            )
        self._writing_engine = self._engine.execution_options(**{_WRITES: True})

    @contextmanager
    def reading(self) -> Iterator[ReadConnection]:
        """A transaction that only reads. Raises ``NotReadyError``."""
        with _or_not_ready(), self._engine.connect() as connection, connection.begin():
            yield ReadConnection(connection)

    @contextmanager
    def writing(self) -> Iterator[WriteConnection]:
        """A transaction that commits when the block ends, and rolls back when it raises.

        Raises ``NotReadyError``. Only when the connection is lost during the commit itself, it may
        have been committed all the same.
        """
        with _or_not_ready(), self._writing_engine.begin() as connection:
            yield WriteConnection(connection)

    def migrate(self) -> bool:
        """Bring the schema to the newest revision; whoever else does so at the moment is awaited.

        A schema that is newer than this version knows is left alone: then False.
        """
        config = _alembic()
        with self._writing_engine.connect() as connection:
            if not self.is_sqlite:
                connection.execute(text("SET statement_timeout = 0"))
                connection.commit()
                _take_migration_lock(connection)
            config.attributes["connection"] = connection
            try:
                known, revision = _revisions(MIGRATIONS), _revision_of(connection)
                # What Alembic does is in transactions of its own.
                connection.rollback()
                is_ours = revision == known.newest or revision in known.others
                if is_ours:
                    command.upgrade(config, "head")
                return is_ours
            finally:
                # A connection with settings and a lock of its own does not go back to the others.
                connection.invalidate()

    def ping(self) -> None:
        """Raise ``NotReadyError`` unless the database answers and has a schema that serves.

        A newer one than this version knows does: migrations leave what the version before needs.
        """
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))
            revision = _revision_of(connection)
        known = _revisions(MIGRATIONS)
        if revision in known.others:
            raise NotReadyError(
                f"the database's schema is at revision {revision}, this version needs "
                f"{known.newest}; run kerf migrate"
            )

    def require_answer(self) -> None:
        """Raise ``NotReadyError`` unless the database answers, whatever schema it has."""
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _postgresql(self) -> Engine:
        url = self.url.set(drivername="postgresql+psycopg")
        return create_engine(
            url,
            json_serializer=dumps,
            json_deserializer=loads,
            hide_parameters=True,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=WAIT_S,
            # After a restart of the database the old connections are dead; it tells before use.
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _CONNECT_S,
                "application_name": "kerf",
                "tcp_user_timeout": _STATEMENT_S * 1000,
                "options": f"-c statement_timeout={_STATEMENT_S}s -c lock_timeout={_CONNECT_S * 5}s"
                f" -c idle_in_transaction_session_timeout={2 * _STATEMENT_S}s -c timezone=UTC",
            },
        )

    def _make_directory(self, *_connection: object) -> None:
        if self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)


def _take_migration_lock(connection: Connection) -> None:
    """Return when no other connection migrates. The end of this one gives the lock back.

    It is asked for again and again: whoever waits inside of a statement has a snapshot, and an
    index that is built concurrently waits until there is none.
    """
    query = text("SELECT pg_try_advisory_lock(:lock)")
    while not connection.execute(query, {"lock": _MIGRATION_LOCK}).scalar_one():
        connection.commit()
        time.sleep(_POLL_S)
    connection.commit()


@contextmanager
def _or_not_ready() -> Iterator[None]:
    """What a database raises that is away, broken or full, as ``NotReadyError``."""
    try:
        yield
    except (IntegrityError, DataError, NotSupportedError):
        # Not the database's fault: of what was asked, or of who asked it.
        raise
    except PoolTimeoutError as error:
        raise NotReadyError("all connections to the database are in use; try again") from error
    except DBAPIError as error:
        if _lacks_schema(error):
            raise NotReadyError(
                "the database does not have the schema that this version needs; run kerf migrate"
            ) from error
        if isinstance(error, ProgrammingError):
            raise
        raise NotReadyError(_does_not_answer(error)) from error


def _lacks_schema(error: DBAPIError) -> bool:
    # Undefined tables and columns: PostgreSQL's codes, SQLite's words.
    state = getattr(error.orig, "sqlstate", None)
    return state in ("42P01", "42703") or "no such " in str(error.orig)


def _does_not_answer(error: DBAPIError) -> str:
    """In a sentence that tells neither statements nor their data."""
    state = getattr(error.orig, "sqlstate", None)
    code = f", SQLSTATE {state}" if state else ""
    return f"the database does not answer ({type(error.orig).__name__}{code})"


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@dataclass(frozen=True, slots=True)
class _Revisions:
    """Those that this version knows: the newest, and the ones before it (None: no schema)."""

    newest: str | None
    others: frozenset[str | None]


@cache
def _revisions(_directory: Path) -> _Revisions:
    # Read once, as /readyz asks time and again.
    scripts = ScriptDirectory.from_config(_alembic())
    newest = scripts.get_current_head()
    all_of_them = {script.revision for script in scripts.walk_revisions()}
    return _Revisions(newest, frozenset((None, *all_of_them)) - {newest})


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, late and deferred; _begin_sqlite does it.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer; one that
    # takes the write lock at once can.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
