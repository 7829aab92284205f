"""The end of a process, as balancers see it: told to end, it says first that it is not ready, and
goes on to serve while they notice; only then does the server close."""

import asyncio
import signal
import threading
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import NotReadyError


class Ending:
    """Whether this process has been told to end. Nothing is installed before ``watch``."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._has_begun = False

    @property
    def has_begun(self) -> bool:
        """Whether it has."""
        return self._has_begun

    def check(self) -> None:
        """Raise ``NotReadyError`` once it has."""
        if self._has_begun:
            raise NotReadyError("this process is ending; others serve")

    def watch(self) -> None:
        """Put the server's own way to end off: the first SIGTERM is handed on to it after
        ``drain_s`` seconds, a second one at once. To be called in the event loop.

        Where there is nothing to be put off, or no server that handles signals (as in tests),
        nothing changes.
        """
        handed_on = signal.getsignal(signal.SIGTERM)
        if (
            self._drain_s <= 0
            or not callable(handed_on)
            or threading.current_thread() is not threading.main_thread()
        ):
            return
        loop = asyncio.get_running_loop()

        def told(number: int, frame: FrameType | None) -> None:
            if self._has_begun:
                handed_on(number, frame)
                return
            self._has_begun = True
            # Within a signal handler: the loop may be in the middle of anything.
            loop.call_soon_threadsafe(loop.call_later, self._drain_s, handed_on, number, None)

        signal.signal(signal.SIGTERM, told)


class EndingMiddleware:
    """Closes connections with their next answer, once the process is to end: whoever would use one
    again connects to another process."""

    def __init__(self, app: ASGIApp, ending: Ending) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._ending.has_begun:
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing)
