"""Mixed load on a running service, and an account of what it acknowledged: uploads, splits, batches
and deletes by several clients, who repeat under its name whatever got no clear answer."""

import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from tests.databases import database_at
from tests.server import chain, scenario

BATCH = 5
"""Scenarios of each batch."""
OF_A_BATCH = 77
"""Local iterations, by which the rows of batches are known."""
Json = dict[str, Any]


@dataclass
class Account:
    """What clients know: what was acknowledged, and what they asked to have deleted.

    ``splits``: by id, the answer; ``markers``: of all requests for one split, answered or not, by
    the rate that no other request has; ``statuses``: how often each came.
    """

    models: dict[str, Json] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    splits: dict[str, Json] = field(default_factory=dict)
    markers: set[float] = field(default_factory=set)
    batches: list[tuple[str, list[str]]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_for_more(self, splits: int, within_s: float = 60) -> None:
        """Return when so many more results have been acknowledged."""
        wanted, until = len(self.splits) + splits, time.monotonic() + within_s
        while len(self.splits) < wanted:
            assert time.monotonic() < until, self.statuses
            time.sleep(0.02)


class Load:
    """Clients that go on until they are ended, each with a random mind of its own."""

    def __init__(self, url: str, clients: int, seed: int, headers: dict[str, str]) -> None:
        self.account = Account()
        self._url = url
        self._headers = headers
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, args=(random.Random(seed * 1000 + i),))
            for i in range(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return when all clients have had their last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, draw: random.Random) -> None:
        mine: list[str] = []
        with httpx.Client(base_url=self._url, timeout=30, headers=self._headers) as client:
            while not self._ended.is_set():
                if not mine or draw.random() < 0.04:
                    self._upload(client, mine)
                elif len(mine) > 2 and draw.random() < 0.04:
                    self._delete(client, mine.pop(draw.randrange(len(mine))))
                elif draw.random() < 0.1:
                    self._batch(client, draw.choice(mine))
                else:
                    self._split(client, draw.choice(mine))

    def _upload(self, client: httpx.Client, mine: list[str]) -> None:
        file = chain(*(f"n{i}" for i in range(4)), extents=(1, 8))
        response = self._repeated(
            client, "POST", "/models", files={"file": ("m.onnx", file)}, name=secrets.token_hex(8)
        )
        if response is not None and response.status_code in (200, 201):
            model = response.json()
            with self.account.lock:
                self.account.models[model["id"]] = model
            mine.append(model["id"])

    def _split(self, client: httpx.Client, model_id: str) -> None:
        marker = 1e6 + secrets.randbits(40) / 2**10
        with self.account.lock:
            self.account.markers.add(marker)
        link = {"uplink_bits_per_s": marker, "downlink_bits_per_s": 1e8}
        body = scenario(model_id, link=link)
        response = self._repeated(client, "POST", "/split", json=body, name=secrets.token_hex(8))
        if response is not None and response.status_code == 200:
            answer = response.json()
            with self.account.lock:
                self.account.splits[answer["id"]] = answer

    def _batch(self, client: httpx.Client, model_id: str) -> None:
        one = {key: value for key, value in scenario(model_id).items() if key != "model_id"}
        one["local_iterations"] = OF_A_BATCH
        body = {"model_id": model_id, "scenarios": [one] * BATCH, "store": True}
        # A batch has no name, so it is not repeated.
        response = self._once(client, "POST", "/split/batch", json=body)
        if response is not None and response.status_code == 200:
            ids = [answer["id"] for answer in response.json()["answers"]]
            with self.account.lock:
                self.account.batches.append((model_id, ids))

    def _delete(self, client: httpx.Client, model_id: str) -> None:
        with self.account.lock:
            self.account.doomed.add(model_id)
        response = self._once(client, "DELETE", f"/models/{model_id}")
        if response is not None and response.status_code == 204:
            with self.account.lock:
                self.account.deleted.add(model_id)

    def _repeated(
        self, client: httpx.Client, method: str, path: str, name: str, **arguments: Any
    ) -> httpx.Response | None:
        """The first clear answer to a request that is sent again under its name until there is one;
        None where that does not come in time."""
        headers = {"Idempotency-Key": name}
        until = time.monotonic() + 30
        while time.monotonic() < until:
            response = self._once(client, method, path, headers=headers, **arguments)
            if response is not None and response.status_code != 503:
                return response
            time.sleep(0.05)
        return None

    def _once(
        self, client: httpx.Client, method: str, path: str, **arguments: Any
    ) -> httpx.Response | None:
        try:
            response = client.request(method, path, **arguments)
        except httpx.TransportError:
            return None
        with self.account.lock:
            self.account.statuses[response.status_code] += 1
            if response.status_code not in (200, 201, 204, 404, 503):
                self.account.unexpected.append(f"{method} {path}: {response.text[:500]}")
        return response


@contextmanager
def loading(
    url: str, clients: int = 4, seed: int = 0, headers: dict[str, str] | None = None
) -> Iterator[Account]:
    """Load during a block; what it was told is complete when the block has ended."""
    load = Load(url, clients, seed, headers or {})
    load.start()
    try:
        yield load.account
    finally:
        load.end()


def assert_kept(account: Account, client: httpx.Client, data_dir: Path) -> None:
    """All that was acknowledged is there, whole and once, and nothing is there by half."""
    assert account.unexpected == []
    for model_id in set(account.models) - account.doomed:
        assert client.get(f"/models/{model_id}").json() == account.models[model_id]
        body = scenario(model_id, store=False)
        assert client.post("/split", json=body).status_code == 200
    for model_id in account.deleted:
        assert client.get(f"/models/{model_id}").status_code == 404
    for split_id, answer in account.splits.items():
        if answer["model_id"] not in account.doomed:
            assert client.get(f"/splits/{split_id}").json() == answer
    with closing(database_at(data_dir)) as database, database.reading() as connection:
        rows = connection.execute(text("SELECT id, model_id, request FROM splits")).all()
        loose = [
            connection.execute(text(query)).scalar_one()
            for query in (
                "SELECT count(*) FROM models m WHERE NOT EXISTS "
                f"(SELECT 1 FROM {table} t WHERE t.model_id = m.id)"
                for table in ("prepared_models", "model_graphs", "cut_tables")
            )
        ]
    assert loose == [0, 0, 0]
    stored = {row.id for row in rows}
    for model_id, ids in account.batches:
        if model_id not in account.doomed:
            assert set(ids) <= stored
    requests = [database_json(row.request) for row in rows]
    found = Counter(request["link"]["uplink_bits_per_s"] for request in requests)
    assert [marker for marker in account.markers if found[marker] > 1] == []
    in_batches = Counter(
        row.model_id
        for row, request in zip(rows, requests, strict=True)
        if request["local_iterations"] == OF_A_BATCH
    )
    assert [count for count in in_batches.values() if count % BATCH] == []


def database_json(value: Any) -> Json:
    """JSON as a database's driver gives it, which may have read it already."""
    parsed: Json = json.loads(value) if isinstance(value, str | bytes) else value
    return parsed
