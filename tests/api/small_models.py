"""Small models of many closed sets, for brute force."""

import random
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_serial = count()


def branching() -> bytes:
    """Ten nodes: two branches, a skip, a parameter that two nodes share, an integer tensor that
    crosses without a gradient, a second input and two outputs."""
    nodes = [
        ("MatMul", ["x", "w0"], ["stem"]),
        ("Relu", ["stem"], ["a"]),
        ("MatMul", ["a", "shared"], ["left"]),
        ("MatMul", ["a", "narrow"], ["right"]),
        ("ArgMax", ["right"], ["best"]),
        ("Cast", ["best"], ["best_as_float"]),
        ("Relu", ["left"], ["left_relu"]),
        ("MatMul", ["left_relu", "shared"], ["again"]),
        ("Sum", ["again", "best_as_float", "a", "z"], ["y"]),
        ("Relu", ["right"], ["side"]),
    ]
    attributes: dict[str, dict[str, Any]] = {
        "Cast": {"to": TensorProto.FLOAT},
        "ArgMax": {"axis": 1, "keepdims": 1},
    }
    return _model(
        [
            helper.make_node(op, inputs, outputs, name=f"n_{outputs[0]}", **attributes.get(op, {}))
            for op, inputs, outputs in nodes
        ],
        {"w0": (64, 24), "shared": (24, 24), "narrow": (24, 3)},
        {"x": (4, 64), "z": (4, 24)},
        {"y": (4, 24), "side": (4, 3)},
    )


def random_model(seed: int) -> bytes:
    """A random DAG of twelve nodes whose tensors grow and shrink."""
    choose = random.Random(seed)
    widths = {"x": choose.choice((8, 40, 200))}
    parameters: dict[str, tuple[int, ...]] = {}
    nodes: list[onnx.NodeProto] = []
    while len(nodes) < 12:
        out = f"t{len(nodes)}"
        source = choose.choice(list(widths)[-4:])
        partners = [name for name in widths if widths[name] == widths[source] and name != source]
        op = choose.choice(("Relu", "MatMul", "MatMul", "Concat", "Add"))
        if op == "Add" and partners:
            nodes.append(
                helper.make_node("Add", [source, choose.choice(partners)], [out], name=out)
            )
            widths[out] = widths[source]
        elif op == "Concat" and len(widths) > 2:
            other = choose.choice([name for name in widths if name != source])
            nodes.append(helper.make_node("Concat", [source, other], [out], name=out, axis=1))
            widths[out] = widths[source] + widths[other]
        elif op == "MatMul":
            width = choose.choice((2, 8, 40))
            # The same name for the same form: sometimes a parameter is used on both sides.
            weight = f"w_{widths[source]}_{width}"
            parameters[weight] = (widths[source], width)
            nodes.append(helper.make_node("MatMul", [source, weight], [out], name=out))
            widths[out] = width
        else:
            nodes.append(helper.make_node("Relu", [source], [out], name=out))
            widths[out] = widths[source]
    used = {name for node in nodes for name in node.input}
    outputs: dict[str, tuple[int, ...]] = {
        name: (4, width) for name, width in widths.items() if name not in used
    }
    return _model(nodes, parameters, {"x": (4, widths["x"])}, outputs)


def wide(branches: int) -> bytes:
    """Parallel branches of unlike costs, each with an input of its own, joined at the end: each
    subset of them is a cut of its own."""
    widths = [7 + 13 * i + i * i for i in range(branches)]
    nodes = [
        node
        for i, width in enumerate(widths)
        for node in (
            helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"wide{i}"], name=f"first{i}"),
            helper.make_node("MatMul", [f"wide{i}", f"v{i}"], [f"out{i}"], name=f"second{i}"),
        )
    ]
    outs = [f"out{i}" for i in range(branches)]
    nodes.append(helper.make_node("Concat", outs, ["y"], name="all", axis=1))
    thin = [2 + (5 * i) % 17 for i in range(branches)]
    parameters: dict[str, tuple[int, ...]] = {f"w{i}": (64, n) for i, n in enumerate(widths)}
    parameters |= {f"v{i}": (n, thin[i]) for i, n in enumerate(widths)}
    inputs: dict[str, tuple[int, ...]] = {f"x{i}": (4, 64) for i in range(branches)}
    return _model(nodes, parameters, inputs, {"y": (4, sum(thin))})


def _model(
    nodes: list[onnx.NodeProto],
    parameters: dict[str, tuple[int, ...]],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
) -> bytes:
    def values(shapes: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    graph = helper.make_graph(
        nodes,
        "graph",
        values(inputs),
        values(outputs),
        [
            numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)
            for name, shape in parameters.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def unique(data: bytes) -> bytes:
    """The same model in bytes that were never uploaded before."""
    model = onnx.load_from_string(data)
    model.graph.doc_string = f"unique {next(_serial)}"
    again: bytes = model.SerializeToString()
    return again
