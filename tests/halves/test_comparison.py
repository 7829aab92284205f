"""How far two values are from each other, and when that counts as equal."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from app.halves.comparison import Difference, compare

NAN, INF = np.nan, np.inf


def array(*numbers: complex, dtype: Any = np.float32) -> Any:
    """A vector."""
    return np.array(numbers, dtype=dtype)


def negative_nan() -> Any:
    """A NaN of other bits than numpy's own."""
    return np.array([0xFFC00001], dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize(
    "value",
    [
        array(1, -2, 0),
        array(NAN, INF, -INF, 3),
        array(1, NAN, dtype=ml_dtypes.bfloat16),
        array(1, 2, dtype=np.float16),
        array(1 + 2j, NAN, dtype=np.complex64),
        array(7, -7, dtype=np.int8),
        array(-8, 7, dtype=ml_dtypes.int4),
        np.array([True, False]),
        np.array(["a", "b"], dtype=object),
        np.array(3.0),
        np.zeros((0, 4), np.float32),
        [array(1), array(1, 2)],
        [{1: 0.5, 2: NAN}, {1: 1.0}],
        [],
        None,
    ],
    ids=str,
)
def test_a_value_equals_itself(value: Any) -> None:
    """Whatever a model may give equals its like, NaN and infinities included."""
    assert compare(value, value) == Difference()


def test_any_nan_equals_any_other() -> None:
    """The bits of a NaN do not matter, beside numbers that are equal."""
    right, found = np.append(array(NAN), array(2)), np.append(negative_nan(), array(2))
    assert right.tobytes() != found.tobytes()
    assert compare(right, found) == Difference()


@pytest.mark.parametrize(
    ("right", "found", "absolute", "relative"),
    [
        (array(1, 4), array(1, 3), 1.0, 0.25),
        (array(1, 4), array(0.5, 4), 0.5, 0.125),
        (array(0, 0), array(0, 2), 2.0, INF),
        (array(1, INF), array(3, INF), 2.0, 2.0),
        (array(1, NAN), array(1, 1), INF, INF),
        (array(1, 1), array(1, NAN), INF, INF),
        (array(INF), array(-INF), INF, INF),
        (array(4, 2), array(4, INF), INF, INF),
        (array(10, dtype=np.int64), array(9, dtype=np.int64), 1.0, 0.1),
        (array(3, dtype=np.uint8), array(4, dtype=np.uint8), 1.0, 1 / 3),
        (array(2, dtype=np.float16), array(3, dtype=np.float16), 1.0, 0.5),
        (np.array([True]), np.array([False]), INF, INF),
        (np.array(["a"], object), np.array(["b"], object), INF, INF),
        ([array(1), array(4)], [array(1), array(2)], 2.0, 0.5),
        ([{1: 0.5}], [{1: 0.25}], 0.25, 0.5),
    ],
)
def test_differences_are_counted(right: Any, found: Any, absolute: float, relative: float) -> None:
    """The largest difference, and what it is of the largest number that is finite."""
    difference = compare(right, found)
    assert not difference.is_equal
    assert difference.problem is None
    assert difference.largest_absolute == absolute
    assert difference.largest_relative == pytest.approx(relative)


def test_integers_are_told_apart_beyond_what_floating_point_holds() -> None:
    """Two 64-bit integers that float64 rounds to one number are not equal."""
    assert not compare(np.array([2**60]), np.array([2**60 + 1])).is_equal


def test_zeros_of_other_sign_are_not_the_same_bits() -> None:
    """Minus zero is no distance from zero, and yet not equal bit for bit."""
    difference = compare(array(0.0, 1.0), array(-0.0, 1.0))
    assert (difference.largest_absolute, difference.is_equal) == (0.0, False)


@pytest.mark.parametrize(
    ("right", "found", "problem"),
    [
        (array(1), array(1, dtype=np.float64), "is float64 instead of float32"),
        (array(1), array(1, dtype=np.float16), "is float16 instead of float32"),
        (array(1, 2), array(1, 2, 3), "has shape [3] instead of [2]"),
        (array(1), np.array([[1]], np.float32), "has shape [1, 1] instead of [1]"),
        (array(1), [array(1)], "is sequence instead of float32"),
        (None, array(1), "is float32 instead of none"),
        ([array(1)], [array(1), array(1)], "has 2 elements instead of 1"),
        ([array(1)], [array(1, 2)], "has shape [2] instead of [1]"),
        ([{1: 0.5}], [{2: 0.5}], "has other keys"),
    ],
)
def test_values_of_other_kinds_are_problems(right: Any, found: Any, problem: str) -> None:
    """Another type, shape, length or key is told in words, and is never close."""
    assert compare(right, found) == Difference(INF, INF, is_equal=False, problem=problem)
