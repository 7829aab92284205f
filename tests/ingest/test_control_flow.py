"""If, Loop, Scan and other operators with bodies: what they cost, hold, read and make."""

import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from app.errors import InvalidModelError
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    floats,
    graph,
    ints,
    model,
    node,
    parameters,
    readers,
    scalar,
    shapes,
    taken,
    value,
)

C = value("c", [], BOOL)
TRUE = helper.make_tensor("go", BOOL, [], [True])


def loop_body(*nodes: NodeProto, stacked: bool = False) -> GraphProto:
    """A body that carries ``a`` to ``b`` and goes on as long as it did before; it may hand out
    each ``b`` as well."""
    inputs = [value("i", [], INT64), value("on", [], BOOL), value("a", None)]
    outputs = [value("still", [], BOOL), value("b", None)]
    more = [node("Identity", "b", "slice")] if stacked else []
    if stacked:
        outputs.append(value("slice", None))
    return graph([node("Identity", "on", "still"), *nodes, *more], inputs, outputs)


def loop_model(trips: TensorProto | None, body: GraphProto, outputs: str = "y") -> ModelProto:
    """x of (3, 4) carried round by a Loop."""
    initializers = [TRUE, floats("w", 4, 4)]
    inputs = [value("x", [3, 4])]
    if trips is None:
        inputs.append(value("trips", [], INT64))
    else:
        initializers.append(trips)
    return model(
        [node("Loop", "trips go x", outputs, name="loop", body=body)],
        inputs,
        [value(name, None) for name in outputs.split()],
        initializers,
    )


PRODUCT = node("MatMul", "a w", "b")


def test_a_loop_of_known_trips_costs_its_body_so_often() -> None:
    """Five products of (3, 4) by (4, 4) are five times 2 * 3 * 4 * 4 FLOPs, without a warning;
    what is carried keeps its shape, what is handed out is stacked."""
    ingested = taken(loop_model(scalar("trips", 5), loop_body(PRODUCT, stacked=True), "y z"))
    assert ingested.dag.total_flops == 5 * 96
    assert ingested.facts.warnings == ()
    assert shapes(ingested.dag) == {"x": (3, 4), "y": (3, 4), "z": (5, 3, 4)}
    assert parameters(ingested.dag)["w"] == (64, ["loop"])


@pytest.mark.parametrize("trips", [None, scalar("trips", 2**63 - 1)])
def test_a_loop_of_unknown_trips_counts_its_body_once_and_says_so(
    trips: TensorProto | None,
) -> None:
    """Where the number of trips is an input, or so large that it means no bound, the body counts
    once; what is carried still has its size, what is handed out has none."""
    ingested = taken(loop_model(trips, loop_body(PRODUCT, stacked=True), "y z"))
    assert ingested.dag.total_flops == 96
    warning = ingested.facts.warnings[-1]
    assert "how often the bodies of Loop run is not known: each counted once (100.00%" in warning
    made = dict(
        zip(ingested.dag.tensor_names, ingested.dag.tensor_is_cuttable.tolist(), strict=True)
    )
    assert (made["y"], made["z"]) == (True, False)


def test_what_grows_in_a_loop_has_no_size() -> None:
    """A carried tensor that each trip doubles has no size that could be told from its first."""
    grows = node("Concat", "a a", "b", axis=0)
    dag = taken(loop_model(scalar("trips", 5), loop_body(grows))).dag
    assert dag.tensor_is_cuttable[dag.tensor_names.index("y")] == np.False_


def test_a_loop_that_may_end_early_hands_out_an_unknown_number() -> None:
    """Where the body's condition hangs on data, the trip count is a bound only: what is stacked
    has no size."""
    body = graph(
        [
            PRODUCT,
            node("ReduceMin", "b", "least", keepdims=0),
            node("Greater", "least zero", "on2"),
            node("Identity", "b", "slice"),
        ],
        [value("i", [], INT64), value("on", [], BOOL), value("a", None)],
        [value("on2", [], BOOL), value("b", None), value("slice", None)],
        [helper.make_tensor("zero", FLOAT, [], [0.0])],
    )
    dag = taken(loop_model(scalar("trips", 5), body, "y z")).dag
    cuttable = dict(zip(dag.tensor_names, dag.tensor_is_cuttable.tolist(), strict=True))
    assert cuttable == {"x": True, "y": True, "z": False}


