"""The casts of smashed data in the halves: names, types, and where there are none."""

import io
from collections.abc import Mapping

import onnx.checker
import pytest
from onnx import ModelProto, TensorProto, helper

from app.core.errors import UnsupportedError
from app.core.smashed import SmashedDtype
from app.halves.casts import KEY
from app.halves.dividing import divide
from app.halves.division import Division
from app.ingest import IngestOptions, dissect_file
from tests.halves.divided import both, extents, inputs, metadata, outputs, types
from tests.halves.weighted_models import BY_NAME
from tests.halves.weighted_models.weighted import weight
from tests.ingest.build import INT64, Extent, model, node, value

FLOAT, FLOAT16, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
SMASHED: tuple[SmashedDtype, ...] = ("float16", "int8")


def halves_of(
    proto: ModelProto,
    smashed_dtype: SmashedDtype | None,
    *device: str,
    dims: Mapping[str, int] | None = None,
) -> tuple[ModelProto, ModelProto]:
    """Both halves of the cut with these nodes on the device; they pass onnx's checker."""
    read = dissect_file(io.BytesIO(proto.SerializeToString()), IngestOptions(dims or {}))
    others = [name for name in read.ingested.dag.node_names if name not in device]
    halves = both(divide(read, Division(device, tuple(others)), smashed_dtype))
    for half in halves:
        onnx.checker.check_model(half, full_check=True)
    return halves


def layers(dtype: int = FLOAT, batch: Extent = 2, opset: int = 17) -> ModelProto:
    """Two nodes with one tensor between them."""
    return model(
        [node("Neg", "x", "h", name="a"), node("Abs", "h", "y", name="b")],
        [value("x", [batch, 24], dtype)],
        [value("y", [batch, 24], dtype)],
        infos=[value("h", [batch, 24], dtype)],
        opset=opset,
    )


def element_types(half: ModelProto) -> dict[str, int]:
    """Of its inputs and outputs, by name."""
    values = (*half.graph.input, *half.graph.output)
    return {item.name: item.type.tensor_type.elem_type for item in values}


def test_float16_crosses_under_a_name_of_its_own() -> None:
    """The device half ends in a cast to float16, the server half begins with the one back, and
    both say so; all else of the halves is as without casts."""
    device, server = halves_of(layers(), "float16", "a")
    assert (inputs(device), outputs(device)) == (["x"], ["h.float16"])
    assert (inputs(server), outputs(server)) == (["h.float16"], ["y"])
    assert types(device) == ["Neg", "Cast"]
    assert types(server) == ["Cast", "Abs"]
    for half in (device, server):
        assert element_types(half)["h.float16"] == FLOAT16
        assert extents(half, "h.float16") == [2, 24]
        assert metadata(half)[KEY] == "float16"
        assert {item.name for item in half.graph.value_info} == {"h"}


@pytest.mark.parametrize(
    ("dtype", "there", "back"),
    [
        (FLOAT, ["DynamicQuantizeLinear"], ["DequantizeLinear"]),
        *(
            (dtype, ["Cast", "DynamicQuantizeLinear"], ["DequantizeLinear", "Cast"])
            for dtype in (TensorProto.DOUBLE, FLOAT16, TensorProto.BFLOAT16)
        ),
    ],
)
def test_int8_crosses_with_scale_and_zero_point(
    dtype: int, there: list[str], back: list[str]
) -> None:
    """The numbers, then the scale, then the zero point; what is no float32 is cast to that and
    back."""
    device, server = halves_of(layers(dtype), "int8", "a")
    crossing = ["h.int8", "h.scale", "h.zero_point"]
    assert outputs(device) == inputs(server) == crossing
    assert types(device) == ["Neg", *there]
    assert types(server) == [*back, "Abs"]
    for half in (device, server):
        assert [element_types(half)[name] for name in crossing] == [UINT8, FLOAT, UINT8]
        assert [extents(half, name) for name in crossing] == [[2, 24], [], []]
        assert metadata(half)[KEY] == "int8"


@pytest.mark.parametrize("smashed_dtype", SMASHED)
@pytest.mark.parametrize(
    "dtype", [INT64, TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.BOOL]
)
def test_what_is_no_float_crosses_as_it_is(dtype: int, smashed_dtype: SmashedDtype) -> None:
    """Where no cut tensor is cast, the halves are those without casts, byte for byte."""
    proto = model(
        [node("Identity", "x", "h", name="a"), node("Identity", "h", "y", name="b")],
        [value("x", [2, 24], dtype)],
        [value("y", [2, 24], dtype)],
        opset=19,
        ir_version=9,
    )
    assert halves_of(proto, smashed_dtype, "a") == halves_of(proto, None, "a")


@pytest.mark.parametrize(
    ("dtype", "batch", "smashed_dtype"),
    [(FLOAT16, 2, "float16"), (TensorProto.BFLOAT16, 2, "float16"), (FLOAT, 0, "int8")],
)
def test_what_would_not_get_smaller_crosses_as_it_is(
    dtype: int, batch: int, smashed_dtype: SmashedDtype
) -> None:
    """Types of 16 bits are not cast to another such type, nor is what has no elements."""
    proto = layers(dtype, batch)
    assert halves_of(proto, smashed_dtype, "a") == halves_of(proto, None, "a")


