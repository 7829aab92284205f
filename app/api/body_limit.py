"""Bodies have a size at which they end: a request must not fill the memory of the service."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_UPLOAD_BYTES = 2**31 + 2**20
"""No protobuf message, hence no ONNX file, is larger than 2 GiB; the rest is for the form."""
LARGEST_JSON_BYTES = 2**24
"""As many pins as there may be, of long names, are a few megabytes."""


class BodyLimitMiddleware:
    """Refuses a body that is too large, as a problem and before it is read where it says so.

    (Starlette's own limit answers in plain text.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        limit = LARGEST_UPLOAD_BYTES if scope["path"] == "/models" else LARGEST_JSON_BYTES
        declared = Headers(scope=scope).get("content-length", "")
        received = int(declared) if declared.isdecimal() and int(declared) > limit else 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive() if received <= limit else {}
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        await self._app(scope, receive_limited, send)
