"""Data that a node carries itself: in its attributes, and in the bodies among them.

Trees of a forest, coefficients of a support vector machine, a compiled context: data in attributes
are parameters as initializers are, as soon as those of a node are more than arguments. So are the
small constants of bodies (their larger ones have been hoisted into the main graph by then).
"""

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from app.ingest.captures import bodies
from app.ingest.constants import SMALL_BYTES, constant_tensor
from app.ingest.left_out import is_external
from app.ingest.tensors import tensors_of_attribute
from app.ingest.weights import nbytes_of

_WIDTHS = {"floats": 4, "ints": 8}
"""Bytes of an item, by the field of AttributeProto."""


def carried_data(node: NodeProto) -> dict[str, int]:
    """Bytes of what a node carries, by a name that is unique within the node."""
    found: dict[str, int] = {}
    for label, nbytes in _carried(node):
        name = label
        while name in found:
            name += "_"
        found[name] = nbytes
    return found


def blank_large_attributes(graph: GraphProto) -> None:
    """Empty the tensors in attributes that are large or lie elsewhere, in place, bodies included.

    So nothing of the model refers to data outside of it (Constant nodes are initializers by now).
    """
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in tensors_of_attribute(attribute):
                if is_external(tensor) or tensor.ByteSize() > SMALL_BYTES:
                    tensor.CopyFrom(TensorProto(data_type=tensor.data_type, dims=[0]))
        for body in bodies(node):
            blank_large_attributes(body)


def _carried(node: NodeProto) -> Iterator[tuple[str, int]]:
    sizes = {attribute.name: _nbytes(attribute) for attribute in node.attribute}
    if sum(sizes.values()) > SMALL_BYTES:
        yield from ((name, nbytes) for name, nbytes in sizes.items() if nbytes)
    for body in bodies(node):
        for tensor in body.initializer:
            yield tensor.name, nbytes_of(tensor)
        for inner in body.node:
            constant = constant_tensor(inner)
            if constant is not None:
                yield constant.name, nbytes_of(constant)
            else:
                yield from _carried(inner)


def _nbytes(attribute: AttributeProto) -> int:
    """Bytes of an attribute's data, single numbers and graphs left out."""
    nbytes = sum(map(nbytes_of, tensors_of_attribute(attribute)))
    nbytes += sum(width * len(getattr(attribute, field)) for field, width in _WIDTHS.items())
    return nbytes + len(attribute.s) + sum(map(len, attribute.strings))
