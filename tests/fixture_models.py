"""The fixture models: the zoo topologies that onnx ships, and exports beside the tests."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx

from app.ingest import IngestedModel, ingest

ZOO = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
EXPORTS = Path(__file__).parent / "fixtures" / "models"
QUIRKY = Path(__file__).parent / "fixtures" / "quirky"
SDPA = Path(__file__).parent / "fixtures" / "sdpa"


@dataclass(frozen=True)
class Fixture:
    """A model file, the dimensions that its upload has to bind, and the inputs that it names as
    parameters."""

    name: str
    path: Path
    dims: tuple[tuple[str, int], ...] = ()
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def _fixtures() -> tuple[Fixture, ...]:
    zoo = [Fixture(path.stem, path) for path in sorted(ZOO.glob("*.onnx"))]
    exports = [
        Fixture(
            path.relative_to(EXPORTS).with_suffix("").as_posix(),
            path,
            (("sequence", 128),) if path.stem.startswith("bert") else (),
        )
        for path in sorted(EXPORTS.rglob("*.onnx"))
    ]
    return (*zoo, *exports)


LENET_WEIGHTS = (
    *("first.weight", "first.bias", "second.weight", "second.bias"),
    *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    *("hidden.weight", "hidden.bias", "head.weight", "head.bias"),
)
BATCH = (("batch", 2),)
TEXT = (*BATCH, ("sequence", 8))
DECODED = (*BATCH, ("sequence", 3), ("past", 5))
QUIRKY_DIMS: dict[str, tuple[tuple[str, int], ...]] = {
    "control_flow/beam_search": (*BATCH, ("length", 4)),
    "control_flow/greedy_search": (*BATCH, ("length", 4)),
    "control_flow/nested": (),
    "control_flow/sequence_map": (),
    "sklearn/columns": (("colour:0", 2), ("size:0", 2), ("numbers:0", 2)),
    "sklearn/forest": (("X:0", 2),),
    "sklearn/logistic": (("X:0", 2),),
    "sklearn/ordinal": (("words:0", 2),),
    "tensorflow/pyramid": (("unk__100", 2), ("unk__101", 16), ("unk__102", 16)),
    "tensorflow/separable": (("unk__30", 2),),
    "tensorflow/while_loop": (("unk__303", 2), ("unk__304", 12)),
    "torch/decoder_dynamo": DECODED,
    "torch/decoder_torchscript": DECODED,
    "torch/scanned": (),
}
"""Where it is not the batch alone, or the batch and the length of a text."""


def _quirky(path: Path) -> Fixture:
    name = path.relative_to(QUIRKY).with_suffix("").as_posix()
    is_text = path.stem.startswith(("bert", "gpt"))
    dims = QUIRKY_DIMS.get(name, TEXT if is_text else BATCH)
    return Fixture(name, path, dims, LENET_WEIGHTS if path.stem == "lenet_training" else ())


FIXTURES = _fixtures()
QUIRKY_FIXTURES = tuple(_quirky(path) for path in sorted(QUIRKY.rglob("*.onnx")))
"""Small exports with the quirks of their tools (see the README beside them)."""
SDPA_FIXTURES = tuple(
    Fixture(f"sdpa/{path.stem}", path, (("sequence", 128),) if path.stem == "bert_base" else ())
    for path in sorted(SDPA.glob("*.onnx"))
)
"""Exports with the attention that transformers takes by default; their namesakes among ``FIXTURES``
have the plain one."""
BY_NAME = {fixture.name: fixture for fixture in FIXTURES}
_EVERY = BY_NAME | {fixture.name: fixture for fixture in (*QUIRKY_FIXTURES, *SDPA_FIXTURES)}


@cache
def ingested(name: str) -> IngestedModel:
    """A fixture as Kerf understands it; read once per test process."""
    fixture = _EVERY[name]
    return ingest(
        fixture.path.read_bytes(), dict(fixture.dims), parameters=list(fixture.parameters)
    )
