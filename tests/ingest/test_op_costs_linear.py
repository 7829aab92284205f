"""Linear operators against arithmetic that counts itself, and against figures by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.ingest.op_costs import TensorView
from tests.ingest.test_op_costs import constant, flops

Array = NDArray[Any]


class Counted:
    """A number that counts the operations done on all of its kind."""

    operations = 0

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def _did(self, value: float, operations: int = 1) -> Counted:
        Counted.operations += operations
        return Counted(value)

    def __add__(self, other: Counted) -> Counted:
        return self._did(self.value + other.value)

    def __sub__(self, other: Counted) -> Counted:
        return self._did(self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        return self._did(self.value * other.value)

    def __truediv__(self, other: Counted) -> Counted:
        return self._did(self.value / other.value)

    def __neg__(self) -> Counted:
        return self._did(-self.value)

    def exp(self) -> Counted:
        return self._did(math.exp(self.value))

    def tanh(self) -> Counted:
        return self._did(math.tanh(self.value))

    def larger(self, other: Counted) -> Counted:
        return self._did(max(self.value, other.value))

    def sigmoid(self) -> Counted:
        return Counted(1.0) / (Counted(1.0) + (-self).exp())


def numbers(*shape: int) -> Array:
    """An array of counted numbers, diagonally dominant so that elimination needs no pivot."""
    filled = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        on_diagonal = len(index) > 1 and index[-1] == index[-2]
        filled[index] = Counted(10.0 if on_diagonal else 0.25 + 0.01 * sum(index))
    return filled


@pytest.fixture(autouse=True)
def _reset() -> None:
    Counted.operations = 0


def dot(accumulator: Counted, left: Any, right: Any) -> Counted:
    """A dot product added to an accumulator."""
    for a, b in zip(left, right, strict=True):
        accumulator = accumulator + a * b
    return accumulator


def naive_convolution(x: Array, w: Array, group: int, stride: int) -> tuple[int, ...]:
    """Convolve without padding, one tap at a time, and return the output's shape."""
    kernel = w.shape[2:]
    spatial = [(s - k) // stride + 1 for s, k in zip(x.shape[2:], kernel, strict=True)]
    shape = (x.shape[0], w.shape[0], *spatial)
    for n, m, *position in np.ndindex(*shape):
        first = m // (w.shape[0] // group) * w.shape[1]
        corner = [p * stride for p in position]
        window = tuple(slice(c, c + k) for c, k in zip(corner, kernel, strict=True))
        patch = x[(n, slice(first, first + w.shape[1]), *window)]
        dot(Counted(), patch.ravel(), w[m].ravel())
    return shape


@pytest.mark.parametrize(
    ("x", "w", "group", "stride"),
    [
        ((2, 4, 6, 5), (6, 4, 3, 3), 1, 1),
        ((1, 4, 6, 6), (6, 2, 3, 2), 2, 2),
        ((1, 4, 5, 5), (4, 1, 3, 3), 4, 1),
        ((2, 3, 9), (5, 3, 4), 1, 2),
        ((1, 2, 4, 4, 4), (3, 2, 2, 3, 1), 1, 1),
    ],
)
def test_conv_equals_a_counted_loop(
    x: tuple[int, ...], w: tuple[int, ...], group: int, stride: int
) -> None:
    """Conv in 1, 2 and 3 dimensions, grouped and depthwise, costs what a naive loop does."""
    shape = naive_convolution(numbers(*x), numbers(*w), group, stride)
    assert flops("Conv", [x, w], [shape], group=group, strides=[stride]) == Counted.operations
    assert flops("NhwcConv", [x, w], [shape], domain="com.microsoft") == Counted.operations


def test_conv_of_resnet_stem() -> None:
    """ResNet's first convolution costs 2 * 64 * 112 * 112 * 3 * 7 * 7 with or without bias."""
    expected = 236_027_904
    x, w, y = (1, 3, 224, 224), (64, 3, 7, 7), (1, 64, 112, 112)
    assert flops("Conv", [x, w], [y]) == expected
    assert flops("Conv", [x, w, (64,)], [y]) == expected


def test_conv_transpose_equals_a_counted_scatter() -> None:
    """ConvTranspose costs one product and one addition per input element and weight it meets."""
    x, w, group = numbers(2, 4, 3, 3), numbers(4, 3, 2, 2), 2
    out = numbers(2, 6, 6, 6)
    for n, c, i, j in np.ndindex(*x.shape):
        for m, a, b in np.ndindex(*w.shape[1:]):
            target = (n, c // 2 * 3 + m, 2 * i + a, 2 * j + b)
            out[target] = out[target] + x[n, c, i, j] * w[c, m, a, b]
    found = flops("ConvTranspose", [x.shape, w.shape], [out.shape], group=group, strides=[2, 2])
    assert found == Counted.operations


def test_integer_convolutions_add_zero_points_and_requantisation() -> None:
    """Activations' zero points cost 1 each and a quantised output 4 per element."""
    x, w, y = (1, 2, 4, 4), (3, 2, 3, 3), (1, 3, 2, 2)
    dense = 2 * 12 * 18
    assert flops("ConvInteger", [x, w], [y]) == dense
    assert flops("ConvInteger", [x, w, ()], [y]) == dense + 32
    assert flops("QLinearConv", [x, (), (), w, (), (), (), ()], [y]) == dense + 32 + 4 * 12


def test_deform_conv_adds_its_interpolation() -> None:
    """DeformConv in 2-D adds 8 FLOPs (9 with mask) per sample and 1 per offset."""
    x, w, y = (1, 4, 5, 5), (6, 2, 3, 3), (1, 6, 3, 3)
    offset, mask = (1, 18, 3, 3), (1, 9, 3, 3)
    dense, samples, offsets = 2 * 54 * 18, 9 * 4 * 9, 162
    assert flops("DeformConv", [x, w, offset], [y], group=2) == dense + 8 * samples + offsets
    masked = flops("DeformConv", [x, w, offset, None, mask], [y], group=2)
    assert masked == dense + 9 * samples + offsets


def test_causal_conv_with_state() -> None:
    """CausalConvWithState costs 2 k per output element, and 5 more with silu."""
    x, w = (2, 6, 9), (6, 1, 4)
    assert flops("CausalConvWithState", [x, w], [x, (2, 6, 3)]) == 108 * 8
    silu = flops("CausalConvWithState", [x, w], [x, (2, 6, 3)], activation=b"silu")
    assert silu == 108 * 13


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (6, 4, 5)),
        ((3, 4), (2, 2, 4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
    ],
)
def test_matmul_equals_counted_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """MatMul costs numpy.matmul's products and additions, with the first addition to a bias."""
    product = np.asarray(np.matmul(numbers(*a), numbers(*b)), dtype=object)
    assert flops("MatMul", [a, b], [product.shape]) == Counted.operations + product.size


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.5, 2.0)])
def test_gemm_equals_counted_numpy(trans_a: int, trans_b: int, alpha: float, beta: float) -> None:
    """Gemm costs its products, additions and the scalings that are not by 1."""
    a, b, c = numbers(3, 4), numbers(4, 5), numbers(5)
    product = a @ b if alpha == 1.0 else (a @ b) * Counted(alpha)
    product + (c if beta == 1.0 else c * Counted(beta))
    found = flops(
        "Gemm",
        [(4, 3) if trans_a else (3, 4), (5, 4) if trans_b else (4, 5), (5,)],
        [(3, 5)],
        transA=trans_a,
        transB=trans_b,
        alpha=alpha,
        beta=beta,
    )
    assert found == Counted.operations


