"""A warm ``/split`` by its shape: what it asks of the database, and how much it holds in memory."""

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, Pool, event

from app.api.profile_example import PROFILE_REQUEST
from app.core.splitting.cut_table import Family, build_table
from app.main import create_app
from app.services import Services
from app.services.prepared import PreparedModel
from app.settings import Settings
from app.store.packing import pack_dag, pack_table, unpack_dag, unpack_table
from app.store.tenants import DEFAULT_TENANT
from tests import databases
from tests.fixture_models import ingested
from tests.server import DEMO_BYTES, chain, scenario, settings_in

Work = Callable[[httpx.AsyncClient, Services], Awaitable[None]]


def run(work: Work, settings: Settings) -> None:
    """Do some work with an application in this process, started and stopped around it."""

    async def inside() -> None:
        app = create_app(settings)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://kerf") as client,
        ):
            await work(client, app.state.services)

    asyncio.run(inside())


@contextmanager
def database_use() -> Iterator[list[str]]:
    """What this process asks of any database: connections taken, and statements."""
    seen: list[str] = []

    def note(what: str) -> None:
        # What goes on behind the requests asks as well, once a second.
        if threading.current_thread().name != "upkeep":
            seen.append(what)

    def checkout(*_: Any) -> None:
        note("connection")

    def execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    event.listen(Pool, "checkout", checkout)
    event.listen(Engine, "before_cursor_execute", execute)
    try:
        yield seen
    finally:
        event.remove(Pool, "checkout", checkout)
        event.remove(Engine, "before_cursor_execute", execute)


async def upload(client: httpx.AsyncClient, data: bytes) -> str:
    response = await client.post("/models", files={"file": ("m.onnx", data)})
    assert response.status_code in (200, 201), response.text
    return str(response.json()["id"])


async def split(client: httpx.AsyncClient, model_id: str, **changes: Any) -> None:
    response = await client.post("/split", json=scenario(model_id, **changes))
    assert response.status_code == 200, response.text


def test_warm_split_leaves_the_database_alone(tmp_path: Path, kind: databases.Kind) -> None:
    """The first split in a process reads the model's DAG and its tables, and builds none again;
    every later one with store false takes no connection and sends no statement, for a device slower
    or faster than the server, in both modes, by every method and under constraints; nor does a
    batch. One that stores sends a single INSERT, or COPY."""
    ids = []

    async def register(client: httpx.AsyncClient, _services: Services) -> None:
        ids.append(await upload(client, DEMO_BYTES))

    async def work(client: httpx.AsyncClient, _services: Services) -> None:
        (model_id,) = ids
        with database_use() as cold:
            await split(client, model_id, store=False)
        for table in ("prepared_models", "cut_tables"):
            assert len([text for text in cold if f"FROM {table}" in text]) == 1
        assert not [text for text in cold if "INSERT" in text or "DELETE" in text]
        with database_use() as warm:
            for mode in ("training", "inference"):
                for device in (1e9, 1e15):
                    changes = {"mode": mode, "device": {"flops_per_s": device}, "store": False}
                    for method in ("auto", "table", "blockwise", "general"):
                        await split(client, model_id, method=method, **changes)
                    await split(client, model_id, constraints={"pin_device": ["n4"]}, **changes)
                    await split(client, model_id, current_cut=[], **changes)
            one = {key: scenario(model_id)[key] for key in ("device", "server", "link")}
            batch = {"model_id": model_id, "scenarios": [one] * 10}
            assert (await client.post("/split/batch", json=batch)).status_code == 200
            for path in ("cuts", "blocks"):
                assert (await client.get(f"/models/{model_id}/{path}")).status_code == 200
            await split(client, model_id, device={"preset": "jetson-tx2"}, store=False)
        assert warm == []
        with database_use() as storing:
            await split(client, model_id)
        statements = [text for text in storing if text not in ("connection", "BEGIN IMMEDIATE")]
        if kind == "postgresql":
            assert statements == []  # Of a COPY SQLAlchemy is not told.
        else:
            assert len(statements) == 1
            assert statements[0].startswith("INSERT INTO splits")

    run(register, settings_in(tmp_path))
    run(work, settings_in(tmp_path))


