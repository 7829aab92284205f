"""Symbolic dimensions, and shapes that are computed."""

from onnx import ModelProto, TensorProto

from tests.halves.weighted_models.weighted import Collection, positive, weight
from tests.ingest.build import INT64, ints, model, node, scalar, value

weighted = Collection()


@weighted.model(dims={"batch": 3})
def symbolic_batch() -> ModelProto:
    """A batch by symbol, in the inputs, the output and stored types."""
    return model(
        [
            node("Conv", "x w", "c", name="c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r", name="r"),
            node("Flatten", "r", "f", name="f"),
            node("Gemm", "f v b", "h", name="h"),
            node("Add", "h z", "y", name="y"),
        ],
        [value("x", ["batch", 4, 4, 4]), value("z", ["batch", 24])],
        [value("y", ["batch", 24])],
        [weight("w", 8, 4, 3, 3), weight("v", 128, 24), weight("b", 24)],
        [value("c", ["batch", 8, 4, 4])],
    )


@weighted.model(dims={"x:1": 5, "batch": 2})
def symbolic_sequence() -> ModelProto:
    """An axis without a name, and shapes taken from one tensor to reshape others: what Shape gives
    is used on both sides of most cuts."""
    return model(
        [
            node("Shape", "x", "shape", name="shape"),
            node("Gather", "shape zero", "batch", name="batch"),
            node("Gather", "shape one", "length", name="length"),
            node("MatMul", "x w", "h", name="h"),
            node("Unsqueeze", "batch first", "b1", name="b1"),
            node("Unsqueeze", "length first", "l1", name="l1"),
            node("Concat", "b1 l1 heads rest", "split", name="split", axis=0),
            node("Reshape", "h split", "s", name="s"),
            node("Transpose", "s", "t", name="t", perm=[0, 2, 1, 3]),
            node("Softmax", "t", "a", name="a", axis=-1),
            node("Transpose", "a", "u", name="u", perm=[0, 2, 1, 3]),
            node("Concat", "b1 l1 width", "merged", name="merged", axis=0),
            node("Reshape", "u merged", "m", name="m"),
            node("MatMul", "m v", "y", name="y"),
        ],
        [value("x", ["batch", None, 16])],
        [value("y", ["batch", None, 24])],
        [
            weight("w", 16, 24),
            weight("v", 24, 24),
            scalar("zero", 0),
            scalar("one", 1),
            ints("first", 0),
            ints("heads", 4),
            ints("rest", -1),
            ints("width", 24),
        ],
    )


@weighted.model(dims={"batch": 2, "sequence": 6})
def transformer() -> ModelProto:
    """A block of a transformer on token ids, with a padding mask and positions cut to length."""
    heads, width = 4, 32
    names = ("q", "k", "v")
    nodes = [
        node("Shape", "ids", "shape", name="shape"),
        node("Slice", "shape one two", "length", name="length"),
        node("Slice", "positions zero length zero", "p", name="p"),
        node("Gather", "words ids", "e", name="e"),
        node("Add", "e p", "h", name="h"),
        node("Concat", "shape heads each", "split", name="split", axis=0),
        node("Concat", "shape all", "merged", name="merged", axis=0),
        node("Cast", "mask", "visible", name="visible", to=TensorProto.FLOAT),
        node("Sub", "unit visible", "hidden", name="hidden"),
        node("Mul", "hidden low", "penalty", name="penalty"),
        node("Unsqueeze", "penalty axes", "bias", name="bias"),
    ]
    for name in names:
        nodes += [
            node("MatMul", f"h w{name}", f"{name}0", name=f"{name}0"),
            node("Reshape", f"{name}0 split", f"{name}1", name=f"{name}1"),
            node(
                "Transpose",
                f"{name}1",
                f"{name}2",
                name=f"{name}2",
                perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3],
            ),
        ]
    nodes += [
        node("MatMul", "q2 k2", "scores", name="scores"),
        node("Mul", "scores scale", "scaled", name="scaled"),
        node("Add", "scaled bias", "masked", name="masked"),
        node("Softmax", "masked", "attention", name="attention", axis=-1),
        node("MatMul", "attention v2", "context", name="context"),
        node("Transpose", "context", "turned", name="turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned merged", "joined", name="joined"),
        node("MatMul", "joined wo", "projected", name="projected"),
        node("Add", "projected h", "sum", name="sum"),
        node("LayerNormalization", "sum gain shift", "normed", name="norm"),
        node("MatMul", "normed up", "wide", name="wide"),
        node("Erf", "wide", "bent", name="bent"),
        node("Mul", "wide bent", "active", name="active"),
        node("MatMul", "active down", "narrow", name="narrow"),
        node("Add", "narrow normed", "out", name="out"),
        node("Transpose", "words", "unembed", name="unembed"),
        node("MatMul", "out unembed", "logits", name="logits"),
    ]
    weights = [weight(f"w{name}", width, width) for name in (*names, "o")]
    weights += [
        weight("words", 50, width),
        weight("positions", 16, width),
        weight("up", width, 2 * width),
        weight("down", 2 * width, width),
        positive("gain", width),
        weight("shift", width),
        weight("scale"),
        positive("unit"),
        weight("low"),
        *(ints(name, number) for name, number in (("zero", 0), ("one", 1), ("two", 2))),
        ints("heads", heads),
        ints("each", width // heads),
        ints("all", width),
        ints("axes", 1, 2),
    ]
    return model(
        nodes,
        [value("ids", ["batch", "sequence"], INT64), value("mask", ["batch", "sequence"], INT64)],
        [value("logits", ["batch", "sequence", 50])],
        weights,
    )
