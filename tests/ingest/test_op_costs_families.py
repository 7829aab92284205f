"""Families of operators: figures by hand, and ONNX's own function bodies."""

from __future__ import annotations

from math import prod
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, inliner, shape_inference

from app.ingest.op_costs import TensorView, UnknownShape, flops_of
from tests.ingest.test_op_costs import FLOAT, constant, flops, node, unknown

MS = "com.microsoft"
ML = "ai.onnx.ml"
X = (2, 6, 4, 4)
N = 192


@pytest.mark.parametrize(
    ("op_type", "per_element"),
    [
        ("Add", 1),
        ("Relu", 1),
        ("Clip", 1),
        ("Erf", 1),
        ("Where", 1),
        ("Cast", 1),
        ("Pow", 1),
        ("LeakyRelu", 2),
        ("Sigmoid", 4),
        ("HardSwish", 5),
        ("Selu", 5),
        ("Gelu", 5),
        ("Softmax", 5),
        ("BatchNormalization", 2),
        ("Range", 2),
        ("HannWindow", 5),
        ("HammingWindow", 5),
        ("BlackmanWindow", 10),
        ("Bernoulli", 2),
        ("RandomNormal", 3),
        ("RandomUniformLike", 3),
        ("Celu", 7),
        ("Shrink", 3),
        ("Swish", 6),
        ("SwiGLU", 7),
        ("HardSigmoid", 4),
        ("MelWeightMatrix", 6),
    ],
)
def test_elementwise_figures(op_type: str, per_element: int) -> None:
    """Each of these costs its figure per element of output 0, whatever its inputs."""
    assert flops(op_type, [unknown()] * 3, [X, X]) == per_element * N
    assert flops(op_type, [unknown()] * 3, [(0, 3), (0, 3)]) == 0


def test_elementwise_counts_the_broadcast_output() -> None:
    """A binary operator costs 1 per element of the broadcast result, not of an input."""
    assert flops("Mul", [(3, 1), (1, 4)], [(3, 4)]) == 12


def test_variadic_operators_chain() -> None:
    """Max, Min and Sum of n inputs cost n - 1 per element, Mean 1 more."""
    three = [X, X, (4,)]
    for op_type in ("Max", "Min", "Sum"):
        assert flops(op_type, three, [X]) == 2 * N
        assert flops(op_type, [X], [X]) == 0
    assert flops("Mean", three, [X]) == 3 * N


def expanded_flops(model: onnx.ModelProto) -> int:
    """FLOPs of a function's body, without conversions, selections and scalar plumbing."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    graph = inferred.graph
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in [*graph.value_info, *graph.input, *graph.output]
    }
    views = {name: TensorView(shape, FLOAT) for name, shape in shapes.items()}
    total = 0
    for body_node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in body_node.attribute}
        if body_node.op_type in ("Cast", "CastLike", "Where", "Constant"):
            continue
        if prod(shapes[body_node.output[0]]) == prod(shapes[body_node.input[0]]) == 1:
            continue
        viewed = node(
            body_node.op_type,
            [views.get(name) for name in body_node.input],
            [views.get(name) for name in body_node.output],
            **attributes,
        )
        total += flops_of(viewed).flops
    return total


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("Elu", [X], {"alpha": 1.0}),
        ("Gelu", [X], {}),
        ("Gelu", [X], {"approximate": "tanh"}),
        ("HardSwish", [X], {}),
        ("LeakyRelu", [X], {"alpha": 0.1}),
        ("LogSoftmax", [X], {"axis": 1}),
        ("MeanVarianceNormalization", [X], {"axes": [0, 2, 3]}),
        ("Mish", [X], {}),
        ("PRelu", [X, (6, 1, 1)], {}),
        ("ReduceL1", [X], {"keepdims": 1}),
        ("ReduceL2", [X, (2,)], {}),
        ("ReduceLogSum", [X, (2,)], {}),
        ("ReduceLogSumExp", [X, (2,)], {}),
        ("ReduceSumSquare", [X, (2,)], {}),
        ("Softmax", [X], {"axis": 1}),
        ("Softplus", [X], {}),
        ("Softsign", [X], {}),
        ("ThresholdedRelu", [X], {"alpha": 1.0}),
    ],
)
def test_entry_equals_the_function_body(
    op_type: str, inputs: list[tuple[int, ...]], attributes: dict[str, Any]
) -> None:
    """An operator that ONNX defines by a function costs what the function's body does."""
    model = function_model(op_type, inputs, attributes)
    single = model.graph.node[0]
    out = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0]
    shape = [d.dim_value for d in out.type.tensor_type.shape.dim]
    entry = flops(op_type, list(inputs), [shape], opset=18, **attributes)
    body = inliner.inline_selected_functions(
        model, [("", op_type)], exclude=False, inline_schema_functions=True
    )
    assert single.op_type not in {n.op_type for n in body.graph.node}
    assert entry == expanded_flops(body)


