"""Traces for OpenTelemetry, where an endpoint is configured; elsewhere nothing of it is loaded.

A span tells of routes, methods, statuses and counts; never of models, keys, paths or queries.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from app import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""By which OpenTelemetry's own exporter is told where to send; either turns tracing on."""
PATH = "/v1/traces"
"""Of the OTLP protocol over HTTP, below the endpoint."""
EXPORT_S = 3
"""How long one batch may take to be sent; at the end of the process it waits no longer either."""
Attribute = str | int | float | bool

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None
_NOTHING = nullcontext()


def is_configured(endpoint: str | None) -> bool:
    """Whether there is somewhere to send traces to; ``endpoint``: of Kerf's own settings."""
    return endpoint is not None or any(os.environ.get(name) for name in STANDARD_VARIABLES)


def start(endpoint: str | None) -> None:
    """Begin to trace, and to send what was traced, from a thread.

    ``endpoint``: None for what OpenTelemetry's own variables name.
    """
    global _provider, _tracer
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "kerf")
    resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    url = None if endpoint is None else endpoint.rstrip("/") + PATH
    exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_S)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("kerf", __version__)


def stop() -> None:
    """Send what is left, and end."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def tracer() -> "Tracer | None":
    """What begins spans; None while nothing is traced."""
    return _tracer


def span(name: str, **attributes: Attribute) -> AbstractContextManager["Span | None"]:
    """A part of the request that is being answered, as long as the block lasts; None where nothing
    is traced."""
    if _tracer is None:
        return _NOTHING
    return _tracer.start_as_current_span(
        name,
        attributes={f"kerf.{key}": value for key, value in attributes.items()},
        # Its words may quote a model.
        record_exception=False,
        set_status_on_exception=False,
    )


def note(current: "Span | None", **attributes: Attribute) -> None:
    """Say of a span what was not known when it began."""
    if current is not None:
        for key, value in attributes.items():
            current.set_attribute(f"kerf.{key}", value)
