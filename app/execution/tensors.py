"""Arrays as the bytes that go over a link, and back.

On the link a tensor is as ONNX has its raw data: little-endian, types below 8 bits packed. All
other types go as they lie in memory, without a copy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from app.errors import CannotRunError
from app.execution.errors import NotOurProtocolError
from app.execution.messages import Port, Tensor
from app.execution.wire import Connection
from app.halves.comparison import Value
from app.ingest.element_types import DATA_TYPES, ELEMENT_TYPES
from app.ingest.reasons import reason

Array = NDArray[Any]


def require_tensors(ports: Sequence[Port], whose: str) -> None:
    """Raise ``CannotRunError`` where something would have to go over the link that has no bytes of
    its own, such as strings. ``whose``: what the ports belong to."""
    for port in ports:
        known = ELEMENT_TYPES.get(DATA_TYPES.get(port.dtype, 0))
        if known is None or known.bits == 0:
            raise CannotRunError(
                f"{port.name!r} of {whose} is {port.dtype}, and only tensors of numbers go over "
                "the link; take a split in which it stays on the device"
            )


def outgoing(
    values: Mapping[str, Value], ports: Sequence[Port]
) -> tuple[list[Tensor], list[memoryview]]:
    """What is sent of values: a tensor for each port, and its bytes."""
    tensors, data = [], []
    for port in ports:
        array = np.asarray(values[port.name])
        tensors.append(Tensor(name=port.name, dtype=port.dtype, shape=list(array.shape)))
        data.append(_bytes_of(array, port.dtype))
    return tensors, data


class Incoming:
    """Where tensors are received; memory is used again while their sizes stay the same.

    So what ``receive`` gave lasts until it is called again.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._buffers: list[Array] = []
        self._views: list[memoryview] = []

    def receive(self, connection: Connection, tensors: list[Tensor]) -> dict[str, Array]:
        """The tensors by name. Their sizes have been checked (``messages.require_sizes``).

        Raises ``CannotRunError`` where there is no memory for them, and as ``Connection`` does.
        """
        if tensors != self._tensors:
            self._tensors, self._buffers = tensors, _buffers_for(tensors)
            self._views = [each.reshape(-1).view(np.uint8).data for each in self._buffers]
        connection.fill(self._views)
        return {
            tensor.name: _array_of(tensor, buffer)
            for tensor, buffer in zip(tensors, self._buffers, strict=True)
        }


def require_due(tensors: Sequence[Tensor], ports: Sequence[Port]) -> None:
    """Raise ``NotOurProtocolError`` unless the tensors that are announced are those of the ports,
    in their order, of their types. Whether shapes are right is for ONNX Runtime to say."""
    found = [(tensor.name, tensor.dtype) for tensor in tensors]
    due = [(port.name, port.dtype) for port in ports]
    if found != due:
        raise NotOurProtocolError(f"the tensors {found} are announced, and {due} are due")


def _is_packed(dtype: str) -> bool:
    return ELEMENT_TYPES[DATA_TYPES[dtype]].bits < 8


def _bytes_of(array: Array, dtype: str) -> memoryview:
    if _is_packed(dtype):
        return memoryview(numpy_helper.from_array(array).raw_data)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _buffers_for(tensors: Sequence[Tensor]) -> list[Array]:
    try:
        return [_buffer_for(each) for each in tensors]
    except (MemoryError, ValueError) as error:  # numpy has bounds even for what has no elements.
        nbytes = sum(each.nbytes for each in tensors)
        raise CannotRunError(
            f"there is no memory for tensors of {nbytes} bytes: {reason(error)}"
        ) from error


def _buffer_for(tensor: Tensor) -> Array:
    if _is_packed(tensor.dtype):
        return np.empty(tensor.nbytes, dtype=np.uint8)
    return np.empty(tensor.shape, dtype=tensor_dtype_to_np_dtype(DATA_TYPES[tensor.dtype]))


def _array_of(tensor: Tensor, buffer: Array) -> Array:
    if not _is_packed(tensor.dtype):
        return buffer
    proto = TensorProto(
        data_type=DATA_TYPES[tensor.dtype], dims=tensor.shape, raw_data=buffer.tobytes()
    )
    return np.asarray(numpy_helper.to_array(proto))
