"""Types of what the operators of ai.onnx.ml make: onnx itself has no shape rules for them.

After the operators' definitions in ONNX's Operators-ml.md. A matrix has a row per sample; a vector
given in its place is one row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from onnx import NodeProto, TensorProto, TypeProto

from app.ingest.attributes import attributes_of
from app.ingest.operators import domain_of
from app.ingest.value_types import ValueType, tensor_type, value_type_of

AI_ONNX_ML = "ai.onnx.ml"

Shape = tuple[int, ...]
Made = list[tuple[int, Shape]]
"""Element type and shape of each output."""


@dataclass(frozen=True, slots=True)
class _View:
    """A node whose first input has a known shape."""

    attributes: Mapping[str, Any]
    inputs: Sequence[ValueType]
    dtype: int
    shape: Shape

    def count(self, *names: str) -> int:
        """The length of the longest of these attributes."""
        return max((len(self.attributes.get(name, ())) for name in names), default=0)

    @property
    def rows(self) -> int:
        return self.shape[0] if len(self.shape) > 1 else 1


def ml_types(node: NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
    """Types of the outputs of an operator of ai.onnx.ml, as far as they can be told."""
    rule = _RULES.get(node.op_type) if domain_of(node) == AI_ONNX_ML else None
    inputs = [value_type_of(types.get(name)) for name in node.input]
    if rule is None or not inputs or inputs[0].shape is None or inputs[0].container:
        return {}
    made = rule(_View(attributes_of(node), inputs, inputs[0].dtype, inputs[0].shape))
    return {
        name: tensor_type(dtype, shape)
        for name, (dtype, shape) in zip(node.output, made, strict=False)
        if name
    }


def _like_input(view: _View) -> Made:
    return [(view.dtype, view.shape)]


def _floats_like_input(view: _View) -> Made:
    return [(TensorProto.FLOAT, view.shape)]


def _category_mapper(view: _View) -> Made:
    maps_texts = view.dtype == TensorProto.STRING
    return [(TensorProto.INT64 if maps_texts else TensorProto.STRING, view.shape)]


def _label_encoder(view: _View) -> Made:
    by_attribute = {
        "values_strings": TensorProto.STRING,
        "values_int64s": TensorProto.INT64,
        "values_floats": TensorProto.FLOAT,
    }
    for name, dtype in by_attribute.items():
        if name in view.attributes:
            return [(dtype, view.shape)]
    if "values_tensor" in view.attributes:
        return [(view.attributes["values_tensor"].data_type, view.shape)]
    # Version 1 maps texts to their places, and places to texts.
    return _category_mapper(view)


def _classes(view: _View) -> tuple[int, int]:
    """Element type of a label, and how many labels there are."""
    if view.count("classlabels_strings"):
        return TensorProto.STRING, view.count("classlabels_strings")
    return TensorProto.INT64, view.count("classlabels_ints", "classlabels_int64s")


def _classifier(view: _View) -> Made:
    label, count = _classes(view)
    return [(label, (view.rows,)), (TensorProto.FLOAT, (view.rows, count))] if count else []


def _svm_classifier(view: _View) -> Made:
    label, count = _classes(view)
    if not count:
        return []
    # Without probabilities there is a score per pair of classes.
    pairs = count * (count - 1) // 2
    scores = count if view.count("prob_a") or count <= 2 else pairs
    return [(label, (view.rows,)), (TensorProto.FLOAT, (view.rows, scores))]


def _regressor(view: _View) -> Made:
    targets = view.attributes.get("targets", view.attributes.get("n_targets", 1))
    return [(TensorProto.FLOAT, (view.rows, int(targets)))]


def _tree_ensemble(view: _View) -> Made:
    return [(view.dtype, (view.rows, int(view.attributes.get("n_targets", 1))))]


def _one_hot(view: _View) -> Made:
    return [(TensorProto.FLOAT, (*view.shape, view.count("cats_int64s", "cats_strings")))]


def _array_features(view: _View) -> Made:
    chosen = view.inputs[1].shape if len(view.inputs) > 1 else None
    if chosen is None:
        return []
    rows = view.shape[:-1] if len(view.shape) > 1 else (1,)
    return [(view.dtype, (*rows, prod(chosen)))]


def _feature_vector(view: _View) -> Made:
    width = sum(map(int, view.attributes.get("inputdimensions", ())))
    return [(TensorProto.FLOAT, (view.rows, width))]


_RULES: dict[str, Callable[[_View], Made]] = {
    "ArrayFeatureExtractor": _array_features,
    "Binarizer": _like_input,
    "CategoryMapper": _category_mapper,
    "FeatureVectorizer": _feature_vector,
    "Imputer": _like_input,
    "LabelEncoder": _label_encoder,
    "LinearClassifier": _classifier,
    "LinearRegressor": _regressor,
    "Normalizer": _floats_like_input,
    "OneHotEncoder": _one_hot,
    "SVMClassifier": _svm_classifier,
    "SVMRegressor": _regressor,
    "Scaler": _floats_like_input,
    "TreeEnsemble": _tree_ensemble,
    "TreeEnsembleClassifier": _classifier,
    "TreeEnsembleRegressor": _regressor,
}
