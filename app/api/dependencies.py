"""What routes are given: the services of the application, and validated queries."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

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
    )


class SplitPageQuery(PageQuery):
    """Which page of results, and of which model."""

    model_id: str | None = Field(
        default=None, max_length=64, description="Only results of this model."
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


NoQueryDep = Annotated[NoQuery, Query()]
PageQueryDep = Annotated[PageQuery, Query()]
SplitPageQueryDep = Annotated[SplitPageQuery, Query()]
SplitAnswerQueryDep = Annotated[SplitAnswerQuery, Query()]
GraphQueryDep = Annotated[GraphQuery, Query()]