def test_trips_multiply_through_nested_loops() -> None:
    """A loop of three in a loop of five runs its body fifteen times."""
    inner = node("Loop", "three on a", "b", body=loop_body(node("MatMul", "a w", "b")))
    body = loop_body(inner)
    body.initializer.append(scalar("three", 3))
    ingested = taken(loop_model(scalar("trips", 5), body))
    assert ingested.dag.total_flops == 15 * 96


def scan_model(extent: int | str, **attributes: object) -> ModelProto:
    """A Scan that adds up products of slices of ``x`` (extent, 4) with a weight."""
    body = graph(
        [
            node("MatMul", "slice w", "p"),
            node("Add", "state p", "next"),
            node("Identity", "p", "out"),
        ],
        [value("state", None), value("slice", None)],
        [value("next", None), value("out", None)],
    )
    return model(
        [
            node(
                "Scan",
                "start x",
                "last all",
                name="scan",
                body=body,
                num_scan_inputs=1,
                **attributes,
            )
        ],
        [value("start", [4]), value("x", [extent, 4])],
        [value("last", None), value("all", None)],
        [floats("w", 4, 4)],
    )


def test_a_scan_costs_its_body_once_per_slice() -> None:
    """Seven slices: seven products and seven sums, and the slices of the results are stacked."""
    ingested = taken(scan_model("n"), {"n": 7})
    assert ingested.dag.total_flops == 7 * (2 * 16 + 4)
    assert ingested.facts.warnings == ()
    assert shapes(ingested.dag)["all"] == (7, 4)
    assert ingested.dag.model_batch == 4


def test_an_if_of_a_known_condition_costs_the_branch_that_is_taken() -> None:
    """A condition that shapes decide (as exporters write it) leaves one branch to count and to
    give the result its shape."""
    ingested = taken(
        model(
            [
                node("Shape", "x", "s"),
                node("Size", "s", "rank"),
                node("Equal", "rank two", "c"),
                node(
                    "If",
                    "c",
                    "y",
                    name="if",
                    then_branch=graph([node("Relu", "x", "r")], [], [value("r", None)]),
                    else_branch=graph([node("MatMul", "x w", "r2")], [], [value("r2", None)]),
                ),
            ],
            [value("x", [3, 4])],
            [value("y", None)],
            [scalar("two", 2), floats("w", 4, 9)],
        )
    )
    flops = dict(zip(ingested.dag.node_names, ingested.dag.node_flops.tolist(), strict=True))
    assert flops["if"] == 12
    assert shapes(ingested.dag)["y"] == (3, 4)
    assert parameters(ingested.dag)["w"] == (144, ["if"])


def test_branches_of_different_shapes_make_a_result_without_size() -> None:
    """What an If makes has no size where its branches differ in it."""
    ingested = taken(
        model(
            [
                node(
                    "If",
                    "c",
                    "t",
                    then_branch=graph([node("Relu", "x", "r")], [], [value("r", None)]),
                    else_branch=graph([node("Concat", "x x", "r", axis=0)], [], [value("r", None)]),
                ),
                node("Neg", "t", "y"),
            ],
            [value("x", [4]), C],
            [value("y", None)],
        )
    )
    assert ingested.dag.tensor_is_cuttable.tolist() == [True, True, False, False]
    assert ingested.dag.requirements.groups.tolist() == [0, 0]


def test_bodies_of_other_operators_count_once_as_they_declare_their_inputs() -> None:
    """A decoder that an operator carries counts one step for one sample, with a warning; its
    weights are parameters of the node."""
    decoder = graph(
        [node("Gather", "table ids", "e"), node("MatMul", "e w", "logits")],
        [value("ids", ["batch", "length"], INT64)],
        [value("logits", None)],
        [floats("table", 1000, 8), floats("w", 8, 1000)],
    )
    ingested = taken(
        model(
            [
                node(
                    "GreedySearch",
                    "ids longest",
                    "y",
                    name="g",
                    domain="com.microsoft",
                    decoder=decoder,
                    eos_token_id=0,
                    pad_token_id=0,
                )
            ],
            [value("ids", [2, 5], 6)],
            [value("y", [2, 20], 6)],
            [ints("longest", 20)],
        )
    )
    assert ingested.dag.total_flops == 2 * 8 * 1000
    assert sorted(size for size, _ in parameters(ingested.dag).values()) == [8, 32000, 32000]
    assert "com.microsoft.GreedySearch run is not known" in ingested.facts.warnings[-1]


