"""`/split` and `/splits`: find a cut, and read results again."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse

from app.api.dependencies import ServicesDep, SplitAnswerQueryDep, SplitPageQueryDep
from app.api.examples import SPLIT_ID
from app.api.problems import problem_responses
from app.api.schemas import SplitIn, SplitOut, SplitPage
from app.core.constraints import Constraints
from app.core.scenario import Link, Mode, Scenario
from app.services.splits import SplitQuery

router = APIRouter(tags=["splits"])

SplitId = Annotated[
    str, Path(description="Id of a stored result.", max_length=64, examples=[SPLIT_ID])
]


@router.post(
    "/split",
    summary="Find the best cut for one scenario",
    response_description="The best cut, what it costs, and the proof.",
    response_model=SplitOut,
    responses=problem_responses(400, 404, 413, 415, 422),
)
async def split(services: ServicesDep, query: SplitAnswerQueryDep, scenario: SplitIn) -> Response:
    """The provably optimal division of a model between device and server, now."""
    answer = await services.splits.split(_split_query(scenario), query.include == "nodes")
    return JSONResponse(answer)


@router.get(
    "/splits",
    summary="List stored results, newest first",
    response_description="A page of results.",
    response_model=SplitPage,
    responses=problem_responses(422),
)
async def list_splits(services: ServicesDep, query: SplitPageQueryDep) -> Response:
    """A page of stored results, of one model if one is named."""
    items, next_cursor = await services.splits.page(query.limit, query.cursor, query.model_id)
    return JSONResponse({"items": items, "next_cursor": next_cursor})


@router.get(
    "/splits/{split_id}",
    summary="Show a stored result",
    response_description="The result as it was answered.",
    response_model=SplitOut,
    responses=problem_responses(404, 422),
)
async def get_split(
    services: ServicesDep, query: SplitAnswerQueryDep, split_id: SplitId
) -> Response:
    """A result as it was answered."""
    return JSONResponse(await services.splits.get(split_id, query.include == "nodes"))


def _split_query(body: SplitIn) -> SplitQuery:
    return SplitQuery(
        model_id=body.model_id,
        scenario=Scenario(
            device_flops_per_s=body.device.flops_per_s,
            server_flops_per_s=body.server.flops_per_s,
            link=Link(
                uplink_bits_per_s=body.link.uplink_bits_per_s,
                downlink_bits_per_s=body.link.downlink_bits_per_s,
                round_trip_s=body.link.round_trip_s,
            ),
            mode=Mode(body.mode),
            batch_size=body.batch_size,
            local_iterations=body.local_iterations,
            backward_ratio=body.backward_ratio,
        ),
        constraints=Constraints(
            pin_device=tuple(body.constraints.pin_device),
            pin_server=tuple(body.constraints.pin_server),
            keep_inputs_on_device=body.constraints.keep_inputs_on_device,
        ),
        method=body.method,
        store=body.store,
        request=body.model_dump(),
    )
