"""What routes are given: the services of the application, and validated queries."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from app.api.examples import CURSOR, DEMO_MODEL_ID
from app.services import Services


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


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


class SplitAnswerQuery(_Query):
    """What to add to a result."""

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


def only_form_fields(*texts: str, files: tuple[str, ...]) -> Callable[..., Any]:
    """A dependency that refuses a form with other fields than these, or with one of them twice."""
    known = {*texts, *files}

    async def check(request: Request) -> None:
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() not in ("", "multipart/form-data"):
            raise HTTPException(
                415, "this call takes multipart/form-data (curl: -F file=@model.onnx)"
            )
        fields = (await request.form()).multi_items()
        errors = [_at_fault(name, "extra_forbidden") for name, _ in fields if name not in known]
        errors += [
            _at_fault(name, "given", f"given {count} times; give it once")
            for name, count in Counter(name for name, _ in fields).items()
            if count > 1
        ]
        errors += [
            _at_fault(name, "text", "text; send it as a file part, with a file name")
            for name, value in fields
            if name in files and isinstance(value, str)
        ]
        if errors:
            raise RequestValidationError(errors)

    return check


def _at_fault(name: str, kind: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "loc": ("body", name), "msg": message}


NoQueryDep = Annotated[NoQuery, Query()]
PageQueryDep = Annotated[PageQuery, Query()]
SplitPageQueryDep = Annotated[SplitPageQuery, Query()]
SplitAnswerQueryDep = Annotated[SplitAnswerQuery, Query()]
GraphQueryDep = Annotated[GraphQuery, Query()]