def test_warm_split_by_profiles_leaves_the_database_alone(tmp_path: Path) -> None:
    """The first split by a profile reads it, and builds its table, which is not stored; later ones
    for the same pair, over any link, in batches too, take no connection and build no table."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        model_id = await upload(client, DEMO_BYTES)
        profile_id = (await client.post("/profiles", json=PROFILE_REQUEST)).json()["id"]
        machine = {"profile_id": profile_id}
        speed = {"flops_per_s": 1e13}
        pairs = ((machine, machine), (machine, speed), (speed, machine))

        async def ask() -> None:
            for device, server in pairs:
                for rate in (1e6, 1e9):
                    link = {"uplink_bits_per_s": rate, "downlink_bits_per_s": rate}
                    body = {"device": device, "server": server, "link": link}
                    for dtype in (None, "float16"):
                        link["smashed_dtype"] = dtype  # type: ignore[assignment]
                        await split(client, model_id, **body, store=False)
                    batch = {"model_id": model_id, "scenarios": [body]}
                    assert (await client.post("/split/batch", json=batch)).status_code == 200

        with database_use() as cold:
            await ask()
        assert [text for text in cold if "FROM profile_models" in text]
        assert not [text for text in cold if "INSERT INTO cut_tables" in text]
        built = built_tables(services, model_id)
        with database_use() as warm:
            await ask()
        assert warm == []
        assert built_tables(services, model_id) == built
        assert len(built) == 2 * len(pairs)

    run(work, settings_in(tmp_path))


def built_tables(services: Services, model_id: str) -> set[int]:
    """The tables of all variants of a model, by identity."""
    model = services.prepared.cached(DEFAULT_TENANT, model_id)
    assert model is not None
    variants = model._variants.values()
    return {id(table) for each in variants for table in each.free.tables.built.values()}


def test_variants_count_against_the_bound_of_the_cache(tmp_path: Path) -> None:
    """What a variant of a model holds counts as the model's own: where both do not fit together,
    the model is read again for the next split."""
    sizes: list[int] = []
    is_kept: list[bool] = []

    async def ask(client: httpx.AsyncClient, services: Services) -> None:
        model_id = await upload(client, chain("a", "b", "c"))
        await split(client, model_id, store=False)
        model = services.prepared.cached(DEFAULT_TENANT, model_id)
        assert model is not None
        sizes.append(model.nbytes)
        link = {"uplink_bits_per_s": 1e6, "downlink_bits_per_s": 1e6, "smashed_dtype": "int8"}
        await split(client, model_id, store=False, link=link)
        sizes.append(model.nbytes)
        is_kept.append(services.prepared.cached(DEFAULT_TENANT, model_id) is model)

    run(ask, settings_in(tmp_path))
    assert sizes[1] > sizes[0]
    run(ask, settings_in(tmp_path / "small", cache_bytes=(sizes[0] + sizes[1]) // 2))
    assert sizes[2:] == sizes[:2]
    assert is_kept == [True, False]


def test_cache_holds_no_more_than_its_bytes(tmp_path: Path) -> None:
    """With room for one of two models, the cache holds one: taking turns reads the database each
    time, staying with one does not."""
    sizes: list[int] = []

    async def measure(client: httpx.AsyncClient, services: Services) -> None:
        for data in models:
            sizes.append(services.prepared.load(DEFAULT_TENANT, await upload(client, data)).nbytes)

    async def take_turns(client: httpx.AsyncClient, services: Services) -> None:
        first, second = [await upload(client, data) for data in models]
        for model_id in (first, second, first):
            with database_use() as use:
                await split(client, model_id, store=False)
            assert use
            with database_use() as use:
                await split(client, model_id, store=False)
            assert use == []
        assert services.prepared.cached(DEFAULT_TENANT, first) is not None
        assert services.prepared.cached(DEFAULT_TENANT, second) is None

    models = [chain("a", "b", "c"), chain("a", "b", "c")]
    run(measure, settings_in(tmp_path))
    assert sizes[0] == sizes[1]
    run(take_turns, settings_in(tmp_path, cache_bytes=int(1.5 * sizes[0])))


def test_cache_too_small_for_any_model_still_works(tmp_path: Path) -> None:
    """A cache of one byte holds nothing, and every split is answered all the same."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        model_id = await upload(client, DEMO_BYTES)
        for _ in range(3):
            await split(client, model_id)
            assert services.prepared.cached(DEFAULT_TENANT, model_id) is None

    run(work, settings_in(tmp_path, cache_bytes=1))


