"""On every cut of every small model, the halves do what the whole does."""

from pathlib import Path

import onnx
import pytest

from app.halves import cut_file
from app.halves.feeds import seeded_feeds
from tests.halves.proving import Proof
from tests.halves.weighted_models import BY_NAME, MODELS, WeightedModel
from tests.halves.weighted_models.weighted import SEED


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_halves_of_every_cut_equal_the_whole(model: WeightedModel, tmp_path: Path) -> None:
    """Both halves pass the checker where the whole does; on the same inputs they give the whole's
    outputs, bit for bit with the runtime's optimisations off, else within tolerance. So it is for
    each row of the cut table, and for cuts that no table has."""
    path = model.write(tmp_path)
    proof = Proof.of(path, model.options, model.inputs(path))
    assert (proof.checks is not None) == model.is_valid
    count = proof.hold([*proof.rows(), *proof.other_cuts()], tmp_path / "halves")
    assert count > 1 or proof.dag.node_count == 0


def test_the_halves_of_a_file_out_of_order_are_in_order(tmp_path: Path) -> None:
    """The checker passes halves of a file that it refuses only for the order of its nodes."""
    model = BY_NAME["out_of_order"]
    path = model.write(tmp_path)
    proof = Proof.of(path, model.options, model.inputs(path))
    for on_device in proof.rows():
        halves = cut_file(path, model.options, proof.division(on_device), tmp_path / "halves")
        for half in (halves.device, halves.server):
            if half is not None:
                onnx.checker.check_model(str(half.path), full_check=True)


@pytest.mark.parametrize("model", [model for model in MODELS if model.options.dims], ids=str)
def test_the_halves_serve_other_sizes_than_the_bound_ones(
    model: WeightedModel, tmp_path: Path
) -> None:
    """Halves cut for one batch and length take any other that the whole takes."""
    path = model.write(tmp_path)
    others = {key: extent + 1 for key, extent in model.options.dims.items()}
    proof = Proof.of(path, model.options, seeded_feeds(path, others, SEED))
    assert proof.hold([*proof.rows(), *proof.other_cuts()], tmp_path / "halves") > 1
