"""Mutated models, read in this process: ``make soak`` reads twenty thousand."""

import os
from collections import Counter

import pytest

from app.errors import IngestError
from app.ingest import ingest
from tests.ingest.build import taken
from tests.mutations import DIMS, KINDS, mutant, seed_model

COUNT = int(os.environ.get("KERF_TEST_MUTATIONS", "1400"))
PARTS = 8


def test_the_seed_of_the_mutations_is_taken() -> None:
    """The model that mutations start from is a valid one."""
    assert taken(seed_model(), DIMS).dag.node_count > 10


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_models_are_taken_or_refused(part: int) -> None:
    """Whatever is changed in a file, ingest takes it, with a DAG that holds together, or raises
    an ``IngestError``; and it does both."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(part, COUNT, PARTS):
        kind, data = mutant(number)
        try:
            ingest(data, DIMS).dag.check()
            outcomes[kind, "taken"] += 1
        except IngestError as error:
            outcomes[kind, type(error).__name__] += 1
    taken_kinds = {kind for kind, outcome in outcomes if outcome == "taken"}
    refused_kinds = {kind for kind, outcome in outcomes if outcome != "taken"}
    assert taken_kinds | refused_kinds == set(KINDS)
    assert len(taken_kinds) > 4
    assert len(refused_kinds) > 4
