"""What casts of smashed data lose, by execution, and what the verifier says of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from app.core.dag import Mask
from app.core.errors import UnsupportedError
from app.core.quantities import cut_of
from app.core.scenario import Mode
from app.core.smashed import SmashedDtype
from app.halves import Division, HalfFiles, cut_file
from app.halves.casts import smashed_dtype_of
from app.halves.feeds import seeded_feeds
from app.halves.runtime import LoadedModel
from app.halves.verification import OutputDifference, verify
from app.ingest import IngestOptions
from tests.halves.proving import Proof, require_equal, require_valid
from tests.halves.weighted_models import BY_NAME, MODELS, WeightedModel
from tests.halves.weighted_models.weighted import SEED, numbers, weight
from tests.ingest.build import INT64, model, node, value

SMASHED: tuple[SmashedDtype, ...] = ("float16", "int8")
OPERATOR_SETS_WITHOUT_INT8 = {"scan_in_batches": 8, "old_operators": 7}
SMOOTH = (
    *("residual", "branching", "lstm", "gru_last_state", "layer_statistics", "shared_weight"),
    *("double_precision", "symbolic_sequence", "transformer"),
)
"""Models whose outputs move about as much as their cut tensors, relative to the largest of each."""
Array = NDArray[Any]


def paths(halves: HalfFiles) -> tuple[Path | None, Path | None]:
    """The files of the device half and of the server half."""
    device = halves.device.path if halves.device else None
    server = halves.server.path if halves.server else None
    return device, server


def cuts_of(proof: Proof) -> list[Mask]:
    """The rows of the cut table, and others; each once."""
    return list({mask.tobytes(): mask for mask in (*proof.rows(), *proof.other_cuts())}.values())


@pytest.mark.parametrize("smashed_dtype", SMASHED)
@pytest.mark.parametrize(
    "model", [each for each in MODELS if each.name not in OPERATOR_SETS_WITHOUT_INT8], ids=str
)
def test_the_halves_of_every_cut_carry_casts(
    model: WeightedModel, smashed_dtype: SmashedDtype, tmp_path: Path
) -> None:
    """Both halves pass the checker where the whole does, and run; what crosses takes the bytes that
    the cut costs; where that is less than without casts the halves say so, and lose precision
    alone, and else they are exact."""
    path = model.write(tmp_path)
    proof = Proof.of(path, model.options, model.inputs(path))
    smashed = proof.dag.smashed_as(smashed_dtype)
    for on_device in cuts_of(proof):
        cut = cut_of(smashed, on_device, Mode.INFERENCE)
        halves = cut_file(
            path,
            model.options,
            proof.division(on_device),
            tmp_path / "halves",
            smashed_dtype=smashed_dtype,
        )
        is_cast = bool(smashed.tensor_is_cast[cut.cut_tensors].any())
        device, server = paths(halves)
        for half in (device, server):
            assert half is None or smashed_dtype_of(half) == (smashed_dtype if is_cast else None)
        require_valid(halves, proof.checks)
        for whole in proof.wholes:
            require_equal(whole, halves, model.options.parameters, smashed_dtype)
        if device is not None and server is not None:
            made = LoadedModel(device, "the device half", optimised=False).run(
                proof.wholes[0].feeds
            )
            takes = LoadedModel(server, "the server half", optimised=False).inputs
            crossing = [made[name] for name in takes if name not in model.options.parameters]
            assert sum(map(nbytes_of, crossing)) == cut.quantities.uplink_bytes


def nbytes_of(array: Array) -> int:
    """What an array takes as ONNX stores it."""
    bits = 4 if array.dtype.name == "int4" else 8 * array.itemsize
    return (array.size * bits + 7) // 8


@pytest.mark.parametrize("name", OPERATOR_SETS_WITHOUT_INT8)
def test_models_of_old_operator_sets_are_refused(name: str, tmp_path: Path) -> None:
    """Where there is no DynamicQuantizeLinear, the error says so, and nothing is written; float16
    is there."""
    weighted = BY_NAME[name]
    path = weighted.write(tmp_path)
    proof = Proof.of(path, weighted.options, weighted.inputs(path))
    division = proof.division(np.arange(proof.dag.node_count) < 1)
    version = OPERATOR_SETS_WITHOUT_INT8[name]
    with pytest.raises(UnsupportedError, match=f"operator set {version} .* set 11 on"):
        cut_file(path, weighted.options, division, tmp_path / "halves", smashed_dtype="int8")
    assert not (tmp_path / "halves").exists()
    halves = cut_file(
        path, weighted.options, division, tmp_path / "halves", smashed_dtype="float16"
    )
    for whole in proof.wholes:
        require_equal(whole, halves, weighted.options.parameters, "float16")


@dataclass(frozen=True)
class Case:
    """A model's file, the nodes of its device half, and what it is fed."""

    whole: Path
    division: Division
    feeds: dict[str, Array]

    @classmethod
    def of(cls, proto: ModelProto, device: str, feeds: dict[str, Array], directory: Path) -> "Case":
        """Write a model."""
        path = directory / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        names = [each.name for each in proto.graph.node]
        server = tuple(name for name in names if name not in device.split())
        return cls(path, Division(tuple(device.split()), server), feeds)

    def cut(self, smashed_dtype: SmashedDtype | None) -> tuple[Path, Path]:
        """Both halves."""
        directory = self.whole.parent / (smashed_dtype or "exact")
        options = IngestOptions()
        halves = cut_file(
            self.whole, options, self.division, directory, smashed_dtype=smashed_dtype
        )
        device, server = paths(halves)
        assert device is not None
        assert server is not None
        return device, server

    def verify(
        self, smashed_dtype: SmashedDtype | None, asked: SmashedDtype | None
    ) -> dict[str, OutputDifference]:
        """What the verifier says of halves that are cut with one type, asked for another."""
        halves = self.cut(smashed_dtype)
        found = verify(self.whole, *halves, self.feeds, optimised=False, smashed_dtype=asked)
        return {item.name: item for item in found}

    def run(self, smashed_dtype: SmashedDtype | None) -> tuple[dict[str, Array], dict[str, Array]]:
        """What crosses, and what the server half makes of it."""
        device, server = self.cut(smashed_dtype)
        crossing = LoadedModel(device, "the device half", optimised=False).run(self.feeds)
        return crossing, LoadedModel(server, "the server half", optimised=False).run(crossing)


