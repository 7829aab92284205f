"""Profile one model with onnx-tool and print what came of it as JSON; run in a process of its own.

``python -m benchmarks.onnx_tool_profile FILE DIMS``, where ``DIMS`` is a JSON object of extents by
symbol. Prints ``{"macs": …}``, or ``{"exception": …}`` with type and first line.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

ONNX_TOOL: Any = importlib.import_module("onnx_tool")  # it has no types


def _weights_on_demand() -> None:
    """Have onnx-tool take zeros for weights in external data, which the fixtures do not have.

    It reads every weight, but counts by shapes; numpy's zeros take no memory until they are used.
    """
    tensor: Any = importlib.import_module("onnx_tool.tensor")
    read = tensor.tensorproto2ndarray

    def zeros(proto: TensorProto) -> Any:
        if proto.data_location != TensorProto.EXTERNAL:
            return read(proto)
        return np.zeros(tuple(proto.dims), helper.tensor_dtype_to_np_dtype(proto.data_type))

    tensor.tensorproto2ndarray = zeros


def _inputs(model: ModelProto, dims: dict[str, int]) -> dict[str, Any]:
    """Ones for every graph input; a symbol that ``dims`` does not bind is 1."""
    found = {}
    for value in model.graph.input:
        tensor_type = value.type.tensor_type
        shape = [dim.dim_value or dims.get(dim.dim_param, 1) for dim in tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
        found[value.name] = np.ones(shape, dtype=dtype)
    return found


def profile(path: Path, dims: dict[str, int]) -> int:
    """Forward multiply-accumulates, as onnx-tool counts them."""
    model = onnx.load(path, load_external_data=False)
    graph = ONNX_TOOL.loadmodel(model, {"verbose": False}).graph
    graph.graph_reorder_nodes()
    graph.shape_infer(_inputs(model, dims))
    graph.profile()
    macs: int = round(graph.macs[0])
    return macs


def main(path: str, dims: str) -> None:
    """Print the outcome."""
    outcome: dict[str, Any]
    _weights_on_demand()
    try:
        outcome = {"macs": profile(Path(path), json.loads(dims))}
    except Exception as error:  # noqa: BLE001 - whatever it stops with is the finding
        line = (str(error).splitlines() or [""])[0]
        outcome = {"exception": f"{type(error).__name__}: {line}"}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