def test_integer_matmul_adds_zero_points_and_requantisation() -> None:
    """MatMulInteger adds 1 per element of A, QLinearMatMul also 4 per output element."""
    a, b, y = (3, 4), (4, 5), (3, 5)
    assert flops("MatMulInteger", [a, b], [y]) == 120
    assert flops("MatMulInteger", [a, b, ()], [y]) == 132
    assert flops("QLinearMatMul", [a, (), (), b, (), (), (), ()], [y]) == 120 + 12 + 60


def counted_einsum(equation: str, extents: dict[str, int]) -> int:
    """Operations of the nested loops of a one- or two-operand equation."""
    left, right = equation.split("->")
    indices = sorted(set(left) - {","})
    total = {key: Counted() for key in itertools.product(*(range(extents[i]) for i in right))}
    summed = set(indices) - set(right)
    for point in itertools.product(*(range(extents[i]) for i in indices)):
        at = dict(zip(indices, point, strict=True))
        term = Counted()
        for _ in range(left.count(",")):
            term = term * Counted()
        key = tuple(at[i] for i in right)
        total[key] = total[key] + term if summed else term
    return Counted.operations


@pytest.mark.parametrize(
    "equation",
    ["ij,jk->ik", "bij,bjk->bik", "i,j->ij", "ij,ij->", "ij,ij->ij", "ij->i", "ij->ji", "ii->i"],
)
def test_einsum_equals_counted_loops(equation: str) -> None:
    """Einsum of one or two operands costs what the nested loops over its indices do."""
    extents = {"b": 2, "i": 3, "j": 4, "k": 5}
    left, right = equation.split("->")
    inputs = [[extents[i] for i in term] for term in left.split(",")]
    expected = counted_einsum(equation, extents)
    found = flops("Einsum", inputs, [[extents[i] for i in right]], equation=equation.encode())
    assert found == expected