def test_deleted_model_leaves_the_cache(tmp_path: Path) -> None:
    """Deleting a model drops its prepared form from memory, not only from the database."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        model_id = await upload(client, DEMO_BYTES)
        await split(client, model_id)
        assert services.prepared.cached(DEFAULT_TENANT, model_id) is not None
        assert (await client.delete(f"/models/{model_id}")).status_code == 204
        assert services.prepared.cached(DEFAULT_TENANT, model_id) is None

    run(work, settings_in(tmp_path))


def test_model_deleted_elsewhere_leaves_the_cache_when_it_is_noticed(tmp_path: Path) -> None:
    """A model that another process deleted is 404 for a result to be stored, and from then on for
    every split."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        model_id = await upload(client, DEMO_BYTES)
        await split(client, model_id, store=False)
        other = Services(settings_in(tmp_path))
        await asyncio.to_thread(other.models.remove, DEFAULT_TENANT, model_id)
        other.stop()
        assert services.prepared.cached(DEFAULT_TENANT, model_id) is not None
        for store in (True, False):
            response = await client.post("/split", json=scenario(model_id, store=store))
            assert response.status_code == 404

    run(work, settings_in(tmp_path))


def test_model_deleted_while_it_is_loaded_is_not_kept(tmp_path: Path) -> None:
    """A model deleted between the reading of its DAG and its way into the cache does not stay in
    the cache."""
    ids = []

    async def register(client: httpx.AsyncClient, _services: Services) -> None:
        ids.append(await upload(client, DEMO_BYTES))

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        (model_id,) = ids

        def remove(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "FROM prepared_models" in statement:
                services.models.remove(DEFAULT_TENANT, model_id)

        event.listen(Engine, "after_cursor_execute", remove)
        try:
            await client.post("/split", json=scenario(model_id, store=False))
        finally:
            event.remove(Engine, "after_cursor_execute", remove)
        assert services.prepared.cached(DEFAULT_TENANT, model_id) is None
        response = await client.post("/split", json=scenario(model_id, store=False))
        assert response.status_code == 404

    run(register, settings_in(tmp_path))
    run(work, settings_in(tmp_path))


@pytest.mark.parametrize("name", ["light_densenet121", "gpt2", "vit_b16"])
def test_counted_bytes_are_the_real_ones(name: str) -> None:
    """What the cache counts for a model is what Python and numpy allocate for it, within 30 %."""
    dag = ingested(name).dag
    packed = pack_dag(dag)
    table = pack_table(build_table(dag, Family.SLOWER_DEVICE))

    def prepare() -> PreparedModel:
        model = PreparedModel.of(
            "some-id", unpack_dag(packed), {Family.SLOWER_DEVICE: unpack_table(table)}
        )
        assert model.network
        assert model.device_only
        assert model.server_only
        assert model.dag.node_index
        return model

    prepare()
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        model = prepare()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.nbytes == pytest.approx(after - before, rel=0.3)


def test_unexpected_error_is_a_problem_with_its_request_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Kerf itself fails, the answer is a 500 problem that carries the request's id."""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("a secret of Kerf's own")

        monkeypatch.setattr(services.models, "page", fail)
        transport = httpx.ASGITransport(app=app_of(client), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://kerf") as outside:
            response = await outside.get("/models", headers={"X-Request-Id": "mine"})
            assert response.status_code == 500
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["x-request-id"] == "mine"
            assert response.json()["type"] == "internal-error"
            assert "secret" not in response.text

    run(work, settings_in(tmp_path))


def test_broken_database_is_told(tmp_path: Path) -> None:
    """Where the file of an SQLite database is no database any more, all that needs it is 503 and
    says so, and the process lives. (PostgreSQL is taken away in tests/replicas/test_outage.py.)"""

    async def work(client: httpx.AsyncClient, services: Services) -> None:
        # Put in its place at once: a file that is empty for a moment is a database without tables,
        # and a connection of that moment would make it one again.
        broken = tmp_path / "broken"
        broken.write_bytes(b"not a database " * 1000)
        broken.replace(tmp_path / "kerf.db")
        # Pages that wait in a write-ahead log are read before those of the file.
        for file in tmp_path.glob("kerf.db-*"):
            file.unlink(missing_ok=True)
        services.database.close()
        for path in ("/models", "/readyz"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["type"] == "not-ready"
            assert "the database does not" in response.json()["detail"]
            assert response.headers["retry-after"] == "1"
        assert (await client.get("/healthz")).status_code == 200

    run(work, Settings(data_dir=tmp_path))


def app_of(client: httpx.AsyncClient) -> Any:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app