def several() -> ModelProto:
    """Five tensors cross behind a and b: a graph input, three floats of which one is a graph
    output, and integers; k is made by the device for the caller alone."""
    return model(
        [
            node("Neg", "x", "p", name="a"),
            node("Split", "x", "q r", name="b", axis=1),
            node("Shape", "p", "s", name="c"),
            node("Abs", "q", "k", name="d"),
            node("Reshape", "p s", "t", name="e"),
            node("Concat", "q r", "u", name="f", axis=1),
            node("Add", "t u", "v", name="g"),
            node("Add", "v z", "y", name="h"),
        ],
        [value("x", [2, 24]), value("z", [2, 24])],
        [value("k", [2, 12]), value("y", [2, 24]), value("q", [2, 12])],
    )


@pytest.mark.parametrize(
    ("smashed_dtype", "suffixes"),
    [(None, [""]), ("float16", [".float16"]), ("int8", [".int8", ".scale", ".zero_point"])],
)
def test_order_is_that_of_the_cut_tensors(
    smashed_dtype: SmashedDtype | None, suffixes: list[str]
) -> None:
    """What crosses stands in the order of the cut tensors, each with all its parts, integers among
    them as they are; after it the device's graph outputs, exact ones of what is both."""
    device, server = halves_of(several(), smashed_dtype, "a", "b", "c", "d")
    plain, _ = halves_of(several(), None, "a", "b", "c", "d")
    cut_tensors = outputs(plain)[:5]
    assert set(cut_tensors) == {"z", "p", "q", "r", "s"}
    crossing = [
        name + suffix for name in cut_tensors for suffix in ([""] if name == "s" else suffixes)
    ]
    assert inputs(server) == crossing
    results = ["k"] if smashed_dtype is None else ["k", "q"]
    assert outputs(device) == [*crossing, *results]
    assert element_types(device)["s"] == INT64
    assert smashed_dtype is None or element_types(device)["q"] == FLOAT
    for half in (device, server):
        inner = {item.name for item in half.graph.value_info}
        assert inner.isdisjoint([*inputs(half), *outputs(half)])


@pytest.mark.parametrize("smashed_dtype", SMASHED)
def test_raw_inputs_are_cast_where_nothing_runs_on_the_device(smashed_dtype: SmashedDtype) -> None:
    """The device half is then the casts of the graph inputs, and nothing else."""
    device, server = halves_of(several(), smashed_dtype)
    cast = {"float16": "Cast", "int8": "DynamicQuantizeLinear"}[smashed_dtype]
    assert types(device) == [cast, cast]
    assert inputs(device) == ["x", "z"]
    assert outputs(device) == inputs(server)
    assert outputs(server) == ["k", "y", "q"]
    assert metadata(server)["kerf.other_half"] == "device.onnx"


@pytest.mark.parametrize("device", [(), ("a", "b")])
def test_one_sided_divisions_have_no_casts(device: tuple[str, ...]) -> None:
    """Nothing crosses where everything runs on the device, and integers cross as they are where
    nothing does: then there is one half, without a word of casts."""
    dtype = FLOAT if device else INT64
    read = dissect_file(io.BytesIO(layers(dtype).SerializeToString()))
    server = tuple(name for name in ("a", "b") if name not in device)
    halves = divide(read, Division(device, server), "float16")
    half = halves.device or halves.server
    assert half is not None
    assert (halves.device is None) != (halves.server is None)
    assert KEY not in metadata(half)
    assert types(half) == ["Neg", "Abs"]


def test_names_that_are_taken_are_left_alone() -> None:
    """A name that the model has, be it in a body or of a node, is not used again; both halves have
    the same other one."""
    body = helper.make_graph(
        [node("Neg", "h.scale", "h.zero_point"), node("Abs", "h.zero_point", "inner")],
        "body",
        [],
        [value("inner", [2, 24])],
    )
    proto = model(
        [
            node("Neg", "x", "h", name="h.int8_"),
            node("Neg", "x", "h.int8", name="b"),
            node("Abs", "h", "h.scale", name="c"),
            node("If", "flag", "w", name="d", then_branch=body, else_branch=body),
            node("Add", "h.int8 w", "y", name="e"),
        ],
        [value("x", [2, 24]), value("flag", [], TensorProto.BOOL)],
        [value("y", [2, 24])],
    )
    device, server = halves_of(proto, "int8", "h.int8_", "b")
    crossing = inputs(server)
    assert outputs(device) == crossing
    assert {"h.int8__", "h.scale_", "h.zero_point_"} <= set(crossing)
    assert {"h.int8.int8", "h.int8.scale", "h.int8.zero_point"} <= set(crossing)
    assert len(set(crossing)) == len(crossing) == 7