@pytest.mark.parametrize(
    ("equation", "inputs", "expected"),
    [
        ("...ij,...jk->...ik", [(7, 2, 3, 4), (2, 4, 5)], 2 * 7 * 2 * 3 * 4 * 5),
        ("...ij,...jk", [(7, 2, 3, 4), (1, 4, 5)], 2 * 7 * 2 * 3 * 4 * 5),
        ("ij,jk", [(3, 4), (4, 5)], 2 * 60),
        ("ba", [(3, 4)], 0),
        (" i j , j k -> i k ", [(3, 4), (4, 5)], 2 * 60),
        ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 6)], 2 * 60 + 2 * 90),
        ("i,i,i->i", [(3,), (3,), (3,)], 3 + 3),
        ("ii->", [(4, 4)], 4),
        ("ij,jk->ik", [(3, 0), (0, 5)], 0),
        ("i...->...", [(3, 4, 5)], 60),
    ],
)
def test_einsum_figures(equation: str, inputs: list[tuple[int, ...]], expected: int) -> None:
    """Ellipses, implicit outputs, blanks, chains, traces and empty indices are understood."""
    assert flops("Einsum", inputs, [(1,)], equation=equation) == expected


def counted_softmax(scores: list[Counted]) -> list[Counted]:
    top, total = Counted(), Counted()
    for score in scores:
        top = top.larger(score)
    powers = [(score - top).exp() for score in scores]
    for power in powers:
        total = total + power
    return [power / total for power in powers]


def counted_attention(heads: int, queries: int, keys: int, d: int, dv: int, mask: bool) -> int:
    """Operations of naive attention over all heads of one sample."""
    for _ in range(heads * queries):
        scores = [dot(Counted(), numbers(d), numbers(d)) * Counted() for _ in range(keys)]
        if mask:
            scores = [score + Counted() for score in scores]
        weights = counted_softmax(scores)
        for _ in range(dv):
            dot(Counted(), weights, numbers(keys))
    return Counted.operations


@pytest.mark.parametrize("mask", [False, True])
def test_attention_equals_counted_attention(mask: bool) -> None:
    """4-D attention with shared key heads and a past costs what the naive one does."""
    expected = counted_attention(heads=4, queries=5, keys=3 + 6, d=8, dv=7, mask=mask)
    inputs = [(1, 4, 5, 8), (1, 2, 6, 8), (1, 2, 6, 7), (5, 9) if mask else None]
    past = [(1, 2, 3, 8), (1, 2, 3, 7)]
    assert flops("Attention", inputs + past, [(1, 4, 5, 7)], opset=23) == expected


