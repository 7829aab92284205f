"""On cuts of models that nobody would write, the halves do what the whole does."""

import os
from pathlib import Path

import pytest

from app.halves.feeds import seeded_feeds
from app.ingest import IngestOptions
from tests.halves.proving import Proof
from tests.halves.random_models import random_model

SEEDS = int(os.environ.get("KERF_TEST_RANDOM_HALVES", "15"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_halves_of_random_models_equal_the_whole(seed: int, tmp_path: Path) -> None:
    """Weights, folded nodes, functions and bodies in any mixture: every cut of every kind."""
    path = tmp_path / "model.onnx"
    path.write_bytes(random_model(seed).SerializeToString())
    proof = Proof.of(path, IngestOptions(), seeded_feeds(path, {}, seed))
    proof.hold([*proof.rows(), *proof.other_cuts()], tmp_path / "halves")
