"""The costed DAGs of the fixture models, against pinned figures and independent counts."""

from math import prod

import networkx as nx
import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from tests.fixture_models import BY_NAME, FIXTURES, Fixture, ingested

FIGURES = {
    # name: (nodes, tensors, parameter bytes, forward FLOPs)
    "light_bvlc_alexnet": (24, 25, 243860912, 1315263112),
    "light_densenet121": (668, 669, 32584608, 5749219584),
    "light_inception_v1": (143, 144, 27994240, 2885261848),
    "light_inception_v2": (371, 372, 44939184, 4068486952),
    "light_resnet50": (176, 177, 102440624, 8217636232),
    "light_shufflenet": (203, 204, 5681776, 260658936),
    "light_squeezenet": (66, 67, 4941984, 704038808),
    "light_vgg19": (46, 47, 574668976, 39285111688),
    "light_zfnet512": (22, 23, 349002160, 2980916584),
    "bert_base": (399, 401, 437937261, 22418965634),
    "convnext_tiny": (217, 218, 114356528, 8989937068),
    "efficientnet_b0": (239, 240, 21070192, 807349772),
    "gpt2": (450, 475, 497793249, 32302120576),
    "llama": (1329, 1330, 4401668301, 268021717504),
    "mobilenet_v2": (100, 101, 13951304, 607934720),
    "resnet50": (122, 123, 102121920, 8195405312),
    "segformer_b0": (368, 369, 15010692, 17087271936),
    "torchscript/bert_tiny": (174, 176, 17552489, 119591454),
    "torchscript/resnet18": (49, 50, 46738848, 3633038848),
    "vit_b16": (368, 369, 346309533, 35249710753),
}
GIGA_MACS = {
    "light_resnet50": (4.09 * 0.98, 4.09 * 1.02),
    "resnet50": (4.09 * 0.98, 4.09 * 1.02),
    "light_bvlc_alexnet": (0.65, 0.72),
    "light_vgg19": (19.6 * 0.98, 19.6 * 1.02),
    "mobilenet_v2": (0.30 * 0.98, 0.30 * 1.02),
    "vit_b16": (17.5 * 0.98, 17.5 * 1.02),
}
"""Published multiply-accumulates, in units of 1e9, and how far from them is right."""
# Published figures that count products only; beside them stands what FLOPs entries add.
PRODUCTS = {"efficientnet_b0": 0.386e9, "torchscript/resnet18": 1.814e9, "convnext_tiny": 4.46e9}


def test_every_fixture_has_figures() -> None:
    """The table and the fixture files name the same models."""
    assert FIGURES.keys() == BY_NAME.keys()
    assert len(FIXTURES) == 20


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_a_fixture(name: str) -> None:
    """Nodes, tensors, parameter bytes and FLOPs are the pinned ones, and no operator lacks an
    entry."""
    model = ingested(name)
    dag = model.dag
    figures = (dag.node_count, dag.tensor_count, int(dag.parameter_bytes.sum()), dag.total_flops)
    assert figures == FIGURES[name]
    assert model.facts.warnings == ()
    assert dag.model_batch == 1


@pytest.mark.parametrize("name", GIGA_MACS)
def test_multiply_accumulates_are_the_published_ones(name: str) -> None:
    """Half the FLOPs of a well-known network are its published multiply-accumulates."""
    low, high = GIGA_MACS[name]
    assert low <= ingested(name).dag.total_flops / 2e9 <= high


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_the_published_ones(name: str) -> None:
    """Half the FLOPs of Conv, Gemm and MatMul alone are the published multiply-accumulates."""
    dag = ingested(name).dag
    is_product = np.isin(dag.node_op_types, ["Conv", "Gemm", "MatMul"])
    assert dag.node_flops[is_product].sum() / 2 == pytest.approx(PRODUCTS[name], rel=0.01)


def _bytes(dtype: int, shape: tuple[int, ...]) -> int:
    return prod(shape) * int(helper.tensor_dtype_to_np_dtype(dtype).itemsize)


def _constant(attribute: AttributeProto) -> tuple[int, tuple[int, ...]]:
    if attribute.name == "value":
        return attribute.t.data_type, tuple(attribute.t.dims)
    assert attribute.name in ("value_int", "value_ints", "value_float", "value_floats")
    dtype = TensorProto.INT64 if "int" in attribute.name else TensorProto.FLOAT
    many = list(attribute.ints) or list(attribute.floats)
    return dtype, (len(many),) if attribute.name.endswith("s") else ()


def _count_parameter_bytes(model: ModelProto) -> int:
    """Bytes of all data from which a graph output is reached: initializers, Constant nodes, and
    what ConstantOfShape makes of a constant shape (the zoo's weights are written so)."""
    graph = model.graph
    uses: nx.DiGraph[str] = nx.DiGraph()
    data = {item.name: _bytes(item.data_type, tuple(item.dims)) for item in graph.initializer}
    small = {
        item.name: numpy_helper.to_array(item)
        for item in graph.initializer
        if item.data_location != TensorProto.EXTERNAL
    }
    for node in graph.node:
        for output in node.output:
            uses.add_edges_from((name, output) for name in node.input if name)
        if node.op_type == "Constant":
            data[node.output[0]] = _bytes(*_constant(node.attribute[0]))
            if node.attribute[0].name == "value":
                small[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "ConstantOfShape" and node.input[0] in small:
            uses.remove_edge(node.input[0], node.output[0])
            shape = tuple(small[node.input[0]].tolist())
            dtype = node.attribute[0].t.data_type if node.attribute else TensorProto.FLOAT
            data[node.output[0]] = _bytes(dtype, shape)
    reached = {output.name for output in graph.output}
    for output in graph.output:
        reached |= nx.ancestors(uses, output.name)
    return sum(size for name, size in data.items() if name in reached)


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_parameters_equal_an_independent_count(fixture: Fixture) -> None:
    """The bytes of parameters are those of all data in the file that reach an output."""
    model = onnx.load(fixture.path, load_external_data=False)
    counted = _count_parameter_bytes(model)
    assert int(ingested(fixture.name).dag.parameter_bytes.sum()) == counted


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_edges_are_those_of_the_file(fixture: Fixture) -> None:
    """Two nodes are joined exactly where the file hands one's tensor to the other, the nodes
    that hang on no graph input aside."""
    model = onnx.load(fixture.path, load_external_data=False)
    weights = {item.name for item in model.graph.initializer}
    uses: nx.DiGraph[str] = nx.DiGraph()
    for node in model.graph.node:
        for output in node.output:
            uses.add_edges_from((name, output) for name in node.input if name)
    inputs = [item.name for item in model.graph.input if item.name not in weights]
    outputs = [item.name for item in model.graph.output]
    live = set(inputs).union(*(nx.descendants(uses, name) for name in inputs if name in uses))
    live &= set(outputs).union(*(nx.ancestors(uses, name) for name in outputs))
    dag = ingested(fixture.name).dag
    made = dict(zip(dag.tensor_names, dag.tensor_producers.tolist(), strict=True))
    maker_of = {
        output: node for node in model.graph.node for output in node.output if output in live
    }
    assert dag.node_count == len({id(node) for node in maker_of.values()})
    for name, users in zip(dag.tensor_names, dag.tensor_consumers.to_lists(), strict=True):
        expected = {
            int(made[output])
            for node in model.graph.node
            if name in node.input
            for output in node.output
            if output in made
        }
        assert set(users) == expected, name