def test_attention_of_packed_heads_equals_that_of_separate_heads() -> None:
    """3-D inputs, whose heads are attributes, cost what the 4-D inputs do."""
    separate = flops("Attention", [(2, 4, 5, 8), (2, 2, 6, 8), (2, 2, 6, 7)], [(2, 4, 5, 7)])
    packed = flops(
        "Attention",
        [(2, 5, 32), (2, 6, 16), (2, 6, 14)],
        [(2, 5, 28)],
        q_num_heads=4,
        kv_num_heads=2,
    )
    assert packed == separate == 2 * 4 * 5 * 6 * (16 + 14 + 1 + 5)


def test_attention_extras() -> None:
    """A causal limit, a window or padding counts as one mask, softcap as 3 per score."""
    shapes = [(1, 2, 3, 4)] * 3
    bare = flops("Attention", shapes, [(1, 2, 3, 4)])
    scores = 2 * 3 * 3
    for attribute in ({"is_causal": 1}, {"left_window_size": 0}):
        assert flops("Attention", shapes, [(1, 2, 3, 4)], **attribute) == bare + scores
    padded = [*shapes, None, None, None, (1,)]
    assert flops("Attention", padded, [(1, 2, 3, 4)]) == bare + scores
    assert flops("Attention", shapes, [(1, 2, 3, 4)], softcap=30.0) == bare + 3 * scores
    assert flops("FlexAttention", shapes, [(1, 2, 3, 4)], domain="ai.onnx.preview") == bare


def counted_linear_attention(rule: str, tokens: int, heads: int, dk: int, dv: int) -> int:
    """Operations of the recurrence with one key head and a scalar decay per token."""
    state, k, v, q, scale = numbers(dk, dv), numbers(dk), numbers(dv), numbers(dk), Counted()
    for _ in range(tokens):
        if "gated" in rule:
            state = state * Counted(-0.1).exp()
        value = v
        if "delta" in rule:
            read = np.array([dot(Counted(), k, state[:, j]) for j in range(dv)], dtype=object)
            value = (v - read) * Counted()
        for i, j in np.ndindex(dk, dv):
            state[i, j] = state[i, j] + k[i] * value[j]
        for _ in range(heads):
            for j in range(dv):
                dot(Counted(), q, state[:, j]) * scale
    return Counted.operations


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_linear_attention_equals_the_counted_recurrence(rule: str) -> None:
    """LinearAttention costs what its sequential recurrence does under each update rule."""
    expected = counted_linear_attention(rule, tokens=3, heads=2, dk=4, dv=5)
    inputs = [(1, 3, 8), (1, 3, 4), (1, 3, 5), None, (1, 3, 1), (1, 3, 1)]
    found = flops(
        "LinearAttention",
        inputs,
        [(1, 3, 10), (1, 1, 4, 5)],
        q_num_heads=2,
        kv_num_heads=1,
        update_rule=rule.encode(),
    )
    assert found == expected


def test_rotary_embedding_equals_the_counted_rotation() -> None:
    """RotaryEmbedding costs 4 products and 2 sums per pair, only in the rotated part."""
    cos, sin, pairs = Counted(), Counted(), 2 * 3 * 5 * 4
    for x1, x2 in zip(numbers(pairs), numbers(pairs), strict=True):
        cos * x1 - sin * x2
        sin * x1 + cos * x2
    caches = [(5, 4), (5, 4)]
    assert flops("RotaryEmbedding", [(2, 3, 5, 8), *caches], [(2, 3, 5, 8)]) == Counted.operations
    partial = flops(
        "RotaryEmbedding",
        [(2, 5, 24), *caches],
        [(2, 5, 24)],
        num_heads=3,
        rotary_embedding_dim=4,
    )
    assert partial == Counted.operations // 2


def counted_gate(x: Array, h: Array) -> Counted:
    """A gate's accumulator: bias, input products, hidden products."""
    return dot(dot(Counted(), x, x), h, h)


def counted_lstm(steps: int, inputs: int, hidden: int, peepholes: bool) -> int:
    x, state = numbers(inputs), numbers(hidden)
    for _ in range(steps * hidden):
        cell = Counted()
        gates = [counted_gate(x, state) for _ in range(4)]
        if peepholes:
            gates[:3] = [gate + cell * Counted() for gate in gates[:3]]
        i, f, o = (gate.sigmoid() for gate in gates[:3])
        cell = f * cell + i * gates[3].tanh()
        o * cell.tanh()
    return Counted.operations


