"""What routes are given: the services of the application, and validated queries."""

import re
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from app.api.access import access_of
from app.api.examples import CURSOR, DEMO_MODEL_ID
from app.services import Services
from app.services.access import Access


async def services_of(request: Request) -> Services:
    """The services of the application that serves a request."""
    # A coroutine, because FastAPI would run a plain function in a worker thread.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


async def access_of_request(request: Request) -> Access:
    """Who asks."""
    return access_of(request.scope)


AccessDep = Annotated[Access, Depends(access_of_request)]


class _Query(BaseModel):
    """Unknown query parameters are refused."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(_Query):
    """A route without query parameters."""


class PageQuery(_Query):
    """Which page of a list."""

    limit: int = Field(default=50, ge=1, le=200, description="Rows per page.", examples=[50])
    cursor: str | None = Field(
        default=None,
        max_length=200,
        description="`next_cursor` of the page before; the first page if left out.",
        examples=[CURSOR],
    )


class SplitPageQuery(PageQuery):
    """Which page of results, and of which model."""

    model_id: str | None = Field(
        default=None,
        max_length=64,
        description="Only results of this model.",
        examples=[DEMO_MODEL_ID],
    )


def _by_commas(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


_Includes = Annotated[tuple[Literal["nodes", "sensitivity"], ...], BeforeValidator(_by_commas)]


class SplitAnswerQuery(_Query):
    """What to add to an answer."""

    include: _Includes = Field(
        default=(),
        description="`nodes`: add the names of the nodes of both sides; `sensitivity`: add what "
        "the cut loses where a figure is off. Several by commas, or one each.",
        examples=[["nodes", "sensitivity"]],
    )


class StoredSplitQuery(_Query):
    """What to add to a stored result."""

    include: Literal["nodes"] | None = Field(
        default=None,
        description="`nodes`: add the names of the nodes of both sides.",
        examples=["nodes"],
    )


class GraphQuery(_Query):
    """In which form a graph is wanted."""

    format: Literal["json", "graphml", "node-link"] = Field(
        default="json",
        description="`json`: nodes, tensors and parameters; `graphml` and `node-link`: networkx's "
        "formats, an edge per tensor and consumer.",
        examples=["json"],
    )


class CutsQuery(_Query):
    """For which mode a table is wanted."""

    mode: Literal["training", "inference"] = Field(
        default="training",
        description="Mode whose activations the rows state, and by which they are compared.",
        examples=["training"],
    )


Q = TypeVar("Q", bound=_Query)


def parse_query(model: type[Q], request: Request) -> Q:
    """The query of a request, as FastAPI would validate it; next to nothing where it is empty.

    What is given several times is joined by commas.
    """
    if not request.scope["query_string"]:
        return model()
    try:
        given = request.query_params
        return model.model_validate({name: ",".join(given.getlist(name)) for name in given})
    except ValidationError as error:
        found = [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from error


IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
"""The header of an answer that was given before."""

B = TypeVar("B", bound=BaseModel)


async def parse_body(model: type[B], request: Request) -> B:
    """The JSON body of a request, read and validated in one pass.

    FastAPI reads the JSON into Python values first and validates these; that takes twice as long.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(
            415, "the body is not declared as JSON; send it with Content-Type: application/json"
        )
    try:
        content = await request.body()
    except ClientDisconnect as error:
        # Nobody is there to read this, but it is no failure of Kerf's either.
        raise HTTPException(400, "the client hung up before the end of the body") from error
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from error


_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key_of(request: Request) -> str | None:
    """The client's key of this request, if it gives one. Raises ``RequestValidationError``."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        fault = {
            "type": "idempotency_key",
            "loc": ("header", IDEMPOTENCY_KEY),
            "msg": "1 to 255 visible ASCII characters, such as a UUID",
        }
        raise RequestValidationError([fault])
    return key


def idempotency_parameter() -> dict[str, Any]:
    """The header of ``idempotency_key_of``, as an OpenAPI document lists it."""
    return {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": False,
        "description": "A name of this request, such as a UUID. Sent again with the same one "
        "within a day, it is not done again, but answered as it was, with "
        "`Idempotent-Replayed: true`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    }


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a request that ``parse_body`` reads, as an OpenAPI document states it.

    ``install_openapi`` adds the schema itself.
    """
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def query_parameters(model: type[_Query]) -> list[dict[str, Any]]:
    """The parameters of a query, as an OpenAPI document lists them."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


NoQueryDep = Annotated[NoQuery, Query()]
PageQueryDep = Annotated[PageQuery, Query()]
SplitPageQueryDep = Annotated[SplitPageQuery, Query()]
StoredSplitQueryDep = Annotated[StoredSplitQuery, Query()]
CutsQueryDep = Annotated[CutsQuery, Query()]
GraphQueryDep = Annotated[GraphQuery, Query()]
