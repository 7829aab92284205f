"""Shapes: arithmetic on shapes is carried out, what stays unknown is named, what contradicts
itself is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from app.errors import InvalidModelError, UnknownShapeError
from tests.ingest.build import (
    FLOAT,
    INT64,
    dag_of,
    floats,
    ints,
    model,
    node,
    scalar,
    shapes,
    taken,
    value,
)


def evaluated(proto: ModelProto, *extents: int) -> tuple[int, ...]:
    """The shape of the first result when onnx's reference runs the model on zeros."""
    feeds = {proto.graph.input[0].name: np.zeros(extents, dtype=np.float32)}
    results = list(ReferenceEvaluator(proto).run(None, feeds))
    return tuple(np.asarray(results[0]).shape)


def unranked(rank: int) -> list[str]:
    """Symbols of a graph output whose extents nobody states."""
    return [f"u{i}" for i in range(rank)]


CASES: dict[str, tuple[int, list[NodeProto]]] = {
    # name: (rank of the result, nodes)
    "reshape by a computed shape": (
        2,
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axis0", "n1"),
            node("Concat", "n1 rest", "t", axis=0),
            node("Reshape", "x t", "y"),
        ],
    ),
    "slice to a computed end": (
        3,
        [
            node("Shape", "x", "s"),
            node("Gather", "s one", "n", axis=0),
            node("Div", "n two", "half"),
            node("Unsqueeze", "half axis0", "end"),
            node("Slice", "x axis0 end axis1", "y"),
        ],
    ),
    "range over an extent": (
        1,
        [
            node("Shape", "x", "s"),
            node("Gather", "s one", "n", axis=0),
            node("Range", "zero n one", "y"),
        ],
    ),
    "expand to computed extents": (
        4,
        [
            node("Shape", "x", "s"),
            node("Concat", "axis1 s", "t", axis=0),
            node("Expand", "x t", "y"),
        ],
    ),
    "expand by a mask of -1": (
        3,
        [
            node("Shape", "x", "s"),
            node("Shape", "s", "rank"),
            node("ConstantOfShape", "rank", "ones", value=helper.make_tensor("v", INT64, [1], [1])),
            node("Mul", "ones minus", "negative"),
            node("Equal", "wanted negative", "is_open"),
            node("Where", "is_open s wanted", "t"),
            node("Expand", "x t", "y"),
        ],
    ),
    "shapes that hang on shapes": (
        2,
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Range", "zero n one", "r"),
            node("Shape", "r", "rs"),
            node("Concat", "rs axis1", "t", axis=0),
            node("ConstantOfShape", "t", "y"),
        ],
    ),
    "size and a part of a shape": (
        1,
        [
            node("Shape", "x", "s", start=1, end=-1),
            node("Size", "x", "n"),
            node("Squeeze", "s axis0", "part"),
            node("Div", "n part", "m"),
            node("Unsqueeze", "m axis0", "t"),
            node("ConstantOfShape", "t", "y"),
        ],
    ),
    "float arithmetic on extents": (
        4,
        [
            node("Shape", "x", "s"),
            node("Cast", "s", "f", to=FLOAT),
            node("Mul", "f scale", "g"),
            node("Floor", "g", "h"),
            node("Cast", "h", "t", to=INT64),
            node("Concat", "axis1 t", "t4", axis=0),
            node("Expand", "one_float t4", "y"),
        ],
    ),
    "split of a shape": (
        2,
        [
            node("Shape", "x", "s"),
            node("Split", "s parts", "head tail"),
            node("ReduceProd", "tail", "m", keepdims=1),
            node("Concat", "head m", "t", axis=0),
            node("Reshape", "x t", "y"),
        ],
    ),
}
ARGUMENTS = [
    scalar("zero", 0),
    scalar("one", 1),
    scalar("two", 2),
    ints("axis0", 0),
    ints("axis1", 1),
    ints("rest", -1),
    ints("minus", -1),
    ints("wanted", -1, -1, -1),
    ints("parts", 1, 2),
    helper.make_tensor("scale", FLOAT, [1], [1.5]),
    helper.make_tensor("one_float", FLOAT, [1], [1.0]),
]


