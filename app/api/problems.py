"""RFC 9457 problems: the one table from domain error to HTTP status, and the handlers."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app import errors, metrics
from app.api.request_id import HEADER as REQUEST_ID
from app.api.rules import FIELD
from app.core import errors as core_errors
from app.errors import KerfError

STATUS_AND_TITLE: dict[type[KerfError], tuple[int, str, str]] = {
    core_errors.UnknownNodeError: (422, "unknown-node", "Unknown node"),
    core_errors.ContradictoryPinsError: (422, "contradictory-pins", "Contradictory pins"),
    core_errors.InfeasibleError: (422, "infeasible", "No cut satisfies the constraints"),
    core_errors.UnsupportedError: (422, "unsupported", "The method does not serve this"),
    core_errors.UnknownCutError: (422, "unknown-cut", "Not the tensors of a cut"),
    core_errors.TooManyCutsError: (422, "too-many-cuts", "The cut table is out of reach"),
    core_errors.UnpriceableError: (422, "unpriceable", "The delays are not finite"),
    errors.NotOnnxError: (422, "not-onnx", "Not an ONNX model"),
    errors.InvalidModelError: (422, "invalid-model", "The model breaks the rules of ONNX"),
    errors.UnboundDimensionError: (422, "unbound-dimension", "A dimension has no value"),
    errors.BadBindingError: (422, "bad-binding", "A dimension cannot have this value"),
    errors.UnknownShapeError: (422, "unknown-shape", "The size of a tensor cannot be told"),
    errors.LimitExceededError: (422, "limit-exceeded", "The model exceeds a limit of the service"),
    errors.ReaderFailedError: (422, "reader-failed", "Reading the model failed"),
    errors.NotFoundError: (404, "not-found", "Not found"),
    errors.BadCursorError: (422, "bad-cursor", "Not a cursor of Kerf's"),
    errors.HalvesUnavailableError: (409, "halves-unavailable", "The halves cannot be made here"),
    errors.WrongFileError: (422, "wrong-file", "Not the file that was uploaded"),
    errors.MissingDataError: (422, "missing-external-data", "External data are missing"),
    errors.CannotRunError: (422, "cannot-run", "ONNX Runtime cannot run the model"),
    errors.InvalidProfileError: (422, "invalid-profile", "The profile does not fit the model"),
    errors.UnknownPresetError: (422, "unknown-preset", "No such preset"),
    errors.DiskFullError: (507, "disk-full", "No room on the disk"),
    errors.UnauthenticatedError: (401, "unauthenticated", "A valid API key is needed"),
    errors.ForbiddenError: (403, "forbidden", "The API key does not allow this"),
    errors.QuotaError: (403, "quota-exceeded", "More than the API key allows"),
    errors.RateLimitError: (429, "rate-limited", "Too many requests"),
    errors.KeyReusedError: (422, "idempotency-key-reused", "The key is of another request"),
    errors.BusyError: (503, "busy", "The service is busy"),
    errors.NotReadyError: (503, "not-ready", "The service cannot answer now"),
}
"""Status, type and title of each domain error; a subclass without a row takes its base's."""

INVALID_REQUEST = (422, "invalid-request", "The request is not valid")
"""Status, type and title where a request is not what its schema says."""

INTERNAL_ERROR = (500, "internal-error", "Internal error")
"""The same where Kerf itself failed."""

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
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": _EXAMPLES[status],
                }
            },
        }
        for status in statuses
    }


_DESCRIPTIONS = {
    400: "The body cannot be read.",
    401: "There is no valid API key in the request.",
    403: "The API key does not have the scope that this call needs, or allows no more of this.",
    404: "There is nothing by this id.",
    409: "The service does not have what this takes; `detail` says how to do it locally.",
    413: "The body is too large.",
    415: "The body is not of the media type that this call takes.",
    422: "The request is not right; `detail` says what would be.",
    429: "The key makes too many requests; `Retry-After` says when there is room for one.",
    503: "The service cannot answer now, but may after `Retry-After` seconds.",
    507: "There is no room for the upload.",
}


