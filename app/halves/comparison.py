"""How far two values of a model's output are from each other.

A value is what ONNX Runtime gives: an array, a list (sequence), a dict (map), or None (an optional
without a value). Whatever is not a floating-point number is either equal or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = Any
Array = NDArray[Any]

TOLERANCES = {"float64": 2.0**-43, "float32": 2.0**-14, "float16": 2.0**-6, "bfloat16": 2.0**-3}
"""The largest difference, relative to the largest magnitude, that a changed order of additions
explains: 1e-13, 6e-5, 1.6e-2 and 0.125.

Rounding is off by at most u = 2^-53, 2^-24, 2^-11 or 2^-8 of each number. Errors of independent
roundings grow with the square root of their count: 2^16 terms to a sum and 2^4 such sums in a row
make 2^10 u in the first two. Runtimes sum the last two in float32, so it is not the terms that
count but the results stored on the way, and 2^10 of those make 2^5 u.
"""
QUANTISED_TOLERANCE = TOLERANCES["bfloat16"]
"""Of a model that rounds to 8 bits on the way, which is off by 2^-8 of a tensor's range, too: a sum
that changes in its last bit may be rounded to the next step."""
HALF_PRECISION = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Between a value and what it should be.

    ``largest_absolute``: infinite where one is NaN or infinite and the other is not.
    ``largest_relative``: the same over the largest finite magnitude of what it should be.
    ``is_equal``: bit for bit, but that any NaN equals any other. ``problem``: what is other than
    numbers (type, shape, length), None where nothing is. ``overflowed``: how many numbers are NaN
    or infinite that should be finite.
    """

    largest_absolute: float = 0.0
    largest_relative: float = 0.0
    is_equal: bool = True
    problem: str | None = None
    overflowed: int = 0


def compare(right: Value, found: Value) -> Difference:
    """Compare what was found with what is right."""
    if isinstance(right, np.ndarray) and isinstance(found, np.ndarray):
        return _compare_arrays(right, found)
    if isinstance(right, np.generic) and isinstance(found, np.generic):
        return _compare_arrays(np.asarray(right), np.asarray(found))
    if type(right) is not type(found):
        return _unlike(f"is {kind_of(found)} instead of {kind_of(right)}")
    if isinstance(right, list):
        if len(right) != len(found):
            return _unlike(f"has {len(found)} elements instead of {len(right)}")
        return _worst(list(starmap(compare, zip(right, found, strict=True))))
    if isinstance(right, dict):
        if right.keys() != found.keys():
            return _unlike("has other keys")
        return _worst([compare(right[key], found[key]) for key in right])
    if isinstance(right, float):
        return _compare_arrays(np.asarray(right), np.asarray(found))
    return Difference() if right == found else _different()


def kind_of(value: Value) -> str:
    """The name of a value's type: an array's element type, else that of the container."""
    if isinstance(value, np.ndarray | np.generic):
        return "string" if value.dtype.kind in "OUS" else value.dtype.name
    return _KINDS.get(type(value), type(value).__name__)


def element_kinds(value: Value) -> set[str]:
    """The names of the element types in a value, however deep."""
    if isinstance(value, list):
        return set().union(*map(element_kinds, value))
    if isinstance(value, dict):
        return set().union(*map(element_kinds, value.values()))
    return {kind_of(value)}


_KINDS: dict[type[Any], str] = {
    list: "sequence",
    dict: "map",
    type(None): "none",
    str: "string",
    int: "int64",
    float: "float32",  # of a map, whose values come as numbers of Python
}


def _compare_arrays(right: Array, found: Array) -> Difference:
    if kind_of(right) != kind_of(found):
        return _unlike(f"is {kind_of(found)} instead of {kind_of(right)}")
    if right.shape != found.shape:
        return _unlike(f"has shape {list(found.shape)} instead of {list(right.shape)}")
    if right.dtype.kind in "OUSb":
        return Difference() if bool(np.all(right == found)) else _different()
    if _same_bits(right, found):
        return Difference()
    wide = np.complex128 if right.dtype.kind == "c" else np.float64
    right, found = right.reshape(-1), found.reshape(-1)
    return _compare_numbers(right, found, right.astype(wide), found.astype(wide))


def _compare_numbers(right: Array, found: Array, wide: Array, wide_found: Array) -> Difference:
    """Of vectors that are not the same bits throughout; ``wide``: the same in a type in which
    differences can be told."""
    both_nan = np.isnan(wide) & np.isnan(wide_found)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(wide - wide_found)
    # Infinities less themselves are NaN, too.
    apart[both_nan | (wide == wide_found)] = 0.0
    apart[np.isnan(apart)] = np.inf
    largest = float(apart.max())
    magnitude = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
    relative = largest / magnitude if magnitude else (np.inf if largest else 0.0)
    is_equal = _same_bits(right[~both_nan], found[~both_nan])
    overflowed = int(np.count_nonzero(np.isfinite(wide) & ~np.isfinite(wide_found)))
    return Difference(largest, float(relative), is_equal, overflowed=overflowed)


def _same_bits(right: Array, found: Array) -> bool:
    return bool(np.array_equal(_bytes(right), _bytes(found)))


def _bytes(array: Array) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).view(np.uint8)


def _worst(differences: Sequence[Difference]) -> Difference:
    problems = [item.problem for item in differences if item.problem]
    return Difference(
        max((item.largest_absolute for item in differences), default=0.0),
        max((item.largest_relative for item in differences), default=0.0),
        all(item.is_equal for item in differences),
        problems[0] if problems else None,
        sum(item.overflowed for item in differences),
    )


def _different() -> Difference:
    """Of what has no distance."""
    return Difference(float("inf"), float("inf"), is_equal=False)


def _unlike(problem: str) -> Difference:
    return Difference(float("inf"), float("inf"), is_equal=False, problem=problem)