def function_model(
    op_type: str, inputs: list[tuple[int, ...]], attributes: dict[str, Any]
) -> onnx.ModelProto:
    """A model of one node; a second input of two elements is constant axes (1, 2)."""
    names = [f"in{i}" for i in range(len(inputs))]
    axes = inputs[1:] == [(2,)]
    declared = names[:1] if axes else names
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["out"], **attributes)],
        "single",
        [
            helper.make_tensor_value_info(name, FLOAT, shape)
            for name, shape in zip(declared, inputs, strict=False)
        ],
        [helper.make_tensor_value_info("out", FLOAT, None)],
        [helper.make_tensor("in1", TensorProto.INT64, [2], [1, 2])] if axes else [],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_normalisation_stages() -> None:
    """Normalisations cost their stages per element and per group of shared statistics."""
    scale, groups = (4, 4), 12
    assert flops("LayerNormalization", [X, scale, scale], [X], axis=2) == 7 * N + 5 * groups
    assert flops("LayerNormalization", [X, scale], [X], axis=2) == 6 * N + 5 * groups
    assert flops("RMSNormalization", [X, (4,)], [X]) == 4 * N + 3 * 48
    assert flops("SimplifiedLayerNormalization", [X, (4,)], [X]) == 4 * N + 3 * 48
    assert flops("InstanceNormalization", [X, (6,), (6,)], [X]) == 7 * N + 4 * 12
    assert flops("GroupNormalization", [X, (6,), (6,)], [X], num_groups=3) == 7 * N + 4 * 6
    assert flops("LpNormalization", [X], [X], axis=1) == 3 * N + 32
    assert flops("LpNormalization", [X], [X], axis=1, p=1) == 3 * N
    assert flops("LRN", [X], [X], size=5) == 10 * N
    assert flops("BatchNormalization", [X], [X], training_mode=1) == 6 * N + 13 * 6
    assert flops("Hardmax", [X], [X]) == N


def test_log_softmax_before_opset_13_flattens() -> None:
    """Before opset 13 the axes from `axis` on share one logarithm, later only `axis` does."""
    assert flops("LogSoftmax", [X], [X], opset=11, axis=1) == 5 * N + 2
    assert flops("LogSoftmax", [X], [X], opset=13, axis=1) == 5 * N + 32


def test_losses() -> None:
    """Losses cost a log-softmax where they have one, and a few operations per label."""
    scores, labels, classes = (3, 5), (3,), (5,)
    plain = flops("NegativeLogLikelihoodLoss", [scores, labels], [()])
    assert plain == 3 + 3 + 1
    assert flops("NegativeLogLikelihoodLoss", [scores, labels, classes], [()]) == 6 + 3 + 3 + 1
    none = flops("NegativeLogLikelihoodLoss", [scores, labels], [labels], reduction=b"none")
    assert none == 3
    assert flops("SoftmaxCrossEntropyLoss", [scores, labels], [()]) == 75 + 3 + plain


def test_pooling_counts_the_window() -> None:
    """Pools cost the window per output element, global pools the whole input."""
    out = (2, 6, 2, 2)
    for op_type in ("MaxPool", "AveragePool"):
        assert flops(op_type, [X], [out], kernel_shape=[2, 3]) == 6 * 48
    assert flops("LpPool", [X], [out], kernel_shape=[2, 2]) == 13 * 48
    for op_type in ("GlobalMaxPool", "GlobalAveragePool"):
        assert flops(op_type, [X], [(2, 6, 1, 1)]) == N
    assert flops("GlobalLpPool", [X], [(2, 6, 1, 1)]) == 3 * N + 12
    assert flops("MaxRoiPool", [X, (7, 5)], [(7, 6, 2, 2)]) == 7 * 96


