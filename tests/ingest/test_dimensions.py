"""Binding symbolic dimensions."""

import json
import re

import pytest
from onnx import TypeProto, helper

from app.errors import BadBindingError, UnboundDimensionError, UnknownShapeError
from app.ingest import ingest
from tests.ingest.build import FLOAT, Extent, model, node, shapes, taken, value


def relu(*extents: Extent) -> bytes:
    """A model of one Relu over an input of these extents."""
    proto = model([node("Relu", "x", "y")], [value("x", extents)], [value("y", extents)])
    return bytes(proto.SerializeToString())


def two_relus(left: list[Extent], right: list[Extent]) -> bytes:
    """A model of two inputs that never meet."""
    proto = model(
        [node("Relu", "a", "p"), node("Relu", "b", "q")],
        [value("a", left), value("b", right)],
        [value("p", left), value("q", right)],
    )
    return bytes(proto.SerializeToString())


def test_an_unbound_symbol_is_named_with_its_place_and_the_cure() -> None:
    """The error names symbol, input and axis, and the dims that it shows make the model pass."""
    data = relu("batch", 3, "height", "width")
    with pytest.raises(UnboundDimensionError) as caught:
        ingest(data)
    text = str(caught.value)
    assert "'height' is axis 2 of 'x'; 'width' is axis 3 of 'x'" in text
    assert "'batch'" not in text
    assert caught.value.loc == ("dims",)
    example = re.search(r"dims=(\{.*?\})", text)
    assert example is not None
    assert shapes(ingest(data, json.loads(example[1])).dag)["y"] == (1, 3, 128, 128)


def test_a_symbol_in_several_places_is_named_for_each_and_bound_once() -> None:
    """The error lists every place of an unbound symbol; one binding fills them all."""
    data = two_relus(["n", "length"], ["n", "length", "length"])
    with pytest.raises(UnboundDimensionError) as caught:
        ingest(data)
    for place in ("axis 1 of 'a'", "axis 1 of 'b'", "axis 2 of 'b'"):
        assert f"'length' is {place}" in str(caught.value)
    assert str(caught.value).count('"length": 128') == 1
    ingested = ingest(data, {"length": 5})
    assert shapes(ingested.dag) == {"a": (1, 5), "b": (1, 5, 5), "p": (1, 5), "q": (1, 5, 5)}
    assert ingested.facts.bound_dims == {"n": 1, "length": 5}


def test_a_symbolic_first_axis_is_the_batch() -> None:
    """A first axis that is left unbound is bound to 1 and reported; bound, it is the batch."""
    ingested = ingest(relu("batch", 3))
    assert ingested.facts.bound_dims == {"batch": 1}
    assert ingested.dag.model_batch == 1
    ingested = ingest(relu("batch", 3), {"batch": 8})
    assert ingested.facts.bound_dims == {"batch": 8}
    assert ingested.dag.model_batch == 8
    assert shapes(ingested.dag)["y"] == (8, 3)


def test_a_batch_symbol_on_another_axis_is_bound_with_it() -> None:
    """A symbol that is some input's first axis has one value wherever else it stands."""
    ingested = ingest(two_relus([3, "batch"], ["batch", 2]))
    assert shapes(ingested.dag)["p"] == (3, 1)
    assert ingested.facts.bound_dims == {"batch": 1}


def test_unnamed_dimensions_go_by_input_and_axis() -> None:
    """A dimension without a symbol is called input:axis, in the error and in dims."""
    data = relu(None, 3, None)
    with pytest.raises(UnboundDimensionError, match="'x:2' is axis 2 of 'x'"):
        ingest(data)
    ingested = ingest(data, {"x:2": 7})
    assert shapes(ingested.dag)["x"] == (1, 3, 7)
    assert ingested.facts.bound_dims == {"x:0": 1, "x:2": 7}
    assert ingest(data, {"x:2": 7, "x:0": 4}).dag.model_batch == 4


def test_static_models_bind_nothing() -> None:
    """Without symbolic dimensions nothing is bound, and the first extent is the batch."""
    ingested = ingest(relu(6, 3))
    assert ingested.facts.bound_dims == {}
    assert ingested.dag.model_batch == 6


@pytest.mark.parametrize("extent", [0, -1, -(2**63), 2**31, 2**200])
def test_a_binding_out_of_range_is_refused(extent: int) -> None:
    """Zero, negative and huge values are refused, and the field is named."""
    with pytest.raises(BadBindingError, match=rf"'batch' to {extent};") as caught:
        ingest(relu("batch", 3), {"batch": extent})
    assert caught.value.loc == ("dims", "batch")


def test_an_unknown_binding_is_refused() -> None:
    """A key that is no dimension of the model is refused, naming those that are."""
    with pytest.raises(BadBindingError, match=r"'lenght'.*'batch', 'length'") as caught:
        ingest(relu("batch", "length"), {"length": 4, "lenght": 4})
    assert caught.value.loc == ("dims", "lenght")
    with pytest.raises(BadBindingError, match="its inputs have: none"):
        ingest(relu(1, 3), {"batch": 1})


