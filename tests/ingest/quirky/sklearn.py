"""Conversions by skl2onnx: models in attributes, strings, maps."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    INT64_BYTES,
    UNSIZED,
    Figures,
    training,
)


def logistic() -> Figures:
    """Four features, three classes: Scaler (2), a product, Softmax (5) and the best, Cast of the
    label, Normalizer (3). What ZipMap makes has no size."""
    row = 2 * 4 + 2 * 4 * 3 + (5 + 1) * 3 + 1 + 3 * 3
    return Figures(5, BATCH * row, 0, training(1e4, 1e4), ("X",), (UNSIZED,))


def forest() -> Figures:
    """Twenty trees of 5 to 8 leaves, three comparisons each; a vote of each tree for each class.
    The labels are strings, whose size is not known."""
    trees, classes, nodes, leaves = 20, 3, 236, 128
    assert 5 * trees <= leaves <= 8 * trees
    # Attributes of more than 1 KB are parameters: six lists of integers and two of floats over
    # nodes, the modes (BRANCH_LEQ or LEAF), three lists of integers and one of floats over votes,
    # the names of the classes, and NONE for what is done to the votes.
    votes = leaves * classes
    modes = len("BRANCH_LEQ") * (nodes - leaves) + len("LEAF") * leaves
    names = len("setosaversicolorvirginica") + len("NONE")
    nbytes = (6 * INT64_BYTES + 2 * FLOAT_BYTES) * nodes + modes
    nbytes += (3 * INT64_BYTES + FLOAT_BYTES) * votes + names
    row = 3 * trees + classes * trees + classes
    return Figures(3, BATCH * row, nbytes, training(1e6, 1e6), ("X",), (UNSIZED,))


def columns() -> Figures:
    """Scaler of two numbers; four trees of four leaves, two comparisons and a vote each."""
    leaves, inner = 4 * 4, 4 * 3
    nodes = leaves + inner
    trees = (6 * INT64_BYTES + 2 * FLOAT_BYTES) * nodes + (3 * INT64_BYTES + FLOAT_BYTES) * leaves
    trees += len("BRANCH_LEQ") * inner + len("LEAF") * leaves + len("NONE") + FLOAT_BYTES
    return Figures(
        6,
        BATCH * (2 * 2 + 4 * (2 + 1)),
        (1 + 2) * INT64_BYTES + trees,
        training(1e4, 1e5),
        ("numbers", "colour01out"),
        (UNSIZED,),
    )


def ordinal() -> Figures:
    """44 support vectors of two features: RBF kernel (3 per feature, 2), weight (2); a vote. Casts
    of the two features and the two scores."""
    row = 2 + 44 * (3 * 2 + 2 + 2) + 1 + 2
    return Figures(
        10,
        BATCH * row,
        (1 + 1 + 2) * INT64_BYTES,
        training(1e4, 1e5),
        ("label_encoder", "label_encoder1"),
        (UNSIZED,),
    )


SKLEARN = {
    "sklearn/logistic": logistic(),
    "sklearn/forest": forest(),
    "sklearn/columns": columns(),
    "sklearn/ordinal": ordinal(),
}
