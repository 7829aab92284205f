"""Data that is no plain initializer: Constant nodes, sparse tensors, typed fields, text."""

import numpy as np
from onnx import ModelProto, SparseTensorProto, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import BOOL, INT64, ints, model, node, value

weighted = Collection()


@weighted.model()
def constant_nodes() -> ModelProto:
    """Constant nodes of every kind, large and small, used on both sides."""
    many = [float(number) for number in numbers("many", 400)]
    return model(
        [
            helper.make_node("Constant", [], ["w"], value=weight("w", 16, 400)),
            helper.make_node("Constant", [], ["floats"], value_floats=many),
            helper.make_node("Constant", [], ["shape"], value_ints=[2, 20, 20]),
            helper.make_node("Constant", [], ["half"], value_float=0.5),
            helper.make_node("Constant", [], ["axis"], value_int=1),
            node("MatMul", "x w", "m", name="m"),
            node("Add", "m floats", "a", name="a"),
            node("Mul", "a half", "h", name="h"),
            node("Reshape", "h shape", "s", name="s"),
            node("CumSum", "s axis", "c", name="c"),
            node("Flatten", "c", "f", name="f"),
            node("Sub", "f floats", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 400])],
    )


@weighted.model()
def sparse() -> ModelProto:
    """A sparse initializer, and a Constant node with a sparse value."""
    random = np.random.default_rng(7)

    def coordinates(name: str, rows: int, columns: int, count: int) -> SparseTensorProto:
        places = np.sort(random.choice(rows * columns, count, replace=False))
        return helper.make_sparse_tensor(
            weight(name, count), tensor(f"{name}.places", places), [rows, columns]
        )

    held = coordinates("inner", 24, 24, 300)
    proto = model(
        [
            helper.make_node("Constant", [], ["v"], sparse_value=held, name="v"),
            node("MatMul", "x w", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r v", "g", name="g"),
            node("Tanh", "g", "t", name="t"),
            node("MatMul", "t w", "y", name="y"),
        ],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
    )
    proto.graph.sparse_initializer.append(coordinates("w", 24, 24, 300))
    return proto


@weighted.model()
def typed_fields() -> ModelProto:
    """Data in float_data, int32_data, int64_data and double_data, all beyond 1 KiB."""
    floats = [float(number) for number in numbers("floats", 16, 300).reshape(-1)]
    halves = numbers("halves", 300).astype(np.float16)
    mask = numbers("mask", 2, 1200) > 0
    return model(
        [
            node("MatMul", "x floats", "m", name="m"),
            node("Cast", "halves", "h", name="cast", to=TensorProto.FLOAT),
            node("Add", "m h", "a", name="a"),
            node("Gather", "a picks", "g", name="g", axis=1),
            node("Where", "mask g zero", "z", name="z"),
            node("Cast", "z", "d", name="d", to=TensorProto.DOUBLE),
            node("Mul", "d doubles", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 1200], TensorProto.DOUBLE)],
        [
            helper.make_tensor("floats", TensorProto.FLOAT, [16, 300], floats),
            helper.make_tensor("halves", TensorProto.FLOAT16, [300], halves.tolist()),
            helper.make_tensor("picks", INT64, [1200], [(7 * i) % 300 for i in range(1200)]),
            helper.make_tensor("mask", BOOL, [2, 1200], mask.reshape(-1).tolist()),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor(
                "doubles", TensorProto.DOUBLE, [1200], [1 + i / 3 for i in range(1200)]
            ),
        ],
    )


@weighted.model()
def text() -> ModelProto:
    """A table of words, beyond 1 KiB, from which a tensor of text comes out."""
    words = np.array([f"word number {i} of the table" for i in range(60)], dtype=object)
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("ArgMax", "h", "best", name="best", axis=1, keepdims=0),
            node("Gather", "table best", "words", name="words"),
            node("Softmax", "h", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 60]), value("words", [2], TensorProto.STRING)],
        [weight("w", 16, 60), tensor("table", words)],
    )


@weighted.model()
def generated() -> ModelProto:
    """Folded nodes that make much of little: ConstantOfShape, Range, Expand, EyeLike."""
    return model(
        [
            helper.make_node(
                "ConstantOfShape",
                ["shape"],
                ["filled"],
                value=tensor("value", np.array([0.5], np.float32)),
            ),
            node("EyeLike", "filled", "eye", name="eye"),
            node("Expand", "row shape", "wide", name="wide"),
            node("Add", "eye wide", "w", name="w"),
            node("MatMul", "x w", "a", name="a"),
            node("Relu", "a", "r", name="r"),
            node("MatMul", "r w", "b", name="b"),
            node("Add", "b filled", "y", name="y"),
        ],
        [value("x", [20, 20])],
        [value("y", [20, 20])],
        [ints("shape", 20, 20), weight("row", 1, 20)],
    )
