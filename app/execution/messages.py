"""The messages of a link: what their headers say.

A message is 20 bytes (``PRELUDE``), a header in JSON, and the bytes of its tensors, one after the
other in the header's order, little-endian and without anything between them. Nothing that comes is
ever executed or unpickled, and nothing is read whose length was not checked before.

A device says HELLO and is told WELCOME, or a REFUSAL. It sends the PARAMETERS once, if the server
half takes any, and then, as often as it likes, PING for a PONG, and ROUND for RESULTS or a REFUSAL.
BYE ends it.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.execution.errors import NotOurProtocolError
from app.ingest.element_types import DATA_TYPES, ELEMENT_TYPES

PROTOCOL = 1
"""Both sides have to speak the same version."""
MAGIC = b"kerf"
PRELUDE = struct.Struct("<4sHHIQ")
"""``MAGIC``, version of the protocol, kind, bytes of the header, bytes of the tensors. In every
version it starts with the first two."""
MOST_HEADER_BYTES = 2**20
MOST_TENSORS = 10_000
MOST_AXES = 64
MOST_BYTES = 2**30
"""Of the tensors of one message, unless a side says otherwise."""


class Kind(IntEnum):
    """Of a message."""

    HELLO = 1
    WELCOME = 2
    REFUSAL = 3
    PARAMETERS = 4
    PING = 5
    PONG = 6
    ROUND = 7
    RESULTS = 8
    BYE = 9


WITH_TENSORS = frozenset({Kind.PARAMETERS, Kind.ROUND, Kind.RESULTS})


class Header(BaseModel):
    """Base of all: unknown members are refused, and nothing is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HalfIdentity(Header):
    """What a half says of itself in its metadata: ids and ``device`` or ``server``, each empty
    where it says nothing. ``other_half``: the file of the other one, empty where there is none.
    ``smashed_dtype``: what cut tensors are cast to, empty where they are not."""

    model: str = ""
    split: str = ""
    half: str = ""
    other_half: str = ""
    smashed_dtype: str = ""


class Port(Header):
    """An input or an output of a half; ``dtype`` as ONNX Runtime calls it where it is no tensor.

    ``shape``: None for an open extent, and where the rank is not stated.
    """

    name: str
    dtype: str
    shape: list[int | None] | None = None

    def __str__(self) -> str:
        extents = ["?" if extent is None else str(extent) for extent in self.shape or ()]
        return f"{self.name!r} ({' '.join([self.dtype, 'x'.join(extents)]).strip()})"


class Tensor(Header):
    """A tensor whose bytes follow."""

    name: str
    dtype: str
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=MOST_AXES)]

    @property
    def nbytes(self) -> int:
        """How many bytes follow. Raises ``NotOurProtocolError`` for a type that has no width."""
        known = ELEMENT_TYPES.get(DATA_TYPES.get(self.dtype, 0))
        if known is None or known.bits == 0:
            raise NotOurProtocolError(
                f"tensor {self.name!r} is announced with the type {self.dtype!r}, which is none of "
                "those that can be sent"
            )
        elements = 1
        for extent in self.shape:
            elements *= extent
        return known.nbytes(elements)


class Runtime(Header):
    """What runs a half; ``threads``: None where the runtime chooses."""

    onnxruntime: str
    threads: int | None
    optimised: bool


class Hello(Header):
    """Of a device. ``half``: None where it runs nothing and sends the model's inputs as they are.

    ``gives``: what its half makes, or else the inputs; ``parameters``: what it can send once.
    """

    half: HalfIdentity | None
    gives: list[Port]
    parameters: list[Port]


class Welcome(Header):
    """Of a server: what it takes in each round and once, what it makes, how large a round may be
    in bytes, and what runs its half."""

    half: HalfIdentity
    takes: list[Port]
    parameters: list[Port]
    gives: list[Port]
    most_bytes: int
    runtime: Runtime


class Refusal(Header):
    """Why one side will not; ``problem``: a key of ``app.execution.errors.REFUSALS``."""

    problem: Literal["busy", "other-half", "cannot-run", "protocol"]
    detail: str


class Tensors(Header):
    """PARAMETERS and ROUND."""

    tensors: Annotated[list[Tensor], Field(max_length=MOST_TENSORS)]


ClockNs = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""Nanoseconds that a clock shows, from any point."""


class Results(Tensors):
    """Of a round, with what the server's clock showed when the last byte of the round was there,
    and when the results were."""

    arrived_ns: ClockNs
    computed_ns: ClockNs


class Ping(Header):
    """Asks for the clock."""


class Pong(Header):
    """What the server's clock showed when the ping came, and when this went."""

    received_ns: ClockNs
    answered_ns: ClockNs


class Bye(Header):
    """The device has done what it wanted."""


def require_sizes(tensors: Iterable[Tensor], announced_bytes: int, most_bytes: int) -> None:
    """Raise ``NotOurProtocolError`` where a message is too large, or its two lengths differ."""
    if announced_bytes > most_bytes:
        raise NotOurProtocolError(
            f"a message of {announced_bytes} bytes is announced, and at most {most_bytes} are taken"
        )
    counted_bytes = sum(tensor.nbytes for tensor in tensors)
    if counted_bytes != announced_bytes:
        raise NotOurProtocolError(
            f"a message of {announced_bytes} bytes is announced for tensors of {counted_bytes}"
        )
