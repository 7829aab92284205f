"""Forward FLOPs by operator type, as exact Python integers.

Conventions:

- One multiply-accumulate is 2 FLOPs: a dot product of length K costs 2 K. A bias is free, as
  the accumulator starts from it.
- Integer and floating-point operations count alike.
- Comparisons, selections, min, max, sums, products, divisions, roundings, absolute values and
  conversions (Cast) cost 1 each; so do exp, log, sqrt, pow, erf and the trigonometric and
  hyperbolic functions; so do Relu and Clip.
- Composite functions cost their primitive operations: Sigmoid 4, Softmax 5. A formula by cases
  costs its comparisons and its dearest case.
- Moving, viewing, describing and filling tensors costs 0, each with a declared reason.
- Inference: BatchNormalization is folded to 2 per element, Dropout is the identity.
- Pooling costs one operation per element of the window, a reduction one per input element,
  interpolation from T neighbours 2 T. Elements of padding count as others do.
- Zero points of weights are folded; a quantised output costs 4 per element.
- What depends on data that are not known takes the stated upper bound or typical value, which
  the entry's source names.
- A cost that needs an unknown shape raises UnknownShape rather than guess.
"""

from app.ingest.op_costs.entry import CostEntry, NodeCost
from app.ingest.op_costs.registry import COSTED_BY_BODIES, entries, flops_of
from app.ingest.op_costs.views import InvalidNode, NodeView, TensorView, UnknownShape

__all__ = [
    "COSTED_BY_BODIES",
    "CostEntry",
    "InvalidNode",
    "NodeCost",
    "NodeView",
    "TensorView",
    "UnknownShape",
    "entries",
    "flops_of",
]
