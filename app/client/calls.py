"""Each call of the service: what is asked, and how its answer is read. Nothing here does I/O.

The clients, one that waits and one that awaits, only carry calls out.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from app.api.key_schemas import KeyIn, KeyOut, KeyPage, NewKeyOut
from app.api.preset_schemas import PresetsOut
from app.api.profile_schemas import ProfileIn, ProfileOut, ProfilePage
from app.api.schemas import (
    BatchOut,
    ConstraintsIn,
    ModelOut,
    ModelPage,
    ScenarioIn,
    SplitIn,
    SplitOut,
    SplitPage,
)
from app.client.answers import nothing, parsed
from app.client.streams import Stream
from app.errors import NotFoundError

T = TypeVar("T")

Side = Literal["device", "server"]
TableMode = Literal["training", "inference"]
Fields = Mapping[str, Any]
"""The fields of a body, by the names that the HTTP API has for them."""

PAGE_ROWS = 200
"""As many as the service gives at a time."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and ``read``: from its answer to what it means.

    Its body is ``content``, or comes out of ``stream``. ``reads_a_model``: whether the service has
    to read one before it can answer, which takes longer than anything else.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    stream: Stream | None = None
    reads_a_model: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; ``next_cursor``: None on the last."""

    items: Sequence[T]
    next_cursor: str | None


def models_page(cursor: str | None) -> Call[Page[ModelOut]]:
    """A page of models; the first one without a cursor."""

    def read(response: httpx.Response) -> Page[ModelOut]:
        page = parsed(response, ModelPage)
        return Page(page.items, page.next_cursor)

    return Call("GET", "/models", read, _page(cursor))


def splits_page(model_id: str | None, cursor: str | None) -> Call[Page[SplitOut]]:
    """A page of stored results, of one model if one is named."""

    def read(response: httpx.Response) -> Page[SplitOut]:
        page = parsed(response, SplitPage)
        return Page(page.items, page.next_cursor)

    chosen = {} if model_id is None else {"model_id": model_id}
    return Call("GET", "/splits", read, _page(cursor) | chosen)


def model(model_id: str) -> Call[ModelOut]:
    """What the service knows of a model."""
    return Call("GET", _path("model", model_id), partial(parsed, model=ModelOut))


def delete(model_id: str) -> Call[None]:
    """Forget a model."""
    return Call("DELETE", _path("model", model_id), nothing)


def profiles_page(cursor: str | None) -> Call[Page[ProfileOut]]:
    """A page of profiles; the first one without a cursor."""

    def read(response: httpx.Response) -> Page[ProfileOut]:
        page = parsed(response, ProfilePage)
        return Page(page.items, page.next_cursor)

    return Call("GET", "/profiles", read, _page(cursor))


def create_profile(body: ProfileIn | Fields) -> Call[ProfileOut]:
    """Keep what was measured of a machine."""
    read = partial(parsed, model=ProfileOut)
    return Call("POST", "/profiles", read, headers=_JSON, content=_json(body))


def profile(profile_id: str) -> Call[ProfileOut]:
    """A profile, with the seconds of every node."""
    return Call("GET", _path("profile", profile_id), partial(parsed, model=ProfileOut))


def delete_profile(profile_id: str) -> Call[None]:
    """Forget a profile."""
    return Call("DELETE", _path("profile", profile_id), nothing)


def create_key(body: KeyIn | Fields) -> Call[NewKeyOut]:
    """Make an API key."""
    return Call(
        "POST", "/keys", partial(parsed, model=NewKeyOut), headers=_JSON, content=_json(body)
    )


def keys_page(cursor: str | None) -> Call[Page[KeyOut]]:
    """A page of API keys; the first one without a cursor."""

    def read(response: httpx.Response) -> Page[KeyOut]:
        page = parsed(response, KeyPage)
        return Page(page.items, page.next_cursor)

    return Call("GET", "/keys", read, _page(cursor))


def revoke_key(key_id: str) -> Call[None]:
    """Revoke an API key."""
    return Call("DELETE", _path("key", key_id), nothing)


def presets() -> Call[PresetsOut]:
    """Common devices, servers and links."""
    return Call("GET", "/presets", partial(parsed, model=PresetsOut))


def split(
    body: SplitIn | Fields,
    include_nodes: bool,
    include_sensitivity: bool,
    idempotency_key: str | None = None,
) -> Call[SplitOut]:
    """The best cut for one scenario."""
    include = _include(nodes=include_nodes, sensitivity=include_sensitivity)
    headers = _JSON | idempotent(idempotency_key)
    return Call("POST", "/split", partial(parsed, model=SplitOut), include, headers, _json(body))


def split_batch(
    model_id: str,
    scenarios: Iterable[ScenarioIn | Fields],
    constraints: ConstraintsIn | Fields | None,
    store: bool,
) -> Call[BatchOut]:
    """The best cuts for many scenarios."""
    body = {
        "model_id": model_id,
        "scenarios": list(scenarios),
        "constraints": constraints or {},
        "store": store,
    }
    read = partial(parsed, model=BatchOut)
    return Call("POST", "/split/batch", read, headers=_JSON, content=_json(body))


def split_result(split_id: str, include_nodes: bool) -> Call[SplitOut]:
    """A stored result."""
    read = partial(parsed, model=SplitOut)
    return Call("GET", _path("split", split_id), read, _include(nodes=include_nodes))


def cuts(
    model_id: str, mode: TableMode, tag: str | None, read: Callable[[httpx.Response], T]
) -> Call[T]:
    """The cut table of a model, unless it is still the one with a tag."""
    headers = {} if tag is None else {"If-None-Match": tag}
    return Call("GET", _path("model", model_id, "cuts"), read, {"mode": mode}, headers)


def half(split_id: str, side: Side) -> Call[None]:
    """A half of the model, which is read as it comes; an answer without one is read whole."""
    headers = {"Accept-Encoding": "identity"}
    return Call(
        "GET",
        _path("split", split_id, f"{side}.onnx"),
        nothing,
        headers=headers,
        reads_a_model=True,
    )


_JSON = {"Content-Type": "application/json"}


def idempotent(key: str | None) -> dict[str, str]:
    """The header that names a request, where it has a name."""
    return {} if key is None else {"Idempotency-Key": key}


def _json(body: BaseModel | Fields) -> bytes:
    """As JSON, NaN and infinities included: the service has better words for these."""
    return json.dumps(body, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        # Some fields may be given only beside others, so defaults are not sent.
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _page(cursor: str | None) -> dict[str, str | int]:
    return {"limit": PAGE_ROWS} if cursor is None else {"limit": PAGE_ROWS, "cursor": cursor}


def _include(**asked: bool) -> dict[str, str]:
    names = [name for name, is_asked in asked.items() if is_asked]
    return {"include": ",".join(names)} if names else {}


def _path(kind: str, name: str, *rest: str) -> str:
    """A path with an id in it, whatever that holds."""
    if not name or "/" in name:
        # Servers take "%2F" for "/": it would be the path of another call.
        raise NotFoundError(f"there is no {kind} {name!r}")
    # A step of dots alone would be taken as a way through the path.
    step = quote(name, safe="", errors="replace").replace(".", "%2E")
    return "/".join(["", f"{kind}s", step, *rest])
