"""DAGs and masks as bytes."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.csr import Csr
from app.core.dag import CostedDag
from app.store import packing
from app.store.packing import pack_dag, pack_mask, unpack_dag, unpack_mask
from tests.fixture_models import FIXTURES, Fixture, ingested
from tests.strategies import dags


def assert_same(left: CostedDag, right: CostedDag) -> None:
    """Every field is equal, and arrays have the same type."""
    for field in fields(CostedDag):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        if isinstance(ours, Csr):
            np.testing.assert_array_equal(ours.offsets, theirs.offsets, strict=True)
            np.testing.assert_array_equal(ours.indices, theirs.indices, strict=True)
        elif isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, strict=True)
        else:
            assert ours == theirs
            assert type(ours) is type(theirs)


@given(dag=dags())
def test_dag_unpacks_as_it_was(dag: CostedDag) -> None:
    """Any DAG is the same after packing and unpacking, and still keeps the rules of a DAG."""
    unpacked = unpack_dag(pack_dag(dag))
    assert_same(dag, unpacked)
    unpacked.check()


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_real_models_pack_small(fixture: Fixture) -> None:
    """Every fixture model is the same after packing, which takes less than a tenth of a megabyte
    and less than its file."""
    dag = ingested(fixture.name).dag
    packed = pack_dag(dag)
    assert_same(dag, unpack_dag(packed))
    assert len(packed) < min(100_000, fixture.path.stat().st_size)


def test_other_formats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG packed by a version with another format is refused, not misread."""
    dag = ingested("light_squeezenet").dag
    monkeypatch.setattr(packing, "FORMAT", packing.FORMAT + 1)
    packed = pack_dag(dag)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format"):
        unpack_dag(packed)


@given(mask=st.lists(st.booleans(), max_size=100))
def test_mask_unpacks_as_it_was(mask: list[bool]) -> None:
    """Any mask is the same after packing, at a bit per node."""
    packed = pack_mask(np.array(mask, dtype=np.bool_))
    assert len(packed) == (len(mask) + 7) // 8
    assert unpack_mask(packed, len(mask)).tolist() == mask
