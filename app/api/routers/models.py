"""`/models`: upload, list, show, graph, delete."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from app.api.dependencies import (
    REPLAYED,
    AccessDep,
    CutsQueryDep,
    GraphQueryDep,
    NoQueryDep,
    PageQueryDep,
    ServicesDep,
    idempotency_key_of,
    idempotency_parameter,
)
from app.api.examples import DEMO_MODEL_ID
from app.api.problems import problem_responses
from app.api.responses import json_response
from app.api.schemas import (
    BlocksOut,
    CutTableOut,
    GraphOut,
    ModelOut,
    ModelPage,
    NodeLinkOut,
)
from app.api.uploads import receive_upload, require_room, upload_body
from app.core.scenario import Mode
from app.services.block_facts import blocks_facts
from app.services.cut_facts import cuts_of
from app.services.graphs import graphml, node_link
from app.services.models import graph_of, summary_of
from app.store.models import ModelRow

router = APIRouter(tags=["models"])

ModelId = Annotated[
    str, Path(description="Id of an uploaded model.", max_length=64, examples=[DEMO_MODEL_ID])
]


@router.post(
    "/models",
    status_code=201,
    summary="Upload a model",
    response_model=ModelOut,
    responses={
        200: {"model": ModelOut, "description": "The same content and dims were there already."},
        201: {
            "description": "Registered.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "Its path."}},
        },
        **problem_responses(400, 403, 413, 415, 422, 503, 507),
    },
    openapi_extra={"parameters": [idempotency_parameter()], "requestBody": upload_body()},
)
async def upload_model(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, request: Request
) -> Response:
    """Keep a costed DAG of an ONNX model, and its graph; of its weights no more than the service
    was told to keep."""
    key = idempotency_key_of(request)
    require_room(request, access)
    async with receive_upload(request, services.spool) as upload:
        registration = await services.models.register(
            access, upload.file, upload.name, upload.options, key
        )
    status = 201 if registration.is_new else 200
    headers = {"Location": f"/models/{registration.model.id}"}
    if registration.is_repeated:
        headers |= REPLAYED
    # The answer need not wait for the tables that only some requests read.
    more_tables = BackgroundTask(services.models.build_more_tables, registration.model.id)
    return JSONResponse(
        summary_of(registration.model),
        status,
        headers,
        background=more_tables if registration.is_new and not registration.is_repeated else None,
    )


@router.get(
    "/models",
    summary="List models, newest first",
    response_description="A page of models.",
    response_model=ModelPage,
    responses=problem_responses(422),
)
async def list_models(services: ServicesDep, access: AccessDep, query: PageQueryDep) -> Response:
    """A page of models."""
    page = await to_thread.run_sync(
        services.models.page, access.tenant_id, query.limit, query.cursor
    )
    items = [summary_of(ModelRow(**row)) for row in page.items]
    return JSONResponse({"items": items, "next_cursor": page.next_cursor})


@router.get(
    "/models/{model_id}",
    summary="Show a model",
    response_description="The model.",
    response_model=ModelOut,
    responses=problem_responses(404, 422),
)
async def get_model(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, model_id: ModelId
) -> Response:
    """What Kerf knows of a model."""
    row = await to_thread.run_sync(services.models.get, access.tenant_id, model_id)
    return JSONResponse(summary_of(row))


@router.delete(
    "/models/{model_id}",
    summary="Delete a model and its results",
    response_description="It is gone.",
    status_code=204,
    responses=problem_responses(404, 422),
)
async def delete_model(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, model_id: ModelId
) -> Response:
    """Forget a model, and every stored result of it."""
    await to_thread.run_sync(services.models.remove, access.tenant_id, model_id)
    return Response(status_code=204)


@router.get(
    "/models/{model_id}/graph",
    summary="Show the costed DAG of a model",
    response_model=GraphOut | NodeLinkOut,
    responses={
        200: {
            "content": {
                "application/graphml+xml": {"schema": {"type": "string"}},
            },
            "description": "The costed DAG.",
        },
        **problem_responses(404, 422),
    },
)
async def get_graph(
    services: ServicesDep, access: AccessDep, query: GraphQueryDep, model_id: ModelId
) -> Response:
    """What was understood of a model: operators, tensors and parameters with their costs."""
    model = await to_thread.run_sync(services.prepared.load, access.tenant_id, model_id)
    if query.format == "graphml":
        text = await to_thread.run_sync(graphml, model.dag)
        return Response(text, media_type="application/graphml+xml")
    build = node_link if query.format == "node-link" else graph_of
    return JSONResponse(await to_thread.run_sync(build, model.dag))


@router.get(
    "/models/{model_id}/blocks",
    summary="Show the blocks of a model",
    response_description="The blocks in order.",
    response_model=BlocksOut,
    responses=problem_responses(404, 422),
)
async def get_blocks(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, model_id: ModelId
) -> Response:
    """The parts of the DAG between single connecting tensors, and which repeat each other."""
    model = await services.splits.prepared(access.tenant_id, model_id)
    return json_response(await to_thread.run_sync(blocks_facts, model))


@router.get(
    "/models/{model_id}/cuts",
    summary="Show every cut of a model that can be best",
    response_description="The table.",
    response_model=CutTableOut,
    responses={
        200: {
            "headers": {
                "ETag": {"schema": {"type": "string"}, "description": "Tag of this content."}
            }
        },
        304: {"description": "The client's copy (`If-None-Match`) is current."},
        **problem_responses(404, 422),
    },
)
async def get_cuts(
    services: ServicesDep,
    access: AccessDep,
    query: CutsQueryDep,
    model_id: ModelId,
    if_none_match: Annotated[
        str | None,
        Header(description="ETags of the copies that the client has.", examples=['"5f0c1d2e"']),
    ] = None,
) -> Response:
    """The rows for a device no faster than the server; whoever has them can price cuts itself."""
    model = await services.splits.prepared(access.tenant_id, model_id)
    body, tag = await to_thread.run_sync(cuts_of, model, Mode(query.mode))
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if if_none_match is not None and _matches(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    return json_response(body, headers=headers)


def _matches(tag: str, header: str) -> bool:
    """Whether an If-None-Match header names a tag (RFC 9110, weak comparison)."""
    tags = [item.strip().removeprefix("W/") for item in header.split(",")]
    return tag in tags or tags == ["*"]
