"""Values as ONNX Runtime takes and gives them.

Arrays, but where numpy has no such element type of its own (bfloat16, float8 and all below 8 bits):
these it takes and gives as values of its own.
"""

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from app.halves.comparison import Value
from app.ingest.element_types import ELEMENT_TYPES


def _element_type(type_name: str) -> int | None:
    """The ``TensorProto.DataType`` of such as ``tensor(float)``; None of what is no tensor."""
    if not type_name.startswith("tensor("):
        return None
    code: int = TensorProto.DataType.Value(type_name[len("tensor(") : -1].upper())
    return code


def is_foreign(type_name: str) -> bool:
    """Whether numpy has no such element type of its own, so that ONNX Runtime will not turn the
    tensor into an array."""
    code = _element_type(type_name)
    return code is not None and not _is_numpys_own(code)


def _is_numpys_own(code: int) -> bool:
    return tensor_dtype_to_np_dtype(code).isbuiltin == 1


def fed(value: Value, type_name: str) -> Any:
    """What a session takes for a value; ``type_name``: of the input. Raises ``TypeError`` for a
    tensor of another type, where numpy would not tell."""
    code = _element_type(type_name)
    if code is None:
        return value
    array = np.asarray(value, order="C")
    if not is_foreign(type_name):
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


def wrapped(value: Any) -> ort.OrtValue:
    """A value as one of ONNX Runtime's own."""
    if isinstance(value, ort.OrtValue):
        return value
    return ort.OrtValue.ortvalue_from_numpy(value)


def unwrapped(value: ort.OrtValue) -> NDArray[Any]:
    """The array that a tensor is, of whatever element type."""
    code = value.element_type()
    if _is_numpys_own(code):
        return np.asarray(value.numpy())
    shape = value.shape()
    nbytes = ELEMENT_TYPES[code].nbytes(int(np.prod(shape)))
    raw = ctypes.string_at(value.data_ptr(), nbytes)
    return np.asarray(numpy_helper.to_array(TensorProto(data_type=code, dims=shape, raw_data=raw)))
