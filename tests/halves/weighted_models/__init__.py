"""Small models with weights, each with a quirk of its own; all run in ONNX Runtime."""

from tests.halves.weighted_models import (
    branches,
    constants,
    convolutional,
    element_types,
    external,
    foreign,
    functions,
    interfaces,
    loops,
    outputs,
    quantised,
    shapes,
    sharing,
)
from tests.halves.weighted_models.weighted import WeightedModel

MODELS: tuple[WeightedModel, ...] = tuple(
    model
    for subject in (
        convolutional,
        outputs,
        sharing,
        branches,
        loops,
        quantised,
        external,
        functions,
        constants,
        interfaces,
        element_types,
        shapes,
        foreign,
    )
    for model in subject.weighted.models
)
BY_NAME = {model.name: model for model in MODELS}

__all__ = ["BY_NAME", "MODELS", "WeightedModel"]
