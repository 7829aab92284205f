"""Fixtures: a migrated database of its own for each test, on either kind of server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.database import Database
from tests import databases


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, migrated as the service does it."""
    with databases.using(request.param):
        database = databases.database_at(tmp_path)
    yield database
    database.close()
