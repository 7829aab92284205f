"""`kerf keys`, on the database and through the service, and the key that every command sends."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli import faults
from app.demo import DEMO_MODEL
from tests.cli.running import Done, kerf, kerf_process, rows
from tests.keys import bearer, client_with
from tests.server import Server, assert_problem, listed, serving


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for keys."""
    with serving(tmp_path_factory.mktemp("guarded"), auth="keys") as server:
        yield server


def here(server: Server, *arguments: object) -> Done:
    """A command that works on the database of a service."""
    return kerf("keys", *arguments, KERF_DATA_DIR=str(server.data_dir), KERF_API_KEY="")


def created(server: Server, *arguments: object, tenant: str = "acme") -> str:
    """A key made with all scopes, but for those that the arguments name."""
    scopes = (
        []
        if "--scope" in arguments
        else [
            word
            for scope in ("models:write", "split", "read", "admin")
            for word in ("--scope", scope)
        ]
    )
    done = here(server, "create", "--name", "n", "--tenant", tenant, *scopes, *arguments)
    assert done.status == 0, done.stderr
    return done.stdout.strip()


def test_a_key_is_made_for_scripts(guarded: Server) -> None:
    """`kerf keys create` prints the key and nothing else on standard output, and says on standard
    error that it is not shown again; the key works at the running service at once."""
    done = here(guarded, "create", "--name", "n", "--scope", "read", "--tenant", "acme")
    assert done.status == 0
    key = done.stdout.removesuffix("\n")
    assert "not shown again" in done.stderr
    assert key not in done.stderr
    with client_with(guarded.url, key) as client:
        assert client.get("/models").status_code == 200
        assert_problem(client.get("/keys"), 403, "forbidden")


def test_a_database_need_not_be_there(tmp_path: Path) -> None:
    """The first key is made before the service has ever run, in a process of its own."""
    done = kerf_process(
        *("keys", "create", "--name", "first", "--scope", "admin"), KERF_DATA_DIR=str(tmp_path)
    )
    assert done.status == 0, done.stderr
    with (
        serving(tmp_path, auth="keys") as server,
        client_with(server.url, done.stdout.strip()) as c,
    ):
        (row,) = listed(c, "/keys")
        assert (row["name"], row["tenant"], row["scopes"]) == ("first", "default", ["admin"])


def test_keys_are_listed_and_revoked(guarded: Server) -> None:
    """The list shows keys of all tenants or of one, with their limits and no secret; a revoked one
    is refused by the running service within two seconds, and the list says when."""
    key = created(guarded, "--requests-per-s", "5", "--most-models", "3", tenant="listed")
    (row,) = here(guarded, "list", "--tenant", "listed", "--json").result
    assert row["requests_per_s"] == 5
    assert row["most_models"] == 3
    assert row["revoked_at"] is None
    everything = here(guarded, "list")
    assert row["id"] in everything.stdout
    assert key not in everything.stdout
    assert rows(everything.stdout)[0][:3] == ["id", "tenant", "name"]
    with client_with(guarded.url, key) as client:
        assert client.get("/models").status_code == 200
        assert here(guarded, "revoke", row["id"]).status == 0
        status = 200
        for _ in range(200):
            status = client.get("/models").status_code
            if status == 401:
                break
            time.sleep(0.01)
        assert status == 401
    (row,) = here(guarded, "list", "--tenant", "listed", "--json").result
    assert row["revoked_at"] is not None
    done = here(guarded, "revoke", "0" * 32, "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "not-found")


def test_keys_through_the_service(guarded: Server) -> None:
    """With --url the commands ask the service, by the key in KERF_API_KEY, and see its tenant's
    keys alone."""
    admin = created(guarded, tenant="remote")
    created(guarded, tenant="elsewhere")

    def there(*arguments: object) -> Done:
        return kerf("keys", *arguments, "--url", guarded.url, KERF_API_KEY=admin)

    made = there("create", "--name", "made", "--scope", "read", "--json").result
    assert made["tenant"] == "remote"
    assert httpx.get(f"{guarded.url}/models", headers=bearer(made["key"])).status_code == 200
    assert {row["tenant"] for row in there("list", "--json").result} == {"remote"}
    assert there("revoke", made["id"]).status == 0
    assert httpx.get(f"{guarded.url}/models", headers=bearer(made["key"])).status_code == 401
    done = there("create", "--name", "n", "--scope", "read", "--tenant", "other")
    assert done.status == faults.BAD_INPUT
    assert "--tenant" in done.stderr


def test_commands_send_their_key(guarded: Server) -> None:
    """Every command that asks a service sends the key in KERF_API_KEY; without one, or with one
    that is not enough, it says what is missing, and never shows the key."""
    key = created(guarded, tenant="commands")
    reader = created(guarded, "--scope", "read", tenant="commands")
    for given, status, words in (
        ("", faults.REFUSED, "needs an API key"),
        ("kerf_nonsense", faults.REFUSED, "not valid"),
        (reader, faults.REFUSED, "scope models:write"),
        ("clé", faults.BAD_INPUT, "characters"),
    ):
        done = kerf("upload", DEMO_MODEL, url=guarded.url, KERF_API_KEY=given)
        assert done.status == status, done
        assert words in done.stderr
        assert not given or given not in done.stderr
    uploaded = kerf("upload", DEMO_MODEL, "--json", url=guarded.url, KERF_API_KEY=key).result
    listed_ = kerf("models", "--json", url=guarded.url, KERF_API_KEY=reader).result
    assert [row["id"] for row in listed_] == [uploaded["id"]]
    assert kerf("demo", url=guarded.url, KERF_API_KEY=key).status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "n", "--scope", "write"), "--scope"),
        (("--name", "n"), "--scope"),
        (("--scope", "read"), "--name"),
        (("--name", "", "--scope", "read"), "name"),
        (("--name", "n", "--scope", "read", "--tenant", "A B"), "--tenant"),
        (("--name", "n", "--scope", "read", "--requests-per-s", "0"), "requests_per_s"),
        (("--name", "n", "--scope", "read", "--most-bytes", "-1"), "most_bytes"),
    ],
)
def test_bad_keys_are_told(guarded: Server, arguments: tuple[str, ...], words: str) -> None:
    """What cannot be a key is refused, with the option at fault, and none is made."""
    before = here(guarded, "list", "--json").result
    done = here(guarded, "create", *arguments)
    assert done.status == faults.BAD_INPUT
    assert words in done.stderr
    assert here(guarded, "list", "--json").result == before
