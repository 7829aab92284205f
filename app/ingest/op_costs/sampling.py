"""Interpolation: a value from T neighbours is a dot product of length T, 2 T FLOPs.

The weights of the neighbours are taken as given: the outputs of a row, column or channel
share them.
"""

from __future__ import annotations

from math import prod

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    Shape,
    axis_of,
    input_elements,
    input_shape,
    integer,
    items,
    output_elements,
    output_shape,
    text,
)

ADAPTIVE_SAMPLES = 2  # per axis of a bin, when RoiAlign derives them from the data

TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}  # per axis

TABLE = Table()


def _taps_per_axis(node: NodeView, default: str) -> int:
    mode = text(node, "mode", default)
    if mode not in TAPS:
        raise InvalidNode(node, f"unknown mode {mode!r}")
    return TAPS[mode]


def _resized_axes(node: NodeView, source: Shape, target: Shape) -> list[int]:
    """Axes to interpolate along: those whose extent changes, or those that are cropped."""
    if text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        axes = [axis_of(node, int(axis), len(source)) for axis in items(node, "axes")]
        return axes or list(range(2, len(source)))
    return [axis for axis, (a, b) in enumerate(zip(source, target, strict=True)) if a != b]


@TABLE.cost(
    "Resize",
    "Upsample",
    source="each output element is interpolated from T = 2^d (linear) or 4^d (cubic) "
    "neighbours over the d resized axes: 2 T; nearest is a copy: 0; antialias widens a "
    "shrunk axis by its scale",
)
def resize(node: NodeView) -> int:
    """FLOPs of resizing by interpolation."""
    per_axis = _taps_per_axis(node, "nearest")
    source, target = input_shape(node, 0), output_shape(node)
    if len(source) != len(target):
        raise InvalidNode(node, f"ranks differ: {source} and {target}")
    axes = _resized_axes(node, source, target)
    if per_axis == 1 or not axes:
        return 0
    taps = 1
    for axis in axes:
        shrinks = integer(node, "antialias", 0) and 0 < target[axis] < source[axis]
        taps *= per_axis * (-(-source[axis] // target[axis]) if shrinks else 1)
    return 2 * taps * output_elements(node)


@TABLE.cost(
    "GridSample",
    source="4 per grid value to bring it to pixels, then T neighbours: 1 (nearest: copy), 2^d "
    "(linear) or 4^d (cubic), 2 T per output element",
)
def grid_sample(node: NodeView) -> int:
    """FLOPs of sampling at the positions of a grid."""
    per_axis = _taps_per_axis(node, "linear")
    dimensions = len(input_shape(node, 0, rank=3)) - 2
    sampled = 2 * prod([per_axis] * dimensions) if per_axis > 1 else 0
    return sampled * output_elements(node) + 4 * input_elements(node, 1)


@TABLE.cost(
    "AffineGrid",
    source="each output coordinate is a dot product of theta's row with (position, 1), length "
    "d + 1",
)
def _affine_grid(node: NodeView) -> int:
    return 2 * (output_shape(node, rank=1)[-1] + 1) * output_elements(node)


@TABLE.cost(
    "RoiAlign",
    source="per output element sampling_ratio^2 bilinear samples of 4 neighbours (8), each "
    "then pooled (1); an adaptive ratio (0) depends on the data and is taken as 2",
)
def _roi_align(node: NodeView) -> int:
    ratio = integer(node, "sampling_ratio", 0)
    per_axis = ratio if ratio > 0 else ADAPTIVE_SAMPLES
    return 9 * per_axis**2 * output_elements(node)


@TABLE.cost(
    "ImageDecoder",
    source="approximate: two 8-point inverse cosine dot products per decoded value: 32 per "
    "output element",
)
def _decode_image(node: NodeView) -> int:
    return 32 * output_elements(node)
