"""The verifier says no: to halves that were tampered with, and to what cannot be run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from app.errors import CannotRunError, MissingDataError
from app.halves import Division, cut_file
from app.halves.feeds import load_feeds
from app.halves.verification import OutputDifference, run_whole, verify
from app.ingest import ingest_file
from tests.halves.weighted_models import BY_NAME
from tests.halves.weighted_models.weighted import numbers, tensor, weight
from tests.ingest.build import INT64, model, node, value

SHAPE = [2, 24]
Tampering = Callable[[ModelProto], None]


@dataclass(frozen=True)
class Case:
    """A model's file, both halves of it, and what it is fed."""

    whole: Path
    device: Path
    server: Path
    feeds: dict[str, Any]
    parameters: tuple[str, ...] = ()

    def verify(self, *, optimised: bool = False) -> list[OutputDifference]:
        """What the verifier finds."""
        return verify(
            self.whole,
            self.device,
            self.server,
            self.feeds,
            optimised=optimised,
            parameters=self.parameters,
        )

    def failures(self, *, optimised: bool = False) -> dict[str, OutputDifference]:
        """The outputs that do not pass."""
        found = self.verify(optimised=optimised)
        return {item.name: item for item in found if not item.is_within_tolerance}


def cut(name: str, directory: Path, *device: str) -> Case:
    """A small model, cut behind some of its nodes."""
    weighted = BY_NAME[name]
    path = weighted.write(directory)
    with path.open("rb") as file:
        names = ingest_file(file, weighted.options).dag.node_names
    server = tuple(each for each in names if each not in device)
    halves = cut_file(path, weighted.options, Division(device, server), directory / "halves")
    assert halves.device is not None
    assert halves.server is not None
    parameters = weighted.options.parameters
    return Case(path, halves.device.path, halves.server.path, weighted.inputs(path), parameters)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two outputs from either side: h (which crosses) and r from the device, y and t."""
    return cut("output_used_inside", tmp_path, "h", "r")


def tamper(path: Path, change: Tampering) -> None:
    """Change a half in its file."""
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)


def output_of(proto: ModelProto, name: str) -> ValueInfoProto:
    """A graph output."""
    found: ValueInfoProto = next(item for item in proto.graph.output if item.name == name)
    return found


def replaced(proto: ModelProto, name: str, op_type: str, **attributes: Any) -> None:
    """Have a node come between the maker of an output and the output."""
    for each in proto.graph.node:
        for names in (each.input, each.output):
            for place, used in enumerate(names):
                if used == name:
                    names[place] = f"{name}.before"
    proto.graph.node.append(helper.make_node(op_type, [f"{name}.before"], [name], **attributes))


def scaled(name: str, factor: float) -> Tampering:
    """Multiply a weight."""

    def change(proto: ModelProto) -> None:
        held = next(item for item in proto.graph.initializer if item.name == name)
        held.CopyFrom(tensor(name, numpy_helper.to_array(held) * np.float32(factor)))

    return change


def test_whole_halves_pass(case: Case) -> None:
    """What ``cut_file`` writes passes, and the report says what was compared."""
    found = case.verify()
    assert [(item.name, item.half) for item in found] == [
        ("y", "server"),
        ("h", "device"),
        ("t", "server"),
        ("r", "device"),
    ]
    for item in found:
        assert item.is_within_tolerance
        assert item == OutputDifference(
            item.name, item.half, "float32", (2, 24), 0.0, 0.0, is_equal=True, tolerance=0.0
        )
    assert {item.tolerance for item in case.verify(optimised=True)} == {2.0**-14}


def test_a_changed_weight_shows_where_it_is_used(case: Case) -> None:
    """A weight that is off by a hundredth fails the outputs behind it, and no others."""
    tamper(case.server, scaled("v", 1.01))
    for optimised in (False, True):
        failures = case.failures(optimised=optimised)
        assert failures.keys() == {"y", "t"}
        for item in failures.values():
            assert item.problem is None
            assert 1e-3 < item.largest_relative < 1e-1
            assert item.largest_absolute > 0


def test_a_difference_in_the_last_digits_passes_optimised_only(case: Case) -> None:
    """What reordered sums might do is no failure, except where nothing was reordered."""
    tamper(case.device, scaled("w", 1 + 1e-6))
    assert case.failures(optimised=True) == {}
    failures = case.failures()
    assert failures.keys() == {"y", "t", "h", "r"}
    assert all(0 < item.largest_relative < 1e-5 for item in failures.values())


def test_a_dropped_output_is_missing(case: Case) -> None:
    """An output that neither half makes is reported as such."""
    tamper(case.server, lambda proto: proto.graph.output.remove(output_of(proto, "t")))
    failures = case.failures()
    assert failures.keys() == {"t"}
    assert failures["t"].problem == "neither half makes it"
    assert failures["t"].half is None


def test_a_dropped_cut_tensor_stops_the_server_half(case: Case) -> None:
    """The server half is fed with nothing that the device half does not give: not even with what
    the model's inputs would tell."""
    tamper(case.device, lambda proto: proto.graph.output.remove(output_of(proto, "r")))
    failures = case.failures()
    assert failures.keys() == {"y", "t", "r"}
    complaint = "the server half wants 'r', which the device half does not give"
    assert {item.problem for item in failures.values()} == {complaint}


