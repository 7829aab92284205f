"""The application: composition only."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from app import __version__
from app.api.access import AccessMiddleware, require_rows
from app.api.body_limit import BodyLimitMiddleware
from app.api.docs import install_docs
from app.api.ending import Ending, EndingMiddleware
from app.api.load import LoadMiddleware
from app.api.openapi import install_openapi
from app.api.problems import install_problem_handlers
from app.api.request_id import RequestIdMiddleware
from app.api.routers import keys, link, models, operations, presets, profiles, splits
from app.services import Services
from app.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application over the database that the settings name. Connects when it starts."""
    settings = settings or Settings()
    services = Services(settings)
    ending = Ending(settings.drain_seconds)
    services.readiness["process"] = ending.check
    has_keys = settings.auth == "keys"

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(services.start)
        ending.watch()
        _spare_the_garbage_collector()
        yield
        await to_thread.run_sync(services.stop)

    app = FastAPI(
        title="Kerf",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
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
    app.add_middleware(RequestIdMiddleware)
    return app


def _spare_the_garbage_collector() -> None:
    """What is loaded by now stays, so collections need not look at it again and again.

    A batch makes some hundred thousand objects, none of them in cycles; with the interpreter's
    thresholds most of its time would go into collections (`make bench` shows the batch).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
