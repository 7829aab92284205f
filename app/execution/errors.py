"""What can go wrong between the two sides of an execution.

KerfError (app.core.errors)
└── LinkError                anything of these
    ├── CannotListenError    a server cannot have the address that it is to listen at
    ├── NoServerError        there is no server at an address, or none that can be reached
    ├── BusyServerError      the server serves another device, and takes one at a time
    ├── OtherHalfError       two halves that do not belong together, or are on the wrong side
    ├── BrokenLinkError      the connection ended, or fell silent, before its time
    └── NotOurProtocolError  what comes is no message of this protocol, or not the one that is due

Beside these, ``CannotRunError`` and ``MissingDataError`` of ``app.errors``, of either side.
"""

import os

from app.core.errors import KerfError
from app.errors import CannotRunError


class LinkError(KerfError):
    """The two sides could not do a round together."""


class CannotListenError(LinkError):
    """An address that is taken, not of this machine, or not for everyone."""


class NoServerError(LinkError):
    """Nobody answers at an address."""


class BusyServerError(LinkError):
    """A server with another device."""


class OtherHalfError(LinkError):
    """Halves of different splits, or a half on the wrong side."""


class BrokenLinkError(LinkError):
    """The connection broke; both sides can connect again."""


class NotOurProtocolError(LinkError):
    """Bytes that are no message, or a message that is not allowed where it stands."""


REFUSALS: dict[str, type[KerfError]] = {
    "busy": BusyServerError,
    "other-half": OtherHalfError,
    "cannot-run": CannotRunError,
    "protocol": NotOurProtocolError,
}
"""What one side may tell the other, by the name that goes over the link."""


def refusal_name(error: KerfError) -> str | None:
    """What an error is called on the link; None for what the other side need not, or cannot, be
    told."""
    return next((name for name, kind in REFUSALS.items() if isinstance(error, kind)), None)


def os_reason(error: OSError) -> str:
    """What the operating system says of a failure, without numbers."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "the other side was silent for too long"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