@pytest.mark.parametrize(
    ("smashed_dtype", "dtype", "opset", "needed"),
    [
        ("float16", FLOAT, 5, 6),
        ("float16", TensorProto.DOUBLE, 5, 6),
        ("int8", FLOAT, 10, 11),
        ("int8", FLOAT16, 10, 11),
    ],
)
def test_an_operator_set_without_the_cast_is_refused(
    smashed_dtype: SmashedDtype, dtype: int, opset: int, needed: int
) -> None:
    """The error names the operator set that there is and the one that it takes; from that on there
    are halves."""
    with pytest.raises(UnsupportedError, match=f"operator set {opset} .* set {needed} on"):
        halves_of(layers(dtype, opset=opset), smashed_dtype, "a")
    device, _ = halves_of(layers(dtype, opset=needed), smashed_dtype, "a")
    assert len(outputs(device)) == {"float16": 1, "int8": 3}[smashed_dtype]


def test_bfloat16_takes_a_later_operator_set() -> None:
    """Cast knows bfloat16 from operator set 13 on, so does int8 of it."""
    proto = model(
        [
            node("Thing", "x", "h", name="a", domain="there"),
            node("Thing", "h", "y", name="b", domain="there"),
        ],
        [value("x", [2, 24], TensorProto.BFLOAT16)],
        [value("y", [2, 24], TensorProto.BFLOAT16)],
        infos=[value("h", [2, 24], TensorProto.BFLOAT16)],
        opset=12,
        domains={"there": 1},
    )
    with pytest.raises(UnsupportedError, match=r"operator set 12 .* from operator set 13 on"):
        halves_of(proto, "int8", "a")


@pytest.mark.parametrize("smashed_dtype", SMASHED)
def test_a_model_of_other_domains_gets_the_operator_set(smashed_dtype: SmashedDtype) -> None:
    """Where all operators are of another domain, the halves state the one of the casts, too."""
    proto = model(
        [
            node("Scaler", "x", "h", name="a", domain="ai.onnx.ml", offset=[0.0], scale=[2.0]),
            node("Scaler", "h", "y", name="b", domain="ai.onnx.ml", offset=[0.0], scale=[2.0]),
        ],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
        domains={"ai.onnx.ml": 3},
    )
    del proto.opset_import[0]
    for half in halves_of(proto, smashed_dtype, "a"):
        assert {item.domain: item.version for item in half.opset_import} == {
            "ai.onnx.ml": 3,
            "": 13,
        }
    assert [item.domain for item in halves_of(proto, None, "a")[0].opset_import] == ["ai.onnx.ml"]


def test_open_extents_stay_open() -> None:
    """What the shape of a cut tensor leaves open or names, its casts do as well."""
    for smashed_dtype, name in zip(SMASHED, ("h.float16", "h.int8"), strict=True):
        for half in halves_of(layers(batch="n"), smashed_dtype, "a", dims={"n": 2}):
            assert extents(half, name) == ["n", 24]


def test_parameters_that_are_fed_are_not_cast() -> None:
    """Graph inputs that are parameters go to each half as they are."""
    fed = BY_NAME["fed_weights"]
    read = dissect_file(io.BytesIO(fed.build().SerializeToString()), fed.options)
    names = read.ingested.dag.node_names
    plain = both(divide(read, Division(names[:1], names[1:])))
    cast = both(divide(read, Division(names[:1], names[1:]), "float16"))
    for before, after in zip(plain, cast, strict=True):
        kept = set(inputs(before)) & set(fed.options.parameters)
        assert kept
        assert kept <= set(inputs(after))


def test_calls_stay_calls() -> None:
    """A function that is called on both sides of the cut is called there with casts between."""
    twice = BY_NAME["function_twice"]
    read = dissect_file(io.BytesIO(twice.build().SerializeToString()))
    names = read.ingested.dag.node_names
    for place in range(1, len(names)):
        division = Division(names[:place], names[place:])
        plain, cast = both(divide(read, division)), both(divide(read, division, "float16"))
        for before, after in zip(plain, cast, strict=True):
            assert list(before.functions) == list(after.functions)
            assert [name for name in types(after) if name != "Cast"] == types(before)


@pytest.mark.parametrize("again", [None, *SMASHED])
def test_a_half_with_casts_can_be_cut_again(again: SmashedDtype | None) -> None:
    """Its own halves say what they cast, not what it does."""
    proto = model(
        [node(kind, *names.split(), name=kind) for kind, names in STEPS.items()],
        [value("x", [2, 24])],
        [value("y", [2, 24])],
    )
    _, server = halves_of(proto, "float16", "Neg")
    for half in halves_of(server, again, "h.float16.back", "Abs"):
        assert metadata(half).get(KEY) == again


STEPS = {"Neg": "x h", "Abs": "h g", "Tanh": "g y"}


def test_weights_are_not_cast() -> None:
    """Only what crosses is: a weight that both sides use is in both halves as it is."""
    proto = model(
        [node("MatMul", "x w", "h", name="a"), node("MatMul", "h w", "y", name="b")],
        [value("x", [2, 8])],
        [value("y", [2, 8])],
        [weight("w", 8, 8)],
    )
    for half in halves_of(proto, "float16", "a"):
        (held,) = half.graph.initializer
        assert (held.name, held.data_type) == ("w", FLOAT)
