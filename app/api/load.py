"""A bound on the requests that are under way: what cannot be served soon is refused at once."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_of
from app.errors import BusyError

EXEMPT = frozenset(("/healthz", "/readyz", "/metrics"))
"""A process that has much to do is not to be restarted for it."""


class LoadMiddleware:
    """Refuses a request with 503 while ``most_requests`` are under way in this process."""

    def __init__(self, app: ASGIApp, most_requests: int) -> None:
        self._app = app
        self._most_requests = most_requests
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._most_requests:
            error = BusyError(
                f"{self._under_way} requests are under way, as many as one process of this service "
                "takes (KERF_MOST_REQUESTS); try again"
            )
            await problem_of(error, {"Connection": "close"})(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