def test_a_raw_input_has_to_cross(tmp_path: Path) -> None:
    """A server half that reads an input of the model fails unless the device half passes it on."""
    case = cut("late_inputs", tmp_path, "h")
    assert case.failures() == {}
    tamper(case.device, lambda proto: proto.graph.output.remove(output_of(proto, "ids")))
    assert "the server half wants 'ids'" in str(case.failures()["y"].problem)


def test_parameters_are_fed_to_the_server_half(tmp_path: Path) -> None:
    """The inputs that an upload names as parameters need not cross, and only these."""
    case = cut("fed_weights", tmp_path, "h", "r")
    assert case.failures() == {}
    unnamed = Case(case.whole, case.device, case.server, case.feeds, ("w0", "b0", "b1"))
    assert "the server half wants 'w1'" in str(unnamed.failures()["y"].problem)


def swap(first: str, second: str) -> Tampering:
    """Exchange the names of two outputs."""

    def change(proto: ModelProto) -> None:
        names = {first: second, second: first}
        for each in proto.graph.node:
            each.output[:] = [names.get(name, name) for name in each.output]

    return change


def test_swapped_outputs_differ(case: Case) -> None:
    """Two outputs of one type, each under the other's name, are both wrong."""
    tamper(case.server, swap("y", "t"))
    failures = case.failures()
    assert failures.keys() == {"y", "t"}
    assert all(item.largest_relative > 1e-2 for item in failures.values())


@pytest.mark.parametrize(
    ("name", "op_type", "attributes", "problem"),
    [
        ("t", "Cast", {"to": TensorProto.DOUBLE}, "is float64 instead of float32"),
        ("t", "Transpose", {}, "has shape [24, 2] instead of [2, 24]"),
        ("t", "Flatten", {"axis": 0}, "has shape [1, 48] instead of [2, 24]"),
    ],
)
def test_another_type_or_shape_is_a_problem(
    case: Case, name: str, op_type: str, attributes: dict[str, Any], problem: str
) -> None:
    """However near the numbers are, an output of another type or shape fails."""

    def change(proto: ModelProto) -> None:
        replaced(proto, name, op_type, **attributes)
        output_of(proto, name).ClearField("type")
        del proto.graph.value_info[:]

    tamper(case.server, change)
    failures = case.failures(optimised=True)
    assert failures.keys() == {name}
    assert failures[name].problem == problem


def test_a_cut_tensor_of_another_type_stops_the_server_half(case: Case) -> None:
    """Then the server half cannot be run, and the report says why."""

    def change(proto: ModelProto) -> None:
        replaced(proto, "r", "Cast", to=TensorProto.DOUBLE)
        output_of(proto, "r").ClearField("type")

    tamper(case.device, change)
    failures = case.failures()
    assert failures.keys() == {"y", "t", "r"}
    assert "cannot run the server half" in str(failures["y"].problem)
    assert failures["r"].problem == "is float64 instead of float32"


def test_surplus_outputs_are_reported(case: Case) -> None:
    """An output for which nobody asked is told, on either side; so is one that both make."""
    tamper(case.device, lambda proto: proto.graph.output.append(value("x", [2, 16])))
    tamper(case.server, lambda proto: proto.graph.output.append(value("g", SHAPE)))
    surplus = case.failures()
    assert {(item.name, item.half) for item in surplus.values()} == {
        ("x", "device"),
        ("g", "server"),
    }
    assert all("the model has no such output" in str(item.problem) for item in surplus.values())
    tamper(case.server, lambda proto: proto.graph.output.append(value("r", SHAPE)))
    assert case.failures()["r"].problem == "both halves make it"


