"""ai.onnx.ml: classical models. Rows are the samples of a batch."""

from __future__ import annotations

from collections import Counter
from math import prod

from app.ingest.op_costs.elementwise import SIGMOID
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.movement import COPY, LOOKUP
from app.ingest.op_costs.normalisation import SOFTMAX
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    input_shape,
    integer,
    items,
    log2_ceil,
    text,
)

# FLOPs per score; PROBIT is sqrt(2) * erfinv(2 * p - 1).
POST_TRANSFORMS = {
    "NONE": 0,
    "SOFTMAX": SOFTMAX,
    "LOGISTIC": SIGMOID,
    "SOFTMAX_ZERO": SOFTMAX + 1,
    "PROBIT": 4,
}

# FLOPs of a kernel between two vectors of F features: (per feature, once).
KERNELS = {"LINEAR": (2, 0), "POLY": (2, 3), "RBF": (3, 2), "SIGMOID": (2, 3)}

TABLE = Table("ai.onnx.ml", "ai.onnx.ml operator")

TABLE.zeros(
    {
        "ArrayFeatureExtractor": LOOKUP,
        "CategoryMapper": "lookup: replaces each element by its entry in a map",
        "DictVectorizer": "lookup: places each key's value at its index",
        "FeatureVectorizer": COPY,
        "LabelEncoder": "lookup: replaces each element by its entry in a map",
        "OneHotEncoder": "lookup: writes 1 at the position of each category",
        "ZipMap": "container: pairs the elements with keys",
    }
)

TABLE.elementwise(
    {
        "Binarizer": (1, "x > threshold"),
        "CastMap": (1, "conversion of each element"),
        "Imputer": (1, "x == replaced value"),
        "Scaler": (2, "(x - offset) * scale"),
    }
)


def _batch(node: NodeView) -> tuple[int, int]:
    """Rows and features of input 0; a 1-D input is one row."""
    shape = input_shape(node, 0, rank=1)
    return (1 if len(shape) == 1 else shape[0]), prod(shape[1:] or shape)


def _post_transform(node: NodeView) -> int:
    name = text(node, "post_transform", "NONE")
    if name not in POST_TRANSFORMS:
        raise InvalidNode(node, f"unknown post_transform {name!r}")
    return POST_TRANSFORMS[name]


def _labels(node: NodeView, *names: str) -> int:
    """Number of classes, from whichever label attribute is given."""
    return max((len(items(node, name)) for name in names), default=0)


@TABLE.cost(
    "Normalizer",
    source="MAX: maximum, divide: 2 N; L1: |x|, sum, divide: 3 N; L2: square, sum, divide: 3 N, "
    "and 1 square root per row",
)
def _normalise(node: NodeView) -> int:
    rows, features = _batch(node)
    norm = text(node, "norm", "MAX")
    return rows * features * (2 if norm == "MAX" else 3) + (rows if norm == "L2" else 0)


@TABLE.cost("LinearRegressor", source="per row and target a dot product, then post_transform")
def _linear_regression(node: NodeView) -> int:
    rows, _ = _batch(node)
    targets = integer(node, "targets", 1)
    return rows * (2 * len(items(node, "coefficients")) + targets * _post_transform(node))


@TABLE.cost(
    "LinearClassifier",
    source="per row and class a dot product, post_transform and 1 comparison for the label",
)
def _linear_classification(node: NodeView) -> int:
    rows, _ = _batch(node)
    classes = _labels(node, "classlabels_ints", "classlabels_strings")
    per_row = 2 * len(items(node, "coefficients")) + classes * (1 + _post_transform(node))
    return rows * per_row


def _kernels(node: NodeView, features: int) -> tuple[int, int]:
    """Support vectors, and the FLOPs of their kernels with one row."""
    name = text(node, "kernel_type", "LINEAR")
    if name not in KERNELS:
        raise InvalidNode(node, f"unknown kernel_type {name!r}")
    per_feature, once = KERNELS[name]
    vectors = len(items(node, "support_vectors")) // features if features else 0
    return vectors, vectors * (per_feature * features + once)


@TABLE.cost(
    "SVMRegressor",
    source="per row one kernel and one product and sum per support vector (or one dot product "
    "when there are none), then post_transform",
)
def _svm_regression(node: NodeView) -> int:
    rows, features = _batch(node)
    vectors, kernels = _kernels(node, features)
    weights = 2 * (vectors or len(items(node, "coefficients")))
    return rows * (kernels + weights + _post_transform(node))


@TABLE.cost(
    "SVMClassifier",
    source="per row one kernel per support vector, which E - 1 one-against-one decisions weight "
    "(2 each), 1 vote per decision, Sigmoid per decision for probabilities, post_transform",
)
def _svm_classification(node: NodeView) -> int:
    rows, features = _batch(node)
    vectors, kernels = _kernels(node, features)
    classes = _labels(node, "classlabels_ints", "classlabels_strings")
    decisions = classes * (classes - 1) // 2
    weights = 2 * (vectors * max(classes - 1, 1) or len(items(node, "coefficients")))
    probabilities = (SIGMOID + 2) * decisions if items(node, "prob_a") else 0
    scores = decisions + probabilities + classes * _post_transform(node)
    return rows * (kernels + weights + scores)


def _descent(leaves_per_tree: list[int]) -> int:
    """Comparisons of one row's way through balanced trees of so many leaves."""
    return sum(log2_ceil(leaves) for leaves in leaves_per_tree)


def _flat_trees(node: NodeView, votes: str) -> tuple[int, int]:
    """Comparisons and leaf votes of one row, for trees given as one list of nodes."""
    sizes = Counter(items(node, "nodes_treeids"))
    leaves = [(size + 1) // 2 for size in sizes.values()]
    per_leaf = -(-len(items(node, votes)) // sum(leaves)) if leaves else 0
    return _descent(leaves), len(leaves) * per_leaf


_TREES = "per row and tree the comparisons of a balanced tree (ceil(log2 leaves)), 1 per leaf vote"


@TABLE.cost("TreeEnsembleClassifier", source=f"{_TREES}, then post_transform and the best class")
def _tree_classification(node: NodeView) -> int:
    rows, _ = _batch(node)
    comparisons, votes = _flat_trees(node, "class_ids")
    classes = _labels(node, "classlabels_int64s", "classlabels_strings")
    return rows * (comparisons + votes + classes * (1 + _post_transform(node)))


@TABLE.cost("TreeEnsembleRegressor", source=f"{_TREES}, then post_transform")
def _tree_regression(node: NodeView) -> int:
    rows, _ = _batch(node)
    comparisons, votes = _flat_trees(node, "target_ids")
    return rows * (comparisons + votes + integer(node, "n_targets", 1) * _post_transform(node))


@TABLE.cost("TreeEnsemble", source=f"{_TREES}, then post_transform")
def _tree_ensemble(node: NodeView) -> int:
    rows, _ = _batch(node)
    trees, leaves = len(items(node, "tree_roots")), len(items(node, "leaf_targetids"))
    comparisons = _descent([-(-leaves // trees)] * trees) if trees else 0
    transforms = tuple(POST_TRANSFORMS.values())
    chosen = integer(node, "post_transform", 0)
    if not 0 <= chosen < len(transforms):
        raise InvalidNode(node, f"unknown post_transform {chosen}")
    return rows * (comparisons + trees + integer(node, "n_targets", 1) * transforms[chosen])
