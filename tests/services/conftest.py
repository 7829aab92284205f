"""Fixtures: the services over a database of its own for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core.dag import CostedDag
from app.store.database import Database
from tests.services.held import HeldModel

Hold = Callable[[CostedDag], HeldModel]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Stores a DAG as an upload would, and gives the model with what can be asked of it."""
    database = Database(f"sqlite:///{tmp_path / 'kerf.db'}")
    database.migrate()
    yield lambda dag: HeldModel(database, dag)
    database.close()