@pytest.mark.parametrize("case", CASES)
@given(extents=st.tuples(st.integers(1, 6), st.integers(2, 9), st.integers(1, 5)))
@settings(max_examples=8, deadline=None)
def test_arithmetic_on_shapes_gives_what_a_run_gives(
    case: str, extents: tuple[int, int, int]
) -> None:
    """A shape computed in the graph from symbolic extents is that of a run with these extents."""
    rank, nodes = CASES[case]
    is_integer = case == "range over an extent"
    output = value("y", unranked(rank), INT64 if is_integer else FLOAT)
    used = {name for item in nodes for name in item.input}
    weights = [item for item in ARGUMENTS if item.name in used]
    proto = model(nodes, [value("x", ["n", "length", "width"])], [output], weights)
    n, length, width = extents
    dag = taken(proto, {"n": n, "length": length, "width": width}).dag
    assert shapes(dag)["y"] == evaluated(proto, *extents)


def test_unknown_shapes_are_named_with_their_operator() -> None:
    """A tensor whose size hangs on data is never cut, and named with the operator that makes it;
    whoever binds its dimensions gives it a size."""
    proto = model(
        [node("NonZero", "x", "where"), node("Cast", "where", "y", to=FLOAT)],
        [value("x", [3, 4])],
        [value("y", ["rank", "hits"])],
    )
    ingested = taken(proto)
    assert ingested.dag.tensor_is_cuttable.tolist() == [True, False, False]
    assert ingested.facts.warnings[0] == (
        "the size of 2 of 3 tensors is not known before the model runs: never cut, and counted as "
        "0 bytes ('where (made by NonZero)', 'y (made by Cast)'; the 2 nodes around them do "
        "100.00% of the model's FLOPs)"
    )
    dag = taken(proto, {"rank": 2, "hits": 5}).dag
    assert shapes(dag)["y"] == (2, 5)
    assert dag.tensor_is_cuttable.tolist() == [True, False, True]


def test_the_first_of_many_unknown_shapes_are_named_and_the_rest_counted() -> None:
    """Of a long chain of unknown sizes five are named."""
    nodes = [node("NonZero", "x", "t0")]
    nodes += [node("Neg", f"t{i}", f"t{i + 1}") for i in range(9)]
    proto = model(nodes, [value("x", [3, 4])], [value("t9", ["r", "h"], INT64)])
    warning = taken(proto).facts.warnings[0]
    assert "'t4 (made by Neg)' and 5 more" in warning
    assert "'t5" not in warning


def test_custom_operators_without_stored_shapes_are_named_with_their_domain() -> None:
    """The output of an operator that onnx does not know is named with domain and type."""
    proto = model(
        [node("Mystery", "x", "m", domain="there"), node("Relu", "m", "y")],
        [value("x")],
        [value("y")],
        domains={"there": 1},
    )
    assert "'m (made by there.Mystery)'" in taken(proto).facts.warnings[0]


def test_stored_shapes_stand_in_for_inference() -> None:
    """A stored shape of a data-dependent tensor is believed."""
    dag = dag_of(
        [node("NonZero", "x", "where"), node("Cast", "where", "y", to=FLOAT)],
        [value("x", [3, 4])],
        [value("y", [2, 5])],
        infos=[value("where", [2, 5], INT64)],
    )
    assert shapes(dag) == {"x": (3, 4), "where": (2, 5), "y": (2, 5)}


def test_unknown_outputs_that_nobody_uses_do_not_matter() -> None:
    """Outputs of unknown size that are not used are no tensors: the mask of a Dropout, the
    indices of a custom operator."""
    dag = dag_of(
        [
            node("Dropout", "x", "d mask"),
            node("Mystery", "d", "m indices", domain="there"),
            node("MaxPool", "m", "y -", kernel_shape=[2]),
        ],
        [value("x", [1, 1, 8])],
        [value("y", [1, 1, 7])],
        infos=[value("m", [1, 1, 8])],
        domains={"there": 1},
    )
    assert dag.tensor_names == ("x", "d", "m", "y")


def test_left_out_operands_are_no_tensors() -> None:
    """Empty names among a node's inputs stand for nothing."""
    dag = dag_of(
        [node("Clip", "x - high", "y", name="clip")],
        [value("x")],
        [value("y")],
        [helper.make_tensor("high", FLOAT, [], [1.0])],
    )
    assert dag.tensor_names == ("x", "y")


