"""RFC 9457 problems: the one table from domain error to HTTP status, and the handlers."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from app import errors
from app.core import errors as core_errors
from app.errors import KerfError

STATUS_AND_TITLE: dict[type[KerfError], tuple[int, str, str]] = {
    core_errors.UnknownNodeError: (422, "unknown-node", "Unknown node"),
    core_errors.ContradictoryPinsError: (422, "contradictory-pins", "Contradictory pins"),
    core_errors.InfeasibleError: (422, "infeasible", "No cut satisfies the constraints"),
    core_errors.UnpriceableError: (422, "unpriceable", "The delays are not finite"),
    errors.NotOnnxError: (422, "not-onnx", "Not an ONNX model"),
    errors.InvalidModelError: (422, "invalid-model", "The model breaks the rules of ONNX"),
    errors.UnboundDimensionError: (422, "unbound-dimension", "A dimension has no value"),
    errors.BadBindingError: (422, "bad-binding", "A dimension cannot have this value"),
    errors.UnknownShapeError: (422, "unknown-shape", "The size of a tensor cannot be told"),
    errors.NotFoundError: (404, "not-found", "Not found"),
    errors.BadCursorError: (422, "bad-cursor", "Not a cursor of Kerf's"),
    errors.NotReadyError: (503, "not-ready", "The service cannot answer now"),
}
"""Status, type and title of each domain error; a subclass without a row takes its base's."""

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One field at fault."""

    loc: list[str | int] = Field(
        description="Path of the field in the request.",
        examples=[["body", "device", "flops_per_s"]],
    )
    msg: str = Field(
        description="What is wrong with it.", examples=["Input should be greater than 0"]
    )


class Problem(BaseModel):
    """An error, after RFC 9457."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Kind of the problem, for programs.", examples=["infeasible"])
    title: str = Field(
        description="Kind of the problem, for people.",
        examples=["No cut satisfies the constraints"],
    )
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What is wrong, and what would be right.",
        examples=["node 'a' is pinned to the device and to the server; keep one"],
    )
    errors: list[FieldError] | None = Field(
        default=None, description="The fields at fault, where fields are."
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries for the problems that a route may answer with."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


_DESCRIPTIONS = {
    404: "There is nothing by this id.",
    422: "The request is not right; `detail` says what would be.",
    503: "The service cannot answer now.",
}


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    field_errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    body: dict[str, Any] = {"type": kind, "title": title, "status": status, "detail": detail}
    if field_errors:
        body["errors"] = list(field_errors)
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""
    app.add_exception_handler(KerfError, _kerf_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def _kerf_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KerfError)
    row = next(
        (STATUS_AND_TITLE[kind] for kind in type(error).__mro__ if kind in STATUS_AND_TITLE), None
    )
    status, kind, title = row or (422, "refused", "The request is refused")
    fields = [{"loc": list(error.loc), "msg": error.detail}] if error.loc else []
    return problem(status, kind, title, error.detail, fields)


def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
    first = fields[0]
    detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if len(fields) > 1:
        detail += f" (and {len(fields) - 1} more; see errors)"
    return problem(422, "invalid-request", "The request is not valid", detail, fields)


def _http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, kind, str(error.detail), str(error.detail), (), headers)


def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback; the client gets the request id in X-Request-Id.
    return problem(
        500, "internal-error", "Internal error", "Kerf failed; report the request id of this answer"
    )
