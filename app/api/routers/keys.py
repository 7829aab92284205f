"""`/keys`: make, list and revoke the API keys of a tenant."""

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
from app.api.key_schemas import KeyIn, KeyPage, NewKeyOut
from app.api.problems import problem_responses
from app.services.access import KeyLimits, key_facts
from app.store.keys import KeyRow

router = APIRouter(tags=["keys"])

KeyId = Annotated[
    str,
    Path(description="Id of a key.", max_length=64, examples=["5f0c1d2e3a4b5c6d7e8f901234567890"]),
]


@router.post(
    "/keys",
    status_code=201,
    summary="Make an API key",
    response_description="The key, shown this once.",
    response_model=NewKeyOut,
    responses=problem_responses(400, 413, 415, 422),
    openapi_extra={"requestBody": json_body(KeyIn)},
)
async def create_key(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, request: Request
) -> Response:
    """A key for the tenant of the key that asks. Kerf keeps only a digest of its secret."""
    body = await parse_body(KeyIn, request)
    limits = KeyLimits(body.requests_per_s, body.most_models, body.most_bytes)
    made = await to_thread.run_sync(
        services.keys.create, access.tenant_id, body.name, body.scopes, limits
    )
    headers = {"Cache-Control": "no-store"}
    return JSONResponse({**key_facts(made.row), "key": made.text}, 201, headers)


@router.get(
    "/keys",
    summary="List API keys, newest first",
    response_description="A page of keys.",
    response_model=KeyPage,
    responses=problem_responses(422),
)
async def list_keys(services: ServicesDep, access: AccessDep, query: PageQueryDep) -> Response:
    """The keys of the tenant of the key that asks, revoked ones included."""
    page = await to_thread.run_sync(services.keys.page, access.tenant_id, query.limit, query.cursor)
    items = [key_facts(KeyRow(**row)) for row in page.items]
    return JSONResponse({"items": items, "next_cursor": page.next_cursor})


@router.delete(
    "/keys/{key_id}",
    summary="Revoke an API key",
    response_description="It is valid no longer.",
    status_code=204,
    responses=problem_responses(404, 422),
)
async def revoke_key(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, key_id: KeyId
) -> Response:
    """At once in the process that answers, within some seconds in all others."""
    await to_thread.run_sync(services.keys.revoke, access.tenant_id, key_id)
    return Response(status_code=204)
