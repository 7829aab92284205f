"""The registry as a whole: coverage of ONNX, zero entries, fallback and unknown shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ingest.op_costs import (
    COSTED_BY_BODIES,
    InvalidNode,
    NodeView,
    TensorView,
    UnknownShape,
    entries,
    flops_of,
)
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.registry import merge

FLOAT = onnx.TensorProto.FLOAT

Given = TensorView | Sequence[int] | None


def constant(*values: int) -> TensorView:
    """A constant 1-D integer tensor."""
    return TensorView((len(values),), onnx.TensorProto.INT64, np.array(values))


def unknown() -> TensorView:
    """A tensor that is there but whose shape is not known."""
    return TensorView(None, FLOAT)


def node(
    op_type: str,
    inputs: Sequence[Given],
    outputs: Sequence[Given],
    domain: str = "",
    opset: int = 21,
    **attributes: Any,
) -> NodeView:
    """A node whose tensors are given as shapes."""

    def view(tensor: Given) -> TensorView | None:
        if tensor is None or isinstance(tensor, TensorView):
            return tensor
        return TensorView(tuple(tensor), FLOAT)

    return NodeView(
        domain,
        op_type,
        tuple(view(tensor) for tensor in inputs),
        tuple(view(tensor) for tensor in outputs),
        attributes,
        opset,
    )


def flops(*args: Any, **kwargs: Any) -> int:
    """FLOPs of a node that has an entry."""
    cost = flops_of(node(*args, **kwargs))
    assert cost.basis == "entry"
    return cost.flops


def test_every_onnx_operator_has_an_entry() -> None:
    """Every operator of the installed ONNX, deprecated ones too, is counted or declared."""
    handled = entries().keys() | COSTED_BY_BODIES
    schemas = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()}
    missing = schemas - handled - {("ai.onnx.preview.training", "Gradient")}
    assert not missing
    assert len(schemas) > 200


def test_exempt_operators_have_no_entry() -> None:
    """Control flow and functions with a body are left to the graph builder."""
    assert not entries().keys() & COSTED_BY_BODIES
    assert {("", "If"), ("", "Loop"), ("", "Scan"), ("", "SequenceMap")} == COSTED_BY_BODIES


def test_every_entry_cites_its_operator() -> None:
    """Each entry is filed under its own key and its source names the operator."""
    for (domain, op_type), entry in entries().items():
        assert (entry.domain, entry.op_type) == (domain, op_type)
        assert f"{op_type}: " in entry.source
        assert len(entry.source) > len(op_type) + 15


def test_zero_entries_have_a_reason_and_cost_nothing() -> None:
    """An entry with a reason costs 0 even when no shape at all is known."""
    zeros = [entry for entry in entries().values() if entry.reason is not None]
    assert len(zeros) > 60
    for entry in zeros:
        assert entry.reason
        bare = node(entry.op_type, [unknown()], [unknown()], domain=entry.domain)
        assert flops_of(bare).flops == 0


@pytest.mark.parametrize("key", [k for k, e in entries().items() if e.reason is None])
def test_counted_entries_refuse_to_guess(key: tuple[str, str]) -> None:
    """An entry without a reason raises when every shape it could need is unknown."""
    domain, op_type = key
    attributes: dict[str, Any] = {
        "equation": b",".join([b"i"] * 12),
        "kernel_shape": [3],
        "num_heads": 1,
        "reduction": b"add",
        "size": 3,
        "K": 4,
        "N": 4,
    }
    bare = node(op_type, [unknown()] * 12, [unknown()] * 3, domain=domain, **attributes)
    with pytest.raises(UnknownShape) as error:
        flops_of(bare)
    assert error.value.op_type == op_type


def test_unknown_shape_tells_which_tensor() -> None:
    """UnknownShape carries the side and the index of the tensor that is not known."""
    with pytest.raises(UnknownShape) as error:
        flops("MatMul", [(2, 3), unknown()], [(2, 4)])
    assert (error.value.side, error.value.index, error.value.what) == ("input", 1, "shape")
    with pytest.raises(UnknownShape) as error:
        flops("Add", [(2,), (2,)], [unknown()])
    assert (error.value.side, error.value.index) == ("output", 0)


def test_left_out_required_input_is_unknown() -> None:
    """A required input that is left out or beyond the list is refused, not taken as empty."""
    for inputs in ([(2, 3), None], [(2, 3)]):
        with pytest.raises(UnknownShape):
            flops("MatMul", inputs, [(2, 4)])


def test_unknown_operator_counts_its_output_elements() -> None:
    """An operator without an entry costs the elements of all the outputs it has."""
    cost = flops_of(node("Mystery", [(9, 9)], [(2, 3), None, (4,)], domain="vendor"))
    assert (cost.flops, cost.basis) == (10, "output_elements")


def test_unknown_operator_of_unknown_output_is_refused() -> None:
    """The fallback raises too when an output's shape is not known."""
    with pytest.raises(UnknownShape):
        flops_of(node("Mystery", [(9, 9)], [(2, 3), unknown()], domain="vendor"))


