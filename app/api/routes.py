"""Which route a request is of, in as few words as there are routes."""

import re
from collections.abc import Iterable

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Scope

from app.metrics import METHODS, OTHER, UNMATCHED


class Templates:
    """The templates of an application's routes, such as ``/models/{model_id}``."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._patterns: list[tuple[re.Pattern[str], str]] = [
            (pattern, context.path)
            for context in iter_route_contexts([*routes])
            if context.path is not None
            and (pattern := getattr(context, "path_regex", None)) is not None
        ]

    def of(self, scope: Scope) -> str:
        """The template that a request's path fits, whether or not it came as far as its route."""
        route = scope.get("route")
        if route is not None:
            template: str = route.path
            return template
        path = scope["path"]
        for pattern, template in self._patterns:
            if pattern.match(path):
                return template
        return UNMATCHED


def method_of(scope: Scope) -> str:
    """The method of a request, if it is one that there is anything to tell of."""
    method: str = scope["method"]
    return method if method in METHODS else OTHER
