"""Element-wise operators: a fixed number of FLOPs per output element.

A formula by cases costs its comparisons and its dearest case; taking the case is free.
"""

from __future__ import annotations

from app.ingest.op_costs.entry import CostFunction, Table
from app.ingest.op_costs.views import NodeView, has_input, output_elements, text

SIGMOID = 4  # negate, exp, add 1, divide
GELU = 5  # 0.5 * x * (1 + erf(x / sqrt(2)))
SWISH = 2 + SIGMOID  # x * Sigmoid(alpha * x)

# Activation functions that fused and recurrent operators name, FLOPs per element.
ACTIVATIONS: dict[str, int] = {
    "relu": 1,
    "tanh": 1,
    "clip": 1,
    "sigmoid": SIGMOID,
    "affine": 2,
    "leakyrelu": 2,
    "thresholdedrelu": 1,
    "scaledtanh": 3,
    "hardsigmoid": 4,
    "hardswish": 5,
    "elu": 4,
    "softsign": 3,
    "softplus": 3,
    "gelu": GELU,
    "swish": SWISH,
    "silu": 1 + SIGMOID,
}

TABLE = Table()

_ONE = {
    "Abs": "|x|",
    "Acos": "acos(x)",
    "Acosh": "acosh(x)",
    "Add": "A + B",
    "And": "A and B",
    "Asin": "asin(x)",
    "Asinh": "asinh(x)",
    "Atan": "atan(x)",
    "Atanh": "atanh(x)",
    "BitShift": "A shifted by B",
    "BitwiseAnd": "A & B",
    "BitwiseNot": "~A",
    "BitwiseOr": "A | B",
    "BitwiseXor": "A ^ B",
    "Cast": "conversion of each element, counted whatever the types",
    "CastLike": "conversion of each element, counted whatever the types",
    "Ceil": "ceil(x)",
    "Clip": "x limited to [min, max], one operation by convention",
    "Cos": "cos(x)",
    "Cosh": "cosh(x)",
    "Div": "A / B",
    "Equal": "A == B",
    "Erf": "erf(x)",
    "Exp": "exp(x)",
    "Floor": "floor(x)",
    "Greater": "A > B",
    "GreaterOrEqual": "A >= B",
    "IsInf": "test of x",
    "IsNaN": "test of x",
    "Less": "A < B",
    "LessOrEqual": "A <= B",
    "Log": "log(x)",
    "Mod": "A mod B",
    "Mul": "A * B",
    "Neg": "-x",
    "Not": "not x",
    "Or": "A or B",
    "Pow": "x ^ y",
    "Reciprocal": "1 / x",
    "Relu": "max(0, x)",
    "Round": "x to the nearest integer",
    "Sign": "sign(x)",
    "Sin": "sin(x)",
    "Sinh": "sinh(x)",
    "Sqrt": "sqrt(x)",
    "Sub": "A - B",
    "Tan": "tan(x)",
    "Tanh": "tanh(x)",
    "ThresholdedRelu": "x if x > alpha else 0: comparison",
    "Where": "X if condition else Y: selection",
    "Xor": "A xor B",
}

_COMPOSITE = {
    "Celu": (7, "max(0, x) + min(0, alpha * (exp(x / alpha) - 1))"),
    "Elu": (ACTIVATIONS["elu"], "alpha * (exp(x) - 1) for x < 0, with the comparison"),
    "HardSigmoid": (ACTIVATIONS["hardsigmoid"], "max(0, min(1, alpha * x + beta))"),
    "HardSwish": (ACTIVATIONS["hardswish"], "x * max(0, min(1, alpha * x + beta))"),
    "LeakyRelu": (ACTIVATIONS["leakyrelu"], "alpha * x for x < 0, with the comparison"),
    "Mish": (5, "x * tanh(ln(1 + exp(x)))"),
    "PRelu": (2, "slope * x for x < 0, with the comparison"),
    "Selu": (5, "gamma * (alpha * exp(x) - alpha) for x <= 0, with the comparison"),
    "Shrink": (3, "x + bias for x < -lambd, x - bias for x > lambd: 2 comparisons, 1 sum"),
    "Sigmoid": (SIGMOID, "1 / (1 + exp(-x))"),
    "Softplus": (ACTIVATIONS["softplus"], "ln(exp(x) + 1)"),
    "Softsign": (ACTIVATIONS["softsign"], "x / (1 + |x|)"),
    "SwiGLU": (SWISH + 1, "A * Sigmoid(alpha * A) * B"),
    "Swish": (SWISH, "x * Sigmoid(alpha * x)"),
}

TABLE.elementwise({name: (1, formula) for name, formula in _ONE.items()})
TABLE.elementwise(_COMPOSITE)


@TABLE.cost(
    "Gelu",
    source="0.5 * x * (1 + erf(x / sqrt(2))): 5 per output element; approximate=tanh is "
    "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))): 8",
)
def _gelu(node: NodeView) -> int:
    flops = 8 if text(node, "approximate", "none") == "tanh" else GELU
    return flops * output_elements(node)


def _variadic(finish: int) -> CostFunction:
    """A chain over n inputs: n - 1 operations and `finish` more per output element."""

    def cost(node: NodeView) -> int:
        given = sum(has_input(node, i) for i in range(len(node.inputs)))
        return (max(given - 1, 0) + finish) * output_elements(node)

    return cost


for _name, _finish in (("Max", 0), ("Min", 0), ("Sum", 0), ("Mean", 1)):
    TABLE.add(
        _name,
        _variadic(_finish),
        f"element-wise over n inputs: n - 1 operations{' and 1 division' * _finish} per element",
    )
