"""What the service counts and measures of itself, for Prometheus.

Every label has few values, whatever clients send: routes are templates, methods and statuses those
of HTTP, and all else is one of a list here. Nothing names a model, a tenant or a key.

Where a service has several processes (``app.metric_files``), each tells the metrics of all.
"""

import struct
import time
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from app import __version__, metric_files

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what ``exposition`` gives."""
SECONDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60),
)
"""Bounds of the buckets for whole requests."""
UNMATCHED = "unmatched"
"""The route of every path that is none of the service's."""
OTHER = "other"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""Of requests that are counted by their method; the others are ``OTHER``."""
SOLVERS = ("table", "blockwise", "general", "integer-programme", "batch")
_MAKING_FILES_S = 1.0
"""Longer than a process that starts takes to make its files."""
READER_ENDS = ("died", "too-slow", "out-of-memory", "failed")

# Moments of creation would double the number of series, and no query of Kerf's needs them.
disable_created_metrics()  # type: ignore[no-untyped-call]
PLACE = metric_files.joined()
"""Of this process among those that share their metrics; None where it is alone."""
if PLACE is not None:
    _number = PLACE.number
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]
_registry = CollectorRegistry()


def _counter(name: str, text: str, label: str, label_values: Iterable[str]) -> dict[str, Counter]:
    """A counter by one label, which is there, at 0, for each of its values."""
    counter = Counter(name, text, (label,), registry=_registry)
    return {value: counter.labels(value) for value in label_values}


def _gauge(name: str, text: str, of_all: str = "livesum") -> Gauge:
    """``of_all``: how the values of several processes become one."""
    return Gauge(name, text, registry=_registry, multiprocess_mode=of_all)  # type: ignore[arg-type]


REQUESTS = Counter(
    "kerf_http_requests",
    "Requests that were answered; status is none where the client was gone first.",
    ("route", "method", "status"),
    registry=_registry,
)
REQUEST_SECONDS = Histogram(
    "kerf_http_request_seconds",
    "From a request's headers to the last byte of its answer.",
    ("route",),
    buckets=SECONDS,
    registry=_registry,
)
_solve_seconds = Histogram(
    "kerf_solve_seconds",
    "Finding the best cut by the method that was used, or those of a batch; constraints, tables "
    "that had to be built, and waiting for a thread included.",
    ("method",),
    buckets=(0.00001, 0.00002, 0.00005, *SECONDS),
    registry=_registry,
)
SOLVE_SECONDS = {method: _solve_seconds.labels(method) for method in SOLVERS}
TABLE_ROWS = Histogram(
    "kerf_cut_table_rows",
    "Rows of the cut tables that came into memory, loaded or built.",
    ("family",),
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000),
    registry=_registry,
)
MODEL_CACHE = _counter(
    "kerf_model_cache_requests",
    "Models that were asked for: whether they were prepared in memory, or had to be loaded.",
    "result",
    ("hit", "miss"),
)
READER_DEATHS = _counter(
    "kerf_reader_deaths",
    "Processes that read or cut a model and did not end well, by why.",
    "reason",
    READER_ENDS,
)
PROBLEMS = Counter(
    "kerf_problems",
    "Requests that were answered with a problem, by its type.",
    ("type",),
    registry=_registry,
)
WORKER_RESTARTS = Counter(
    "kerf_worker_restarts",
    "Processes of the service that were started beyond the first ones.",
    registry=_registry,
)
ZYGOTE_RESTARTS = Counter(
    "kerf_zygote_restarts",
    "Times that the process which readers are forked from had to be started anew.",
    registry=_registry,
)
WORKERS = _gauge("kerf_workers", "Processes of the service.")
DATABASE_UP = _gauge(
    "kerf_database_up", "Whether the database answers, asked once a second: 1 or 0.", "livemin"
)
ROWS_WAITING = _gauge("kerf_rows_waiting", "Results that wait to be committed.")
ROWS_LIMIT = _gauge("kerf_rows_limit", "Results that may wait to be committed.")
UPLOADS_UNDER_WAY = _gauge(
    "kerf_uploads_under_way", "Uploads, and halves that are put together, on their way."
)
UPLOADS_LIMIT = _gauge("kerf_uploads_limit", "Uploads that may be under way.")
REQUESTS_UNDER_WAY = _gauge("kerf_requests_under_way", "Requests that are being answered.")
REQUESTS_LIMIT = _gauge("kerf_requests_limit", "Requests that may be under way.")
CACHE_BYTES = _gauge("kerf_model_cache_bytes", "Bytes of the models prepared in memory.")
CACHE_LIMIT = _gauge("kerf_model_cache_limit_bytes", "Bytes that prepared models may take.")
CACHE_MODELS = _gauge("kerf_model_cache_models", "Models prepared in memory.")
_build = Gauge(
    "kerf_build_info",
    "The version of the service; always 1.",
    ("version",),
    registry=_registry,
    multiprocess_mode="livemax",
)

_told = _registry
if PLACE is not None:
    _told = CollectorRegistry()
    MultiProcessCollector(_told)  # type: ignore[no-untyped-call]
    if PLACE.is_restart:
        WORKER_RESTARTS.inc()


def expect_problems(kinds: Iterable[str]) -> None:
    """Have the problems of these types told of even while there were none: else the first one would
    be no increase."""
    for kind in kinds:
        PROBLEMS.labels(kind)


def enter() -> None:
    """Say that this process is there."""
    WORKERS.set(1)
    _build.labels(__version__).set(1)


def leave() -> None:
    """Say that this process is there no longer; what it has counted stays."""
    WORKERS.set(0)
    if PLACE is not None:
        PLACE.leave()


def exposition() -> bytes:
    """All metrics in Prometheus' text format. Reads files where processes share them."""
    deadline_s = time.monotonic() + _MAKING_FILES_S
    while True:
        try:
            return generate_latest(_told)
        except (struct.error, RuntimeError):
            # A process that starts has made a file, and has not written its head yet.
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.001)
