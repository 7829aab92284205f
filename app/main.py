"""The application: composition only."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from app import __version__, tracing
from app.api.access import AccessMiddleware, require_rows
from app.api.body_limit import BodyLimitMiddleware
from app.api.docs import install_docs
from app.api.ending import Ending, EndingMiddleware
from app.api.load import LoadMiddleware
from app.api.observing import ObservingMiddleware
from app.api.openapi import install_openapi
from app.api.problems import install_problem_handlers
from app.api.request_id import RequestIdMiddleware
from app.api.routers import keys, link, models, operations, presets, profiles, splits
from app.api.routes import Templates
from app.services import Services
from app.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application over the database that the settings name. Connects when it starts."""
    settings = settings or Settings()
    services = Services(settings)
    ending = Ending(settings.drain_seconds)
    services.readiness["process"] = ending.check
    has_keys = settings.auth == "keys"
    is_traced = tracing.is_configured(settings.otlp_endpoint)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        logging.captureWarnings(True)
        if is_traced:
            tracing.start(settings.otlp_endpoint)
        await to_thread.run_sync(services.start)
        ending.watch()
        _spare_the_garbage_collector()
        yield
        await to_thread.run_sync(services.stop)
        await to_thread.run_sync(tracing.stop)
        logging.captureWarnings(False)

    app = FastAPI(
        title="Kerf",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        # What FastAPI would tell of requests by itself: their paths and queries among it.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    install_problem_handlers(app)
    install_docs(app)
    install_openapi(app, has_keys)
    require_rows(app.routes)
    for part in (splits, models, profiles, presets, link, keys, operations):
        require_rows(part.router.routes)
        app.include_router(part.router)
    app.add_middleware(BodyLimitMiddleware, most_upload_bytes=settings.upload_bytes)
    app.add_middleware(AccessMiddleware, keys=services.keys if has_keys else None)
    app.add_middleware(LoadMiddleware, most_requests=settings.most_requests)
    app.add_middleware(EndingMiddleware, ending=ending)
    _observe(app, services, settings, is_traced)
    app.add_middleware(RequestIdMiddleware)
    return app


def _observe(app: FastAPI, services: Services, settings: Settings, is_traced: bool) -> None:
    """Tell of requests: what any middleware inside of these answers, too."""
    templates = Templates(app.routes)
    app.add_middleware(
        ObservingMiddleware,
        gauges=services.gauges,
        templates=templates,
        has_lines=settings.log_requests,
    )
    if is_traced:
        from app.api.traces import TracingMiddleware

        app.add_middleware(TracingMiddleware, templates=templates)


def _spare_the_garbage_collector() -> None:
    """What is loaded by now stays, so collections need not look at it again and again.

    A batch makes some hundred thousand objects, none of them in cycles; with the interpreter's
    thresholds most of its time would go into collections (`make bench` shows the batch).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