def test_reductions_count_the_input() -> None:
    """Reductions cost 1 per input element, and their powers, roots, logs and divisions."""
    out = (2, 6)
    figures = {
        "ReduceSum": N,
        "ReduceMax": N,
        "ReduceMean": N + 12,
        "ReduceL1": 2 * N,
        "ReduceL2": 2 * N + 12,
        "ReduceLogSumExp": 2 * N + 12,
        "ArgMax": N,
        "CumSum": N,
    }
    for op_type, expected in figures.items():
        assert flops(op_type, [X, (2,)], [out]) == expected


def test_reduction_over_no_axis_only_transforms() -> None:
    """With noop_with_empty_axes and no axes nothing is summed; squares and roots remain."""
    attributes = {"noop_with_empty_axes": 1}
    for inputs in ([X], [X, None], [X, (0,)]):
        assert flops("ReduceSum", inputs, [X], **attributes) == 0
        assert flops("ReduceMean", inputs, [X], **attributes) == 0
        assert flops("ReduceL2", inputs, [X], **attributes) == 2 * N
    assert flops("ReduceSum", [X, (2,)], [(2, 6)], **attributes) == N


def test_scatter_costs_its_reduction() -> None:
    """ScatterElements and ScatterND are copies unless they combine the updates."""
    for op_type in ("ScatterElements", "ScatterND"):
        assert flops(op_type, [X, (3, 4), (3,)], [X]) == 0
        assert flops(op_type, [X, (3, 4), (3,)], [X], reduction=b"add") == 3


def test_resize_by_mode() -> None:
    """Resize costs 2 per neighbour over the axes that change, nearest nothing."""
    up, n = (2, 6, 8, 8), 768
    for op_type in ("Resize", "Upsample"):
        assert flops(op_type, [X], [up]) == 0
        assert flops(op_type, [X], [up], mode=b"linear") == 2 * 4 * n
        assert flops(op_type, [X], [X], mode=b"linear") == 0
    assert flops("Resize", [X], [up], mode=b"cubic") == 2 * 16 * n
    assert flops("Resize", [X], [(2, 6, 4, 8)], mode=b"linear") == 2 * 2 * n // 2
    down = (2, 6, 2, 4)
    assert flops("Resize", [X], [down], mode=b"linear", antialias=1) == 2 * 2 * 2 * 96
    crop = {"mode": b"linear", "coordinate_transformation_mode": b"tf_crop_and_resize"}
    assert flops("Resize", [X], [X], **crop) == 2 * 4 * N


def test_sampling_operators() -> None:
    """Samplers cost 2 per neighbour, and the arithmetic on their positions."""
    grid, out = (2, 5, 5, 2), (2, 6, 5, 5)
    assert flops("GridSample", [X, grid], [out]) == 8 * 300 + 4 * 100
    assert flops("GridSample", [X, grid], [out], mode=b"nearest") == 4 * 100
    assert flops("GridSample", [X, grid], [out], mode=b"bicubic") == 32 * 300 + 4 * 100
    assert flops("AffineGrid", [(2, 2, 3), (4,)], [grid]) == 6 * 100
    rois = [X, (7, 4), (7,)]
    assert flops("RoiAlign", rois, [(7, 6, 2, 2)], sampling_ratio=3) == 81 * 168
    assert flops("RoiAlign", rois, [(7, 6, 2, 2)], sampling_ratio=1) == 9 * 168
    assert flops("RoiAlign", rois, [(7, 6, 2, 2)]) == 36 * 168
    assert flops("Col2Im", [(1, 20, 9), (2,), (2,)], [(1, 5, 4, 4)]) == 180
    assert flops("ImageDecoder", [(999,)], [(8, 8, 3)]) == 32 * 192


