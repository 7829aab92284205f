"""Operators that copy, view or describe tensors; scatters cost only their reduction."""

from __future__ import annotations

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import NodeView, input_elements, text

VIEW = "view: same elements under another shape"
COPY = "copy: moves elements without arithmetic"
LOOKUP = "copy: selects elements by index without arithmetic"
SHAPE = "shape arithmetic: describes a tensor without reading its elements"
FILL = "fill: writes given values without arithmetic"

TABLE = Table()

TABLE.zeros(
    {
        "BitCast": "view: same bits under another type",
        "CenterCropPad": COPY,
        "Compress": LOOKUP,
        "Concat": COPY,
        "Constant": "constant: its value is in the model",
        "ConstantOfShape": FILL,
        "DepthToSpace": COPY,
        "Dropout": "identity at inference",
        "Expand": COPY,
        "EyeLike": FILL,
        "Flatten": VIEW,
        "Gather": LOOKUP,
        "GatherElements": LOOKUP,
        "GatherND": LOOKUP,
        "Identity": "identity: the same tensor",
        "MaxUnpool": "copy: writes each input element at its index",
        "OneHot": FILL,
        "Pad": COPY,
        "Reshape": VIEW,
        "ReverseSequence": COPY,
        "Scatter": "copy: writes each update at its index",
        "Shape": SHAPE,
        "Size": SHAPE,
        "Slice": COPY,
        "SpaceToDepth": COPY,
        "Split": COPY,
        "Squeeze": VIEW,
        "TensorScatter": "copy: writes the update into the cache",
        "Tile": COPY,
        "Transpose": COPY,
        "Trilu": "copy: keeps one triangle and fills the other with zeros",
        "Unsqueeze": VIEW,
    }
)


@TABLE.cost(
    "ScatterElements",
    "ScatterND",
    source="copy; with reduction add, mul, max or min 1 operation per update element",
)
def _scatter(node: NodeView) -> int:
    return 0 if text(node, "reduction", "none") == "none" else input_elements(node, 2)
