"""Names of operators and their domains."""

import onnx
from onnx import NodeProto

AI_ONNX = "ai.onnx"
"""The default domain by its full name; files write it as the empty string as well."""


def domain_of(node: NodeProto) -> str:
    """A node's domain by its full name."""
    return node.domain or AI_ONNX


def qualified_type(node: NodeProto) -> str:
    """The operator's type, with its domain where that is not ai.onnx."""
    domain = domain_of(node)
    return node.op_type if domain == AI_ONNX else f"{domain}.{node.op_type}"


def schema_domain(node: NodeProto) -> str:
    """A node's domain as onnx's definitions name it: the default one is empty there."""
    domain = domain_of(node)
    return "" if domain == AI_ONNX else domain


def is_known(node: NodeProto, version: int) -> bool:
    """Whether onnx defines a node's operator at a version of its domain."""
    return bool(onnx.defs.has(node.op_type, version, schema_domain(node)))