RANGES: dict[str, Array] = {
    "normal": numbers("normal", 3, 24),
    "positive": 5 + numbers("positive", 3, 24) / 10,
    "negative": -np.abs(numbers("negative", 3, 24)),
    "one far off": np.append(numbers("near", 71), np.float32(1000)).reshape(3, 24),
    "large": 1e4 * numbers("large", 3, 24),
    "tiny": 1e-6 * numbers("tiny", 3, 24),
    "all zero": np.zeros((3, 24), np.float32),
    "all equal": np.full((3, 24), 0.3, np.float32),
}


@pytest.fixture(params=RANGES)
def linear(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A product with weights on the server, of numbers of some range."""
    proto = model(
        [node("Neg", "x", "h", name="a"), node("MatMul", "h v", "y", name="b")],
        [value("x", [3, 24])],
        [value("y", [3, 16])],
        [weight("v", 24, 16)],
    )
    feeds = {"x": RANGES[request.param].astype(np.float32)}
    return Case.of(proto, "a", feeds, tmp_path)


def test_int8_is_off_by_half_a_step_at_most(linear: Case) -> None:
    """A step is 1/255 of the range with zero in it; each number moves by half of that at most, and
    what is linear in them by no more than that times its coefficients."""
    (exact,), (right,) = (list(made.values()) for made in linear.run(None))
    crossing, made = linear.run("int8")
    quantised, scale, zero_point = crossing.values()
    assert [each.dtype.name for each in crossing.values()] == ["uint8", "float32", "uint8"]
    span = max(exact.max(), 0) - min(exact.min(), 0)
    half_a_step = 0.5 * float(scale) if span else 0.0
    assert half_a_step == pytest.approx(span / 510, rel=1e-6)
    restored = (quantised.astype(np.float64) - float(zero_point)) * float(scale)
    assert np.abs(restored - exact).max() <= half_a_step * (1 + 1e-5)
    bound = half_a_step * np.abs(numbers("v", 24, 16)).sum(axis=0)
    rounding = 1e-6 * np.abs(exact).max() * 24
    assert (np.abs(made["y"] - right) <= bound * (1 + 1e-5) + rounding).all()


def test_float16_is_off_by_its_rounding_at_most(linear: Case) -> None:
    """Each number moves by 2^-11 of itself at most, or by 2^-25 where it is as small as that; and
    what is linear in them by no more than that times its coefficients."""
    (exact,), (right,) = (list(made.values()) for made in linear.run(None))
    crossing, made = linear.run("float16")
    (halved,) = crossing.values()
    assert halved.dtype == np.float16
    off = np.maximum(2.0**-11 * np.abs(exact), 2.0**-25)
    assert (np.abs(halved.astype(np.float64) - exact) <= off).all()
    rounding = 1e-6 * np.abs(exact).max() * 24
    assert (np.abs(made["y"] - right) <= off @ np.abs(numbers("v", 24, 16)) + rounding).all()


@pytest.mark.parametrize("name", SMOOTH)
def test_a_wider_type_loses_less(name: str, tmp_path: Path) -> None:
    """On each cut of a smooth model, as they are tensors cross without loss; in float16, which has
    11 bits, with 2^-10 of the largest magnitude at most; and in int8, with a step of 2^-7 of that
    at most, with more, and 2^-5 at most."""
    weighted = BY_NAME[name]
    path = weighted.write(tmp_path)
    proof = Proof.of(path, weighted.options, weighted.inputs(path))
    count = 0
    for on_device in cuts_of(proof):
        losses = [
            loss_of(weighted, proof, on_device, smashed_dtype, tmp_path)
            for smashed_dtype in (None, *SMASHED)
        ]
        if max(losses) == 0.0:  # Nothing floating crosses.
            continue
        count += 1
        as_it_is, float16, int8 = losses
        assert 0.0 == as_it_is < float16 <= 2.0**-10
        assert float16 < int8 <= 2.0**-5
    assert count > 2


def loss_of(
    weighted: WeightedModel,
    proof: Proof,
    on_device: Mask,
    smashed_dtype: SmashedDtype | None,
    directory: Path,
) -> float:
    """The largest relative difference of any output."""
    halves = cut_file(
        proof.path,
        weighted.options,
        proof.division(on_device),
        directory / "halves",
        smashed_dtype=smashed_dtype,
    )
    found = verify(
        proof.path,
        *paths(halves),
        proof.wholes[0].feeds,
        optimised=False,
        parameters=weighted.options.parameters,
        smashed_dtype=smashed_dtype,
    )
    return max(item.largest_relative for item in found)


@pytest.mark.parametrize("smashed_dtype", SMASHED)
@pytest.mark.parametrize("name", ["symbolic_batch", "symbolic_sequence", "transformer"])
def test_halves_with_casts_serve_other_sizes(
    name: str, smashed_dtype: SmashedDtype, tmp_path: Path
) -> None:
    """Halves cut for one batch and length take any other that the whole takes."""
    weighted = BY_NAME[name]
    path = weighted.write(tmp_path)
    others = {key: extent + 1 for key, extent in weighted.options.dims.items()}
    proof = Proof.of(path, weighted.options, seeded_feeds(path, others, SEED))
    for on_device in proof.rows():
        halves = cut_file(
            path,
            weighted.options,
            proof.division(on_device),
            tmp_path / "halves",
            smashed_dtype=smashed_dtype,
        )
        for whole in proof.wholes:
            require_equal(whole, halves, (), smashed_dtype)


def scaled(up: float, down: float) -> ModelProto:
    """Numbers that are multiplied on the device, and back on the server; both are outputs."""
    weights = [
        TensorProto(name=name, data_type=TensorProto.FLOAT, float_data=[number])
        for name, number in (("up", up), ("down", down))
    ]
    return model(
        [
            node("Mul", "x up", "h", name="a"),
            node("Mul", "h down", "g", name="b"),
            node("Add", "g x", "y", name="c"),
        ],
        [value("x", [4])],
        [value("y", [4]), value("h", [4])],
        weights,
    )


X = {"x": np.array([0.5, 1, -2, 0], np.float32)}


def test_numbers_beyond_float16_are_told(tmp_path: Path) -> None:
    """What becomes infinite on its way fails, with the count of such outputs; int8 adapts to any
    range; and what the device makes is exact."""
    case = Case.of(scaled(1e5, 1e-5), "a", X, tmp_path)
    found = case.verify("float16", "float16")
    assert not found["y"].is_within_tolerance
    assert "2 of its numbers are NaN or infinite" in str(found["y"].problem)
    assert "float16 does not hold" in str(found["y"].problem)
    assert (found["h"].is_equal, found["h"].tolerance) == (True, 0.0)
    assert case.verify("int8", "int8")["y"].is_within_tolerance
    within = Case.of(scaled(3e4, 1e-4), "a", X, tmp_path).verify("float16", "float16")
    assert within["y"].is_within_tolerance


def test_infinities_spoil_int8(tmp_path: Path) -> None:
    """An infinity in a cut tensor leaves nothing of the other numbers, which is told where the
    model's output is finite."""
    proto = model(
        [node("Reciprocal", "x", "h", name="a"), node("Atan", "h", "y", name="b")],
        [value("x", [4])],
        [value("y", [4])],
    )
    case = Case.of(proto, "a", X, tmp_path)
    assert case.verify("float16", "float16")["y"].is_within_tolerance
    assert "NaN or infinite" in str(case.verify("int8", "int8")["y"].problem)


@pytest.mark.parametrize("smashed_dtype", SMASHED)
def test_a_loss_is_told_and_passes(smashed_dtype: SmashedDtype, tmp_path: Path) -> None:
    """Of what the server makes, any loss passes and is told, in integers too; of what the device
    makes, none does."""
    proto = model(
        [
            node("Neg", "x", "h", name="a"),
            node("Mul", "h thousand", "y", name="b"),
            node("Cast", "y", "i", name="c", to=INT64),
        ],
        [value("x", [24])],
        [value("y", [24]), value("h", [24]), value("i", [24], INT64)],
        [TensorProto(name="thousand", data_type=TensorProto.FLOAT, float_data=[1000.0])],
    )
    case = Case.of(proto, "a", {"x": numbers("x", 24)}, tmp_path)
    found = case.verify(smashed_dtype, smashed_dtype)
    assert all(item.is_within_tolerance for item in found.values())
    tolerances = {name: item.tolerance for name, item in found.items()}
    assert tolerances == {"y": None, "h": 0.0, "i": None}
    assert [name for name, item in found.items() if item.is_equal] == ["h"]
    assert 0 < found["y"].largest_relative < 0.01
    assert found["i"].largest_absolute >= 1


@pytest.mark.parametrize(
    ("cut_with", "asked"), [("float16", None), ("float16", "int8"), ("int8", "float16")]
)
def test_a_loss_that_was_not_asked_for_fails(
    cut_with: SmashedDtype, asked: SmashedDtype | None, tmp_path: Path
) -> None:
    """Halves with casts fail where none, or those to another type, are to be there."""
    case = Case.of(scaled(0.3, 3.0), "a", X, tmp_path)
    assert not case.verify(cut_with, asked)["y"].is_within_tolerance


def test_halves_without_casts_have_to_be_exact(tmp_path: Path) -> None:
    """Where nothing was cast, no loss passes, though casts were asked for."""
    case = Case.of(scaled(0.3, 3.0), "a", X, tmp_path)
    for item in case.verify(None, "float16").values():
        assert (item.is_equal, item.tolerance) == (True, 0.0)


def test_a_shape_that_depends_on_what_was_lost_fails(tmp_path: Path) -> None:
    """Another shape is no loss of precision: the output fails, and is said to have it."""
    proto = model(
        [
            node("Neg", "x", "h", name="a"),
            node("Greater", "h limit", "g", name="b"),
            node("NonZero", "g", "y", name="c"),
        ],
        [value("x", [24])],
        [value("y", [1, None], INT64)],
        [TensorProto(name="limit", data_type=TensorProto.FLOAT, float_data=[0.30000001])],
    )
    x = np.full(24, -0.3, np.float32)
    x[::2] -= np.float32(1e-5)
    case = Case.of(proto, "a", {"x": x}, tmp_path)
    found = case.verify("float16", "float16")["y"]
    assert not found.is_within_tolerance
    assert found.problem == "has shape [1, 24] instead of [1, 12]"