def test_a_half_that_cannot_be_loaded_fails_what_it_makes(
    case: Case, capfd: pytest.CaptureFixture[str]
) -> None:
    """A broken half is a difference in all that it should make, and ONNX Runtime prints nothing."""
    case.server.write_bytes(b"none")
    failures = case.failures()
    assert failures.keys() == {"y", "t"}
    assert "cannot load the server half" in str(failures["y"].problem)
    case.device.write_bytes(b"none")
    failures = case.failures()
    assert failures.keys() == {"y", "t", "h", "r"}
    assert "cannot load the device half" in str(failures["y"].problem)
    assert capfd.readouterr() == ("", "")


def test_everything_on_one_side_is_one_half(case: Case) -> None:
    """A half alone is fed with the model's inputs; none at all makes nothing."""
    for device, server in ((case.whole, None), (None, case.whole)):
        found = verify(case.whole, device, server, case.feeds, optimised=False)
        assert [item.is_within_tolerance for item in found] == [True] * 4
        assert {item.half for item in found} == {"device" if device else "server"}
    nothing = verify(case.whole, None, None, case.feeds, optimised=False)
    assert [item.problem for item in nothing] == ["neither half makes it"] * 4


def test_missing_data_of_a_half_are_an_error(tmp_path: Path) -> None:
    """A half whose external data are gone, or end too early, is no difference but a mishap."""
    case = cut("external_one_file", tmp_path, "h0", "r0")
    assert case.failures() == {}
    data = case.server.with_name("server.onnx.data")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(MissingDataError, match=r"server\.onnx\.data, which has"):
        case.verify()
    data.unlink()
    with pytest.raises(MissingDataError, match=r"server\.onnx\.data, which is not there"):
        case.verify()


