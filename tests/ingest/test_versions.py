"""Operator sets and versions of the format, old and new."""

import onnx
import pytest
from onnx import ModelProto, helper

from tests.ingest.build import floats, ints, model, node, parameters, shapes, taken, value

NEWEST = onnx.defs.onnx_opset_version()
WEIGHTS = {"w": (4, 3, 3, 3), "s": (4,), "g": (5, 64)}


def network(opset: int, ir_version: int) -> ModelProto:
    """A small convolutional network, in words that every operator set from 7 on has; before
    version 4 of the format each weight is an input as well."""
    proto = model(
        [
            node("Conv", "x w", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("BatchNormalization", "c s s s s", "n"),
            node("Relu", "n", "r"),
            node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Reshape", "p to", "f"),
            node("Gemm", "f g zero", "l", transB=1),
            node("Softmax", "l", "y"),
        ],
        [value("x", ["batch", 3, 8, 8])],
        [value("y", ["batch", 5])],
        [*(floats(name, *shape) for name, shape in WEIGHTS.items()), ints("to", -1, 64)],
        opset=opset,
        ir_version=ir_version,
    )
    proto.graph.initializer.append(floats("zero", 5))
    if ir_version < 4:
        for tensor in proto.graph.initializer:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            proto.graph.input.append(info)
    return proto


@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
def test_every_operator_set_is_read(opset: int) -> None:
    """The same network means the same in each operator set from 7 to the newest."""
    ingested = taken(network(opset, 14))
    assert ingested.facts.opsets == {"ai.onnx": opset}
    assert ingested.facts.warnings == ()
    assert ingested.dag.node_count == 7
    assert shapes(ingested.dag)["y"] == (1, 5)
    convolution, gemm = 2 * 27 * 4 * 64, 2 * 64 * 5
    assert ingested.dag.total_flops == convolution + 2 * 256 + 256 + 4 * 64 + gemm + 5 * 5


@pytest.mark.parametrize("ir_version", range(3, onnx.IR_VERSION + 1))
def test_every_version_of_the_format_is_read(ir_version: int) -> None:
    """Files of each version from 3 on have the same DAG; what is a weight is never data."""
    ingested = taken(network(9, ir_version))
    assert ingested.facts.ir_version == ir_version
    assert ingested.dag.tensor_names == ("x", "c", "n", "r", "p", "f", "l", "y")
    assert parameters(ingested.dag)["g"] == (5 * 64 * 4, ["Gemm_5"])
    assert (
        sum(size for size, _ in parameters(ingested.dag).values())
        == 4 * (4 * 27 + 4 + 5 * 64 + 5) + 16
    )


def test_the_default_domain_may_be_spelt_out() -> None:
    """Nodes and imports that call ONNX's own domain ai.onnx mean the same as without a name."""
    proto = network(17, 8)
    proto.opset_import[0].domain = "ai.onnx"
    for item in proto.graph.node:
        item.domain = "ai.onnx"
    ingested = taken(proto)
    assert ingested.facts.opsets == {"ai.onnx": 17}
    assert ingested.dag.node_op_types == taken(network(17, 8)).dag.node_op_types
    assert ingested.facts.warnings == ()
