"""Who may do what, call by call, with the service asking for keys."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from app.api.access import require_rows
from app.api.profile_example import PROFILE_REQUEST
from app.main import create_app
from app.services.access import SCOPES, NewKey, Scope
from tests import databases
from tests.keys import bearer, client_with, made_key
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    listed,
    scenario,
    serving,
    settings_in,
    upload,
    uploaded,
)

Json = dict[str, Any]

CALLS: dict[str, Scope | None] = {
    "POST /models": "models:write",
    "GET /models": "read",
    "GET /models/{model_id}": "read",
    "DELETE /models/{model_id}": "models:write",
    "GET /models/{model_id}/graph": "read",
    "GET /models/{model_id}/blocks": "read",
    "GET /models/{model_id}/cuts": "read",
    "POST /split": "split",
    "POST /split/batch": "split",
    "GET /splits": "read",
    "GET /splits/{split_id}": "read",
    "GET /splits/{split_id}/device.onnx": "read",
    "GET /splits/{split_id}/server.onnx": "read",
    "POST /profiles": "models:write",
    "GET /profiles": "read",
    "GET /profiles/{profile_id}": "read",
    "DELETE /profiles/{profile_id}": "models:write",
    "GET /presets": "read",
    "POST /link/probe": "read",
    "GET /link/probe": "read",
    "POST /keys": "admin",
    "GET /keys": "admin",
    "DELETE /keys/{key_id}": "admin",
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": None,
}
"""Every call, and the scope that it needs: none for some."""
GUARDED = [call for call, scope in CALLS.items() if scope is not None]
FOREIGN = [call for call in GUARDED if "{" in call]


@dataclass(frozen=True)
class Place:
    """A service that asks for keys, a tenant with one of everything, and a tenant with nothing."""

    server: Server
    owner: NewKey
    stranger: NewKey
    ids: dict[str, str]

    def request(self, call: str, key: NewKey | str | None) -> httpx.Response:
        """A call that would succeed with the owner's key, sent with another or none."""
        method, path = call.split(" ")
        headers = {} if key is None else bearer(key)
        arguments: Json = {}
        if call == "POST /models":
            arguments = {"files": {"file": ("m.onnx", chain("a"))}}
        elif call == "POST /split":
            arguments = {"json": scenario(self.ids["model_id"])}
        elif call == "POST /split/batch":
            body = scenario(self.ids["model_id"])
            one = {name: body[name] for name in ("device", "server", "link")}
            arguments = {"json": {"model_id": self.ids["model_id"], "scenarios": [one]}}
        elif call == "POST /profiles":
            arguments = {"json": {**PROFILE_REQUEST, "name": "another"}}
        elif call == "POST /keys":
            arguments = {"json": {"name": "made", "scopes": ["read"]}}
        elif call == "POST /link/probe":
            arguments = {"content": b"x" * 100}
            headers["Content-Type"] = "application/octet-stream"
        elif call == "GET /link/probe":
            arguments = {"params": {"bytes": 10}}
        with httpx.Client(base_url=self.server.url, timeout=60) as client:
            return client.request(method, path.format(**self.ids), headers=headers, **arguments)


