"""What went wrong, in the words of the API, and the exit status that tells programs."""

import errno
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.core.errors import KerfError

if TYPE_CHECKING:
    from app.client import ProblemError

DONE, NO, BAD_INPUT, REFUSED, NO_SERVICE, MACHINE, BUG, STOPPED = 0, 1, 2, 3, 4, 5, 70, 130
"""Exit statuses; ``app.cli`` says what each means."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_THE_REQUEST = (400, 413, 415, 422)
_OF_CLIENTS = {
    "UnreachableError": ("unreachable", "The service cannot be reached"),
    "InterruptedDownloadError": ("interrupted-download", "The download broke off"),
    "UnexpectedAnswerError": ("unexpected-answer", "Not an answer of Kerf's"),
    "NoServerError": ("no-server", "The other side cannot be reached"),
    "BusyServerError": ("busy-server", "The other side is busy"),
    "BrokenLinkError": ("broken-link", "The connection broke off"),
    "NotOurProtocolError": ("not-our-protocol", "Not a message of Kerf's"),
}
"""Type and title of what the client and the reference runtime alone know; the rest has those of the
API."""
_UNUSABLE_KEY = ("unusable-key", "The API key cannot be sent")
_OTHER_HALF = ("other-half", "The halves do not belong together")
_CANNOT_LISTEN = ("cannot-listen", "The address cannot be had")


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem as the API states it (RFC 9457), and the exit status that goes with it.

    ``status``: that of HTTP, where a service gave it or would have given it.
    """

    exit_status: int
    type: str
    title: str
    detail: str
    status: int | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    request_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The problem, without the members that it does not have."""
        members: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "errors": list(self.errors) or None,
            "request_id": self.request_id,
        }
        return {name: value for name, value in members.items() if value is not None}


class FaultError(Exception):
    """A command cannot do its job, and knows what to tell."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def bad_input(kind: str, title: str, detail: str) -> FaultError:
    """What was given is not right."""
    return FaultError(Fault(BAD_INPUT, kind, title, detail))


def invalid_request(found: Sequence[Mapping[str, Any]]) -> FaultError:
    """What pydantic found in a request."""
    from app.api.problems import INVALID_REQUEST, faults_of

    status, kind, title = INVALID_REQUEST
    detail, fields = faults_of([{**item, "loc": ("body", *item["loc"])} for item in found])
    return FaultError(Fault(BAD_INPUT, kind, title, detail, status, fields))


def fault_of(error: Exception) -> Fault:
    """What to tell of any exception: nobody who runs a command is shown Python's own account."""
    if isinstance(error, FaultError):
        return error.fault
    if isinstance(error, KerfError):
        return _of_kerf(error)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, typer.TyperException):
        return Fault(BAD_INPUT, "usage", "The command is not right", error.format_message())
    if isinstance(error, MemoryError):
        detail = "this takes more memory than there is"
        return Fault(MACHINE, "out-of-memory", "Out of memory", detail)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    detail = f"Kerf failed; report this: {type(error).__name__} at {where}: {error}"
    return Fault(BUG, "internal-error", "Internal error", detail)


def _of_kerf(error: KerfError) -> Fault:
    from app.client import ProblemError

    if isinstance(error, ProblemError):
        return _of_service(error)
    name = type(error).__name__
    if name in _OF_CLIENTS:
        return Fault(NO_SERVICE, *_OF_CLIENTS[name], error.detail)
    if name == "UnusableKeyError":
        return Fault(BAD_INPUT, *_UNUSABLE_KEY, error.detail)
    if name == "OtherHalfError":
        return Fault(BAD_INPUT, *_OTHER_HALF, error.detail)
    if name == "CannotListenError":
        return Fault(MACHINE, *_CANNOT_LISTEN, error.detail)
    from app.api.problems import kind_of

    status, kind, title = kind_of(error)
    exit_status = {"infeasible": NO, "disk-full": MACHINE}.get(kind, BAD_INPUT)
    fields = [{"loc": ["body", *error.loc], "msg": error.detail}] if error.loc else []
    return Fault(exit_status, kind, title, error.detail, status, fields)


def _of_service(error: "ProblemError") -> Fault:
    exit_status = BAD_INPUT if error.status in _OF_THE_REQUEST else REFUSED
    return Fault(
        NO if error.type == "infeasible" else exit_status,
        error.type,
        error.title,
        error.detail,
        error.status,
        error.errors,
        error.request_id if error.status >= 500 else None,
    )


def _of_system(error: OSError) -> Fault:
    # Of two files the second is the one that was to be.
    place = error.filename if error.filename2 is None else error.filename2
    detail = error.strerror or str(error)
    if place is not None:
        detail = f"{place}: {detail}"
    if error.errno in DISK_FULL:
        return Fault(MACHINE, "disk-full", "No room on the disk", detail)
    return Fault(MACHINE, "file-trouble", "A file cannot be read or written", detail)