def test_quantisation_stages() -> None:
    """Quantising costs 4 and dequantising 2 per element, one less without zero point."""
    assert flops("QuantizeLinear", [X, (), ()], [X]) == 4 * N
    assert flops("QuantizeLinear", [X, ()], [X]) == 3 * N
    assert flops("DequantizeLinear", [X, (), ()], [X]) == 2 * N
    assert flops("DequantizeLinear", [X, (), None], [X]) == N
    assert flops("DynamicQuantizeLinear", [X], [X, (), ()]) == 6 * N + 8
    assert flops("DynamicQuantizeLinear", [(0, 3)], [(0, 3), (), ()]) == 0


def test_fourier_transforms() -> None:
    """Transforms cost 5 N ceil(log2 N), half on a real side, however the length is given."""
    full = 5 * 8 * 3
    assert flops("DFT", [(3, 8, 2)], [(3, 8, 2)], opset=20) == 3 * full
    assert flops("DFT", [(3, 8, 1)], [(3, 8, 2)], opset=20) == 3 * full // 2
    assert flops("DFT", [(3, 8, 1)], [(3, 5, 2)], opset=20, onesided=1) == 3 * full // 2
    assert flops("DFT", [(3, 8, 2)], [(3, 8, 2)], opset=17, axis=1, inverse=1) == 3 * full + 48
    padded = [(3, 5, 2), constant(8), constant(1)]
    assert flops("DFT", padded, [(3, 8, 2)], opset=20) == 3 * full
    onesided = [(3, 5, 1), unknown(), constant(-2)]
    assert flops("DFT", onesided, [(3, 5, 2)], opset=20, onesided=1) == 3 * full // 2
    inverse = flops("DFT", [(3, 5, 2)], [(3, 8, 1)], opset=20, onesided=1, inverse=1)
    assert inverse == 3 * full // 2 + 24
    with pytest.raises(UnknownShape) as error:
        flops("DFT", [(3, 8, 2), None, unknown()], [(3, 8, 2)], opset=20)
    assert (error.value.index, error.value.what) == (2, "value")


def test_short_time_fourier_transform() -> None:
    """STFT costs per frame the window's product and one transform of the frame."""
    signal, out = (2, 100, 1), (2, 12, 9, 2)
    windowed = flops("STFT", [signal, (), (16,)], [out])
    assert windowed == 24 * (16 + 160)
    assert flops("STFT", [signal, (), None, constant(16)], [out]) == 24 * 160
    assert flops("STFT", [(2, 100, 2), (), (16,)], [out]) == 24 * (32 + 320)
    with pytest.raises(UnknownShape):
        flops("STFT", [signal, (), None, unknown()], [out])


def test_selection_comparisons() -> None:
    """Sorts and heaps cost comparisons; k of 0 or 1 is handled."""
    assert flops("TopK", [(3, 100), (1,)], [(3, 5), (3, 5)]) == 300 * 3
    assert flops("TopK", [(3, 100), (1,)], [(3, 1), (3, 1)]) == 300
    assert flops("TopK", [(3, 100), (1,)], [(3, 0), (3, 0)]) == 0
    assert flops("Unique", [(100,)], [unknown()]) == 700
    assert flops("NonZero", [X], [unknown()]) == N


def test_non_max_suppression() -> None:
    """NonMaxSuppression compares selected boxes with later ones, up to the known limit."""
    boxes, scores = (2, 10, 4), (2, 3, 10)
    sort, area = 10 * 4, 30
    limited = flops("NonMaxSuppression", [boxes, scores, constant(2)], [unknown()])
    assert limited == 2 * (area + 3 * (sort + 13 * (9 + 8)))
    bounded = flops("NonMaxSuppression", [boxes, scores, unknown()], [unknown()])
    assert bounded == 2 * (area + 3 * (sort + 13 * 45))
    assert flops("NonMaxSuppression", [boxes, scores], [unknown()]) == 2 * (area + 3 * sort)
    threshold = [boxes, scores, constant(2), (), ()]
    assert flops("NonMaxSuppression", threshold, [unknown()]) == limited + 2 * 3 * 10


def test_multinomial_and_text() -> None:
    """Multinomial searches the running sum; TfIdf counts n-grams and weights."""
    assert flops("Multinomial", [(2, 10)], [(2, 7)]) == 40 + 14 * 6
    attributes = {"min_gram_length": 1, "max_gram_length": 3, "max_skip_count": 1}
    assert flops("TfIdfVectorizer", [(20,)], [(50,)], mode=b"TF", **attributes) == 120
    assert flops("TfIdfVectorizer", [(20,)], [(50,)], mode=b"IDF", **attributes) == 170