def _example(status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": kind, "title": title, "status": status, "detail": detail}


_EXAMPLES = {
    400: _example(400, "malformed-body", "The body cannot be read", "Invalid multipart data."),
    401: _example(
        401,
        "unauthenticated",
        "A valid API key is needed",
        "this service needs an API key; send it as Authorization: Bearer kerf_...",
    ),
    403: _example(
        403,
        "forbidden",
        "The API key does not allow this",
        "this call needs a key with the scope split; key 5f0c1d2e3a4b5c6d7e8f901234567890 has read",
    ),
    404: _example(404, "not-found", "Not found", "there is no model 'resnet'"),
    409: _example(
        409,
        "halves-unavailable",
        "The halves cannot be made here",
        "the service does not keep the weights of this model; cut your own file: kerf cut "
        "model.onnx --split 5f0c1d2e3a4b5c6d7e8f901234567890 -o halves",
    ),
    413: _example(
        413,
        "content-too-large",
        "The body is too large",
        "the body is larger than 16777216 bytes",
    ),
    415: _example(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        "the body is not declared as JSON; send it with Content-Type: application/json",
    ),
    422: {
        **_example(
            422,
            "invalid-request",
            "The request is not valid",
            "body.device.flops_per_s: Input should be greater than 0",
        ),
        "errors": [
            {"loc": ["body", "device", "flops_per_s"], "msg": "Input should be greater than 0"}
        ],
    },
    429: _example(
        429,
        "rate-limited",
        "Too many requests",
        "key 5f0c1d2e3a4b5c6d7e8f901234567890 may make 100 requests per second of one process of "
        "the service; make fewer, or ask many scenarios at once with POST /split/batch",
    ),
    503: _example(
        503,
        "not-ready",
        "The service cannot answer now",
        "the database does not answer (OperationalError)",
    ),
    507: _example(
        507,
        "disk-full",
        "No room on the disk",
        "there is no room for this upload on the service's disk; try again later, or have its "
        "operator make room",
    ),
}


class ProblemResponse(JSONResponse):
    """In ASCII, because a problem may quote text that UTF-8 cannot hold (a lone surrogate)."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    field_errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    metrics.PROBLEMS.labels(kind).inc()
    body: dict[str, Any] = {"type": kind, "title": title, "status": status, "detail": detail}
    if field_errors:
        body["errors"] = list(field_errors)
    return ProblemResponse(body, status, headers=headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""
    app.add_exception_handler(KerfError, _kerf_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)
    domain = (kind for _, kind, _ in STATUS_AND_TITLE.values())
    http = (kind for kind, _ in _HTTP_KINDS.values())
    metrics.expect_problems((*domain, *http, INVALID_REQUEST[1], INTERNAL_ERROR[1]))


def kind_of(error: KerfError) -> tuple[int, str, str]:
    """Status, type and title of a domain error."""
    rows = (STATUS_AND_TITLE[kind] for kind in type(error).__mro__ if kind in STATUS_AND_TITLE)
    return next(rows, (422, "refused", "The request is refused"))


def problem_of(
    error: KerfError, headers: dict[str, str] | None = None, loc: Sequence[str | int] = ()
) -> JSONResponse:
    """A domain error as a response; ``loc``: of the field at fault, from the request's root."""
    headers = dict(headers or {})
    if isinstance(error, errors.NotReadyError | errors.RateLimitError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    fields = [{"loc": list(loc), "msg": error.detail}] if loc else []
    return problem(*kind_of(error), error.detail, fields, headers)


def _kerf_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KerfError)
    return problem_of(error, loc=_loc(request, error.loc) if error.loc else ())


def _loc(request: Request, loc: Sequence[str | int]) -> list[str | int]:
    """A path from the request's root; the domain knows nothing of bodies and queries."""
    if loc[0] in ("body", "path", "query", "header"):
        return list(loc)
    return ["path" if loc[0] in request.path_params else "body", *loc]


def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(*INVALID_REQUEST, *faults_of(error.errors()))


def faults_of(found: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The detail of a problem, and its fields at fault, from what pydantic found."""
    fields = [{"loc": _place(item), "msg": _message(item)} for item in found]
    first = fields[0]
    detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if len(fields) > 1:
        detail += f" (and {len(fields) - 1} more; see errors)"
    return detail, fields


def _place(item: Mapping[str, Any]) -> list[str | int]:
    """The path of a field; a rule about several fields names the one at fault itself."""
    return [*item["loc"], *item.get("ctx", {}).get(FIELD, ())]


def _message(item: Mapping[str, Any]) -> str:
    """What pydantic says of a field, in the words of HTTP where its own are not."""
    if item["type"] == "json_invalid":
        return f"not JSON: {item['ctx']['error']}"
    if item["type"] == "extra_forbidden":
        return "unknown; GET /docs shows what this call takes"
    return str(item["msg"])


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
    kind, title = _HTTP_KINDS.get(status, ("http-error", detail))
    if status == 404:
        detail = f"there is nothing at {request.url.path}; GET /docs shows what there is"
    elif status == 405:
        headers["Allow"] = ", ".join(_methods_of(request)) or headers.get("Allow", "")
        detail = f"{request.method} is not allowed here; allowed: {headers['Allow']}"
    elif status == 400 and detail == "There was an error parsing the body":
        detail = (
            "the body cannot be read as JSON in UTF-8: wrong bytes, nested too deeply, or a number "
            "of too many digits"
        )
    return problem(status, kind, title, detail, (), headers)


_HTTP_KINDS = {
    400: ("malformed-body", "The body cannot be read"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("content-too-large", "The body is too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
}


def _methods_of(request: Request) -> list[str]:
    """The methods of a path, over all its routes (the router names those of one route only)."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback; the client gets the request id. It is set here because this
    # handler runs outside of the middleware that sets it elsewhere.
    request_id = getattr(request.state, "request_id", "")
    return problem(
        *INTERNAL_ERROR,
        "Kerf failed; report the request id of this answer",
        headers={REQUEST_ID: request_id},
    )
