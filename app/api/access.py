"""Who may do what: the scope that each call needs, and the check of it before a body is read."""

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_of
from app.errors import AccessError, ForbiddenError, NotReadyError, UnauthenticatedError
from app.services.access import OPEN, Access, KeyService
from app.services.access import Scope as KeyScope

PUBLIC = frozenset(("healthz", "readyz", "metrics", "docs", "static", "openapi.json"))
"""First steps of paths that need no key: what probes ask, and what tells nothing of anybody."""
SCOPES: dict[str, tuple[KeyScope, KeyScope]] = {
    "models": ("read", "models:write"),
    "profiles": ("read", "models:write"),
    "splits": ("read", "split"),
    "split": ("split", "split"),
    "presets": ("read", "read"),
    "link": ("read", "read"),
    "keys": ("admin", "admin"),
}
"""By the first step of a path: what reading needs, and what everything else needs."""
READING = frozenset(("GET", "HEAD"))
SCHEME = "ApiKey"
"""Of the OpenAPI document."""


def scope_of(method: str, path: str) -> KeyScope | None:
    """What a call needs; None where it needs no key, or where there is no such call."""
    pair = SCOPES.get(_first_step(path))
    return None if pair is None else pair[method not in READING]


def access_of(scope: Scope) -> Access:
    """Who asks, once the middleware has found out."""
    access: Access = scope["state"]["access"]
    return access


def require_rows(routes: Iterable[BaseRoute]) -> None:
    """Raise ``ValueError`` where a route is in neither table, which nobody may forget."""
    for route in routes:
        path = getattr(route, "path", None)
        if path is not None and not {_first_step(path)} & (PUBLIC | SCOPES.keys()):
            raise ValueError(f"app.api.access does not say who may call {path}")


def add_security(schema: dict[str, Any]) -> None:
    """Say in an OpenAPI document that there are keys, and which scope each call needs."""
    schema["components"]["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, as `kerf keys create` prints it.",
        }
    }
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            needed = scope_of(method.upper(), path)
            if needed is not None:
                operation["security"] = [{SCHEME: [needed]}]


class AccessMiddleware:
    """Finds out who asks, and refuses, with a problem and before the body is read, who may not.

    Plain ASGI, so that it costs a warm request next to nothing. ``keys``: None where all may do
    everything.
    """

    def __init__(self, app: ASGIApp, keys: KeyService | None) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if self._keys is None:
            state["access"] = OPEN
        elif _first_step(scope["path"]) not in PUBLIC:
            try:
                state["access"] = await _permitted(self._keys, scope)
            except (AccessError, NotReadyError) as error:
                await problem_of(error, _headers(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _permitted(keys: KeyService, scope: Scope) -> Access:
    """Raises ``AccessError`` or ``NotReadyError``."""
    given = Headers(scope=scope).get("authorization", "")
    scheme, _, text = given.partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise UnauthenticatedError(
            "this service needs an API key; send it as Authorization: Bearer kerf_..."
        )
    access = await keys.access(text.strip())
    needed = scope_of(scope["method"], scope["path"])
    if needed is not None and needed not in access.scopes:
        raise ForbiddenError(
            f"this call needs a key with the scope {needed}; key {access.key_id} has "
            f"{', '.join(sorted(access.scopes)) or 'none'}"
        )
    return access


def _headers(error: AccessError | NotReadyError) -> dict[str, str]:
    # The body was not read; left open, the connection would go on to take it, to no end.
    headers = {"Connection": "close"}
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _first_step(path: str) -> str:
    return path[1:].partition("/")[0]
