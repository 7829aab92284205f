"""JSON answers."""

from typing import Any

import orjson
from fastapi import Response


def json_response(
    body: Any, status_code: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A body of plain Python values as a response (several times as fast as the standard one)."""
    return Response(orjson.dumps(body), status_code, headers, "application/json")
