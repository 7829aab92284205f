"""The form of ``POST /models``, read as it arrives: the file to disk, the rest into memory."""

import json
from asyncio import CancelledError
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from app.api.form import FORM_BYTES, MEDIA_TYPE, FormReader, at_fault
from app.api.rules import PRINTABLE
from app.errors import BadBindingError, NotReadyError, QuotaError
from app.services.access import Access
from app.services.spool import Spool, SpooledFile
from app.services.workers import ReadOptions


class UploadIn(BaseModel):
    """A model to upload: a form with the file, and what is to be known beside it."""

    model_config = ConfigDict(extra="forbid")

    # Validated is its name; the content goes another way.
    file: str = Field(
        description="The .onnx file; weights in external data may be absent.",
        examples=["mobilenet_v2.onnx"],
        json_schema_extra={"contentMediaType": "application/octet-stream"},
    )
    name: str | None = Field(
        default=None,
        description="Name for people; the file's name if left out.",
        max_length=200,
        pattern=PRINTABLE,
        examples=["mobilenet_v2"],
    )
    dims: str | None = Field(
        default=None,
        description="JSON object from symbolic dimension to integer. A symbolic first axis that it "
        "leaves out is the batch, bound to 1; every other one must be bound.",
        examples=['{"batch": 1}'],
    )
    model_batch: int | None = Field(
        default=None,
        description="How many samples the bound shapes hold; the first axis of the first input if "
        "left out.",
        ge=1,
        le=2**31,
        examples=[1],
    )
    parameters: str | None = Field(
        default=None,
        description="JSON list of the names of graph inputs that are parameters, as in training "
        "graphs that are fed their weights.",
        examples=["[]"],
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client has uploaded; the file lasts as long as the request."""

    file: SpooledFile
    name: str | None
    options: ReadOptions


def upload_body() -> dict[str, Any]:
    """The body of an upload, as an OpenAPI document states it (``install_openapi`` adds the
    schema itself)."""
    schema = {"$ref": f"#/components/schemas/{UploadIn.__name__}"}
    return {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}}


def require_room(request: Request, access: Access) -> None:
    """Raise ``QuotaError`` for a body that says to be larger than all that a key may have; whether
    there is room for it beside the others shows when it is stored."""
    declared = request.headers.get("content-length", "")
    most = access.most_bytes
    if most is not None and declared.isdecimal() and int(declared) > most + FORM_BYTES:
        raise QuotaError(
            f"the body has {declared} bytes, and this key may have models of {most} bytes in all; "
            "upload without weights, or ask for a key that allows more"
        )


@asynccontextmanager
async def receive_upload(request: Request, spool: Spool) -> AsyncIterator[Upload]:
    """An upload, received whole; nothing is left of it when the block ends.

    Raises ``HTTPException`` (400, 413, 415), ``RequestValidationError``, ``BadBindingError``,
    ``DiskFullError``, ``BusyError`` or ``NotReadyError``.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("", MEDIA_TYPE):
        raise HTTPException(415, f"this call takes {MEDIA_TYPE} (curl: -F file=@model.onnx)")
    if not media_type:
        _validated({})
    texts = [name for name in UploadIn.model_fields if name != "file"]
    form = FormReader(content_type, "file", texts, spool.most_file_bytes)
    try:
        async with spool.file() as file:
            await _receive(request, form, file)
            yield _upload(form, file)
    except CancelledError as error:
        raise NotReadyError("the service is ending; upload the file again") from error


async def _receive(request: Request, form: FormReader, file: SpooledFile) -> None:
    try:
        async with aclosing(request.stream()) as body:
            async for data in body:
                for piece in form.feed(data):
                    await file.write(piece)
    except ClientDisconnect as error:
        # Nobody is there to read this, but it is no failure of Kerf's either.
        raise HTTPException(400, "the client hung up before the end of the body") from error
    form.finish()
    await file.flush()


def _upload(form: FormReader, file: SpooledFile) -> Upload:
    # An empty text is what a browser sends for a field that was left alone.
    fields = {name: text for name, text in form.texts.items() if text}
    if form.filename is not None:
        fields["file"] = form.filename
    body = _validated(fields)
    options = ReadOptions(_parse_dims(body.dims), body.model_batch, _parse_names(body.parameters))
    return Upload(file, body.name or _stem(body.file), options)


def _validated(fields: dict[str, str]) -> UploadIn:
    try:
        return UploadIn.model_validate(fields)
    except ValidationError as error:
        found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from error


def _stem(filename: str) -> str | None:
    stem = filename.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".onnx")
    return "".join(filter(str.isprintable, stem))[:200] or None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _parse_dims(text: str | None) -> dict[str, int]:
    if text is None or not text.strip():
        return {}
    try:
        dims = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise BadBindingError(f"dims is not JSON: {error}", loc=("body", "dims")) from error
    if not isinstance(dims, dict) or not all(type(value) is int for value in dims.values()):
        raise BadBindingError(
            'dims is a JSON object from symbolic dimension to integer, such as {"sequence": 128}',
            loc=("body", "dims"),
        )
    return dims


def _parse_names(text: str | None) -> tuple[str, ...]:
    if text is None or not text.strip():
        return ()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise at_fault("parameters", f"not JSON: {error}") from error
    if not isinstance(names, list) or not all(type(name) is str for name in names):
        raise at_fault(
            "parameters", 'a JSON list of names of graph inputs, such as ["fc.weight", "fc.bias"]'
        )
    if len(set(names)) < len(names):
        raise at_fault("parameters", "a name stands in it twice; name each input once")
    return tuple(names)
