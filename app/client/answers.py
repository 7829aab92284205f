"""From an answer, read whole, to what it says; nothing here talks to anybody."""

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from app.client.errors import ProblemError, UnexpectedAnswerError

M = TypeVar("M", bound=BaseModel)

PROBLEM = "application/problem+json"


class _FieldError(BaseModel):
    loc: list[str | int]
    msg: str


class _Problem(BaseModel):
    """The members of a problem that Kerf sends; a proxy's may lack some (RFC 9457, 3.1)."""

    model_config = ConfigDict(extra="ignore")

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    errors: list[_FieldError] = []


def parsed(response: httpx.Response, model: type[M]) -> M:
    """The body of a good answer. Raises ``ProblemError`` or ``UnexpectedAnswerError``."""
    checked(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise UnexpectedAnswerError(f"{_what(response)}, {_fault(error)}; {_ASK}") from error


def nothing(response: httpx.Response) -> None:
    """A good answer without a body. Raises ``ProblemError`` or ``UnexpectedAnswerError``."""
    checked(response)
    if response.status_code != httpx.codes.NO_CONTENT:
        raise UnexpectedAnswerError(f"{_what(response)}, which is no answer of Kerf's; {_ASK}")


def checked(response: httpx.Response, media_type: str | None = None) -> None:
    """See that the status is a good one, and the body of a media type, where one is named.

    Raises ``ProblemError`` or ``UnexpectedAnswerError``.
    """
    if response.is_success and media_type in (None, media_type_of(response)):
        return
    if response.has_redirect_location:
        target = response.headers["location"]
        raise UnexpectedAnswerError(
            f"{_what(response)} and leads to {target}; give the address that it leads to"
        )
    if media_type_of(response) == PROBLEM:
        raise _problem(response)
    raise UnexpectedAnswerError(f"{_what(response)}, which is no answer of Kerf's; {_ASK}")


def url_of(response: httpx.Response) -> str:
    """What was asked, without what a person may have put there to be let in."""
    return str(response.request.url.copy_with(userinfo=b"", query=None))


_ASK = "is that the address of a Kerf service, and of this version?"


def _problem(response: httpx.Response) -> Exception:
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError as error:
        return UnexpectedAnswerError(f"{_what(response)}, {_fault(error)}; {_ASK}")
    errors: list[dict[str, Any]] = [item.model_dump() for item in problem.errors]
    return ProblemError(
        problem.detail or problem.title or _what(response),
        status=response.status_code,
        type=problem.type,
        title=problem.title,
        errors=errors,
        request_id=response.headers.get("x-request-id"),
    )


def media_type_of(response: httpx.Response) -> str:
    """What the body is declared as, without parameters; empty where it is not."""
    declared: str = response.headers.get("content-type", "")
    return declared.partition(";")[0].strip().lower()


def _what(response: httpx.Response) -> str:
    """Who answered how, as the beginning of a sentence."""
    media_type = media_type_of(response) or "no media type"
    return f"{url_of(response)} answers {response.status_code} with {media_type}"


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"where {where or 'the body'} is not as expected ({first['msg']})"
