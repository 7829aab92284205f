"""Which node runs where, and of which split that is."""

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """One of the two sides, and the half that runs there."""

    DEVICE = "device"
    SERVER = "server"

    @property
    def other(self) -> "Side":
        return Side.SERVER if self is Side.DEVICE else Side.DEVICE

    @property
    def file_name(self) -> str:
        """What the file of the half is called, here and in the other half's metadata."""
        return f"{self}.onnx"


@dataclass(frozen=True, slots=True)
class Division:
    """The nodes of the costed DAG by their names, as ``/split?include=nodes`` gives them.

    ``model_id`` and ``split_id`` are for the metadata of the halves; None for a split that no
    service knows.
    """

    device: tuple[str, ...]
    server: tuple[str, ...]
    model_id: str | None = None
    split_id: str | None = None