@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm_equals_counted_equations(peepholes: bool) -> None:
    """LSTM costs its equations per step, direction and sample, peepholes included."""
    expected = 2 * 3 * counted_lstm(steps=4, inputs=5, hidden=6, peepholes=peepholes)
    inputs: list[Any] = [(4, 3, 5), (2, 24, 5), (2, 24, 6), (2, 48), None, None, None]
    inputs += [(2, 18)] if peepholes else []
    found = flops("LSTM", inputs, [(4, 2, 3, 6)], hidden_size=6, direction=b"bidirectional")
    assert found == expected


@pytest.mark.parametrize("before_reset", [0, 1])
def test_gru_equals_counted_equations(before_reset: int) -> None:
    """GRU costs its equations, with and without linear_before_reset."""
    x, state = numbers(5), numbers(6)
    for _ in range(4 * 3):
        for unit in range(6):
            z, r = counted_gate(x, state).sigmoid(), counted_gate(x, state).sigmoid()
            if before_reset:
                hidden = (dot(Counted(), x, x) + r * dot(Counted(), state, state)).tanh()
            else:
                r * state[unit]
                hidden = counted_gate(x, state).tanh()
            (Counted() - z) * hidden + z * state[unit]
    inputs = [(4, 3, 5), (1, 18, 5), (1, 18, 6)]
    found = flops("GRU", inputs, [(4, 1, 3, 6)], linear_before_reset=before_reset, hidden_size=6)
    assert found == Counted.operations


def test_rnn_figures() -> None:
    """RNN costs 2 (I + H) and its activation per unit; clip and named activations count."""
    inputs = [(4, 3, 5), (1, 6, 5), (1, 6, 6)]
    units = 4 * 3 * 6
    assert flops("RNN", inputs, [None, (1, 3, 6)]) == units * (22 + 1)
    assert flops("RNN", inputs, [None, (1, 3, 6)], clip=1.0) == units * (22 + 2)
    softsign = flops("RNN", inputs, [None, (1, 3, 6)], activations=[b"Softsign"])
    assert softsign == units * (22 + 3)


def test_determinant_equals_counted_elimination() -> None:
    """Det costs the eliminations of every matrix and the products of their pivots."""
    for _ in range(3):
        matrix = numbers(5, 5)
        for k in range(5):
            for i in range(k + 1, 5):
                factor = matrix[i, k] / matrix[k, k]
                for j in range(k + 1, 5):
                    matrix[i, j] = matrix[i, j] - factor * matrix[k, j]
        math.prod(matrix.diagonal()[1:], start=matrix[0, 0])
    assert flops("Det", [(3, 5, 5)], [(3,)]) == Counted.operations


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs"),
    [
        ("Conv", [(0, 3, 8, 8), (4, 3, 3, 3)], [(0, 4, 6, 6)]),
        ("ConvTranspose", [(0, 3, 8, 8), (3, 4, 3, 3)], [(0, 4, 10, 10)]),
        ("MatMul", [(2, 0, 4), (4, 5)], [(2, 0, 5)]),
        ("MatMul", [(3, 0), (0, 5)], [(3, 5)]),
        ("Gemm", [(0, 4), (4, 5)], [(0, 5)]),
        ("Attention", [(0, 2, 3, 4)] * 3, [(0, 2, 3, 4)]),
        ("LSTM", [(0, 3, 5), (1, 24, 5), (1, 24, 6)], [(0, 1, 3, 6)]),
        ("Det", [(0, 4, 4)], [(0,)]),
        ("Det", [(2, 0, 0)], [(2,)]),
    ],
)
def test_empty_tensors_cost_nothing(
    op_type: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]]
) -> None:
    """An empty batch, sequence or inner extent makes a linear operator cost 0."""
    assert flops(op_type, inputs, outputs) == 0


MS = "com.microsoft"


