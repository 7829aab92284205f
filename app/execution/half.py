"""A half in ONNX Runtime, and what it says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
from onnx import TensorProto

from app.execution.errors import OtherHalfError
from app.execution.messages import HalfIdentity, Port, Runtime
from app.halves.division import Side
from app.halves.runtime import LoadedModel
from app.ingest.element_types import ELEMENT_TYPES


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How ONNX Runtime runs a half.

    ``threads``: None for as many as ONNX Runtime chooses. ``optimised``: as ``LoadedModel`` has it;
    what is not optimised is run by one thread, whatever ``threads`` says.
    """

    threads: int | None = None
    optimised: bool = True


class Half(LoadedModel):
    """A half that is ready to run, or a whole model that runs on one side.

    ``identity``: what its metadata say, nothing for a model that is not of Kerf's making.
    ``takes``: its inputs that have no default; ``gives``: its outputs.
    """

    def __init__(self, path: Path, side: Side, options: RuntimeOptions | None = None) -> None:
        """Load ``path`` for a side. Raises ``OtherHalfError`` for a half of the other side,
        ``CannotRunError``, ``MissingDataError`` where its weights are not beside it, and
        ``OSError``."""
        options = options or RuntimeOptions()
        with path.open("rb"):
            pass  # What is no file is better told by the system than by ONNX Runtime.
        super().__init__(
            path, f"the {side} half", optimised=options.optimised, threads=options.threads
        )
        self.takes = [_port(item) for item in self._session.get_inputs()]
        self.gives = [_port(item) for item in self._session.get_outputs()]
        self.identity = _identity(self._session.get_modelmeta().custom_metadata_map)
        self.runtime = Runtime(
            onnxruntime=ort.__version__, threads=options.threads, optimised=options.optimised
        )
        if self.identity.half not in ("", str(side)):
            raise OtherHalfError(
                f"{path} is the {self.identity.half} half; the {side} runs {side.file_name}"
            )


def _identity(metadata: Mapping[str, str]) -> HalfIdentity:
    names = HalfIdentity.model_fields
    return HalfIdentity(**{name: metadata.get(f"kerf.{name}", "") for name in names})


def _port(item: ort.NodeArg) -> Port:
    # ONNX Runtime says [] of a scalar and of what has no rank.
    shape = [extent if isinstance(extent, int) else None for extent in item.shape] or None
    return Port(name=item.name, dtype=_dtype_name(item.type), shape=shape)


def _dtype_name(type_name: str) -> str:
    """``float32`` for such as ``tensor(float)``; of what is no tensor, ONNX Runtime's own name."""
    if not type_name.startswith("tensor("):
        return type_name
    code = TensorProto.DataType.Value(type_name[len("tensor(") : -1].upper())
    return ELEMENT_TYPES[code].name
