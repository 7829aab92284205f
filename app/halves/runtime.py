"""A model in ONNX Runtime, on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnx import ModelProto

from app.errors import CannotRunError, IngestError, MissingDataError
from app.halves.comparison import Value
from app.halves.ort_values import fed, is_foreign, unwrapped, wrapped
from app.ingest.captures import with_inner
from app.ingest.left_out import byte_count, entries_of, is_external
from app.ingest.limits import Limits
from app.ingest.parse import parse
from app.ingest.reasons import reason
from app.ingest.skeleton import read_skeleton
from app.ingest.tensors import tensors_of_model
from app.ingest.weights import nbytes_of

_FATAL = 4
"""Errors come as exceptions; nothing else is for a user's eyes."""
_FLOAT32 = "1"
"""How exactly ONNX Runtime computes a product that it fuses with 4-bit weights. Its own choice,
int8, is no optimisation but another model."""


def session_options(*, optimised: bool = True, threads: int | None = None) -> ort.SessionOptions:
    """How Kerf runs models, wherever it does: so what is measured of a model holds for its halves.

    ``optimised``, ``threads``: see ``LoadedModel``. Anything else is as ONNX Runtime has it.
    """
    # The runtime has a log of its own, beside those of sessions.
    ort.set_default_logger_severity(_FATAL)
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    # Threads spin for a while after a run. Where two sides of a split share a machine, that is just
    # when the other side needs the cores: it made each way of a round 5 to 10 ms longer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", _FLOAT32)
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.use_deterministic_compute = True
    return options


class LoadedModel:
    """A model that is ready to run; its memory goes with it.

    ``inputs``: the inputs that have to be fed, ``defaulted``: those that have a default, and
    ``outputs``; each with ONNX Runtime's name of its type, in the model's order.
    """

    def __init__(
        self, path: Path, what: str, *, optimised: bool, threads: int | None = None
    ) -> None:
        """Load ``path``, which messages call ``what``.

        ``optimised``: as ONNX Runtime does by default, but that it rounds no activations to 8 bits
        where weights have 4; else node by node as the file has them, by one thread. ``threads``: of
        an optimised model; None for as many as ONNX Runtime chooses. Raises ``CannotRunError`` and
        ``MissingDataError``.
        """
        self._what = what
        try:
            self._session = ort.InferenceSession(
                str(path),
                session_options(optimised=optimised, threads=threads),
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime's exceptions have no class in common
            require_data(path)
            raise CannotRunError(
                f"ONNX Runtime {ort.__version__} cannot load {what} ({path}): {reason(error)}"
            ) from error
        self.inputs = {item.name: str(item.type) for item in self._session.get_inputs()}
        self.defaulted = {
            item.name: str(item.type) for item in self._session.get_overridable_initializers()
        }
        self.outputs = {item.name: str(item.type) for item in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """Every output by its name; ``feeds``: a value for each of ``inputs``, and for those of
        ``defaulted`` that shall have another than their default. Raises ``CannotRunError``."""
        types = self.inputs | self.defaulted
        names = list(self.outputs)
        try:
            given = {name: fed(feeds[name], types[name]) for name in types if name in feeds}
            if any(map(is_foreign, self.outputs.values())):
                values = {name: wrapped(value) for name, value in given.items()}
                found = self._session.run_with_ort_values(names, values, _run_options())
                return dict(zip(names, map(unwrapped, found), strict=True))
            found = self._session.run(names, given, _run_options())
        except Exception as error:
            raise CannotRunError(
                f"ONNX Runtime {ort.__version__} cannot run {self._what}: {reason(error)}"
            ) from error
        return dict(zip(names, found, strict=True))


def quantises(path: Path) -> bool:
    """Whether a model rounds to 8 bits somewhere on its way (what does starts with ``Q``, as
    ``QLinearConv``, or has ``Quantize`` in its name). Raises ``IngestError``."""
    model = _skeleton(path)
    graphs = (model.graph.node, *(function.node for function in model.functions))
    op_types = (node.op_type for nodes in graphs for node in with_inner(nodes))
    return any("Quantize" in op_type or op_type.startswith("Q") for op_type in op_types)


def require_data(path: Path) -> None:
    """Raise ``MissingDataError`` where external data that a model refers to are not there.

    Silent about a file that is no model.
    """
    try:
        model = _skeleton(path)
    except (IngestError, OSError):
        return
    for tensor in tensors_of_model(model):
        entries = entries_of(tensor)
        if is_external(tensor) and "location" in entries:
            place = path.parent / entries["location"]
            length_bytes = byte_count(entries.get("length", "")) or nbytes_of(tensor)
            end = (byte_count(entries.get("offset", "")) or 0) + length_bytes
            if not place.is_file():
                raise MissingDataError(
                    f"the data of weight {tensor.name!r} are to be in {place}, which is not there; "
                    "put it beside the model"
                )
            size_bytes = place.stat().st_size
            if size_bytes < end:
                raise MissingDataError(
                    f"the data of weight {tensor.name!r} end at byte {end} of {place}, which has "
                    f"{size_bytes} bytes; copy it again, whole"
                )


def _skeleton(path: Path) -> ModelProto:
    with path.open("rb") as file:
        return parse(read_skeleton(file, Limits()).content, Limits())


def _run_options() -> Any:
    options = ort.RunOptions()
    options.log_severity_level = _FATAL
    return options
