"""If: branches that capture tensors and weights, and that have weights of their own."""

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import BOOL, graph, model, node, value

weighted = Collection()
SHAPE = [2, 24]


def branch(*nodes: NodeProto, weights: tuple[TensorProto, ...] = ()) -> GraphProto:
    """A branch whose result is ``r``."""
    return graph(nodes, [], [value("r", SHAPE)], weights)


def is_positive(data: str) -> list[NodeProto]:
    """Nodes that make ``cond`` of the sum of a tensor."""
    return [
        node("ReduceSum", data, "total", name="total", keepdims=0),
        node("Greater", "total zero", "cond", name="cond"),
    ]


ZERO = tensor("zero", np.array(0, np.float32))


def captures(threshold: float) -> ModelProto:
    """Both branches capture a tensor that an early node made, and weights that others use, too."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Sigmoid", "h", "s", name="s"),
            *is_positive("s"),
            node(
                "If",
                "cond",
                "chosen",
                name="choose",
                then_branch=branch(
                    node("MatMul", "h w2", "t", name="inner"), node("Add", "t s", "r", name="sum")
                ),
                else_branch=branch(node("Gemm", "h w2 bias", "r", name="inner")),
            ),
            node("MatMul", "chosen w2", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [
            weight("w", 16, 24),
            weight("w2", 24, 24),
            weight("bias", 24),
            tensor("zero", np.array(threshold, np.float32)),
        ],
    )


@weighted.model()
def then_captures() -> ModelProto:
    """The first branch is taken."""
    return captures(-1e6)


@weighted.model()
def else_captures() -> ModelProto:
    """The second branch is taken."""
    return captures(1e6)


@weighted.model()
def weights_in_branches() -> ModelProto:
    """Both branches have a large weight and a small one of the same names, and a Constant."""

    def with_weights(seed: str) -> GraphProto:
        large, small = weight(f"{seed}.large", 24, 24), weight(f"{seed}.small", 24)
        large.name, small.name = "large", "small"
        constant = helper.make_node("Constant", [], ["k"], value=weight(f"{seed}.k", 2, 24))
        return branch(
            constant,
            node("Gemm", "h large small", "t"),
            node("Add", "t k", "r"),
            weights=(large, small),
        )

    return model(
        [
            node("Gemm", "x outer slight", "h", name="h"),
            *is_positive("h"),
            node(
                "If",
                "cond",
                "chosen",
                name="choose",
                then_branch=with_weights("then"),
                else_branch=with_weights("else"),
            ),
            node("Tanh", "chosen", "y", name="y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("outer", 24, 24), weight("slight", 24), ZERO],
    )


@weighted.model()
def constant_condition() -> ModelProto:
    """An If whose condition the model itself holds: one branch is never taken."""
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node(
                "If",
                "always",
                "chosen",
                name="choose",
                then_branch=branch(node("Add", "h b", "r")),
                else_branch=branch(node("MatMul", "h never", "r")),
            ),
            node("Relu", "chosen", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [
            weight("w", 16, 24),
            weight("b", 24),
            weight("never", 24, 24),
            tensor("always", np.array(True)),
        ],
    )


@weighted.model()
def folded_branches() -> ModelProto:
    """An If over weights alone is folded; what it makes is used on both sides."""
    return model(
        [
            node(
                "If",
                "always",
                "chosen",
                name="choose",
                then_branch=graph([node("Mul", "w w", "r")], [], [value("r", [24, 24])]),
                else_branch=graph([node("Neg", "w", "r")], [], [value("r", [24, 24])]),
            ),
            node("MatMul", "x chosen", "h", name="h"),
            node("MatMul", "h chosen", "y", name="y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24), tensor("always", np.array(True))],
    )


@weighted.model()
def condition_from_input() -> ModelProto:
    """The condition is a graph input that nothing but a late If reads, and branches make two
    results, one of them a weight."""
    outputs = [value("r", SHAPE), value("q", [24, 24])]

    def with_results(*nodes: NodeProto) -> GraphProto:
        return graph([*nodes, node("Identity", "w", "q")], [], outputs)

    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Tanh", "h", "t", name="t"),
            node(
                "If",
                "flag",
                "chosen used",
                name="choose",
                then_branch=with_results(node("Add", "t h", "r")),
                else_branch=with_results(node("Sub", "t h", "r")),
            ),
            node("MatMul", "chosen used", "y", name="y"),
        ],
        [value("x", SHAPE), value("flag", [], BOOL)],
        [value("y", SHAPE)],
        [weight("w", 24, 24)],
    )


@weighted.model()
def nested_branches() -> ModelProto:
    """An If in an If: the inner captures from both graphs around it, and has a large weight."""
    inner = node(
        "If",
        "cond",
        "deep",
        then_branch=branch(
            node("MatMul", "mid large", "u"),
            node("Add", "u h", "r"),
            weights=(weight("large", 24, 24),),
        ),
        else_branch=branch(node("MatMul", "mid w2", "r")),
    )
    outer = branch(node("Relu", "s", "mid"), inner, node("Mul", "deep s", "r"))
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Sigmoid", "h", "s", name="s"),
            *is_positive("s"),
            node(
                "If",
                "cond",
                "chosen",
                name="choose",
                then_branch=outer,
                else_branch=branch(node("Identity", "s", "r")),
            ),
            node("Add", "chosen h", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("w2", 24, 24), ZERO],
    )


@weighted.model()
def captured_input_and_folded() -> ModelProto:
    """A branch captures a graph input that nothing else reads, and what a folded node makes."""
    return model(
        [
            node("Transpose", "w", "turned", name="turn"),
            node("Mul", "turned turned", "squared", name="square"),
            node("MatMul", "x w", "h", name="h"),
            *is_positive("h"),
            node(
                "If",
                "cond",
                "chosen",
                name="choose",
                then_branch=branch(node("MatMul", "h squared", "t"), node("Add", "t late", "r")),
                else_branch=branch(node("MatMul", "late turned", "t"), node("Sub", "t h", "r")),
            ),
            node("MatMul", "chosen turned", "y", name="y"),
        ],
        [value("x", SHAPE), value("late", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24), ZERO],
    )


@weighted.model()
def data_in_branches() -> ModelProto:
    """Large data of every kind inside branches: a Constant, numbers in a typed field, a sparse
    value, in a branch of a branch as well; names that Kerf would make are taken."""
    floats = [float(number) for number in numbers("typed", 24, 24).reshape(-1)]
    typed = helper.make_tensor("k", TensorProto.FLOAT, [24, 24], floats)
    places = tensor("places", np.arange(0, 576, 2))
    thin = helper.make_sparse_tensor(weight("thin", 288), places, [24, 24])
    inner = node(
        "If",
        "cond",
        "deep",
        then_branch=branch(
            helper.make_node("Constant", [], ["k"], value=weight("deep.k", 24, 24)),
            node("MatMul", "m k", "r"),
        ),
        else_branch=branch(node("Neg", "m", "r")),
    )
    return model(
        [
            node("MatMul", "x k_2", "h", name="h"),
            *is_positive("h"),
            node(
                "If",
                "cond",
                "chosen",
                name="choose",
                then_branch=branch(
                    helper.make_node("Constant", [], ["c"], sparse_value=thin),
                    node("MatMul", "h c", "m"),
                    inner,
                    node("Identity", "deep", "r"),
                ),
                else_branch=branch(node("MatMul", "h k", "r"), weights=(typed,)),
            ),
            node("MatMul", "chosen k_3", "y", name="y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("k_2", 24, 24), weight("k_3", 24, 24), ZERO],
    )
