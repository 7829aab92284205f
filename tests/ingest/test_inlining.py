"""Model-local functions: nested, of other operator sets, without end."""

import pytest
from onnx import AttributeProto, FunctionProto, NodeProto, helper

from app.errors import InvalidModelError, LimitExceededError
from tests.ingest.build import dag_of, graph, model, node, taken, value

HERE = "here"


def function(
    name: str, *nodes: NodeProto, opset: int = 17, others: tuple[tuple[str, int], ...] = ()
) -> FunctionProto:
    """A function of one operand ``X`` whose result is ``Y``."""
    imports = [("", opset), (HERE, 1), *others]
    made: FunctionProto = helper.make_function(
        HERE, name, ["X"], ["Y"], nodes, [helper.make_opsetid(*item) for item in imports]
    )
    return made


def call(name: str, source: str, result: str) -> NodeProto:
    """A call of a function."""
    return node(name, source, result, domain=HERE)


def test_nested_functions_are_inlined_however_deep() -> None:
    """A model whose one node hides all in functions of functions has the nodes that do the work."""
    functions = [function("F0", node("Relu", "X", "a"), node("Neg", "a", "Y"))]
    for depth in range(1, 30):
        inner = call(f"F{depth - 1}", "X", "a")
        functions.append(function(f"F{depth}", inner, node("Abs", "a", "Y")))
    dag = dag_of(
        [call("F29", "x", "y")],
        [value("x")],
        [value("y")],
        functions=functions,
        domains={HERE: 1},
    )
    assert dag.node_op_types == ("Relu", "Neg", *["Abs"] * 29)


def test_functions_inside_bodies_are_inlined() -> None:
    """A call in a branch of an If counts what the function does."""
    branches = {
        name: graph([call("F", "x", "r")], [], [value("r")])
        for name in ("then_branch", "else_branch")
    }
    ingested = taken(
        model(
            [node("If", "c", "y", **branches)],
            [value("x"), value("c", [], 9)],
            [value("y")],
            functions=[function("F", node("Relu", "X", "a"), node("Neg", "a", "Y"))],
            domains={HERE: 1},
        )
    )
    assert ingested.dag.total_flops == 8
    assert ingested.facts.warnings == ()


def test_functions_bring_the_operator_sets_that_they_use() -> None:
    """A domain that only a function imports is imported by the model it is inlined into."""
    inner = node("BiasGelu", "X X", "Y", domain="com.microsoft")
    ingested = taken(
        model(
            [call("F", "x", "y")],
            [value("x")],
            [value("y")],
            functions=[function("F", inner, others=(("com.microsoft", 1),))],
            domains={HERE: 1},
        )
    )
    assert ingested.facts.opsets["com.microsoft"] == 1
    assert ingested.facts.warnings == ()


def test_functions_of_another_operator_set_are_converted() -> None:
    """A function that states an older operator set than the model is inlined all the same."""
    old = function("F", node("ReduceSum", "X", "Y", axes=[0]), opset=11)
    dag = dag_of(
        [call("F", "x", "y")],
        [value("x", [3, 4])],
        [value("y", [1, 4])],
        functions=[old],
        domains={HERE: 1},
        opset=18,
    )
    assert dag.node_op_types == ("ReduceSum",)
    assert dag.tensor_shapes[-1] == (1, 4)


def test_functions_that_multiply_without_end_are_refused() -> None:
    """Forty functions of two calls each would make 2 ** 40 nodes: counted before they are made."""
    functions = [function("F0", node("Relu", "X", "Y"))]
    for depth in range(1, 41):
        inner = f"F{depth - 1}"
        functions.append(function(f"F{depth}", call(inner, "X", "a"), call(inner, "a", "Y")))
    proto = model(
        [call("F40", "x", "y")], [value("x")], [value("y")], functions=functions, domains={HERE: 1}
    )
    with pytest.raises(LimitExceededError, match=f"{2**40} nodes.*KERF_MODEL_NODES"):
        taken(proto)


def test_functions_that_call_themselves_are_refused() -> None:
    """A cycle of calls, direct or by way of another function, has no end."""
    for functions in (
        [function("F", call("F", "X", "Y"))],
        [function("F", call("G", "X", "Y")), function("G", call("F", "X", "Y"))],
    ):
        proto = model(
            [call("F", "x", "y")],
            [value("x")],
            [value("y")],
            functions=functions,
            domains={HERE: 1},
        )
        with pytest.raises(InvalidModelError, match="calls itself"):
            taken(proto)


@pytest.mark.parametrize(("stated", "extents"), [({}, (1, 24)), ({"at": 2}, (6, 4))])
def test_defaults_of_attributes_are_filled_in(
    stated: dict[str, int], extents: tuple[int, int]
) -> None:
    """An attribute that a call leaves out has the function's default, one that it states has
    that."""
    flatten = node("Flatten", "X", "Y")
    flatten.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="at")
    flattener = function("F", flatten)
    flattener.attribute_proto.append(helper.make_attribute("at", 0))
    dag = dag_of(
        [node("F", "x", "y", domain=HERE, **stated)],
        [value("x", [2, 3, 4])],
        [value("y", None)],
        functions=[flattener],
        domains={HERE: 1},
    )
    assert dag.tensor_shapes[-1] == extents
