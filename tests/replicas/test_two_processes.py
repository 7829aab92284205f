"""Two services over one PostgreSQL, as two pods would be."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.api.profile_example import PROFILE_REQUEST
from app.services.upkeep import LOOK_S
from tests import databases
from tests.databases import shared_server
from tests.keys import bearer, client_with, made_key
from tests.server import (
    DEMO_BYTES,
    Server,
    chain,
    listed,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)

REACHES_S = 2 * LOOK_S
"""Stated in the README: how soon what one process deletes or revokes is gone from all others."""


@pytest.fixture(scope="module")
def url() -> str:
    """The database that both share."""
    return shared_server().new_database()


@pytest.fixture(scope="module")
def pair(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two services with data directories of their own."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    with (
        databases.at(first, url),
        databases.at(second, url),
        serving(first) as one,
        serving(second) as other,
    ):
        yield one, other


def _until_status(ask: "httpx.Client", body: object, status: int, since: float) -> float:
    """Seconds until a split has a status."""
    while ask.post("/split", json=body).status_code != status:
        assert time.monotonic() - since < 20
        time.sleep(0.01)
    return time.monotonic() - since


def test_what_one_has_all_have(pair: tuple[Server, Server]) -> None:
    """A model uploaded to one process is split by the other at once; its results and profiles are
    listed by both."""
    one, other = (server.client() for server in pair)
    model = uploaded(one, DEMO_BYTES)
    answer = split(other, scenario(model["id"]))
    assert one.get(f"/splits/{answer['id']}").json() == answer
    assert one.get("/models").json() == other.get("/models").json()
    profile = one.post("/profiles", json=PROFILE_REQUEST).json()
    body = scenario(model["id"], device={"profile_id": profile["id"]}, store=False)
    assert split(other, body)["profiles"]["device"]["used"] == "node-seconds"
    for side in ("device", "server"):
        halves = [client.get(f"/splits/{answer['id']}/{side}.onnx") for client in (one, other)]
        assert halves[0].content == halves[1].content


def test_uploads_at_the_same_moment_yield_one_model(pair: tuple[Server, Server], url: str) -> None:
    """Sixteen uploads of one model at the same moment, half to either process: one is 201, the
    others 200, all tell the same model, and the database has it once."""
    for _ in range(3):
        file = chain("a", "b", "c")

        def work(i: int, file: bytes = file) -> httpx.Response:
            with httpx.Client(base_url=pair[i % 2].url, timeout=60) as client:
                return upload(client, file)

        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(work, range(16)))
        assert sorted(response.status_code for response in responses) == [200] * 15 + [201]
        (model,) = {response.text for response in responses}
        model_id = responses[0].json()["id"]
        with databases.opened(url) as database, database.reading() as connection:
            query = text("SELECT count(*) FROM models WHERE id = :id")
            assert connection.execute(query, {"id": model_id}).scalar_one() == 1
        assert pair[1].client().get(f"/models/{model_id}").text == model


def test_deletes_reach_the_other_process(pair: tuple[Server, Server]) -> None:
    """A model that one process deletes is gone from the other's memory within the stated time, and
    at once for results that are to be stored; uploaded again, it is there for both at once."""
    one, other = (server.client() for server in pair)
    for _ in range(3):
        model_id = uploaded(one, DEMO_BYTES)["id"]
        unstored = scenario(model_id, store=False)
        assert split(other, unstored)
        assert one.delete(f"/models/{model_id}").status_code == 204
        since = time.monotonic()
        assert _until_status(other, unstored, 404, since) < REACHES_S
        uploaded(one, DEMO_BYTES)
        assert split(other, unstored)
        assert one.delete(f"/models/{model_id}").status_code == 204
        assert other.post("/split", json=scenario(model_id)).status_code == 404


def test_deleted_profiles_reach_the_other_process(pair: tuple[Server, Server]) -> None:
    """A profile that one process deletes cannot be named at the other within the stated time."""
    one, other = (server.client() for server in pair)
    model_id = uploaded(one, DEMO_BYTES)["id"]
    profile_id = one.post("/profiles", json=PROFILE_REQUEST).json()["id"]
    body = scenario(model_id, device={"profile_id": profile_id}, store=False)
    assert split(other, body)
    assert one.delete(f"/profiles/{profile_id}").status_code == 204
    assert _until_status(other, body, 404, time.monotonic()) < REACHES_S


def test_revocations_reach_the_other_process(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A key that one process revokes is refused by it at once, and by the other within the stated
    time; a key made by one is good for the other at once."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    with (
        databases.at(first, url),
        databases.at(second, url),
        serving(first, auth="keys") as one,
        serving(second, auth="keys") as other,
    ):
        admin = made_key(first)
        with client_with(one.url, admin) as here, client_with(other.url, admin) as there:
            made = here.post("/keys", json={"name": "n", "scopes": ["read"]}).json()
            headers = bearer(made["key"])
            assert there.get("/models", headers=headers).status_code == 200
            assert here.delete(f"/keys/{made['id']}").status_code == 204
            since = time.monotonic()
            assert here.get("/models", headers=headers).status_code == 401
            while there.get("/models", headers=headers).status_code != 401:
                assert time.monotonic() - since < REACHES_S
                time.sleep(0.01)


def test_a_key_stands_for_its_request_everywhere(pair: tuple[Server, Server]) -> None:
    """The same Idempotency-Key at both processes, at the same moment, makes one result, which all
    are told."""
    model_id = uploaded(pair[0].client(), DEMO_BYTES)["id"]
    for number in range(3):
        body = scenario(model_id, batch_size=number + 1)

        def work(i: int, body: object = body, number: int = number) -> str:
            with httpx.Client(base_url=pair[i % 2].url, timeout=60) as client:
                headers = {"Idempotency-Key": f"everywhere-{number}"}
                response = client.post("/split", json=body, headers=headers)
                assert response.status_code == 200, response.text
                return str(response.json()["id"])

        with ThreadPoolExecutor(12) as pool:
            assert len(set(pool.map(work, range(12)))) == 1
    results = listed(pair[1].client(), "/splits", model_id=model_id)
    sizes = [result["id"] for result in results]
    assert len(sizes) == len(set(sizes))


def test_the_second_process_needs_nothing_of_the_first(
    url: str, pair: tuple[Server, Server], tmp_path: Path
) -> None:
    """A process that starts later, with an empty data directory, serves all that is there."""
    model_id = uploaded(pair[0].client(), DEMO_BYTES)["id"]
    answer = split(pair[0].client(), scenario(model_id))
    with databases.at(tmp_path, url), serving(tmp_path) as third:
        assert third.client().get(f"/splits/{answer['id']}").json() == answer
        assert split(third.client(), scenario(model_id))["cut"] == answer["cut"]