@pytest.fixture(scope="module")
def place(kind: databases.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests here, which leave the owner's things alone."""
    data_dir = tmp_path_factory.mktemp(f"keys-{kind}")
    with serving(data_dir, auth="keys") as server:
        owner, stranger = made_key(data_dir, "acme"), made_key(data_dir, "other")
        with client_with(server.url, owner) as client:
            model = uploaded(client, DEMO_BYTES)
            profile = _profile_of(model)
            split = client.post("/split", json=scenario(model["id"], mode="inference")).json()
            ids = {
                "model_id": model["id"],
                "split_id": split["id"],
                "profile_id": client.post("/profiles", json=profile).json()["id"],
                "key_id": owner.row.id,
            }
        yield Place(server, owner, stranger, ids)


def _profile_of(model: Json) -> Json:
    (measured,) = PROFILE_REQUEST["models"]
    return {**PROFILE_REQUEST, "models": [{**measured, "model_id": model["id"]}]}


def test_every_call_has_its_row(kind: databases.Kind, place: Place) -> None:
    """The table here names every route of the application, and what the OpenAPI document says of
    each is the same."""
    app = create_app(settings_in(place.server.data_dir, auth="keys"))
    document = app.openapi()
    found: dict[str, Scope | None] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            (needed,) = operation.get("security", [{"ApiKey": [None]}])
            (found[f"{method.upper()} {path}"],) = needed["ApiKey"]
    assert found == CALLS
    hidden = {path for route in app.routes if (path := getattr(route, "path", None))}
    assert hidden == {"/docs", "/openapi.json", "/static"}


def test_a_route_without_its_scope_is_no_route() -> None:
    """An application with a route of which nobody says who may call it is not composed."""

    async def forgotten() -> None:
        """A route that somebody adds."""

    routes = [Route("/models/{model_id}/more", forgotten), Route("/forgotten/{id}", forgotten)]
    require_rows(routes[:1])
    with pytest.raises(ValueError, match="who may call /forgotten"):
        require_rows(routes)


@pytest.mark.parametrize("call", GUARDED)
def test_call_needs_a_valid_key(place: Place, call: str) -> None:
    """Without a key, with one that is misspelt, unknown or of another scheme, the call is 401 and
    says how to send one."""
    text = place.owner.text
    wrong = (
        None,
        "kerf_",
        "nonsense",
        text[:-1],
        text + "0",
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        f"kerf_{'0' * 32}_{'0' * 64}",
        text.upper(),
    )
    for key in wrong:
        response = place.request(call, key)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    with httpx.Client(base_url=place.server.url) as client:
        method, path = call.split(" ")
        headers = {"Authorization": f"Basic {text}"}
        response = client.request(method, path.format(**place.ids), headers=headers)
    assert_problem(response, 401, "unauthenticated")


@pytest.mark.parametrize("call", GUARDED)
def test_call_needs_its_scope(place: Place, call: str) -> None:
    """A key with every scope but the one that the call needs is 403, which names that scope."""
    needed = CALLS[call]
    key = made_key(place.server.data_dir, "acme", [scope for scope in SCOPES if scope != needed])
    body = assert_problem(place.request(call, key), 403, "forbidden")
    assert f"scope {needed}" in body["detail"]


@pytest.mark.parametrize("call", GUARDED)
def test_revoked_key_is_none(place: Place, call: str) -> None:
    """A key that was revoked before its first use is as good as none."""
    data_dir = place.server.data_dir
    key = made_key(data_dir, "acme")
    with client_with(place.server.url, place.owner) as client:
        assert client.delete(f"/keys/{key.row.id}").status_code == 204
    assert_problem(place.request(call, key), 401, "unauthenticated")


@pytest.mark.parametrize("call", FOREIGN)
def test_ids_of_others_are_not_there(place: Place, call: str) -> None:
    """What another tenant has is 404, whatever is asked of it, and stays as it was."""
    assert_problem(place.request(call, place.stranger), 404, "not-found")
    with client_with(place.server.url, place.owner) as client:
        assert client.get(f"/models/{place.ids['model_id']}").status_code == 200
        assert client.get(f"/profiles/{place.ids['profile_id']}").status_code == 200


def test_strangers_see_nothing(place: Place) -> None:
    """Another tenant's lists are empty; it cannot split a foreign model, name a foreign split or
    profile, and the same file is another model to it."""
    ids = place.ids
    with client_with(place.server.url, place.stranger) as client:
        for path in ("/models", "/splits", "/profiles"):
            assert listed(client, path) == []
        assert listed(client, "/splits", model_id=ids["model_id"]) == []
        body = scenario(ids["model_id"])
        assert_problem(client.post("/split", json=body), 404, "not-found")
        one = {name: body[name] for name in ("device", "server", "link")}
        batch = {"model_id": ids["model_id"], "scenarios": [one]}
        assert_problem(client.post("/split/batch", json=batch), 404, "not-found")
        own = uploaded(client, DEMO_BYTES)
        assert own["id"] != ids["model_id"]
        for changes in (
            {"current_cut": ids["split_id"]},
            {"device": {"profile_id": ids["profile_id"]}},
        ):
            response = client.post("/split", json=scenario(own["id"], **changes))
            assert_problem(response, 404, "not-found")
        assert client.delete(f"/models/{own['id']}").status_code == 204


def test_warm_models_are_no_strangers_either(place: Place) -> None:
    """A model that the process has in memory for its owner is not there for anybody else."""
    body = scenario(place.ids["model_id"], store=False)
    for _ in range(2):
        with client_with(place.server.url, place.owner) as client:
            assert client.post("/split", json=body).status_code == 200
        with client_with(place.server.url, place.stranger) as client:
            assert_problem(client.post("/split", json=body), 404, "not-found")


def test_public_calls_need_no_key(place: Place) -> None:
    """Probes and the browser page work without a key; what is nowhere is 401, as is told to whoever
    shows none, and 404 to whoever shows one."""
    with httpx.Client(base_url=place.server.url) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert_problem(client.get("/nowhere"), 401, "unauthenticated")
        assert_problem(client.get("/nowhere", headers=bearer(place.owner)), 404, "not-found")


def test_refusal_comes_before_the_body(place: Place) -> None:
    """Whoever has no key is refused after the headers of an upload of a gigabyte, none of which is
    sent; the connection is closed."""
    with socket.create_connection(("127.0.0.1", place.server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /models HTTP/1.1\r\nHost: kerf\r\nContent-Length: 1000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in received.lower()


def test_secrets_are_nowhere(place: Place) -> None:
    """The text of a key stands in no answer but the first, in no log, and in no file of the data
    directory; neither does its digest in any answer."""
    with client_with(place.server.url, place.owner) as client:
        body = {"name": "short-lived", "scopes": ["read"]}
        made = client.post("/keys", json=body)
        assert made.status_code == 201
        assert made.headers["cache-control"] == "no-store"
        text = made.json()["key"]
        secret = text.rpartition("_")[2]
        assert client.get("/models", headers=bearer(text)).status_code == 200
        shown = client.get("/keys", params={"limit": 200}).text
        assert made.json()["id"] in shown
        assert secret not in shown
        assert "sha256" not in shown
        assert client.delete(f"/keys/{made.json()['id']}").status_code == 204
    for path in place.server.data_dir.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_revocation_counts_at_once(place: Place) -> None:
    """A key that is in use is refused from the moment on when its revocation is answered; the list
    says when that was."""
    key = made_key(place.server.data_dir, "acme", ["read"])
    with (
        client_with(place.server.url, key) as client,
        client_with(place.server.url, place.owner) as owner,
    ):
        assert client.get("/models").status_code == 200
        assert owner.delete(f"/keys/{key.row.id}").status_code == 204
        assert_problem(client.get("/models"), 401, "unauthenticated")
        (row,) = [row for row in listed(owner, "/keys") if row["id"] == key.row.id]
        assert row["revoked_at"] is not None
        assert owner.delete(f"/keys/{key.row.id}").status_code == 204


def test_bad_keys_are_told(place: Place) -> None:
    """A key without a name or a scope, with an unknown scope, field or a limit that is none, is
    refused, and none is made."""
    with client_with(place.server.url, place.owner) as client:
        before = len(listed(client, "/keys"))
        good = {"name": "n", "scopes": ["read"]}
        bad: tuple[Json, ...] = (
            {"name": ""},
            {"name": "a\nb"},
            {"scopes": []},
            {"scopes": ["write"]},
            {"scopes": "read"},
            {"requests_per_s": 0},
            {"requests_per_s": -1},
            {"most_models": -1},
            {"most_bytes": 1.5},
            {"tenant": "other"},
        )
        for changes in bad:
            response = client.post("/keys", json={**good, **changes})
            assert_problem(response, 422, "invalid-request")
        assert len(listed(client, "/keys")) == before


def test_upload_makes_the_tenants_model(place: Place) -> None:
    """A tenant that uploads what it has already is told so; keys of one tenant share its models."""
    second = made_key(place.server.data_dir, "acme")
    with client_with(place.server.url, second) as client:
        response = upload(client, DEMO_BYTES)
        assert response.status_code == 200
        assert response.json()["id"] == place.ids["model_id"]
