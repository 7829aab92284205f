"""The schema: Alembic makes what the tables say, from nothing, and takes it away again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect

from alembic import command
from app.errors import NotReadyError
from app.store.database import MIGRATIONS, Database
from app.store.tables import metadata
from tests.server import environment


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection to an empty SQLite database."""
    engine = create_engine(f"sqlite:///{tmp_path / 'kerf.db'}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def differences(connection: Connection) -> list[object]:
    """What autogenerate would change, types and defaults included."""
    options = {"compare_type": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    found: list[object] = compare_metadata(context, metadata)
    return found


def test_upgrade_makes_exactly_the_tables(connection: Connection) -> None:
    """On an empty database, the migrations make the tables that the code declares: no more, no
    less; before them, the difference is everything."""
    assert differences(connection)
    command.upgrade(alembic(connection), "head")
    assert differences(connection) == []
    expected = {table.name for table in metadata.sorted_tables} | {"alembic_version"}
    assert set(inspect(connection).get_table_names()) == expected


def test_downgrade_takes_everything_away(connection: Connection) -> None:
    """Down to base nothing is left but Alembic's own table, and up again all is there."""
    command.upgrade(alembic(connection), "head")
    command.downgrade(alembic(connection), "base")
    assert inspect(connection).get_table_names() == ["alembic_version"]
    command.upgrade(alembic(connection), "head")
    assert differences(connection) == []


def test_database_migrates_itself(tmp_path: Path) -> None:
    """A database is made with its directory, is not ready before it is migrated, is afterwards, and
    migrating it again changes nothing."""
    path = tmp_path / "deep" / "er" / "kerf.db"
    database = Database(f"sqlite:///{path}")
    assert not path.parent.exists()
    with pytest.raises(NotReadyError, match="kerf migrate"):
        database.ping()
    database.migrate()
    database.ping()
    database.migrate()
    database.ping()
    with database.reading() as connection:
        assert differences(connection) == []
    database.close()


def test_unreachable_database_is_not_ready(tmp_path: Path) -> None:
    """A file that is no database is reported as such, not as a traceback."""
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(NotReadyError, match="does not answer"):
        database.ping()
    database.close()


def test_processes_migrate_one_database_together(tmp_path: Path) -> None:
    """Six processes that migrate the same empty database at the same moment all succeed."""
    command_line = [sys.executable, "-m", "app", "migrate"]
    processes = [
        subprocess.Popen(
            command_line,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    outcomes = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    for output, errors, status in outcomes:
        assert (status, errors) == (0, "")
        assert "newest schema" in output
    database = Database(f"sqlite:///{tmp_path / 'kerf.db'}")
    database.ping()
    database.close()