def test_optimisers_count_the_optimised_tensors() -> None:
    """Optimisers cost their update per element of every optimised tensor."""
    domain = "ai.onnx.preview.training"
    pair = [(3,), (5,)]
    assert flops("Adagrad", [(), (), *pair * 3], pair * 2, domain) == 9 * 8
    assert flops("Adam", [(), (), *pair * 4], pair * 3, domain) == 15 * 8
    assert flops("Momentum", [(), (), *pair * 3], pair * 2, domain, mode=b"standard") == 7 * 8
    assert flops("Momentum", [(), (), *pair * 3], pair * 2, domain, mode=b"nesterov") == 9 * 8


def test_linear_models() -> None:
    """Linear models cost one dot product per class or target, and the post-transform."""
    x, coefficients = (10, 4), [0.5] * 12
    assert flops("LinearRegressor", [x], [(10, 3)], ML, coefficients=coefficients) == 240
    labels = {"coefficients": coefficients, "classlabels_ints": [0, 1, 2]}
    assert flops("LinearClassifier", [x], [(10,), (10, 3)], ML, **labels) == 240 + 30
    softmax = flops("LinearClassifier", [x], [], ML, post_transform=b"SOFTMAX", **labels)
    assert softmax == 240 + 30 + 150
    assert flops("LinearRegressor", [(4,)], [(1, 1)], ML, coefficients=[1.0] * 4) == 8
    assert flops("Normalizer", [x], [x], ML, norm=b"L2") == 120 + 10


def test_support_vector_machines() -> None:
    """Support vector machines cost a kernel and a weight per vector and decision."""
    x = (10, 4)
    rbf = {"support_vectors": [0.0] * 20, "kernel_type": b"RBF", "coefficients": [1.0] * 10}
    assert flops("SVMRegressor", [x], [(10, 1)], ML, **rbf) == 10 * (5 * 14 + 10)
    found = flops("SVMClassifier", [x], [(10,), (10, 3)], ML, classlabels_ints=[0, 1, 2], **rbf)
    assert found == 10 * (5 * 14 + 2 * 5 * 2 + 3)


def test_support_vector_kernels_and_probabilities() -> None:
    """Each kernel costs its formula, probabilities 6 per decision, no vectors a dot product."""
    x, vectors = (10, 4), {"support_vectors": [0.0] * 20, "coefficients": [1.0] * 5}
    for kernel, per_vector in (("LINEAR", 8), ("POLY", 11), ("SIGMOID", 11)):
        found = flops("SVMRegressor", [x], [(10, 1)], ML, kernel_type=kernel, **vectors)
        assert found == 10 * (5 * per_vector + 10)
    assert flops("SVMRegressor", [x], [(10, 1)], ML, coefficients=[1.0] * 4) == 80
    classes = {"classlabels_ints": [0, 1, 2], "prob_a": [1.0] * 3, **vectors}
    found = flops("SVMClassifier", [x], [(10,), (10, 3)], ML, post_transform=b"LOGISTIC", **classes)
    assert found == 10 * (5 * 8 + 2 * 5 * 2 + 3 + 3 * 6 + 3 * 4)


def test_feature_operators() -> None:
    """Feature operators of ai.onnx.ml cost 1 or 2 per output element."""
    for op_type, per_element in (("Binarizer", 1), ("CastMap", 1), ("Imputer", 1), ("Scaler", 2)):
        assert flops(op_type, [unknown()], [(10, 4)], ML) == 40 * per_element


