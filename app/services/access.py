"""Who asks, and what they may: API keys, their scopes and their limits."""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, get_args

from anyio import to_thread
from cachetools import LRUCache
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.errors import NotFoundError, RateLimitError, UnauthenticatedError
from app.store import keys as key_store
from app.store.database import Database
from app.store.keys import KeyRow
from app.store.pages import Page
from app.store.tenants import DEFAULT_TENANT

Scope = Literal["models:write", "split", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

STALE_FOR_S = 3600.0
"""So long a known key is believed while the database is away, where nobody can revoke it either."""
MOST_KNOWN = 2000
_KEY = re.compile(r"kerf_([0-9a-f]{32})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks: a tenant, by a key or (``key_id`` None) without one, and what they may.

    ``requests_per_s``, ``most_models``, ``most_bytes``: None for no limit.
    """

    tenant_id: str
    key_id: str | None
    scopes: frozenset[str]
    requests_per_s: float | None = None
    most_models: int | None = None
    most_bytes: int | None = None


OPEN = Access(DEFAULT_TENANT, None, frozenset(SCOPES))
"""Of everybody, where keys are off."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made; ``text`` is what its owner needs, and is kept nowhere."""

    row: KeyRow
    text: str


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may at most; None for no limit."""

    requests_per_s: float | None = None
    most_models: int | None = None
    most_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as of a moment on the monotonic clock."""

    row: KeyRow
    at_s: float


class KeyService:
    """API keys of one database. Methods that are no coroutines block; call these from a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: LRUCache[str, _Known] = LRUCache(MOST_KNOWN)
        self._lock = threading.Lock()
        self._changes = 0

    async def access(self, text: str) -> Access:
        """Who the owner of a key is. Raises ``UnauthenticatedError``, ``RateLimitError``, or
        ``NotReadyError`` where the database is away and the key is not known here."""
        found = _KEY.fullmatch(text)
        if found is None:
            raise _invalid()
        key_id, secret = found.groups()
        row = self._remembered(key_id)
        if row is None:
            row = await to_thread.run_sync(self._look_up, key_id)
        # Compared even where there is no key, so that the time tells nothing.
        expected = row.secret_sha256 if row is not None else "0" * 64
        is_its_secret = hmac.compare_digest(_digest(secret), expected)
        if row is None or not is_its_secret or row.revoked_at is not None:
            raise _invalid()
        self._count(row)
        return Access(
            row.tenant_id,
            row.id,
            frozenset(row.scopes),
            row.requests_per_s,
            row.most_models,
            row.most_bytes,
        )

    def create(
        self, tenant_id: str, name: str, scopes: Collection[Scope], limits: KeyLimits
    ) -> NewKey:
        """Make a key for a tenant."""
        secret = secrets.token_hex(32)
        row = KeyRow(
            id=secrets.token_hex(16),
            tenant_id=tenant_id,
            name=name,
            secret_sha256=_digest(secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            created_at=datetime.now(UTC),
            requests_per_s=limits.requests_per_s,
            most_models=limits.most_models,
            most_bytes=limits.most_bytes,
        )
        with self._database.writing() as connection:
            key_store.add(connection, row)
        # It may have been asked for before it was there.
        self._forget(row.id)
        return NewKey(row, f"kerf_{row.id}_{secret}")

    def page(self, tenant_id: str | None, limit: int, cursor: str | None) -> Page:
        """A page of a tenant's keys, or of all, newest first. Raises ``BadCursorError``."""
        with self._database.reading() as connection:
            return key_store.page(connection, tenant_id, limit, cursor)

    def revoke(self, tenant_id: str | None, key_id: str) -> None:
        """Let a key, of a tenant where one is named, be valid no longer: at once in this process,
        in others once they look (``app.services.upkeep``). Raises ``NotFoundError``."""
        with self._database.writing() as connection:
            was_there = key_store.revoke(connection, tenant_id, key_id, datetime.now(UTC))
        self._forget(key_id)
        if not was_there:
            raise NotFoundError(f"there is no key {key_id!r}")

    def drop_revoked(self) -> None:
        """Forget keys that another process has revoked. Raises ``NotReadyError``, and then forgets
        none."""
        with self._lock:
            known = {key_id: each.row for key_id, each in self._known.items()}
        if not known:
            return
        at_s = time.monotonic()
        with self._database.reading() as connection:
            valid = key_store.valid(connection, known)
        with self._lock:
            for key_id, row in known.items():
                if key_id not in valid:
                    self._known.pop(key_id, None)
                elif key_id in self._known:
                    self._known[key_id] = _Known(row, at_s)

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        # Made when it is first needed, as it starts a thread.
        return SlidingWindowCounterRateLimiter(MemoryStorage())

    def _remembered(self, key_id: str) -> KeyRow | None:
        with self._lock:
            known = self._known.get(key_id)
        if known is None or time.monotonic() - known.at_s > STALE_FOR_S:
            return None
        return known.row

    def _look_up(self, key_id: str) -> KeyRow | None:
        with self._lock:
            changes = self._changes
        at_s = time.monotonic()
        with self._database.reading() as connection:
            row = key_store.get(connection, key_id)
        with self._lock:
            # It may have been revoked since it was read.
            if self._changes == changes and row is not None and row.revoked_at is None:
                self._known[key_id] = _Known(row, at_s)
        return row

    def _forget(self, key_id: str) -> None:
        with self._lock:
            self._changes += 1
            self._known.pop(key_id, None)

    def _count(self, row: KeyRow) -> None:
        """Raise ``RateLimitError`` where this is one request too many."""
        if row.requests_per_s is None:
            return
        # A rate below one per second is so many in as many seconds as make it one.
        seconds = max(1, round(1 / row.requests_per_s))
        most = RateLimitItemPerSecond(max(1, round(row.requests_per_s * seconds)), seconds)
        if self._limiter.hit(most, row.id):
            return
        reset_s = self._limiter.get_window_stats(most, row.id).reset_time - time.time()
        raise RateLimitError(
            f"key {row.id} may make {row.requests_per_s:g} requests per second of one process of "
            "the service; make fewer, or ask many scenarios at once with POST /split/batch",
            retry_after_s=max(reset_s, 0.0),
        )


def key_facts(row: KeyRow) -> dict[str, Any]:
    """A key as JSON, without its secret, of which nobody is told even the digest."""
    return {
        "id": row.id,
        "tenant": row.tenant_id,
        "name": row.name,
        "scopes": row.scopes,
        "requests_per_s": row.requests_per_s,
        "most_models": row.most_models,
        "most_bytes": row.most_bytes,
        "created_at": row.created_at.isoformat(),
        "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
    }


def _digest(secret: str) -> str:
    # Of 256 random bits, which nobody can guess; a slow digest would only slow requests.
    return hashlib.sha256(secret.encode()).hexdigest()


def _invalid() -> UnauthenticatedError:
    return UnauthenticatedError(
        "the API key is not valid: it is not one of this service's, or it was revoked"
    )
