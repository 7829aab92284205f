"""`/link/probe`: bytes to and fro, for whoever measures the link to the service's machine."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from app.api.dependencies import NoQueryDep
from app.api.link_schemas import ProbeOut, ProbeQuery
from app.api.problems import problem_responses
from app.api.responses import json_response

router = APIRouter(tags=["operations"])

MEDIA_TYPE = "application/octet-stream"
PIECE_BYTES = 2**16
HEADERS = {"Cache-Control": "no-store, no-transform"}
"""A proxy that keeps or compresses what it passes on would be measured in place of the link."""

_BINARY: dict[str, Any] = {
    "schema": {"type": "string", "contentMediaType": MEDIA_TYPE},
}


@router.post(
    "/link/probe",
    summary="Take bytes, to measure the way up",
    response_description="They have all arrived.",
    response_model=ProbeOut,
    responses=problem_responses(400, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": {MEDIA_TYPE: _BINARY}}},
)
async def take_bytes(_query: NoQueryDep, request: Request) -> Response:
    """Read up to 16 MiB and throw them away; answers when the last byte is there."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise HTTPException(415, f"this call takes {MEDIA_TYPE} (curl: --data-binary @file)")
    received_bytes = 0
    try:
        async for data in request.stream():
            received_bytes += len(data)
    except ClientDisconnect as error:
        # Nobody is there to read this, but it is no failure of Kerf's either.
        raise HTTPException(400, "the client hung up before the end of the body") from error
    return json_response({"received_bytes": received_bytes}, headers=HEADERS)


@router.get(
    "/link/probe",
    summary="Send bytes, to measure the way down",
    response_class=StreamingResponse,
    responses={
        200: {"content": {MEDIA_TYPE: _BINARY}, "description": "As many bytes as asked for."},
        **problem_responses(422),
    },
)
async def send_bytes(query: Annotated[ProbeQuery, Query()]) -> Response:
    """Up to 64 MiB of random bytes, which nothing on the way can make shorter."""
    headers = {**HEADERS, "Content-Length": str(query.bytes)}
    return StreamingResponse(_random_pieces(query.bytes), headers=headers, media_type=MEDIA_TYPE)


async def _random_pieces(left_bytes: int) -> AsyncIterator[bytes]:
    # Three times as fast as the system's own random bytes, of which a fast link would notice.
    source = np.random.Generator(np.random.SFC64())
    while left_bytes > 0:
        piece = source.bytes(min(PIECE_BYTES, left_bytes))
        left_bytes -= len(piece)
        yield piece
