"""`/profiles`: keep, list, show and delete what was measured of machines."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from app.api.dependencies import (
    AccessDep,
    NoQueryDep,
    PageQueryDep,
    ServicesDep,
    json_body,
    parse_body,
)
from app.api.examples import PROFILE_ID
from app.api.problems import problem_responses
from app.api.profile_schemas import ProfileIn, ProfileOut, ProfilePage
from app.services.profiles import profile_facts
from app.store.profiles import ProfileRow

router = APIRouter(tags=["profiles"])

ProfileId = Annotated[
    str, Path(description="Id of a profile.", max_length=64, examples=[PROFILE_ID])
]


@router.post(
    "/profiles",
    status_code=201,
    summary="Keep what was measured of a machine",
    response_model=ProfileOut,
    responses={
        200: {"model": ProfileOut, "description": "The same content was there already."},
        201: {
            "description": "Kept.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "Its path."}},
        },
        **problem_responses(400, 413, 415, 422),
    },
    openapi_extra={"requestBody": json_body(ProfileIn)},
)
async def create_profile(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, request: Request
) -> Response:
    """A calibration of one machine, to be named in `POST /split` in the place of its FLOPS."""
    body = await parse_body(ProfileIn, request)
    row, is_new = await to_thread.run_sync(
        services.profiles.create, access.tenant_id, body.model_dump()
    )
    headers = {"Location": f"/profiles/{row.id}"}
    return JSONResponse(profile_facts(row), 201 if is_new else 200, headers)


@router.get(
    "/profiles",
    summary="List profiles, newest first",
    response_description="A page of profiles.",
    response_model=ProfilePage,
    responses=problem_responses(422),
)
async def list_profiles(services: ServicesDep, access: AccessDep, query: PageQueryDep) -> Response:
    """A page of profiles, without the seconds of their nodes."""
    page = await to_thread.run_sync(
        services.profiles.page, access.tenant_id, query.limit, query.cursor
    )
    items = [profile_facts(ProfileRow(**row)) for row in page.items]
    return JSONResponse({"items": items, "next_cursor": page.next_cursor})


@router.get(
    "/profiles/{profile_id}",
    summary="Show a profile",
    response_description="The profile.",
    response_model=ProfileOut,
    responses=problem_responses(404, 422),
)
async def get_profile(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, profile_id: ProfileId
) -> Response:
    """What was measured, with the seconds of every node."""
    row, seconds = await to_thread.run_sync(
        services.profiles.with_seconds, access.tenant_id, profile_id
    )
    return JSONResponse(profile_facts(row, seconds))


@router.delete(
    "/profiles/{profile_id}",
    summary="Delete a profile",
    response_description="It is gone.",
    status_code=204,
    responses=problem_responses(404, 422),
)
async def delete_profile(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, profile_id: ProfileId
) -> Response:
    """Forget a profile. Other processes of the service notice within a minute."""
    await to_thread.run_sync(services.profiles.remove, access.tenant_id, profile_id)
    return Response(status_code=204)
