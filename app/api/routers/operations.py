"""Liveness and readiness."""

from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.api.dependencies import NoQueryDep, ServicesDep
from app.api.problems import problem_responses
from app.api.schemas import HealthOut

router = APIRouter(tags=["operations"])


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
