"""Convolutional networks."""

from onnx import ModelProto, NodeProto, TensorProto

from tests.halves.weighted_models.weighted import Collection, positive, weight
from tests.ingest.build import floats, ints, model, node, value

weighted = Collection()


def conv(data: str, out: str, channels_in: int, channels_out: int) -> tuple[NodeProto, TensorProto]:
    """A 3x3 convolution that keeps height and width, and its weight, named after the output."""
    name = f"{out}.weight"
    made = node("Conv", f"{data} {name}", out, name=out, pads=[1, 1, 1, 1])
    return made, weight(name, channels_out, channels_in, 3, 3)


@weighted.model()
def residual() -> ModelProto:
    """Two residual blocks with batch normalisation; weights on either side of 1 KiB."""
    nodes, weights = [], []
    data = "x"
    for block, channels in enumerate((3, 8)):
        for step in range(2):
            made, kernel = conv(data, f"c{block}{step}", channels if step == 0 else 8, 8)
            norm = [f"n{block}{step}.{part}" for part in ("scale", "bias", "mean", "var")]
            nodes += [
                made,
                node(
                    "BatchNormalization",
                    " ".join([made.output[0], *norm]),
                    f"n{block}{step}",
                    name=f"n{block}{step}",
                ),
                node("Relu", f"n{block}{step}", f"r{block}{step}", name=f"r{block}{step}"),
            ]
            weights += [kernel, positive(norm[0], 8), weight(norm[1], 8), weight(norm[2], 8)]
            weights.append(positive(norm[3], 8))
            data = f"r{block}{step}"
        nodes.append(node("Add", f"r{block}0 {data}", f"s{block}", name=f"s{block}"))
        data = f"s{block}"
    nodes += [
        node("GlobalAveragePool", data, "pooled", name="pool"),
        node("Flatten", "pooled", "flat", name="flatten"),
        node("Gemm", "flat head.weight head.bias", "y", name="head"),
    ]
    weights += [weight("head.weight", 8, 40), weight("head.bias", 40)]
    return model(nodes, [value("x", [2, 3, 8, 8])], [value("y", [2, 40])], weights)


@weighted.model()
def branching() -> ModelProto:
    """Two towers of different depth from one stem, and a third from an input of its own."""
    stem, stem_weight = conv("x", "stem", 3, 8)
    left, left_weight = conv("stem", "left", 8, 8)
    deep, deep_weight = conv("left", "deep", 8, 8)
    right, right_weight = conv("stem", "right", 8, 4)
    other, other_weight = conv("z", "other", 2, 4)
    nodes = [
        stem,
        left,
        node("Sigmoid", "right", "gate", name="gate"),
        right,
        deep,
        other,
        node("Concat", "deep gate other", "all", name="all", axis=1),
        node("MaxPool", "all", "small", name="small", kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", "small", "y", name="y", axes=[2, 3], keepdims=0),
    ]
    nodes[2], nodes[3] = nodes[3], nodes[2]
    weights = [stem_weight, left_weight, deep_weight, right_weight, other_weight]
    inputs = [value("x", [1, 3, 6, 6]), value("z", [1, 2, 6, 6])]
    return model(nodes, inputs, [value("y", [1, 16])], weights)


@weighted.model()
def one_node() -> ModelProto:
    """Nothing but one matrix product."""
    return model(
        [node("MatMul", "x w", "y", name="only")],
        [value("x", [3, 16])],
        [value("y", [3, 32])],
        [weight("w", 16, 32)],
    )


@weighted.model()
def resized() -> ModelProto:
    """Resize with its optional region left out, by scales, and by an initializer without elements;
    transposed, grouped and padded convolutions."""
    return model(
        [
            node("Conv", "x depthwise", "a", name="a", group=8, pads=[1, 1, 1, 1]),
            node("Resize", "a - scales", "b", name="b", mode="nearest"),
            node("ConvTranspose", "b up", "c", name="c", strides=[2, 2]),
            node("Resize", "c empty empty sizes", "d", name="d", mode="linear"),
            node("Pad", "d pads zero", "y", name="y"),
        ],
        [value("x", [1, 8, 4, 4])],
        [value("y", [1, 4, 8, 7])],
        [
            weight("depthwise", 8, 1, 3, 3),
            weight("up", 8, 4, 3, 3),
            floats("scales", 4),
            floats("empty", 0),
            ints("sizes", 1, 4, 6, 6),
            ints("pads", 0, 0, 1, 0, 0, 0, 1, 1),
            weight("zero"),
        ],
    )
