"""Migrations while a version is serving that does not know them."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from alembic import command
from app.store import database as database_module
from app.store.database import Database, _alembic
from tests import databases
from tests.databases import shared_server
from tests.load import assert_kept, loading
from tests.server import serving

NEXT = '''"""What a next version may add."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("models", sa.Column("note", sa.String(10), nullable=False, server_default="x"))
    op.add_column("splits", sa.Column("note", sa.String(10), nullable=True))
    op.create_table("notes", sa.Column("id", sa.String(32), primary_key=True))
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_splits_note", "splits", ["note"])
    else:
        with op.get_context().autocommit_block():
            op.create_index("ix_splits_note", "splits", ["note"], postgresql_concurrently=True)
'''


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a schema, of either kind."""
    if request.param == "postgresql":
        yield shared_server().new_database(migrated=False)
    else:
        yield f"sqlite:///{tmp_path / 'kerf.db'}"


def _at(url: str, revision: str) -> None:
    """Bring a database to a revision."""
    with closing(Database(url)) as database, database._writing_engine.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.mark.parametrize("kind", databases.KINDS)
def test_a_newer_schema_serves(
    kind: databases.Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a service runs under load, a next version migrates its database: with columns, a table
    and an index. No request fails, the service stays ready, nothing is lost, and a restart of this
    version on the newer schema works."""
    with (
        databases.using(kind),
        serving(tmp_path / "data") as server,
    ):
        with loading(server.url, clients=3) as account:
            account.wait_for_more(20)
            _migrate_to_next(tmp_path, monkeypatch)
            account.wait_for_more(20)
        assert set(account.statuses) <= {200, 201, 204, 404}
        client = server.client()
        assert client.get("/readyz").status_code == 200
        assert_kept(account, client, tmp_path / "data")
        server.end()
        server.start()
        assert_kept(account, server.client(), tmp_path / "data")


def _migrate_to_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "alembic"
    shutil.copytree(database_module.MIGRATIONS, scripts)
    head = max(path.stem.partition("_")[0] for path in scripts.glob("versions/0*.py"))
    (scripts / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    with monkeypatch.context() as patch, closing(databases.database_at(tmp_path / "data")) as found:
        patch.setattr(database_module, "MIGRATIONS", scripts)
        found.migrate()
        found.ping()


def test_the_version_before_goes_on(url: str) -> None:
    """What the version before tenants writes and reads still works at every later revision, and
    what it wrote is the default tenant's."""
    _at(url, "0003")
    values = {
        "id": "",
        "name": "old",
        "sha256": "0" * 64,
        "created_at": datetime.now(UTC).isoformat(" "),
        "summary": "{}",
    }
    write = text(
        "INSERT INTO models (id, name, sha256, created_at, summary, file_key) "
        "VALUES (:id, :name, :sha256, :created_at, :summary, NULL)"
    )
    result = text(
        "INSERT INTO splits (id, model_id, created_at, request, answer, on_device) "
        "VALUES (:id, :id, :created_at, :summary, :summary, :body)"
    )
    read = text("SELECT name FROM models ORDER BY created_at DESC, id DESC LIMIT 10")
    with closing(Database(url)) as database:
        for number, revision in enumerate(("0003", "0004", "0005")):
            _at(url, revision)
            with database.writing() as connection:
                connection.execute(write, {**values, "id": str(number) * 32})
                row = {**values, "id": str(number) * 32, "body": b"\x80"}
                connection.execute(result, row)
            with database.reading() as connection:
                assert len(connection.execute(read).all()) == number + 1
        with database.reading() as connection:
            for table in ("models", "splits"):
                tenants = connection.execute(text(f"SELECT tenant_id FROM {table}")).scalars()
                assert set(tenants) == {"default"}
