"""Model files larger than anybody wants to hold in memory, written piece by piece."""

import os
from pathlib import Path
from typing import Any

from onnx import GraphProto, ModelProto, TensorProto, helper

PIECE_BYTES = 2**20


def write_large_model(path: Path, weights: int, width: int) -> int:
    """Write a chain of ``weights`` square MatMul and Relu layers, weights inside; its bytes.

    Each weight has ``width`` x ``width`` float32 elements, none of them zero.
    """
    nodes, tensors = [], []
    for i in range(weights):
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"], name=f"dense{i}"))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"x{i + 1}"], name=f"relu{i}"))
        tensors.append(TensorProto(name=f"w{i}", dims=[width, width], data_type=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, (1, width))],
        [helper.make_tensor_value_info(f"x{weights}", TensorProto.FLOAT, (1, width))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.ClearField("graph")
    data_bytes = 4 * width * width
    heads = [_head(tensor, data_bytes) for tensor in tensors]
    content = graph.SerializeToString()
    graph_bytes = len(content) + sum(len(head) + data_bytes for head in heads)
    piece = os.urandom(min(PIECE_BYTES, data_bytes))
    with path.open("wb") as file:
        file.write(model.SerializeToString())
        file.write(_field(ModelProto.DESCRIPTOR, "graph", graph_bytes) + content)
        for head in heads:
            file.write(head)
            for start in range(0, data_bytes, len(piece)):
                file.write(piece[: data_bytes - start])
    return path.stat().st_size


def _head(tensor: TensorProto, data_bytes: int) -> bytes:
    """An initializer up to its data."""
    head = tensor.SerializeToString() + _field(TensorProto.DESCRIPTOR, "raw_data", data_bytes)
    head_bytes: bytes = _field(GraphProto.DESCRIPTOR, "initializer", len(head) + data_bytes) + head
    return head_bytes


def _field(message: Any, name: str, length: int) -> bytes:
    """Tag and length of a field in the wire format; its bytes are to follow."""
    return _varint(message.fields_by_name[name].number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])
