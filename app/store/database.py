"""The database: engine, transactions, migrations, health."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NewType

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from alembic import command
from app.errors import NotReadyError

ReadConnection = NewType("ReadConnection", Connection)
"""A connection in a transaction that only reads."""
WriteConnection = NewType("WriteConnection", Connection)
"""A connection in a transaction that may write; committed when its block ends well."""

MIGRATIONS = Path(__file__).parents[2] / "alembic"
_WRITES = "kerf_writes"


class Database:
    """One database by its SQLAlchemy URL. Connects when first used."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = create_engine(self.url)
        if self.is_sqlite:
            event.listen(self._engine, "do_connect", self._make_directory)
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._writing_engine = self._engine.execution_options(**{_WRITES: True})

    @contextmanager
    def reading(self) -> Iterator[ReadConnection]:
        """A transaction that only reads."""
        with self._engine.connect() as connection, connection.begin():
            yield ReadConnection(connection)

    @contextmanager
    def writing(self) -> Iterator[WriteConnection]:
        """A transaction that commits when the block ends, and rolls back when it raises."""
        with self._writing_engine.begin() as connection:
            yield WriteConnection(connection)

    def migrate(self) -> None:
        """Bring the schema to the newest revision."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._writing_engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def ping(self) -> None:
        """Raise ``NotReadyError`` unless the database answers and has the newest schema."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        newest = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self.reading() as connection:
                connection.execute(text("SELECT 1"))
                revision = MigrationContext.configure(connection).get_current_revision()
        except SQLAlchemyError as error:
            raise NotReadyError(f"the database does not answer ({type(error).__name__})") from error
        if revision != newest:
            raise NotReadyError(
                f"the database's schema is at revision {revision}, this version needs {newest}; "
                "run kerf migrate"
            )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _make_directory(self, *_connection: object) -> None:
        if self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)


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
