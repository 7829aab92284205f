"""Element types: bytes, names, and which return a gradient."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.ingest.element_types import ELEMENT_TYPES
from tests.ingest.build import BOOL, FLOAT, dag_of, node, value

CODES = [code for code in TensorProto.DataType.values() if code != TensorProto.UNDEFINED]


def test_every_type_of_onnx_is_known() -> None:
    """Every element type of the installed ONNX has a width; the undefined one has none."""
    assert set(CODES) == set(ELEMENT_TYPES)


@pytest.mark.parametrize("code", [code for code in CODES if code != TensorProto.STRING])
@pytest.mark.parametrize("elements", [0, 1, 2, 3, 5, 8, 1000])
def test_bytes_are_those_that_onnx_stores(code: int, elements: int) -> None:
    """A tensor has as many bytes as onnx stores for it, sub-byte types packed."""
    array = np.zeros(elements, dtype=helper.tensor_dtype_to_np_dtype(code))
    stored = numpy_helper.from_array(array)
    assert stored.data_type == code
    assert ELEMENT_TYPES[code].nbytes(elements) == len(stored.raw_data)


@pytest.mark.parametrize("code", [code for code in CODES if code != TensorProto.STRING])
def test_a_gradient_returns_for_types_that_hold_fractions(code: int) -> None:
    """The types that return a gradient are those that can hold one half."""
    half = np.array(0.5).astype(helper.tensor_dtype_to_np_dtype(code))
    assert ELEMENT_TYPES[code].is_floating == (complex(half) == 0.5)
    assert not ELEMENT_TYPES[TensorProto.STRING].is_floating


def test_names_are_numpys() -> None:
    """Common types go by the names that numpy gives them."""
    for name in ("float32", "float64", "float16", "int64", "uint8", "bool", "complex64"):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(name))
        assert ELEMENT_TYPES[code].name == name


@pytest.mark.parametrize(
    ("code", "elements", "nbytes", "name"),
    [
        (TensorProto.FLOAT16, 6, 12, "float16"),
        (TensorProto.INT4, 7, 4, "int4"),
        (TensorProto.UINT4, 8, 4, "uint4"),
        (TensorProto.FLOAT8E4M3FN, 7, 7, "float8e4m3fn"),
        (TensorProto.DOUBLE, 3, 24, "float64"),
    ],
)
def test_tensors_of_a_model_have_the_bytes_of_their_type(
    code: int, elements: int, nbytes: int, name: str
) -> None:
    """A graph input of a type has the bytes of its packed elements."""
    dag = dag_of(
        [node("Cast", "x", "y", to=FLOAT)],
        [value("x", [elements], code)],
        [value("y", [elements])],
        opset=21,
        ir_version=10,
    )
    assert dag.tensor_dtypes == (name, "float32")
    assert dag.tensor_bytes.tolist() == [nbytes, 4 * elements]


def test_integer_tensors_return_no_gradient() -> None:
    """Of the tensors of a model, only those that a node makes in floating point return one."""
    dag = dag_of(
        [node("Greater", "x x", "b"), node("Cast", "b", "f", to=FLOAT), node("Relu", "f", "y")],
        [value("x")],
        [value("y")],
    )
    names = [dag.tensor_names[i] for i in np.flatnonzero(dag.returns_gradient)]
    assert sorted(names) == ["f", "y"]
    assert dag.tensor_dtypes[dag.tensor_names.index("b")] == "bool"


def test_strings_have_no_size_before_the_model_runs() -> None:
    """A tensor of strings is never cut, rather than stopping ingest or crossing for nothing."""
    dag = dag_of(
        [node("Equal", "s s", "b"), node("Not", "b", "y")],
        [value("s", [4], TensorProto.STRING)],
        [value("y", [4], BOOL)],
        opset=19,
        ir_version=9,
    )
    assert dag.tensor_is_cuttable.tolist() == [False, True, True]
    assert dag.tensor_bytes.tolist() == [0, 4, 4]
    assert dag.tensor_shapes == ((4,), (4,), (4,))
