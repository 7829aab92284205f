"""Sequences, optionals and strings."""

from __future__ import annotations

from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.movement import COPY
from app.ingest.op_costs.views import (
    NodeView,
    input_elements,
    integer,
    output_elements,
    text,
)

CONTAINER = "container: holds or hands over tensors without arithmetic"
STRINGS = "strings: no numerical arithmetic"

TABLE = Table()

TABLE.zeros(
    {
        "ConcatFromSequence": COPY,
        "Optional": CONTAINER,
        "OptionalGetElement": CONTAINER,
        "OptionalHasElement": CONTAINER,
        "RegexFullMatch": STRINGS,
        "SequenceAt": CONTAINER,
        "SequenceConstruct": CONTAINER,
        "SequenceEmpty": CONTAINER,
        "SequenceErase": CONTAINER,
        "SequenceInsert": CONTAINER,
        "SequenceLength": CONTAINER,
        "SplitToSequence": COPY,
        "StringConcat": STRINGS,
        "StringNormalizer": STRINGS,
        "StringSplit": STRINGS,
    }
)


@TABLE.cost(
    "TfIdfVectorizer",
    source="1 count per n-gram that starts at an input element, over its lengths and skips; "
    "modes other than TF weight each output element",
)
def _tf_idf(node: NodeView) -> int:
    longest, shortest = integer(node, "max_gram_length", 1), integer(node, "min_gram_length", 1)
    lengths = max(longest - shortest + 1, 0)
    skips = max(integer(node, "max_skip_count", 0) + 1, 0)
    weighting = 0 if text(node, "mode", "TF") == "TF" else output_elements(node)
    return input_elements(node) * lengths * skips + weighting
