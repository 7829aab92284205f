"""On every row of the cut table of the exports with weights, the halves do what the whole does."""

from pathlib import Path

import numpy as np
import pytest

from app.halves.feeds import seeded_feeds
from app.ingest import IngestOptions
from tests.fixture_models import QUIRKY_FIXTURES, Fixture
from tests.halves.proving import Proof

SEED = 7
KNOWN = {
    "sklearn/columns": {
        "colour": np.array([["red"], ["blue"]], dtype=object),
        "size": np.array([["S"], ["L"]], dtype=object),
    }
}
"""Inputs whose values have to be among those that the model knows."""


@pytest.mark.parametrize("fixture", QUIRKY_FIXTURES, ids=str)
def test_the_halves_of_every_row_equal_the_whole(fixture: Fixture, tmp_path: Path) -> None:
    """Both halves pass the checker where the whole does, and give the whole's outputs, bit for bit
    with the runtime's optimisations off, else within tolerance."""
    feeds = seeded_feeds(fixture.path, dict(fixture.dims), SEED) | KNOWN.get(fixture.name, {})
    options = IngestOptions(dict(fixture.dims), None, fixture.parameters)
    proof = Proof.of(fixture.path, options, feeds)
    assert proof.hold(proof.rows(), tmp_path / "halves") > 1
