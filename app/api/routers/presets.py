"""`/presets`: common devices, servers and links."""

from functools import cache
from typing import Any

from fastapi import APIRouter, Response

from app.api.dependencies import NoQueryDep
from app.api.preset_schemas import PresetsOut
from app.api.problems import problem_responses
from app.api.responses import json_response
from app.presets import all_presets

router = APIRouter(tags=["profiles"])


@router.get(
    "/presets",
    summary="Common devices, servers and links",
    response_description="All of them, with their sources.",
    response_model=PresetsOut,
    responses=problem_responses(422),
)
async def list_presets(_query: NoQueryDep) -> Response:
    """Each figure with its precision, power mode, source and date; what has no source is left out.

    A peak is never sustained: `flops_per_s` is the peak times an efficiency that was measured on
    whole networks. It is a first guess; `kerf calibrate` measures your own machine and model.
    """
    return json_response(_body())


@cache
def _body() -> dict[str, Any]:
    return PresetsOut.model_validate(all_presets()).model_dump()
