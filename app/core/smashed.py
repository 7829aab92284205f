"""What smashed data take where they cross in a narrower type than that of their tensors."""

from collections.abc import Iterable
from math import prod
from typing import Literal

SmashedDtype = Literal["float16", "int8"]
"""What floating-point cut tensors, and their gradients, may be cast to."""

_CAST_BYTES: dict[SmashedDtype, tuple[int, int]] = {"float16": (2, 0), "int8": (1, 5)}
"""Bytes per element, and per tensor: int8 has a float32 scale and a uint8 zero point beside it."""
_IS_CAST = frozenset({"float64", "float32", "float16", "bfloat16"})
"""Complex numbers have no cast to these in ONNX, and what has 8 bits or fewer would not gain."""


def smashed_bytes(
    shape: Iterable[int] | None, dtype: str, nbytes: int, smashed_dtype: SmashedDtype
) -> int:
    """What a tensor of ``nbytes`` takes where it crosses: less where it is cast, which it is where
    that makes it smaller. ``shape``: None of an uncuttable tensor."""
    if shape is None or dtype not in _IS_CAST:
        return nbytes
    per_element, per_tensor = _CAST_BYTES[smashed_dtype]
    return min(nbytes, per_element * prod(shape) + per_tensor)