def test_a_body_out_of_order_is_sorted() -> None:
    """The nodes of a body may stand in any order; outer names still mean outer tensors."""
    body = graph(
        [node("Neg", "a", "r"), node("Abs", "x", "a")],
        [],
        [value("r")],
    )
    ingested = taken(
        model(
            [node("If", "c", "y", name="if", then_branch=body, else_branch=body)],
            [value("x"), C],
            [value("y")],
        )
    )
    assert readers(ingested.dag)["x"] == ["if"]
    assert ingested.dag.total_flops == 8


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_shapes_of_loops_are_those_that_running_them_gives(trips: int) -> None:
    """What ONNX Runtime makes of a loop has the shapes that were told beforehand."""
    proto = loop_model(scalar("trips", trips), loop_body(PRODUCT, stacked=True), "y z")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    ran = session.run(["y", "z"], {"x": np.ones((3, 4), dtype=np.float32)})
    told = shapes(taken(proto).dag)
    assert [told["y"], told["z"]] == [result.shape for result in ran] or trips == 0
    assert told["y"] == ran[0].shape


@pytest.mark.parametrize(
    ("trips", "begins", "goes_on", "runs"),
    [(5, True, True, 5), (5, False, True, 0), (5, True, False, 1), (-3, True, True, 0)],
)
def test_conditions_that_are_known_end_a_loop(
    trips: int, begins: bool, goes_on: bool, runs: int
) -> None:
    """A condition that is false at first lets no trip happen, one that each trip makes false lets
    one, and a negative bound none."""
    body = graph(
        [PRODUCT],
        [value("i", [], INT64), value("on", [], BOOL), value("a", None)],
        [value("still", [], BOOL), value("b", None)],
        [helper.make_tensor("still", BOOL, [], [goes_on])],
    )
    proto = loop_model(scalar("trips", trips), body)
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("go", BOOL, [], [begins]))
    ingested = taken(proto)
    assert ingested.dag.total_flops == 96 * runs
    assert ingested.facts.warnings == ()


def test_a_bound_that_is_no_integer_is_no_bound() -> None:
    """A trip count of NaN does no harm."""
    bound = helper.make_tensor("trips", FLOAT, [], [float("nan")])
    assert taken(loop_model(bound, loop_body(PRODUCT))).dag.total_flops == 96


@pytest.mark.parametrize("count", [0, -1, 3, 2**40])
def test_a_scan_along_inputs_that_it_has_not_is_refused(count: int) -> None:
    """The number of scanned inputs lies between one and that of all inputs."""
    proto = scan_model(7)
    (attribute,) = (
        item for item in proto.graph.node[0].attribute if item.name == "num_scan_inputs"
    )
    attribute.i = count
    with pytest.raises(InvalidModelError):
        taken(proto)


def test_a_branch_that_cannot_run_does_no_harm() -> None:
    """Where a branch contradicts the shapes at hand, as it is never taken with these, the model is
    taken; what the If makes has no size."""
    fits = graph([node("Relu", "x", "r")], [], [value("r", None)])
    squeezes = graph([node("Squeeze", "x first", "r")], [], [value("r", None)], [ints("first", 0)])
    ingested = taken(
        model(
            [node("If", "c", "y", then_branch=squeezes, else_branch=fits)],
            [value("x", ["n", 8]), C],
            [value("y", None)],
        ),
        {"n": 2},
    )
    assert ingested.dag.tensor_is_cuttable.tolist() == [True, True, False]


def test_a_scan_along_inputs_of_different_lengths_is_refused() -> None:
    """All scanned inputs have as many slices."""
    inputs = [value("p", None), value("q", None)]
    body = graph([node("Add", "p q", "out")], inputs, [value("out", None)])
    scan = node("Scan", "x z", "y", name="scan", body=body, num_scan_inputs=2)
    for length, fits in ((3, True), (5, False)):
        proto = model([scan], [value("x", [3, 4]), value("z", [length, 4])], [value("y", None)])
        if fits:
            assert shapes(taken(proto).dag)["y"] == (3, 4)
        else:
            with pytest.raises(InvalidModelError, match="3 and 5 slices"):
                taken(proto)
