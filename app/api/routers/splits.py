"""`/split` and `/splits`: find a cut, and read results again."""

from collections.abc import Generator
from typing import Annotated, Any

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.access import access_of
from app.api.dependencies import (
    REPLAYED,
    AccessDep,
    NoQueryDep,
    ServicesDep,
    SplitAnswerQuery,
    SplitPageQueryDep,
    StoredSplitQueryDep,
    idempotency_key_of,
    idempotency_parameter,
    json_body,
    parse_body,
    parse_query,
    query_parameters,
    services_of,
)
from app.api.examples import SPLIT_ID
from app.api.problems import problem_responses
from app.api.queries import batch_query, request_key_of, split_query
from app.api.responses import json_response
from app.api.schemas import BatchIn, BatchOut, SplitIn, SplitOut, SplitPage
from app.services.halves import StreamedHalf

router = APIRouter(tags=["splits"])

SplitId = Annotated[
    str, Path(description="Id of a stored result.", max_length=64, examples=[SPLIT_ID])
]


@router.post(
    "/split",
    summary="Find the best cut for one scenario",
    response_description="The best cut, what it costs, and how long it stays best.",
    response_model=SplitOut,
    responses=problem_responses(400, 404, 413, 415, 422),
    openapi_extra={
        "parameters": [*query_parameters(SplitAnswerQuery), idempotency_parameter()],
        "requestBody": json_body(SplitIn),
    },
)
async def split(request: Request) -> Response:
    """The provably optimal division of a model between device and server, now."""
    # All is read by hand: FastAPI's dependencies would take longer than the answer.
    query = parse_query(SplitAnswerQuery, request)
    body = await parse_body(SplitIn, request)
    services, include = await services_of(request), query.include
    asked, key = split_query(body), idempotency_key_of(request)
    answer = await services.splits.split(
        access_of(request.scope).tenant_id,
        asked,
        "nodes" in include,
        "sensitivity" in include,
        None if key is None else request_key_of(key, asked, include),
    )
    return json_response(answer.body, headers=REPLAYED if answer.is_repeated else None)


@router.post(
    "/split/batch",
    summary="Find the best cuts for many scenarios",
    response_description="An answer per scenario, in order.",
    response_model=BatchOut,
    responses=problem_responses(400, 404, 413, 415, 422),
    openapi_extra={"requestBody": json_body(BatchIn)},
)
async def split_batch(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, request: Request
) -> Response:
    """Up to 10,000 scenarios of one model at once. One bad scenario refuses the batch."""
    batch = await parse_body(BatchIn, request)
    return json_response(await services.splits.split_batch(access.tenant_id, batch_query(batch)))


@router.get(
    "/splits",
    summary="List stored results, newest first",
    response_description="A page of results.",
    response_model=SplitPage,
    responses=problem_responses(422),
)
async def list_splits(
    services: ServicesDep, access: AccessDep, query: SplitPageQueryDep
) -> Response:
    """A page of stored results, of one model if one is named."""
    items, next_cursor = await services.splits.page(
        access.tenant_id, query.limit, query.cursor, query.model_id
    )
    return json_response({"items": items, "next_cursor": next_cursor})


@router.get(
    "/splits/{split_id}",
    summary="Show a stored result",
    response_description="The result as it was answered.",
    response_model=SplitOut,
    responses=problem_responses(404, 422),
)
async def get_split(
    services: ServicesDep, access: AccessDep, query: StoredSplitQueryDep, split_id: SplitId
) -> Response:
    """A result as it was answered."""
    answer = await services.splits.get(access.tenant_id, split_id, query.include == "nodes")
    return json_response(answer)


_HALF: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The half, an ONNX model.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    204: {"description": "Nothing runs on this side."},
    **problem_responses(404, 409, 422, 503),
}


@router.get(
    "/splits/{split_id}/device.onnx",
    summary="Download the device's half",
    response_class=Response,
    responses=_HALF,
)
async def get_device_half(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, split_id: SplitId
) -> Response:
    """The model that runs on the device: it takes the model's inputs, and gives the tensors that
    cross, in the order of `cut_tensors`, and the outputs that it makes itself."""
    half = await services.halves.half(access.tenant_id, split_id, "device")
    return _half_response(half, "device.onnx")


@router.get(
    "/splits/{split_id}/server.onnx",
    summary="Download the server's half",
    response_class=Response,
    responses=_HALF,
)
async def get_server_half(
    services: ServicesDep, access: AccessDep, _query: NoQueryDep, split_id: SplitId
) -> Response:
    """The model that runs on the server: it takes the tensors that cross, in the order of
    `cut_tensors`, and gives the other outputs of the model."""
    half = await services.halves.half(access.tenant_id, split_id, "server")
    return _half_response(half, "server.onnx")


class _HalfResponse(StreamingResponse):
    """Closes its content at the end, and when the client hangs up: it holds files."""

    def __init__(self, content: Generator[bytes, None, None], **options: Any) -> None:
        super().__init__(content, **options)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._content.close)


def _half_response(half: StreamedHalf | None, filename: str) -> Response:
    if half is None:
        return Response(status_code=204)
    return _HalfResponse(
        half.content,
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(half.nbytes),
            "Content-Disposition": f'attachment; filename="{filename}"',
        },
    )
