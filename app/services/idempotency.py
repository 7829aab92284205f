"""Requests that may be sent twice: by the key that a client gives them, and what they ask."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from app.errors import KeyReusedError
from app.store.idempotency import KeyUse


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's Idempotency-Key, and the fingerprint of the request that it came with."""

    key: str
    fingerprint: str


def fingerprint_of(call: str, content: Any) -> str:
    """Of a call, and what it asks as JSON: equal for equal requests, whatever their spelling."""
    text = json.dumps([call, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def require_same_request(holder: KeyUse, request_key: RequestKey) -> None:
    """Raise ``KeyReusedError`` where a key stands for another request than the one it comes with.

    ``holder``: what it stands for.
    """
    if holder.fingerprint != request_key.fingerprint:
        raise KeyReusedError(
            f"Idempotency-Key {request_key.key!r} came with another request before; use a new key "
            "for each request, and the same one only to repeat it",
            loc=("header", "Idempotency-Key"),
        )
