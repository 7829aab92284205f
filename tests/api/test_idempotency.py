"""Requests that are sent twice under one name are done once."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.api.profile_example import PROFILE_REQUEST
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    listed,
    scenario,
    upload,
    uploaded,
)


def named(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def posted(client: httpx.Client, name: str, body: Any, **query: str) -> httpx.Response:
    return client.post("/split", json=body, headers=named(name), params=query)


def sent(
    client: httpx.Client, name: str, file: bytes, fields: dict[str, str] | None = None
) -> httpx.Response:
    files = {"file": ("model.onnx", file)}
    return client.post("/models", files=files, data=fields, headers=named(name))


@pytest.fixture
def model_id(client: httpx.Client) -> str:
    """A model of the test's own."""
    found: str = uploaded(client, chain("a", "b"))["id"]
    return found


@pytest.fixture
def name() -> str:
    """A name that no other request has."""
    return secrets.token_urlsafe(16)


def test_a_repeated_split_is_the_first(client: httpx.Client, model_id: str, name: str) -> None:
    """Sent again under its name, a request gets the answer of the first time, to the letter, and is
    said to be a repetition; the result is stored once. Without a name it is another one."""
    body = scenario(model_id)
    first = posted(client, name, body)
    assert "idempotent-replayed" not in first.headers
    for _ in range(3):
        again = posted(client, name, body)
        assert again.status_code == 200
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == first.json()
    assert [row["id"] for row in listed(client, "/splits", model_id=model_id)] == [
        first.json()["id"]
    ]
    assert client.post("/split", json=body).json()["id"] != first.json()["id"]


def test_spelling_makes_no_other_request(client: httpx.Client, model_id: str, name: str) -> None:
    """The order of fields, blanks, and defaults that are written out do not make it another one."""
    body = scenario(model_id)
    first = posted(client, name, body).json()
    spelt = dict(reversed([*{**body, "mode": "training", "local_iterations": 1}.items()]))
    assert posted(client, name, spelt).json() == first


def test_a_name_stands_for_one_request(client: httpx.Client, model_id: str, name: str) -> None:
    """Under the name of another request, of this call or the other, nothing is done, and the
    problem says so."""
    body = scenario(model_id)
    assert posted(client, name, body).status_code == 200
    before = len(listed(client, "/splits", model_id=model_id))
    others = [
        posted(client, name, {**body, "batch_size": 2}),
        posted(client, name, body, include="sensitivity"),
        sent(client, name, chain("other")),
    ]
    for response in others:
        problem = assert_problem(response, 422, "idempotency-key-reused")
        assert problem["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert len(listed(client, "/splits", model_id=model_id)) == before


def test_a_repetition_may_ask_for_more(client: httpx.Client, model_id: str, name: str) -> None:
    """What was asked for beside the answer comes with the repetition as well."""
    body = scenario(model_id, mode="inference")
    first = posted(client, name, body, include="nodes,sensitivity").json()
    assert first["nodes"]["device"]
    assert posted(client, name, body, include="sensitivity,nodes").json() == first


def test_at_the_same_moment(server: Server, client: httpx.Client, model_id: str, name: str) -> None:
    """Sent twelve times at once under one name, a request is done once, and all get its answer."""
    body = scenario(model_id)

    def work(_i: int) -> Any:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return posted(own, name, body).json()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(work, range(12)))
    assert all(answer == answers[0] for answer in answers)
    assert len(listed(client, "/splits", model_id=model_id)) == 1


def test_a_repeated_upload_is_the_first(client: httpx.Client, name: str) -> None:
    """An upload that is sent again gets the status and the answer of the first time: 201 where that
    made the model, 200 where it was there."""
    file = chain("a")
    first = sent(client, name, file)
    assert first.status_code == 201
    again = sent(client, name, file)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert upload(client, file).status_code == 200
    for _ in range(2):
        assert sent(client, f"{name}-later", file).status_code == 200
    assert_problem(sent(client, name, chain("b")), 422, "idempotency-key-reused")
    response = sent(client, name, file, {"name": "renamed"})
    assert_problem(response, 422, "idempotency-key-reused")


def test_a_name_is_free_when_what_it_made_is_gone(client: httpx.Client, name: str) -> None:
    """After the model is deleted, the same upload under the same name makes it anew; so does the
    same request for a split of it."""
    file = chain("a")
    model_id = sent(client, name, file).json()["id"]
    first = posted(client, f"{name}-split", scenario(model_id)).json()
    assert client.delete(f"/models/{model_id}").status_code == 204
    assert_problem(posted(client, f"{name}-split", scenario(model_id)), 404, "not-found")
    again = sent(client, name, file)
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers
    assert posted(client, f"{name}-split", scenario(model_id)).json()["id"] != first["id"]


def test_what_is_not_stored_has_no_name(client: httpx.Client, model_id: str, name: str) -> None:
    """A name on a request that stores nothing is let pass, and stands for nothing."""
    body = scenario(model_id, store=False)
    assert posted(client, name, body).json()["id"] is None
    assert posted(client, name, {**body, "batch_size": 3}).status_code == 200
    assert posted(client, name, scenario(model_id)).json()["id"] is not None


def test_a_refused_request_uses_no_name(client: httpx.Client, model_id: str, name: str) -> None:
    """A request that was refused may be sent, mended, under the same name."""
    bad = scenario(model_id, constraints={"pin_device": ["nowhere"]})
    assert_problem(posted(client, name, bad), 422, "unknown-node")
    assert posted(client, name, scenario(model_id)).status_code == 200
    response = sent(client, f"{name}-upload", b"no model")
    assert_problem(response, 422, "not-onnx")
    assert sent(client, f"{name}-upload", DEMO_BYTES).status_code in (200, 201)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_bad_names_are_told(client: httpx.Client, model_id: str, key: str) -> None:
    """A name that is empty, too long or not of visible ASCII is refused."""
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    for response in (
        client.post("/split", json=scenario(model_id), headers=headers),
        client.post("/models", files={"file": ("m.onnx", DEMO_BYTES)}, headers=headers),
    ):
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["header", "Idempotency-Key"]


def test_profiles_name_themselves(client: httpx.Client, demo_model: dict[str, Any]) -> None:
    """The same profile again is the same one, so it needs no name."""
    assert demo_model["id"]
    ids = {client.post("/profiles", json=PROFILE_REQUEST).json()["id"] for _ in range(2)}
    assert len(ids) == 1
