"""Attributes of a node as plain Python values."""

import hashlib
from typing import Any

from onnx import NodeProto, helper

from app.errors import InvalidModelError
from app.ingest.operators import qualified_type
from app.ingest.reasons import reason


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """By name, as ``onnx.helper.get_attribute_value`` returns them.

    Raises ``InvalidModelError`` for one that has no value of its own: of unknown type, or a
    reference to an attribute of a function outside any function.
    """
    values = {}
    for attribute in node.attribute:
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise _invalid(node, attribute.name, reason(error)) from error
        if value is None:
            raise _invalid(node, attribute.name, "it has no type")
        values[attribute.name] = value
    return values


def signature_of(node: NodeProto) -> str:
    """A digest of a node's attributes: equal where names and values are."""
    digest = hashlib.blake2b(digest_size=8)
    for attribute in sorted(node.attribute, key=lambda item: item.name):
        digest.update(attribute.SerializeToString(deterministic=True))
    return digest.hexdigest() if node.attribute else ""


def _invalid(node: NodeProto, name: str, why: str) -> InvalidModelError:
    return InvalidModelError(
        f"attribute {name!r} of node {node.name!r} ({qualified_type(node)}) cannot be read: {why}"
    )
