"""The OpenAPI document: what FastAPI writes, with Kerf's preface and its one form of error."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.access import add_security
from app.api.examples import BATCH_ANSWER, BATCH_REQUEST, MODEL, SPLIT_ANSWER, SPLIT_REQUEST
from app.api.key_schemas import KEY_ANSWER, KEY_REQUEST, KeyIn
from app.api.problems import Problem, problem_responses
from app.api.profile_example import PROFILE_ANSWER, PROFILE_REQUEST
from app.api.profile_schemas import ProfileIn
from app.api.request_id import HEADER
from app.api.schemas import BatchIn, SplitIn
from app.api.uploads import UploadIn

DESCRIPTION = """
Splitting-as-a-service. Upload an ONNX model once (`POST /models`); then post the device's current
FLOPS and the link's current bandwidth (`POST /split`) and get the provably optimal division of the
model between the device and the server.

Try it here: upload a model below, copy its `id` into the body of `POST /split`, and execute. After
`make demo` (or `kerf demo --url` this service) the examples run as they are.

Units stand in names: `_s` seconds, `_bytes` bytes, `_bits_per_s` bits per second, `_flops` FLOPs
(a count; 1 multiply-accumulate = 2 FLOPs), `_flops_per_s` FLOPS (a rate). Every error is
`application/problem+json` (RFC 9457); every answer carries `X-Request-Id`.
"""

_REQUEST_ID = {
    "description": "Id of the request: the client's own `X-Request-Id` if it is at most 128 "
    "letters, digits, dots, dashes and underscores, else a new one.",
    "schema": {"type": "string", "examples": ["9f86d081884c7d65"]},
}

_TAGS = [
    {"name": "models", "description": "Upload a network once; Kerf keeps its costed DAG."},
    {"name": "splits", "description": "Find the best cut for a scenario; read results again."},
    {"name": "profiles", "description": "Speeds of machines: measured, and as others state them."},
    {"name": "keys", "description": "API keys of a tenant, where the service asks for keys."},
    {"name": "operations", "description": "For whoever runs the service."},
]
READ_BY_HAND: tuple[type[BaseModel], ...] = (SplitIn, BatchIn, ProfileIn, UploadIn, KeyIn)
"""Bodies that Kerf reads by itself, so that FastAPI does not know of them."""
_EXAMPLES = {
    "SplitIn": SPLIT_REQUEST,
    "SplitOut": SPLIT_ANSWER,
    "BatchIn": BATCH_REQUEST,
    "BatchOut": BATCH_ANSWER,
    "ModelOut": MODEL,
    "ProfileIn": PROFILE_REQUEST,
    "ProfileOut": PROFILE_ANSWER,
    "KeyIn": KEY_REQUEST,
    "NewKeyOut": KEY_ANSWER,
}
"""Put in here, because pydantic sorts the keys of examples, and these are made to be read."""


def install_openapi(app: FastAPI, has_keys: bool) -> None:
    """Let the application answer with Kerf's document, made once; ``has_keys``: whether calls need
    API keys."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, has_keys)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _build(app: FastAPI, has_keys: bool) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    components = schema["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.update(problem.pop("$defs"))
    components["Problem"] = problem
    for model in READ_BY_HAND:
        body = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(body.pop("$defs", {}))
        components[model.__name__] = body
    # FastAPI's own form of validation errors is never answered.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for name, example in _EXAMPLES.items():
        components[name]["examples"] = [example]
    if has_keys:
        add_security(schema)
    _add_common_problems(schema)
    schema["tags"] = _TAGS
    schema["components"]["headers"] = {"RequestId": _REQUEST_ID}
    for operation in (
        operation for item in schema["paths"].values() for operation in item.values()
    ):
        for response in operation["responses"].values():
            response.setdefault("headers", {})[HEADER] = {"$ref": "#/components/headers/RequestId"}
    return schema


def _add_common_problems(schema: dict[str, Any]) -> None:
    """Those that no route can help: the service is busy or without its database; and, where a call
    needs a key, what is wrong with it."""
    for item in schema["paths"].values():
        for operation in item.values():
            statuses = (401, 403, 429, 503) if "security" in operation else (503,)
            for status, response in problem_responses(*statuses).items():
                operation["responses"].setdefault(str(status), response)
