"""Every request is counted and timed, and, if that is wanted, has a line in the log."""

import logging
from collections.abc import Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import metrics
from app.api.routes import Templates, method_of
from app.services.gauges import Gauges

_logger = logging.getLogger("app.requests")
_Count = Callable[[], None]
_Observe = Callable[[float], None]


class ObservingMiddleware:
    """Plain ASGI, so that it costs a warm request next to nothing."""

    def __init__(self, app: ASGIApp, gauges: Gauges, templates: Templates, has_lines: bool) -> None:
        """``has_lines``: whether requests have lines in the log."""
        self._app = app
        self._gauges = gauges
        self._templates = templates
        self._has_lines = has_lines
        self._meters: dict[tuple[str, str, int], tuple[_Count, _Observe]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, is_told = 0, False
        began_s = perf_counter()

        async def watched_send(message: Message) -> None:
            nonlocal status, is_told
            if message["type"] == "http.response.start":
                status = message["status"]
                await send(message)
                return
            await send(message)
            # What an application does after its answer is nothing that its client waits for.
            if not is_told and not message.get("more_body", False):
                is_told = True
                self._tell(scope, status, perf_counter() - began_s)

        self._gauges.requests_under_way += 1
        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            # Answered farther out, where the handler of the unexpected is.
            status = status or 500
            raise
        finally:
            self._gauges.requests_under_way -= 1
            if not is_told:
                self._tell(scope, status, perf_counter() - began_s)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = self._templates.of(scope), method_of(scope)
        meters = self._meters.get((route, method, status))
        if meters is None:
            meters = self._meters[route, method, status] = meters_of(route, method, status)
        count, observe = meters
        count()
        observe(seconds)
        if self._has_lines:
            _write_line(scope, route, method, status, seconds)


def meters_of(route: str, method: str, status: int) -> tuple[_Count, _Observe]:
    """What counts and what times such a request; finding them takes longer than either."""
    counter = metrics.REQUESTS.labels(route, method, str(status) if status else "none")
    return counter.inc, metrics.REQUEST_SECONDS.labels(route).observe


def _write_line(scope: Scope, route: str, method: str, status: int, seconds: float) -> None:
    access = scope["state"].get("access")
    tenant_id = key_id = None
    if access is not None:
        tenant_id, key_id = access.tenant_id, access.key_id
    _logger.info(
        "%s %s %d in %.6f s, tenant %s, key %s",
        *(method, route, status, seconds, tenant_id or "-", key_id or "-"),
        extra={
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            "tenant": tenant_id,
            "key": key_id,
        },
    )
