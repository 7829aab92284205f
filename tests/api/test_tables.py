"""Cut tables in the store and in memory: built once, loaded after, gone with their model."""

import asyncio
import threading
from contextlib import closing
from pathlib import Path

import httpx
from sqlalchemy import text

from app.services import Services
from app.services.prepared import MOST_CONSTRAINED
from app.store.tenants import DEFAULT_TENANT
from tests.api.small_models import wide
from tests.api.test_robustness import together
from tests.api.test_warm_split import database_use, run, upload
from tests.databases import database_at
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    scenario,
    serving,
    settings_in,
    split,
    uploaded,
)

FIRST = {"slower-device", "hull-training", "hull-inference"}
"""The families whose tables an upload builds, at once or right after it."""
PIPELINE = {"mode": "inference", "objective": "throughput", "store": False}


def stored(data_dir: Path) -> dict[tuple[str, str], bytes]:
    """The stored tables by model and family, read by another connection."""
    with closing(database_at(data_dir)) as database, database.reading() as connection:
        rows = connection.execute(text("SELECT model_id, family, body FROM cut_tables")).all()
    return {(model_id, family): bytes(body) for model_id, family, body in rows}


def kept(use: list[str]) -> int:
    """How many tables were stored, by what the database was asked: each that is built is stored."""
    return len([statement for statement in use if "INSERT INTO cut_tables" in statement])


