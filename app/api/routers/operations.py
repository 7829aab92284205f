"""Liveness, readiness, and metrics."""

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app import metrics
from app.api.dependencies import NoQueryDep, ServicesDep
from app.api.problems import problem_responses
from app.api.schemas import HealthOut

router = APIRouter(tags=["operations"])

_EXPOSITION: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The metrics of all processes of this service, in Prometheus' text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    **problem_responses(422),
}
# However many ask, no more than one thread is taken from the requests.
_scrapers = CapacityLimiter(1)


@router.get(
    "/healthz",
    summary="Is the process alive?",
    response_description="It is.",
    response_model=HealthOut,
    responses=problem_responses(422),
)
async def healthz(_query: NoQueryDep) -> Response:
    """Answers wherever the process can answer at all; checks nothing else."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Can the service do its work?",
    response_description="It can.",
    response_model=HealthOut,
    responses=problem_responses(422, 503),
)
async def readyz(services: ServicesDep, _query: NoQueryDep) -> Response:
    """Checks everything that requests need; 503 says what is missing."""
    for check in services.readiness.values():
        await to_thread.run_sync(check)
    return JSONResponse({"status": "ok", "checks": dict.fromkeys(services.readiness, "ok")})


@router.get(
    "/metrics",
    summary="What does the service count and measure?",
    response_class=Response,
    responses=_EXPOSITION,
)
async def get_metrics(services: ServicesDep, _query: NoQueryDep) -> Response:
    """For Prometheus. No label names a model, a tenant or a key."""
    services.gauges.publish()
    text = await to_thread.run_sync(metrics.exposition, limiter=_scrapers)
    return Response(text, media_type=metrics.MEDIA_TYPE)