def test_tree_ensembles() -> None:
    """Trees cost the comparisons of a balanced way down and the votes of its leaf."""
    x, seven = (10, 4), [0] * 7 + [1] * 7
    regressor = {"nodes_treeids": seven, "target_ids": [0] * 8, "n_targets": 1}
    assert flops("TreeEnsembleRegressor", [x], [(10, 1)], ML, **regressor) == 10 * (4 + 2)
    classifier = {"nodes_treeids": seven, "class_ids": [0, 1] * 8, "classlabels_int64s": [0, 1]}
    found = flops("TreeEnsembleClassifier", [x], [(10,), (10, 2)], ML, **classifier)
    assert found == 10 * (4 + 4 + 2)
    newer = {"tree_roots": [0, 3], "leaf_targetids": [0] * 8, "n_targets": 1, "post_transform": 2}
    assert flops("TreeEnsemble", [x], [(10, 1)], ML, **newer) == 10 * (4 + 2 + 4)


def test_microsoft_normalisations() -> None:
    """Fused normalisations add their sums, lookups and activations to the plain ones."""
    x, n, rows = (2, 3, 8), 48, 6
    width = (8,)
    layer = 7 * n + 5 * rows
    assert flops("SkipLayerNormalization", [x, x, width, width], [x], MS) == layer + n
    biased = [x, x, width, width, width]
    assert flops("SkipLayerNormalization", biased, [x], MS) == layer + 2 * n
    rms = flops("SkipSimplifiedLayerNormalization", [x, x, width], [x], MS)
    assert rms == 4 * n + 3 * rows + n
    ids = [(2, 3), (2, 3), (99, 8), (9, 8), (2, 8), width, width, (2, 3)]
    assert flops("EmbedLayerNormalization", ids, [x, (2,)], MS) == layer + 2 * n + 6
    group = flops("GroupNorm", [X, (6,), (6,)], [X], MS, groups=3, activation=1)
    assert group == 7 * N + 4 * 6 + 5 * N


def test_microsoft_elementwise() -> None:
    """Fused and quantised element-wise operators cost their formulas."""
    figures = {
        "BiasGelu": 6,
        "QuickGelu": 6,
        "QLinearAdd": 9,
        "QLinearMul": 7,
        "QLinearSigmoid": 10,
    }
    for op_type, per_element in figures.items():
        assert flops(op_type, [X], [X], MS) == per_element * N
    assert flops("FastGelu", [X], [X], MS) == 9 * N
    assert flops("FastGelu", [X, (4,)], [X], MS) == 10 * N
    assert flops("QLinearGlobalAveragePool", [X], [(2, 6, 1, 1)], MS) == 3 * N + 48
    pooled = flops("QLinearAveragePool", [X], [(2, 6, 2, 2)], MS, kernel_shape=[2, 2])
    assert pooled == 2 * N + 4 * 48 + 4 * 48


def test_microsoft_miscellany() -> None:
    """The remaining operators of ONNX Runtime cost their stated formulas."""
    assert flops("BiasDropout", [X, (4,)], [X], MS) == N
    assert flops("BiasDropout", [X, (4,), X], [X], MS) == 2 * N
    assert flops("CDist", [(3, 5), (4, 5)], [(3, 4)], MS) == 12 * 15
    assert flops("CDist", [(3, 5), (4, 5)], [(3, 4)], MS, metric=b"euclidean") == 12 * 16
    assert flops("Inverse", [(3, 4, 4)], [(3, 4, 4)], MS) == 3 * 2 * 64
    assert flops("CropAndResize", [X], [(7, 6, 2, 2)], MS) == 8 * 168
    assert flops("CropAndResize", [X], [(7, 6, 2, 2)], MS, mode=b"nearest") == 0
    assert flops("IsAllFinite", [X, (5,)], [()], MS) == N + 5
    assert flops("QLinearReduceMean", [X], [(2, 6)], MS) == 3 * N + 5 * 12
    group = flops("GroupNorm", [X, (6,), (6,)], [X], MS, groups=3)
    skip = [X, (6,), (6,), X]
    assert flops("SkipGroupNorm", skip, [X], MS, groups=3) == group + N
    assert flops("SkipGroupNorm", [*skip, (6,)], [X], MS, groups=3) == group + 2 * N
    ids = [(2, 3), None, (99, 8), (9, 8), None, (8,), (8,)]
    embedded = flops("EmbedLayerNormalization", ids, [(2, 3, 8)], MS)
    assert embedded == 48 + 7 * 48 + 5 * 6
    assert flops("QEmbedLayerNormalization", ids, [(2, 3, 8)], MS) == embedded + 2 * 2 * 48