def test_tables_outlive_the_process(tmp_path: Path) -> None:
    """Tables are stored as they are built: three with the upload, another with the first request
    that reads it; a process after it answers the same and leaves their rows as they are."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, DEMO_BYTES)["id"]
        fast = scenario(model_id, device={"flops_per_s": 1e14}, store=False)
        bodies = [fast, {**fast, "mode": "inference"}, scenario(model_id, **PIPELINE)]
        before = [split(client, body) for body in bodies]
        tables = stored(tmp_path)
        assert set(tables) == {(model_id, family) for family in (*FIRST, "full-inference")}
        server.end()
        server.start()
        client = server.client()
        after = [split(client, body) for body in bodies]
        for old, new in zip(before, after, strict=True):
            moving = ("created_at", "solve_s")
            assert {**old, **dict.fromkeys(moving)} == {**new, **dict.fromkeys(moving)}
        assert stored(tmp_path) == tables
        assert client.delete(f"/models/{model_id}").status_code == 204
        assert stored(tmp_path) == {}


def test_table_is_built_once(tmp_path: Path) -> None:
    """A process that finds a table in the store builds none; one that does not finds it stored by
    the time that the answer is out."""
    ids: list[str] = []

    async def first(client: httpx.AsyncClient, _services: Services) -> None:
        ids.append(await upload(client, DEMO_BYTES))
        with database_use() as use:
            for _ in range(3):
                body = scenario(ids[0], **PIPELINE)
                assert (await client.post("/split", json=body)).status_code == 200
        assert kept(use) == 1
        assert (ids[0], "full-inference") in stored(tmp_path)

    async def second(client: httpx.AsyncClient, _services: Services) -> None:
        with database_use() as use:
            for changes in ({}, {"device": {"flops_per_s": 1e15}}, PIPELINE):
                for mode in ("training", "inference"):
                    body = scenario(ids[0], **{"mode": mode, **changes})
                    assert (await client.post("/split", json=body)).status_code == 200
        assert kept(use) == 0

    run(first, settings_in(tmp_path))
    run(second, settings_in(tmp_path))


def test_lost_tables_are_built_again(tmp_path: Path) -> None:
    """A store from which the tables have gone still answers, and holds them again afterwards."""
    with serving(tmp_path) as server:
        model_id = uploaded(server.client(), DEMO_BYTES)["id"]
        body = scenario(model_id, device={"flops_per_s": 1e14}, store=False)
        expected = split(server.client(), body)["objective_value"]
        server.end()
        with closing(database_at(tmp_path)) as database, database.writing() as connection:
            connection.execute(text("DELETE FROM cut_tables"))
        server.start()
        assert split(server.client(), body)["objective_value"] == expected
        assert (model_id, "hull-training") in stored(tmp_path)


def test_first_requests_at_once_build_one_table(server: Server, client: httpx.Client) -> None:
    """Clients that are the first to need a table, all at the same moment, get the same answer, and
    the table is stored once."""
    model_id = uploaded(client, DEMO_BYTES, dims='{"batch": 11}')["id"]
    body = scenario(model_id, **PIPELINE)

    def work(_i: int) -> float:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return float(split(own, body)["objective_value"])

    assert len(set(together(8, work))) == 1
    # The tables that an upload leaves to the background are there once they were asked for.
    for mode in ("training", "inference"):
        split(client, scenario(model_id, mode=mode, device={"flops_per_s": 1e15}, store=False))
    families = [family for model, family in stored(server.data_dir) if model == model_id]
    assert sorted(families) == sorted({*FIRST, "full-inference"})


def test_deleting_while_tables_are_built(server: Server, client: httpx.Client) -> None:
    """A model deleted while its tables are built gives answers or 404, and no table of it stays."""
    for number in range(4):
        model_id = uploaded(client, DEMO_BYTES, dims=f'{{"batch": {20 + number}}}')["id"]

        def work(i: int, model_id: str = model_id, number: int = number) -> int:
            with httpx.Client(base_url=server.url, timeout=60) as own:
                if i == 0:
                    threading.Event().wait(0.02 * number)
                    return own.delete(f"/models/{model_id}").status_code
                return own.post("/split", json=scenario(model_id, **PIPELINE)).status_code

        statuses = together(4, work)
        assert statuses[0] == 204
        assert set(statuses[1:]) <= {200, 404}
        assert not [key for key in stored(server.data_dir) if key[0] == model_id]
        assert client.post("/split", json=scenario(model_id, **PIPELINE)).status_code == 404


def test_tables_under_constraints_stay_in_the_process(tmp_path: Path) -> None:
    """However many sets of constraints are asked for, the process keeps the tables of a bounded
    number of them, and none of them is stored."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        names = [f"n{i}" for i in range(3 * MOST_CONSTRAINED)]
        model_id = await upload(client, chain(*names))
        before = await asyncio.to_thread(stored, tmp_path)
        for name in names:
            for changes in ({}, {"device": {"flops_per_s": 1e15}}):
                body = scenario(model_id, constraints={"pin_device": [name]}, **changes)
                assert (await client.post("/split", json=body)).status_code == 200
        model = services.prepared.cached(DEFAULT_TENANT, model_id)
        assert model is not None
        assert 0 < len(model._constrained) <= MOST_CONSTRAINED
        assert await asyncio.to_thread(stored, tmp_path) == before

    run(work, settings_in(tmp_path))


def test_table_out_of_reach_is_told(tmp_path: Path) -> None:
    """Of a model with more cuts than a table may hold, `table`, /cuts, /blocks and batches say so,
    while `auto` is served by the flow and by the integer programme."""
    with serving(tmp_path) as server:
        client = server.client()
        model_id = uploaded(client, wide(24))["id"]
        for path in ("cuts", "blocks"):
            assert_problem(client.get(f"/models/{model_id}/{path}"), 422, "too-many-cuts")
        body = scenario(model_id, store=False)
        general, auto = (split(client, {**body, "method": how}) for how in ("general", "auto"))
        assert general["method"] == auto["method"] == "general"
        assert general["objective_value"] == auto["objective_value"]
        for method in ("table", "blockwise"):
            refused = client.post("/split", json={**body, "method": method})
            assert_problem(refused, 422, "too-many-cuts")
        one = {key: body[key] for key in ("device", "server", "link")}
        several = {"model_id": model_id, "scenarios": [one]}
        assert_problem(client.post("/split/batch", json=several), 422, "too-many-cuts")
        pipeline = split(client, scenario(model_id, **PIPELINE))
        assert pipeline["method"] == "integer-programme"
        assert pipeline["optimal"] or pipeline["gap"] > 0
