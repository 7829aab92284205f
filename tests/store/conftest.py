"""Fixtures: a migrated database of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database, migrated as the service does it."""
    database = Database(f"sqlite:///{tmp_path / 'kerf.db'}")
    database.migrate()
    yield database
    database.close()