def test_microsoft_matrix_products() -> None:
    """Fused, packed and quantised products cost the product and their stated extras."""
    a, b, y = (2, 3, 4), (2, 4, 5), (2, 3, 5)
    dense, out = 240, 30
    fused = flops("FusedMatMul", [(2, 4, 3), b], [y], MS, transA=1, alpha=0.5)
    assert fused == dense + out
    assert flops("FusedGemm", [(3, 4), (4, 5)], [(3, 5)], MS, activation=b"Relu") == 120 + 15
    assert flops("GemmFastGelu", [a, b], [y], MS) == dense + 9 * out
    assert flops("MatMulIntegerToFloat", [a, b, (), ()], [y], MS) == dense + out
    assert flops("DynamicQuantizeMatMul", [a, b, ()], [y], MS) == 6 * 24 + 8 + 24 + dense + out
    weights = flops("MatMulNBits", [(2, 3, 64), (8, 2, 16), (16,)], [(2, 3, 8)], MS, K=64, N=8)
    assert weights == 2 * 6 * 64 * 8 + 2 * 64 * 8
    quantised = [(3, 4), (), (), (5, 4), (), (), (5,), ()]
    assert flops("QGemm", quantised, [(3, 5)], MS, transB=1) == 120 + 12 + 60
    assert flops("QGemm", quantised[:7], [(3, 5)], MS, transB=1) == 120 + 12 + 15


def test_microsoft_fused_convolution() -> None:
    """FusedConv adds the sum with Z and the activation it names."""
    x, w, y = (1, 2, 4, 4), (3, 2, 3, 3), (1, 3, 2, 2)
    assert flops("FusedConv", [x, w, None, y], [y], MS, activation=b"HardSigmoid") == 432 + 12 * 5
    nchwc = flops("Conv", [x, w], [y], "com.microsoft.nchwc", activation=b"Relu")
    assert nchwc == 432 + 12


def test_microsoft_attention_adds_its_projection() -> None:
    """Attention projects the input, then attends over past and new keys."""
    inputs = [(2, 3, 10), (10, 24), (24,), None, (2, 2, 4, 5, 2)]
    projection, scores = 2 * 6 * 10 * 24, 2 * 4 * 3 * 8
    found = flops("Attention", inputs, [(2, 3, 8)], MS, num_heads=4)
    assert found == projection + scores * (4 + 4 + 1 + 5)
    causal = flops("Attention", inputs, [(2, 3, 8)], MS, num_heads=4, unidirectional=1)
    assert causal == found + scores
    shared = [*inputs[:4], (2, 2, 4, 64, 2), None, constant(5)]
    attributes = {"num_heads": 4, "past_present_share_buffer": 1}
    assert flops("Attention", shared, [(2, 3, 8)], MS, **attributes) == found


def test_multi_head_attention_layouts_agree() -> None:
    """Separate, packed QKV and packed KV inputs cost the same; a bias costs 1 per element."""
    layouts: list[list[Any]] = [
        [(2, 5, 6), (2, 5, 6), (2, 5, 6)],
        [(2, 5, 3, 3, 2)],
        [(2, 5, 6), (2, 5, 3, 2, 2)],
        [(2, 5, 6), (2, 3, 5, 2), (2, 3, 5, 2)],
    ]
    expected = 2 * 3 * 5 * 5 * (4 + 4 + 1 + 5)
    for inputs in layouts:
        found = flops("MultiHeadAttention", inputs, [(2, 5, 6)], MS, num_heads=3)
        assert found == expected
    biased = flops("MultiHeadAttention", [*layouts[0], (18,)], [(2, 5, 6)], MS, num_heads=3)
    assert biased == expected + 3 * 2 * 5 * 6


