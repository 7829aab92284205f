"""A span for every request, below that of whoever asks.

FastAPI has such a thing, which is turned off in ``app.main``: it tells paths and queries, and these
are the client's own.
"""

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.api.load import EXEMPT
from app.api.routes import Templates, method_of
from app.logs import TRACE_ID

_PARENT = frozenset((b"traceparent", b"tracestate"))


class TracingMiddleware:
    """Needs the middleware that gives requests their ids around it. Probes are not traced."""

    def __init__(self, app: ASGIApp, templates: Templates) -> None:
        self._app = app
        self._templates = templates
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracer = tracing.tracer()
        if tracer is None or scope["type"] != "http" or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
            return
        context = self._parent(scope)
        method = method_of(scope)
        span = tracer.start_span(
            method,
            context=context,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "kerf.request_id": scope["state"]["request_id"],
            },
        )
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                self._end(span, scope, method, status)

        TRACE_ID.set(f"{span.get_span_context().trace_id:032x}")
        token = attach(set_span_in_context(span, context))
        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            status = status or 500
            raise
        finally:
            detach(token)
            self._end(span, scope, method, status)

    def _parent(self, scope: Scope) -> Context:
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in _PARENT
        }
        return self._propagator.extract(carrier, context=Context())

    def _end(self, span: Span, scope: Scope, method: str, status: int) -> None:
        """End a span, unless it has ended: whatever comes after an answer is no part of it."""
        if not span.is_recording():
            return
        route = self._templates.of(scope)
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        if status:
            span.set_attribute("http.response.status_code", status)
        if status == 0 or status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()