def test_same_name_in_another_domain_is_another_operator() -> None:
    """The domain is part of the key, and ai.onnx is the default domain's other name."""
    assert flops_of(node("Conv", [], [(5,)], domain="vendor")).basis == "output_elements"
    assert flops("Relu", [(5,)], [(5,)], domain="ai.onnx") == 5


def test_entries_are_read_only() -> None:
    """The mapping that callers get cannot be changed."""
    with pytest.raises(TypeError):
        entries()["", "Conv"] = entries()["", "Relu"]  # type: ignore[index]


def test_declaring_an_operator_twice_is_an_error() -> None:
    """A second entry for an operator is refused, in one table and across tables."""
    table = Table()
    table.zeros({"Same": "reason"})
    with pytest.raises(ValueError, match="twice"):
        table.zeros({"Same": "other reason"})
    with pytest.raises(ValueError, match="twice"):
        merge([table, table])


def test_large_shapes_do_not_overflow() -> None:
    """Costs are exact beyond 64 bits."""
    side = 2**31 + 1
    assert flops("MatMul", [(side, side), (side, side)], [(side, side)]) == 2 * side**3


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs", "attributes"),
    [
        ("MatMul", [(2, 3), (4, 5)], [(2, 5)], {}),
        ("MatMul", [(2, 3, 4), (3, 4, 5)], [(2, 3, 5)], {}),
        ("Einsum", [(2, 3), (4, 5)], [(2, 5)], {"equation": "ij,jk->ik"}),
        ("Einsum", [(2, 3)], [(2,)], {"equation": "i->i"}),
        ("Einsum", [(2, 3)], [(2,)], {"equation": "ij,jk->ik"}),
        ("Einsum", [(2,)], [(2,)], {"equation": "i->j"}),
        ("Conv", [(1, 2, 3, 3), (4,)], [(1, 4, 3, 3)], {}),
        ("MaxPool", [(1, 2, 3, 3)], [(1, 2, 3, 3)], {}),
        ("MaxPool", [(1, 2, 3, 3)], [(1, 2, 3, 3)], {"kernel_shape": [-1, 2]}),
        ("Relu", [(-1,)], [(-1,)], {}),
        ("Resize", [(1, 2)], [(1, 4)], {"mode": b"magic"}),
        ("Attention", [(1, 2, 8), (1, 2, 8), (1, 2, 8)], [(1, 2, 8)], {"q_num_heads": 0}),
        ("LSTM", [(1, 1, 1), (1, 4, 1), (1, 4, 1)], [], {"activations": ["Nope"] * 3}),
    ],
)
def test_contradictory_nodes_are_refused(
    op_type: str, inputs: list[Given], outputs: list[Given], attributes: dict[str, Any]
) -> None:
    """Shapes or attributes that contradict the definition raise InvalidNode."""
    with pytest.raises(InvalidNode):
        flops(op_type, inputs, outputs, **attributes)


SHAPES = st.lists(st.integers(0, 4), max_size=5).map(tuple)
SMALL = st.integers(-2, 5)
TENSORS = st.one_of(
    st.none(),
    st.just(unknown()),
    SHAPES,
    SMALL.map(constant),
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "axes": st.lists(SMALL, max_size=3),
        "axis": SMALL,
        "do_rotary": st.integers(0, 1),
        "equation": st.sampled_from([b"i", b"ij,jk", b"...i,i...->...", b"ii", b"", b"a->"]),
        "groups": SMALL,
        "hidden_size": SMALL,
        "inverse": st.integers(0, 1),
        "k": SMALL,
        "kernel_shape": st.lists(SMALL, max_size=3),
        "kv_num_heads": SMALL,
        "max_gram_length": SMALL,
        "max_skip_count": SMALL,
        "mode": st.sampled_from([b"nearest", b"linear", b"cubic", b"max", b"TFIDF"]),
        "noop_with_empty_axes": st.integers(0, 1),
        "num_groups": SMALL,
        "num_heads": SMALL,
        "onesided": st.integers(0, 1),
        "past_present_share_buffer": st.integers(0, 1),
        "q_num_heads": SMALL,
        "qkv_hidden_sizes": st.lists(SMALL, max_size=3),
        "rotary_embedding_dim": SMALL,
        "sampling_ratio": SMALL,
        "size": SMALL,
        "transA": st.integers(0, 1),
        "training_mode": st.integers(0, 1),
    },
)


@settings(max_examples=1500, deadline=None)
@given(
    key=st.sampled_from(sorted(entries())),
    inputs=st.lists(TENSORS, max_size=9),
    outputs=st.lists(TENSORS, max_size=3),
    attributes=ATTRIBUTES,
    opset=st.integers(1, 28),
)
def test_any_node_gives_a_count_or_a_refusal(
    key: tuple[str, str],
    inputs: list[Given],
    outputs: list[Given],
    attributes: dict[str, Any],
    opset: int,
) -> None:
    """Whatever the shapes and attributes, the cost is an int of at least 0 or a named refusal."""
    candidate = node(key[1], inputs, outputs, key[0], opset, **attributes)
    try:
        cost = flops_of(candidate)
    except (UnknownShape, InvalidNode):
        return
    assert type(cost.flops) is int
    assert cost.flops >= 0