def test_zero_extents_give_zero_bytes_and_flops() -> None:
    """A tensor without elements costs nothing, and is no error."""
    dag = dag_of(
        [node("MatMul", "x w", "y")],
        [value("x", [0, 4])],
        [value("y", [0, 3])],
        [floats("w", 4, 3)],
    )
    assert dag.tensor_bytes.tolist() == [0, 0]
    assert dag.total_flops == 0


def test_scalars_have_the_bytes_of_one_element() -> None:
    """A tensor of rank 0 has one element."""
    dag = dag_of([node("Relu", "x", "y")], [value("x", [])], [value("y", [])])
    assert dag.tensor_shapes == ((), ())
    assert dag.tensor_bytes.tolist() == [4, 4]


def test_inference_wins_over_stale_stored_shapes() -> None:
    """What the file states of a tensor that inference can work out is not believed: the inputs
    may have been edited since."""
    dag = dag_of(
        [node("Relu", "x", "m"), node("Concat", "m m", "y", axis=0)],
        [value("x", ["n", 3])],
        [value("y", [2, 7], INT64)],
        infos=[value("m", [1, 3])],
        dims={"n": 5},
    )
    assert shapes(dag) == {"x": (5, 3), "m": (5, 3), "y": (10, 3)}
    assert set(dag.tensor_dtypes) == {"float32"}


def test_operands_that_contradict_their_operator_are_refused() -> None:
    """A product of unfitting extents is refused, and so is an axis beyond the rank."""
    x = value("x", [3, 4])
    proto = model([node("MatMul", "x x", "y", name="product")], [x], [value("y", [3, 3])])
    with pytest.raises(InvalidModelError, match=r"'product'.*Incompatible dimensions"):
        taken(proto)
    nodes = [node("Concat", "x x", "m", axis=7), node("Relu", "m", "y")]
    with pytest.raises(InvalidModelError, match=r"\(Concat\).*axis must be in"):
        taken(model(nodes, [x], [value("y", ["p", "q"])]))


def test_counts_beyond_64_bits_are_refused() -> None:
    """Extents whose products leave 64 bits are refused, whichever count leaves them."""
    big = 2**31 - 1
    x, y = value("x", ["n", "m", 1000]), value("y", ["n", "m", 1000])
    with pytest.raises((InvalidModelError, UnknownShapeError)):
        taken(model([node("Relu", "x", "y")], [x], [y]), {"n": big, "m": big})
    square = [value("x", ["n", "n"])], [value("y", ["n", "n"])]
    proto = model([node("MatMul", "x x", "y")], *square)
    with pytest.raises(InvalidModelError, match="64-bit"):
        taken(proto, {"n": big})
    weight = TensorProto(name="w", data_type=FLOAT, dims=[2**40, 2**40])
    weight.data_location = TensorProto.EXTERNAL
    proto = model(
        [node("Gather", "w x", "g"), node("ReduceSum", "g", "y", keepdims=0)],
        [value("x", [1], INT64)],
        [value("y", [])],
        [weight],
    )
    with pytest.raises((InvalidModelError, UnknownShapeError)):
        taken(proto)


def test_flops_that_hang_on_a_constant_argument_are_counted() -> None:
    """Where FLOPs hang on the value of an argument, that of a constant in the file is used."""
    frames = model(
        [node("STFT", "x step - length", "y", onesided=1)],
        [value("x", [1, 64, 1])],
        [value("y", [1, "f", "b", 2])],
        [scalar("step", 8), scalar("length", 16)],
    )
    dag = taken(frames).dag
    assert shapes(dag)["y"] == (1, 7, 9, 2)
    # 7 frames, each a real transform of 16 points at half of 5 N log2 N.
    assert dag.total_flops == 7 * (5 * 16 * 4) // 2


def test_flops_that_hang_on_unknown_data_are_estimated() -> None:
    """Where FLOPs hang on the value of a graph input, the output's elements stand in, and a
    warning says so."""
    proto = model(
        [node("DFT", "x - axis", "y", name="transform")],
        [value("x", [1, 16, 1]), value("axis", [], INT64)],
        [value("y", [1, 16, 2])],
        opset=20,
        ir_version=9,
    )
    ingested = taken(proto)
    assert ingested.dag.total_flops == 32
    assert "the FLOPs of 1 of 1 nodes (DFT) hang on sizes" in ingested.facts.warnings[-1]
