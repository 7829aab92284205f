"""Whether two halves belong together.

Halves that a service cut say of which split they are. Others are told by what goes over the link:
the one has to make what the other takes, of the same type and shape, and neither what the other
makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.execution.errors import OtherHalfError
from app.execution.half import Half
from app.execution.messages import HalfIdentity, Hello, Port
from app.ingest.notes import listed


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a server half is given: ``takes`` in each round, ``parameters`` once."""

    takes: list[Port]
    parameters: list[Port]


def agree(server: Half, hello: Hello) -> Exchange:
    """What the server half takes of what a device gives. Raises ``OtherHalfError``."""
    _require_same_split(server.identity, hello.half)
    given = {port.name: port for port in hello.gives}
    once = {port.name: port for port in hello.parameters}
    unknown = [port for port in server.takes if port.name not in given and port.name not in once]
    if unknown:
        raise OtherHalfError(
            f"the server half takes {listed(port.name for port in unknown)}, and the device gives "
            f"{listed(given) or 'nothing'}; run the two halves of one split"
        )
    if hello.half is not None:
        _require_disjoint(server, hello.gives)
    for port in server.takes:
        _require_alike(port, given.get(port.name) or once[port.name])
    parameters = [port for port in server.takes if port.name in once]
    return Exchange([port for port in server.takes if port.name not in once], parameters)


def _require_same_split(server: HalfIdentity, device: HalfIdentity | None) -> None:
    if device is None:
        if server.half and server.other_half:
            raise OtherHalfError(
                f"the server half goes with a device half ({server.other_half}), and the device "
                "runs none; run both halves of the split"
            )
        return
    if device.half and not device.other_half:
        raise OtherHalfError(
            "the device half is the whole model: nothing of its split runs on a server; run it "
            "without one"
        )
    for what, mine, other in (
        ("split", server.split, device.split),
        ("model", server.model, device.model),
    ):
        if mine and other and mine != other:
            raise OtherHalfError(
                f"the server half is of {what} {mine!r}, and the device half of {other!r}; run the "
                "two halves of one split"
            )
    if server.half and not server.other_half:
        raise OtherHalfError(
            "the server half is the whole model: nothing of its split runs on the device, and "
            "this device runs a half; run the two halves of one split"
        )


def _require_disjoint(server: Half, gives: Sequence[Port]) -> None:
    made_here = {port.name for port in server.gives}
    both = [port.name for port in gives if port.name in made_here]
    if both:
        raise OtherHalfError(f"both halves make {listed(both)}; run the two halves of one split")


def _require_alike(mine: Port, given: Port) -> None:
    """Open extents fit any."""
    shapes_fit = (
        mine.shape is None
        or given.shape is None
        or (
            len(mine.shape) == len(given.shape)
            and all(
                one is None or other is None or one == other
                for one, other in zip(mine.shape, given.shape, strict=True)
            )
        )
    )
    if mine.dtype != given.dtype or not shapes_fit:
        raise OtherHalfError(f"the server half takes {mine}, and the device gives {given}")
