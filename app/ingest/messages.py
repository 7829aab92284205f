"""The types of ONNX's protobuf messages from which a tensor can be reached, by field number."""

from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A type of message in which tensors lie, or which is one; its fields by number.

    ``single``: children that have a meaning only as a whole. Protobuf allows any message to be
    written in pieces; a graph in pieces can be read piece by piece, a tensor can not.
    ``documentation``: what nothing in Kerf reads; a model's own metadata are not of it, as they
    may be part of how it is used (the labels of its classes, say).
    """

    children: dict[int, "Message"] = field(default_factory=dict)
    single: set[int] = field(default_factory=set)
    documentation: set[int] = field(default_factory=set)


def field_number(message: Any, name: str) -> int:
    """The number of a field of a message class."""
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number


def _messages() -> dict[str, Message]:
    """Every type of message from which a tensor can be reached, by name."""
    types = ModelProto.DESCRIPTOR.file.message_types_by_name
    found: set[str] = set()
    more = {"TensorProto"}
    while more > found:
        found = more
        more = found | {
            name for name in types if found.intersection(_children(types[name]).values())
        }
    messages = {name: Message() for name in found}
    for name, message in messages.items():
        numbers = {item.name: item.number for item in types[name].fields}
        documentation = {"doc_string"} if name == "ModelProto" else _DOCUMENTATION
        message.single.update(numbers[key] for key in _SINGLE & numbers.keys())
        message.documentation.update(numbers[key] for key in documentation & numbers.keys())
        for number, child in _children(types[name]).items():
            if child in found:
                message.children[number] = messages[child]
    return messages


def _children(descriptor: Any) -> dict[int, str]:
    return {item.number: item.message_type.name for item in descriptor.fields if item.message_type}


_DOCUMENTATION = {"doc_string", "metadata_props"}
_SINGLE = {"t", "sparse_tensor", "values", "indices"}
_MESSAGES = _messages()

MODEL = _MESSAGES["ModelProto"]
GRAPH = _MESSAGES["GraphProto"]
ATTRIBUTE = _MESSAGES["AttributeProto"]
TENSOR = _MESSAGES["TensorProto"]
SPARSE_TENSOR = _MESSAGES["SparseTensorProto"]
