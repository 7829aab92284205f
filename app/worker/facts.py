"""What is told of a tensor, by workers and by the service, which never loads onnx."""

from typing import Any

from app.core.dag import CostedDag


def tensor_facts(dag: CostedDag, index: int) -> dict[str, Any]:
    """Name, shape, dtype and bytes of a tensor; shape null where it is not known."""
    shape = dag.tensor_shapes[index]
    return {
        "name": dag.tensor_names[index],
        "shape": None if shape is None else list(shape),
        "dtype": dag.tensor_dtypes[index],
        "bytes": int(dag.tensor_bytes[index]),
    }
