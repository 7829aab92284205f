"""What can go wrong between a client and the service.

KerfError (app.core.errors)
└── ClientError                   anything of these
    ├── ProblemError              the service refuses, and says why
    ├── UnreachableError          there is no answer
    ├── UnusableKeyError          an API key that no header can carry
    ├── InterruptedDownloadError  an answer broke off in its middle
    ├── UnexpectedAnswerError     an answer that is not one of Kerf's
    └── NotCoveredError           a scenario that a client's own copy of a cut table cannot price

Nothing of httpx's own errors leaves the client.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from app.core.errors import KerfError


class ClientError(KerfError):
    """The service did not give what was asked for."""


class ProblemError(ClientError):
    """A refusal of the service, as RFC 9457 has it; ``str(error)`` is its ``detail``.

    ``type`` is for programs, ``title`` and ``detail`` are for people; ``errors``: the fields at
    fault, ``{"loc": [...], "msg": ...}`` each; ``request_id``: what the service calls the
    request, None where it was not asked.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        type: str,  # noqa: A002 - the name of the member
        title: str,
        errors: Sequence[dict[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.title = title
        self.errors = list(errors)
        self.request_id = request_id


class UnusableKeyError(ClientError):
    """An API key that cannot be sent."""


class UnreachableError(ClientError):
    """No answer: the connection is refused, breaks or times out, or there is no such host.

    ``url``: of the service.
    """

    def __init__(self, detail: str, url: str) -> None:
        super().__init__(detail)
        self.url = url


class InterruptedDownloadError(ClientError):
    """A download ended before its end; the file that it was for is as it was.

    ``received_bytes`` of ``expected_bytes``, which is None where the service did not say.
    """

    def __init__(self, detail: str, received_bytes: int, expected_bytes: int | None) -> None:
        super().__init__(detail)
        self.received_bytes = received_bytes
        self.expected_bytes = expected_bytes


class UnexpectedAnswerError(ClientError):
    """An answer that is not one of Kerf's: HTML, a redirect, JSON of another form."""


class NotCoveredError(ClientError):
    """A scenario that a cut table does not answer; ``Client.split`` does."""


@contextmanager
def telling(url: str) -> Iterator[None]:
    """Raise what httpx raises in the block as errors of this module. ``url``: of the service."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise UnreachableError(f"{url} does not answer in time", url) from error
    except httpx.ConnectError as error:
        raise UnreachableError(
            f"nothing answers at {url} ({reason(error)}); is the service running there?", url
        ) from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswerError(
            f"{url} answers with a body that cannot be decoded ({reason(error)})"
        ) from error
    except httpx.TransportError as error:
        raise UnreachableError(
            f"the connection to {url} broke before the answer had ended ({reason(error)})", url
        ) from error


def reason(error: BaseException) -> str:
    """What the operating system said of a broken connection, where it did; else what httpx says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            # Of a name that cannot be resolved the number is negative, and the text its own.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
