"""Bodies have a size at which they end: a request must not fill the memory of the service."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.form import FORM_BYTES, file_too_large

LARGEST_JSON_BYTES = 2**24
"""As many pins as there may be, of long names, are a few megabytes."""


class BodyLimitMiddleware:
    """Refuses a body that is too large, as a problem and before it is read where it says so.

    ``most_upload_bytes``: of an uploaded file; its form may be a little larger. (Starlette's own
    limit answers in plain text.)
    """

    def __init__(self, app: ASGIApp, most_upload_bytes: int) -> None:
        self._app = app
        self._most_upload_bytes = most_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/models"
        limit = self._most_upload_bytes + FORM_BYTES if is_upload else LARGEST_JSON_BYTES
        declared = Headers(scope=scope).get("content-length", "")
        received = int(declared) if declared.isdecimal() and int(declared) > limit else 0
        has_ended = False

        async def receive_limited() -> Message:
            nonlocal received, has_ended
            message = await receive() if received <= limit else {}
            received += len(message.get("body", b""))
            has_ended = not message.get("more_body", False)
            if received > limit:
                if is_upload:
                    raise HTTPException(413, file_too_large(self._most_upload_bytes))
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        async def send_closing(message: Message) -> None:
            # Left open, the connection would go on to take what is left of the body, to no end.
            if message["type"] == "http.response.start" and not has_ended:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive_limited, send_closing if is_upload else send)
