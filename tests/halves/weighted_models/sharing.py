"""Weights with several users."""

from onnx import ModelProto

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import INT64, ints, model, node, value

weighted = Collection()


@weighted.model()
def shared_weight() -> ModelProto:
    """The same matrix four times in a row, a small bias as well: both halves hold them."""
    nodes, data = [], "x"
    for step in range(4):
        nodes += [
            node("Gemm", f"{data} w b", f"g{step}", name=f"g{step}"),
            node("Tanh", f"g{step}", f"t{step}", name=f"t{step}"),
        ]
        data = f"t{step}"
    return model(
        nodes, [value("x", [2, 24])], [value(data, [2, 24])], [weight("w", 24, 24), weight("b", 24)]
    )


@weighted.model()
def tied_embedding() -> ModelProto:
    """An embedding at the start, and its transpose, which a folded node makes, at the end."""
    return model(
        [
            node("Transpose", "table", "turned", name="turn", perm=[1, 0]),
            node("Gather", "table ids", "e", name="embed"),
            node("MatMul", "e w", "h", name="h"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r turned", "y", name="logits"),
        ],
        [value("ids", [2, 5], INT64)],
        [value("y", [2, 5, 30])],
        [weight("table", 30, 20), weight("w", 20, 20)],
    )


@weighted.model()
def folded_chain() -> ModelProto:
    """What nodes prepare from weights alone, over several steps, is used on both sides; one of its
    steps is used by itself as well."""
    return model(
        [
            node("Concat", "left right", "both", name="both", axis=1),
            node("Reshape", "both shape", "square", name="square"),
            node("Transpose", "square", "turned", name="turned"),
            node("Mul", "turned scale", "scaled", name="scaled"),
            node("MatMul", "x square", "a", name="a"),
            node("MatMul", "a scaled", "b", name="b"),
            node("MatMul", "b scaled", "c", name="c"),
            node("Add", "c scale", "y", name="y"),
        ],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
        [
            weight("left", 24, 12),
            weight("right", 24, 12),
            ints("shape", 24, 24),
            weight("scale", 24),
        ],
    )


@weighted.model()
def twice_in_one_node() -> ModelProto:
    """One initializer as two inputs of a node: input and recurrent weights of an RNN, both biases
    of a bound, both addends of a sum."""
    return model(
        [
            node("RNN", "x w w", "- h", name="rnn", hidden_size=20),
            node("Clip", "h bound bound", "c", name="clip"),
            node("Sum", "h many many c", "y", name="sum"),
        ],
        [value("x", [3, 2, 20])],
        [value("y", [1, 2, 20])],
        [weight("w", 1, 20, 20), weight("bound"), weight("many", 1, 2, 20)],
    )


@weighted.model()
def equal_weights() -> ModelProto:
    """Two initializers of different names and equal values, each used twice."""
    array = numbers("same", 18, 18)
    return model(
        [
            node("MatMul", "x one", "a", name="a"),
            node("MatMul", "a other", "b", name="b"),
            node("MatMul", "b one", "c", name="c"),
            node("MatMul", "c other", "y", name="y"),
        ],
        [value("x", [2, 18])],
        [value("y", [2, 18])],
        [tensor("one", array), tensor("other", array)],
    )


@weighted.model()
def unused_weights() -> ModelProto:
    """Weights that nothing reads, and a node that no output depends on."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("MatMul", "h dead.weight", "dead", name="dead"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r v", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", [2, 16])],
        [
            weight("w", 16, 32),
            weight("v", 32, 16),
            weight("dead.weight", 32, 32),
            weight("nobody", 40, 40),
            weight("nobody.small", 3),
        ],
    )
