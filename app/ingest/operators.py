"""Names of operators and their domains."""

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