def test_grouped_query_attention() -> None:
    """GroupQueryAttention is causal, takes its keys from the cache and may rotate Q and K."""
    inputs: list[Any] = [(1, 1, 32), (1, 1, 16), (1, 1, 16), (1, 2, 9, 8), (1, 2, 9, 8)]
    heads = {"num_heads": 4, "kv_num_heads": 2}
    expected = 4 * 1 * 10 * (16 + 16 + 1 + 5 + 1)
    cache = [(1, 2, 10, 8)] * 2
    out = (1, 1, 32)
    assert flops("GroupQueryAttention", inputs, [out], MS, **heads) == expected
    assert flops("GroupQueryAttention", inputs, [out, *cache], MS, **heads) == expected
    known = [*inputs, (1,), constant(10)]
    assert flops("GroupQueryAttention", known, [out], MS, **heads) == expected
    packed: list[TensorView | tuple[int, ...] | None] = [(1, 1, 64), None, None, *inputs[3:]]
    rotated = flops("GroupQueryAttention", packed, [out], MS, do_rotary=1, **heads)
    assert rotated == expected + 3 * 6 * 8


def test_masked_decoder_attentions() -> None:
    """Decoders attend with one query over the whole cache; a rotation costs 3 per element."""
    inputs: list[Any] = [(2, 1, 12), (2, 1, 12), (2, 1, 12), None, None, (2, 3, 7, 4), (2, 3, 7, 4)]
    scores = 2 * 3 * 8
    found = flops("DecoderMaskedMultiHeadAttention", inputs, [(2, 1, 12)], MS, num_heads=3)
    assert found == scores * (8 + 8 + 1 + 5)
    packed = [(2, 1, 36), *[None] * 4, *inputs[5:]]
    assert flops("DecoderMaskedMultiHeadAttention", packed, [], MS, num_heads=3) == found
    merged = [(2, 1, 10), (10, 36), (36,), (2, 8), (2, 2, 3, 7, 4)]
    projected = flops("DecoderMaskedSelfAttention", merged, [], MS, num_heads=3)
    assert projected == found + scores + 2 * 2 * 10 * 36
    rotated = flops("DecoderMaskedSelfAttention", merged, [], MS, num_heads=3, do_rotary=1)
    assert rotated == projected + 3 * 2 * (2 * 12)


def test_packed_and_quantised_attentions() -> None:
    """Packed inputs project real tokens and attend padded ones; QAttention also dequantises."""
    per_sequence = 2 * 3 * 4 * 4 * (8 + 10 + 1 + 5)
    packed = [(6, 10), (10, 39), (39,), (2, 4), (3,)]
    sizes = {"num_heads": 3, "qkv_hidden_sizes": [12, 12, 15]}
    assert flops("PackedAttention", packed, [(6, 15)], MS, **sizes) == 2 * 6 * 390 + per_sequence
    separate = [(6, 12), (6, 12), (6, 15), (39,), (2, 4), (3,)]
    found = flops("PackedMultiHeadAttention", separate, [(6, 15)], MS, num_heads=3)
    assert found == per_sequence + 6 * 39
    joined = [(6, 3, 3, 5), None, None, None, (2, 4), (3,)]
    found = flops("PackedMultiHeadAttention", joined, [(6, 15)], MS, num_heads=3)
    assert found == 2 * 3 * 4 * 4 * (10 + 10 + 1 + 5)
    tokens, weights = (2, 3, 10), (10, 24)
    plain = flops("Attention", [tokens, weights], [(2, 3, 8)], MS, num_heads=4)
    quantised = flops("QAttention", [tokens, weights], [(2, 3, 8)], MS, num_heads=4)
    assert quantised == plain + 60 + 6 * 24


def test_weights_of_four_bits() -> None:
    """Weight-only products dequantise each weight once, whatever the rows."""
    a, y, dense = (2, 3, 64), (2, 3, 8), 2 * 6 * 64 * 8
    assert flops("MatMulBnb4", [a, (256,), (8,)], [y], MS, K=64, N=8) == dense + 512
    assert flops("MatMulFpQ4", [a, (300,), (2,)], [y], MS) == dense + 1024


def test_mixture_of_experts_runs_k_experts_per_token() -> None:
    """MoE costs the k chosen experts' layers for each token, not all experts'."""
    inputs = [(6, 8), (6, 10), (10, 16, 8), None, (10, 8, 16)]
    per_expert = 2 * 2 * 16 * 8 + 16 + 2 * 8
    assert flops("MoE", inputs, [(6, 8)], MS, k=2) == 5 * 60 + 6 * 2 * per_expert
