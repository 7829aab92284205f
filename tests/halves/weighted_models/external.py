"""Weights in external data: one file and several, shared ranges, in bodies and in attributes."""

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, Files, numbers, tensor, weight
from tests.ingest.build import BOOL, graph, model, node, scalar, value

weighted = Collection()
ALIGNMENT_BYTES = 4096


def moved(held: TensorProto, place: str, files: Files, *, entries: str = "all") -> TensorProto:
    """The same tensor with its data appended to a file, at a page's beginning.

    ``entries``: which places are stated; ``all``, or ``location`` alone, for a file of its own.
    """
    content = files.get(place, b"")
    content += bytes(-len(content) % ALIGNMENT_BYTES)
    files[place] = content + held.raw_data
    return referring(held, place, len(content), len(held.raw_data), entries=entries)


def referring(
    held: TensorProto, place: str, offset: int, nbytes: int, *, entries: str = "all"
) -> TensorProto:
    """A tensor of this name, type and shape whose data are a range of a file."""
    made = TensorProto(
        name=held.name,
        data_type=held.data_type,
        dims=held.dims,
        data_location=TensorProto.EXTERNAL,
    )
    stated = {"location": place, "offset": str(offset), "length": str(nbytes)}
    for key, text in stated.items():
        if entries == "all" or key == entries:
            made.external_data.add(key=key, value=text)
    return made


def perceptron(weights: list[TensorProto]) -> ModelProto:
    """Three layers; ``weights``: w0 (16, 24), b0 (24,), w1 (24, 24), b1 (24,), w2 (24, 16)."""
    return model(
        [
            node("Gemm", "x w0 b0", "h0", name="h0"),
            node("Relu", "h0", "r0", name="r0"),
            node("Gemm", "r0 w1 b1", "h1", name="h1"),
            node("Tanh", "h1", "r1", name="r1"),
            node("MatMul", "r1 w2", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 16])],
        weights,
    )


LAYERS = [
    weight("w0", 16, 24),
    weight("b0", 24),
    weight("w1", 24, 24),
    weight("b1", 24),
    weight("w2", 24, 16),
]


@weighted.model()
def external_one_file() -> tuple[ModelProto, Files]:
    """All weights in one file, small ones as well."""
    files: Files = {}
    return perceptron([moved(item, "weights.bin", files) for item in LAYERS]), files


@weighted.model()
def external_several_files() -> tuple[ModelProto, Files]:
    """A file to each weight, some in a folder, two that state neither offset nor length; and one
    weight inside the model."""
    files: Files = {}
    weights = [
        moved(LAYERS[0], "layers/w0", files, entries="location"),
        LAYERS[1],
        moved(LAYERS[2], "layers/deep/w1.bin", files),
        moved(LAYERS[3], "b1", files, entries="location"),
        moved(LAYERS[4], "w2.data", files),
    ]
    return perceptron(weights), files


@weighted.model()
def external_shared_range() -> tuple[ModelProto, Files]:
    """Two weights are the same bytes, and a third is a part of them."""
    files: Files = {}
    first = moved(weight("w", 24, 24), "weights.bin", files)
    second = referring(weight("v", 24, 24), "weights.bin", 0, 24 * 24 * 4)
    part = referring(weight("u", 12, 24), "weights.bin", 24 * 24 * 2, 12 * 24 * 4)
    return model(
        [
            node("MatMul", "x w", "a", name="a"),
            node("MatMul", "a v", "b", name="b"),
            node("Tanh", "b", "t", name="t"),
            node("Concat", "u u", "uu", name="uu", axis=0),
            node("MatMul", "t uu", "y", name="y"),
        ],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
        [first, second, part],
    ), files


@weighted.model()
def external_in_attribute() -> tuple[ModelProto, Files]:
    """Constant nodes whose values lie in external data."""
    files: Files = {}
    large = moved(weight("large", 16, 24), "constants.bin", files)
    small = moved(weight("small", 24), "constants.bin", files)
    return model(
        [
            helper.make_node("Constant", [], ["w"], value=large, name="large"),
            helper.make_node("Constant", [], ["b"], value=small, name="small"),
            node("MatMul", "x w", "h", name="h"),
            node("Add", "h b", "s", name="s"),
            node("Mul", "s b", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 24])],
    ), files


@weighted.model()
def external_in_bodies() -> tuple[ModelProto, Files]:
    """A Loop whose body has external weights of its own, one large and one small."""
    files: Files = {}
    body = graph(
        [
            node("Gemm", "state inner bias", "m"),
            node("Add", "m h", "next"),
            node("Identity", "go", "goes"),
        ],
        [value("i", [], TensorProto.INT64), value("go", [], BOOL), value("state", [2, 24])],
        [value("goes", [], BOOL), value("next", [2, 24])],
        [
            moved(weight("inner", 24, 24), "body.bin", files),
            moved(weight("bias", 24), "body.bin", files),
        ],
    )
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Tanh", "h", "t", name="t"),
            node("Loop", "trips - t", "end", name="loop", body=body),
            node("Relu", "end", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 24])],
        [moved(weight("w", 16, 24), "main.bin", files), scalar("trips", 2)],
    ), files


@weighted.model()
def external_arguments() -> tuple[ModelProto, Files]:
    """External data of other types: indices, 16-bit numbers and 8-bit integers."""
    files: Files = {}
    codes = np.clip(numbers("codes", 30, 40) * 100, -127, 127).astype(np.int8)
    halves = numbers("halves", 40, 32).astype(np.float16)
    return model(
        [
            node("Gather", "x picks", "rows", name="rows", axis=0),
            node("Cast", "codes", "c", name="c", to=TensorProto.FLOAT),
            node("MatMul", "rows c", "h", name="h"),
            node("Cast", "halves", "w", name="w", to=TensorProto.FLOAT),
            node("MatMul", "h w", "y", name="y"),
        ],
        [value("x", [3, 30])],
        [value("y", [4, 32])],
        [
            moved(tensor("picks", np.array([0, 2, 2, 1])), "picks.bin", files),
            moved(tensor("codes", codes), "numbers.bin", files),
            moved(tensor("halves", halves), "numbers.bin", files),
        ],
    ), files