def test_missing_data_of_the_whole_are_an_error(tmp_path: Path) -> None:
    """So it is of the whole."""
    weighted = BY_NAME["external_one_file"]
    path = weighted.write(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(MissingDataError, match=r"weights\.bin, which is not there"):
        run_whole(path, weighted.inputs(path), optimised=True)


def saved(directory: Path, proto: ModelProto) -> Path:
    """A model's file."""
    path = directory / "model.onnx"
    onnx.save(proto, path)
    return path


def test_what_cannot_be_loaded_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An operator that ONNX Runtime does not have: its words, once, and not on the screen."""
    strange = node("Strange", "x", "y", domain="elsewhere")
    path = saved(tmp_path, model([strange], [value("x")], [value("y")], domains={"elsewhere": 1}))
    with pytest.raises(CannotRunError, match=r"cannot load the model .*elsewhere"):
        run_whole(path, {"x": np.ones(4, np.float32)}, optimised=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({}, "no values are given for the model's inputs 'x', 'ids'"),
        ({"x": np.ones((2, 24), np.float32)}, "no values are given for the model's inputs 'ids'"),
        (
            {"x": 1, "ids": 1, "z": 1},
            "values are given for 'z', which the model has no input for; its inputs are 'x', 'ids'",
        ),
        ({"x": np.ones((2, 24)), "ids": np.zeros(3, int)}, "cannot run the model: .* type"),
        (
            {"x": np.ones((2, 23), np.float32), "ids": np.zeros(3, int)},
            "cannot run the model: .*dimensions",
        ),
        (
            {"x": np.ones((2, 24), np.float32), "ids": np.full(3, 99)},
            "cannot run the model: .*out of data bounds",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    tmp_path: Path, feeds: dict[str, Any], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Missing, unknown, of another type or shape, or out of range: refused, in words."""
    proto = model(
        [node("Gather", "x ids", "y", axis=1)],
        [value("x", SHAPE), value("ids", [3], INT64)],
        [value("y", [2, 3])],
    )
    with pytest.raises(CannotRunError, match=complaint):
        run_whole(saved(tmp_path, proto), feeds, optimised=False)
    assert capfd.readouterr() == ("", "")


def chain_with(directory: Path, *middle: Any, out: int = TensorProto.FLOAT) -> Case:
    """A product on the device, then some nodes from h to y on the server."""
    proto = model(
        [node("MatMul", "x w", "h", name="h"), *middle],
        [value("x", [2, 16])],
        [value("y", SHAPE, out)],
        [weight("w", 16, 24), tensor("zero", np.zeros((), np.float32))],
    )
    path = saved(directory, proto)
    with path.open("rb") as file:
        names = ingest_file(file).dag.node_names
    halves = cut_file(path, BY_NAME["residual"].options, Division(names[:1], names[1:]), directory)
    assert halves.device is not None
    assert halves.server is not None
    return Case(path, halves.device.path, halves.server.path, {"x": numbers("x", 2, 16)})


def test_nan_and_infinities_are_equal_and_counted(tmp_path: Path) -> None:
    """Two halves that make NaN where the whole does pass, and the report says how many numbers
    prove little; a NaN elsewhere fails."""
    case = chain_with(
        tmp_path, node("Log", "h", "l", name="l"), node("Div", "l zero", "y", name="y")
    )
    (found,) = case.verify()
    assert found.is_equal
    assert found.not_finite == 48
    tamper(case.server, lambda proto: replaced(proto, "y", "Abs"))
    (found,) = case.verify(optimised=True)
    assert not found.is_within_tolerance
    assert found.largest_relative == np.inf


def test_signs_of_zero_count_only_bit_for_bit(tmp_path: Path) -> None:
    """Minus zero for zero is another result, but within any tolerance."""
    case = chain_with(tmp_path, node("Mul", "h zero", "m", name="m"), node("Abs", "m", "y"))
    tamper(case.server, lambda proto: replaced(proto, "y", "Neg"))
    assert case.failures(optimised=True) == {}
    assert case.failures().keys() == {"y"}


def test_integers_have_to_be_equal(tmp_path: Path) -> None:
    """No tolerance applies to integers, optimised or not."""
    scale = helper.make_node("Constant", [], ["many"], value_float=1e6)
    rounded = [node("Mul", "h many", "m", name="m"), node("Cast", "m", "y", to=INT64, name="y")]
    case = chain_with(tmp_path, scale, *rounded, out=INT64)
    assert case.failures(optimised=True) == {}

    def one_more(proto: ModelProto) -> None:
        proto.graph.initializer.append(tensor("one", np.array(1)))
        replaced(proto, "y", "Identity")
        proto.graph.node[-1].op_type = "Add"
        proto.graph.node[-1].input.append("one")

    tamper(case.server, one_more)
    (found,) = case.failures(optimised=True).values()
    assert found.largest_absolute == 1.0
    assert found.tolerance == 0.0


def test_16_bit_tensors_that_cross_are_rounded(tmp_path: Path) -> None:
    """ONNX Runtime rounds float16 only where it leaves the graph: halves that pass such a tensor
    on are let differ by that much; halves that do not have to be equal bit for bit."""
    crossing = cut("half_precision", tmp_path, "h")
    assert crossing.failures() == {}
    assert {item.tolerance for item in crossing.verify()} == {2.0**-6}
    whole = verify(crossing.whole, crossing.whole, None, crossing.feeds, optimised=False)
    assert [(item.tolerance, item.is_equal) for item in whole] == [(0.0, True)]


def test_types_that_numpy_does_not_know_are_fed_by_their_bits(tmp_path: Path) -> None:
    """bfloat16 as a file of numpy's holds it runs as what it was; another type is refused."""
    weighted = BY_NAME["brain_floats"]
    path = weighted.write(tmp_path)
    feeds = weighted.inputs(path)
    np.savez(tmp_path / "inputs.npz", **feeds)
    loaded = load_feeds(tmp_path / "inputs.npz")
    assert loaded["x"].dtype != feeds["x"].dtype
    outputs = [run_whole(path, fed, optimised=False).outputs["y"] for fed in (feeds, loaded)]
    assert outputs[0].dtype.name == "bfloat16"
    assert outputs[0].tobytes() == outputs[1].tobytes()
    with pytest.raises(CannotRunError, match="a tensor of float32 is given where bfloat16 is"):
        run_whole(path, {"x": np.ones((2, 32), np.float32)}, optimised=False)


def test_quantised_models_have_a_tolerance_of_their_own(tmp_path: Path) -> None:
    """A number next to the boundary of two steps may be rounded to either, optimised."""
    case = cut("qdq", tmp_path, "xd.q", "xd", "c")
    assert {item.tolerance for item in case.verify()} == {0.0}
    assert {item.tolerance for item in case.verify(optimised=True)} == {2.0**-3}


def test_numbers_drawn_without_a_seed_are_named_as_the_cause(tmp_path: Path) -> None:
    """Where the model gives something else each time, nobody is told that the cut is wrong."""
    case = chain_with(
        tmp_path,
        node("RandomNormalLike", "h", "noise", name="noise"),
        node("Add", "h noise", "y", name="y"),
    )
    (found,) = case.failures().values()
    assert found.problem is not None
    assert "draws random numbers" in found.problem
