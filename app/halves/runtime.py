"""A model in ONNX Runtime, on the CPU."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from app.errors import CannotRunError, IngestError, MissingDataError
from app.halves.comparison import Value
from app.ingest.captures import with_inner
from app.ingest.element_types import ELEMENT_TYPES
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


class LoadedModel:
    """A model that is ready to run; its memory goes with it.

    ``inputs``: the inputs that have to be fed, ``defaulted``: those that have a default, and
    ``outputs``; each with ONNX Runtime's name of its type, in the model's order.
    """

    def __init__(self, path: Path, what: str, *, optimised: bool) -> None:
        """Load ``path``, which messages call ``what``.

        ``optimised``: as ONNX Runtime does by default, but that it rounds no activations to 8 bits
        where weights have 4; else node by node as the file has them, by one thread. Raises
        ``CannotRunError`` and ``MissingDataError``.
        """
        self._what = what
        ort.set_default_logger_severity(_FATAL)
        try:
            self._session = ort.InferenceSession(
                str(path), _options(optimised), providers=["CPUExecutionProvider"]
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
            fed = {name: _fed(feeds[name], types[name]) for name in types if name in feeds}
            if any(map(_is_foreign, self.outputs.values())):
                wrapped = {name: _wrapped(value) for name, value in fed.items()}
                found = self._session.run_with_ort_values(names, wrapped, _run_options())
                return dict(zip(names, map(_unwrapped, found), strict=True))
            found = self._session.run(names, fed, _run_options())
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


def _options(optimised: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", _FLOAT32)
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
    return options


def _run_options() -> Any:
    options = ort.RunOptions()
    options.log_severity_level = _FATAL
    return options


def _element_type(type_name: str) -> int | None:
    """The ``TensorProto.DataType`` of such as ``tensor(float)``; None of what is no tensor."""
    if not type_name.startswith("tensor("):
        return None
    code: int = TensorProto.DataType.Value(type_name[len("tensor(") : -1].upper())
    return code


def _is_foreign(type_name: str) -> bool:
    """Whether numpy has no such element type of its own, so that ONNX Runtime will not turn the
    tensor into an array."""
    code = _element_type(type_name)
    return code is not None and not _is_numpys_own(code)


def _is_numpys_own(code: int) -> bool:
    return tensor_dtype_to_np_dtype(code).isbuiltin == 1


def _fed(value: Value, type_name: str) -> Any:
    """What ``run`` takes for a value."""
    code = _element_type(type_name)
    if code is None:
        return value
    array = np.asarray(value, order="C")
    if not _is_foreign(type_name):
        return array
    dtype = tensor_dtype_to_np_dtype(code)
    if array.dtype.name.startswith("void"):  # as .npz files hold what numpy does not know
        array = array.view(dtype)
    if array.dtype != dtype:
        raise TypeError(f"a tensor of {array.dtype} is given where {dtype} is expected")
    raw: bytes = numpy_helper.from_array(array).raw_data
    tensor = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, code)
    ctypes.memmove(tensor.data_ptr(), raw, len(raw))
    return tensor


def _wrapped(value: Any) -> ort.OrtValue:
    if isinstance(value, ort.OrtValue):
        return value
    return ort.OrtValue.ortvalue_from_numpy(value)


def _unwrapped(value: ort.OrtValue) -> NDArray[Any]:
    code = value.element_type()
    if _is_numpys_own(code):
        return np.asarray(value.numpy())
    shape = value.shape()
    nbytes = ELEMENT_TYPES[code].nbytes(int(np.prod(shape)))
    raw = ctypes.string_at(value.data_ptr(), nbytes)
    return np.asarray(numpy_helper.to_array(TensorProto(data_type=code, dims=shape, raw_data=raw)))
