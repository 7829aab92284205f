"""PostgreSQL goes away and comes back while the service runs."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import databases
from tests.databases import OwnPostgresql
from tests.keys import bearer, made_key
from tests.load import assert_kept, loading
from tests.server import (
    DEMO_BYTES,
    assert_problem,
    chain,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

RECOVERY_S = 2.0


@pytest.fixture
def postgresql() -> Iterator[OwnPostgresql]:
    """A server of the test's own."""
    server = OwnPostgresql()
    yield server
    server.end()


def _returned(postgresql: OwnPostgresql) -> float:
    """Start it again; the moment at which it takes connections."""
    postgresql.start()
    while True:
        try:
            with psycopg.connect(postgresql.url, connect_timeout=1):
                return time.monotonic()
        except psycopg.OperationalError:
            time.sleep(0.01)


def _until_stored(client: httpx.Client, model_id: str, since: float) -> float:
    """Seconds until a result can be stored again."""
    while client.post("/split", json=scenario(model_id)).status_code != 200:
        assert time.monotonic() - since < 30
        time.sleep(0.02)
    return time.monotonic() - since


def test_without_its_database_the_service_does_what_it_can(
    tmp_path: Path, postgresql: OwnPostgresql
) -> None:
    """While the database is away, a cached model is still split without storing, with keys too; all
    that needs the database is 503 and says so; /readyz says why, /healthz is well; and it all works
    again after the return, without a restart."""
    with databases.at(tmp_path, postgresql.new_database()):
        key = made_key(tmp_path)
        with serving(tmp_path, auth="keys") as server:
            client = server.client()
            client.headers.update(bearer(key))
            model_id = uploaded(client, DEMO_BYTES)["id"]
            before = split(client, scenario(model_id))
            unstored = scenario(model_id, store=False)
            batch = {"model_id": model_id, "scenarios": [{**unstored}]}
            for name in ("model_id", "store"):
                del batch["scenarios"][0][name]
            postgresql.stop()
            for _ in range(3):
                assert split(client, unstored)["cut"] == before["cut"]
                assert client.post("/split/batch", json=batch).status_code == 200
                refused = [
                    client.post("/split", json=scenario(model_id)),
                    client.post("/split/batch", json={**batch, "store": True}),
                    upload(client, chain("a")),
                    client.delete(f"/models/{model_id}"),
                    client.post("/split", json=scenario("0" * 32, store=False)),
                    *map(
                        client.get,
                        ("/models", f"/models/{model_id}", "/splits", f"/splits/{before['id']}",
                         "/profiles", "/keys", "/readyz"),
                    ),
                    client.get("/models", headers=bearer(f"kerf_{'1' * 32}_{'0' * 64}")),
                ]  # fmt: skip
                for response in refused:
                    body = assert_problem(response, 503, "not-ready")
                    assert response.headers["retry-after"] == "1"
                    assert "database" in body["detail"]
                    assert "@" not in body["detail"]
                assert client.get("/healthz").status_code == 200
                time.sleep(1.1)  # The background has looked in vain by now, and says so once.
            since = _returned(postgresql)
            assert _until_stored(client, model_id, since) < RECOVERY_S
            assert client.get("/readyz").status_code == 200
            assert client.get(f"/splits/{before['id']}").json() == before
            assert uploaded(client, chain("a"))["nodes"] == 1
            assert server.log_path.read_text().count("upkeep waits for the database") <= 2


def test_an_outage_under_load_loses_nothing(tmp_path: Path, postgresql: OwnPostgresql) -> None:
    """Stopped and started under mixed load, twice, the database costs only 503s; results can be
    stored again within two seconds of its return, and all that was acknowledged is there."""
    with (
        databases.at(tmp_path, postgresql.new_database()),
        serving(tmp_path, arguments=("--workers", "2")) as server,
    ):
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]
        with loading(server.url, clients=4) as account:
            for _ in range(2):
                account.wait_for_more(20)
                postgresql.stop()
                time.sleep(1.0)
                since = _returned(postgresql)
                assert _until_stored(server.client(), model_id, since) < RECOVERY_S
        assert account.statuses[503] > 0
        assert set(account.statuses) <= {200, 201, 204, 404, 503}
        assert_kept(account, server.client(), tmp_path)


def test_the_service_starts_before_its_database(tmp_path: Path, postgresql: OwnPostgresql) -> None:
    """A service that is started while the database is away is alive and not ready, and serves once
    it is there and has the schema; until then it says what is missing."""
    url = postgresql.new_database(migrated=False)
    postgresql.stop()
    with databases.at(tmp_path, url), serving(tmp_path, wait_for="/healthz") as server:
        client = server.client()
        assert_problem(client.get("/readyz"), 503, "not-ready")
        assert_problem(client.get("/models"), 503, "not-ready")
        _returned(postgresql)
        for path in ("/readyz", "/models"):
            body = assert_problem(client.get(path), 503, "not-ready")
            assert "kerf migrate" in body["detail"]
        with databases.opened(url) as database:
            database.migrate()
        assert client.get("/readyz").status_code == 200
        assert uploaded(client, DEMO_BYTES)["nodes"] == 100