def test_a_dimension_may_be_called_by_its_place() -> None:
    """A named dimension goes by its input and axis as well; two names for it have to agree."""
    for dims in ({"x:1": 4}, {"length": 4, "x:1": 4}):
        ingested = ingest(relu("batch", "length"), dims)
        assert shapes(ingested.dag)["y"] == (1, 4)
        assert ingested.facts.bound_dims == {"batch": 1, "length": 4}
    with pytest.raises(
        BadBindingError, match=r"'length' both to 4 and to 5 \(as 'x:1'\)"
    ) as caught:
        ingest(relu("batch", "length"), {"length": 4, "x:1": 5})
    assert caught.value.loc == ("dims", "x:1")


def test_expressions_in_stored_shapes_are_worked_out_again() -> None:
    """A stored shape with an expression such as 2*n neither binds nor stands in the way."""
    proto = model(
        [node("Concat", "x x", "m", axis=0), node("Relu", "m", "y")],
        [value("x", ["n", 3])],
        [value("y", ["2*n", 3])],
        infos=[value("m", ["2*n", 3])],
    )
    ingested = taken(proto, {"n": 5})
    assert shapes(ingested.dag) == {"x": (5, 3), "m": (10, 3), "y": (10, 3)}
    assert shapes(taken(proto, {"n": 5, "2*n": 10}).dag)["y"] == (10, 3)
    with pytest.raises(BadBindingError, match=r"'2\*n' to 12, but axis 0 .* is 10") as caught:
        taken(proto, {"n": 5, "2*n": 12})
    assert caught.value.loc == ("dims", "2*n")


def test_stored_shapes_that_inference_cannot_know_are_used() -> None:
    """The stored shape of a custom operator's output is used, its symbols bound."""
    proto = model(
        [node("Mystery", "x", "m", domain="there"), node("Relu", "m", "y")],
        [value("x", ["n", 3])],
        [value("y", ["n", 6])],
        infos=[value("m", ["n", 6])],
        domains={"there": 1},
    )
    assert shapes(taken(proto, {"n": 4}).dag) == {"x": (4, 3), "m": (4, 6), "y": (4, 6)}


def test_the_batch_may_be_stated() -> None:
    """model_batch as stated wins over the first axis, and is at least 1."""
    data = relu(6, 3)
    assert ingest(data, model_batch=2).dag.model_batch == 2
    for stated in (0, -1):
        with pytest.raises(BadBindingError, match="at least 1") as caught:
            ingest(data, model_batch=stated)
        assert caught.value.loc == ("model_batch",)


def test_the_batch_of_a_scalar_or_empty_input_is_one() -> None:
    """Where the first input has no first axis, or an empty one, the batch is 1."""
    assert ingest(relu()).dag.model_batch == 1
    assert ingest(relu(0, 3)).dag.model_batch == 1


def test_the_batch_comes_from_the_first_input_that_is_no_weight() -> None:
    """An initializer that old files list among the inputs does not state the batch."""
    weight = helper.make_tensor("w", FLOAT, [9, 3], [1.0] * 27)
    proto = model(
        [node("MatMul", "w x", "y")],
        [value("w", [9, 3]), value("x", [3, 2])],
        [value("y", [9, 2])],
        [weight],
        ir_version=3,
        opset=8,
    )
    assert taken(proto).dag.model_batch == 3


def test_an_input_without_a_rank_is_refused() -> None:
    """A graph input whose shape is not stated at all is named."""
    proto = model([node("Relu", "x", "y")], [value("x", None)], [value("y", [1])])
    with pytest.raises(UnknownShapeError, match=r"'x' \(a graph input\)"):
        taken(proto)


def test_an_input_that_is_no_tensor_is_refused() -> None:
    """A sequence or an optional as graph input is named."""
    element = helper.make_tensor_type_proto(FLOAT, [2])
    for kind in (
        helper.make_sequence_type_proto(element),
        helper.make_optional_type_proto(element),
        helper.make_map_type_proto(7, element),
        TypeProto(),
    ):
        proto = model([node("Relu", "s", "y")], [helper.make_value_info("s", kind)], [value("y")])
        with pytest.raises(UnknownShapeError, match=r"'s' \(a graph input\)"):
            taken(proto)


def test_a_negative_extent_is_a_dimension_without_a_name() -> None:
    """Old tools write -1 for what is open: the first axis is the batch, others have to be bound."""
    assert shapes(ingest(relu(-1, 3)).dag)["y"] == (1, 3)
    with pytest.raises(UnboundDimensionError, match="'x:1'"):
        ingest(relu("x", -3))
    assert shapes(ingest(relu("x", -3), {"x:1": 7}).dag)["y"] == (1, 7)
