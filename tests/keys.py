"""API keys for tests: made in the database of a service, as its operator makes them."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import httpx

from app.services.access import SCOPES, KeyLimits, KeyService, NewKey, Scope
from tests.databases import database_at


def made_key(
    data_dir: Path,
    tenant: str = "acme",
    scopes: Sequence[Scope] = SCOPES,
    limits: KeyLimits | None = None,
) -> NewKey:
    """A new key of a tenant."""
    with closing(database_at(data_dir)) as database:
        return KeyService(database).create(tenant, "test", scopes, limits or KeyLimits())


def bearer(key: NewKey | str) -> dict[str, str]:
    """The header that carries a key."""
    text = key if isinstance(key, str) else key.text
    return {"Authorization": f"Bearer {text}"}


def client_with(url: str, key: NewKey | str) -> httpx.Client:
    """A client that sends a key with every request."""
    return httpx.Client(base_url=url, headers=bearer(key), timeout=60)
