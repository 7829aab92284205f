"""DAGs and masks as bytes."""

import io
import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.csr import Csr
from app.core.dag import NO_PRODUCER, CostedDag, Node, Tensor
from app.core.splitting.cut_table import Family, build_table
from app.store import packing
from app.store.packing import (
    OldTableError,
    pack_dag,
    pack_mask,
    pack_table,
    unpack_dag,
    unpack_mask,
    unpack_table,
)
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


@given(dag=dags(min_nodes=0))
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


def format_1(dag: CostedDag) -> bytes:
    """A DAG as the version before uncuttable tensors packed it."""
    texts = {
        "format": 1,
        "node_names": dag.node_names,
        "node_op_types": dag.node_op_types,
        "node_signatures": dag.node_signatures,
        "tensor_names": dag.tensor_names,
        "tensor_shapes": dag.tensor_shapes,
        "tensor_dtypes": dag.tensor_dtypes,
        "parameter_names": dag.parameter_names,
        "model_batch": dag.model_batch,
    }
    encoded = json.dumps(texts, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        texts=np.frombuffer(encoded, dtype=np.uint8),
        node_flops=dag.node_flops,
        tensor_bytes=dag.tensor_bytes,
        tensor_producers=dag.tensor_producers,
        tensor_is_floating=dag.tensor_is_floating,
        tensor_is_output=dag.tensor_is_output,
        parameter_bytes=dag.parameter_bytes,
        **{
            "tensor_consumers.offsets": dag.tensor_consumers.offsets,
            "tensor_consumers.indices": dag.tensor_consumers.indices,
            "parameter_users.offsets": dag.parameter_users.offsets,
            "parameter_users.indices": dag.parameter_users.indices,
        },
    )
    return buffer.getvalue()


@given(dag=dags())
def test_format_1_is_read_with_every_tensor_cuttable(dag: CostedDag) -> None:
    """What the version before uncuttable tensors stored is read as it was; all may cross."""
    assume(dag.tensor_is_cuttable.all())
    unpacked = unpack_dag(format_1(dag))
    assert_same(dag, unpacked)
    unpacked.check()


def test_uncuttable_tensors_are_kept() -> None:
    """Marks, shapes that are not known and shapes that are come back, and the format says so."""
    dag = CostedDag.build(
        [Node("a", "NonZero", 1)],
        [
            Tensor("x", (2, 3), "float32", 24, NO_PRODUCER, (0,), True, False),
            Tensor("s", (2,), "string", 0, NO_PRODUCER, (0,), False, False, is_cuttable=False),
            Tensor("y", None, "int64", 0, 0, (), False, True, is_cuttable=False),
        ],
        [],
    )
    unpacked = unpack_dag(pack_dag(dag))
    assert_same(dag, unpacked)
    assert unpacked.tensor_shapes == ((2, 3), (2,), None)
    assert unpacked.tensor_is_cuttable.tolist() == [True, False, False]
    with np.load(io.BytesIO(pack_dag(dag))) as archive:
        assert json.loads(archive["texts"].tobytes())["format"] == 2


def test_what_crosses_in_another_type_is_not_packed() -> None:
    """A DAG whose tensors are cast where they cross is refused, as that would be lost; one as the
    model has it is packed without a word of casts."""
    dag = ingested("light_squeezenet").dag
    with pytest.raises(ValueError, match="cast"):
        pack_dag(dag.smashed_as("float16"))
    with np.load(io.BytesIO(pack_dag(dag))) as archive:
        assert "smashed_dtype" not in json.loads(archive["texts"].tobytes())


@given(dag=dags(max_nodes=6, min_nodes=0))
@settings(max_examples=30, deadline=None)
def test_tables_unpack_as_they_were(dag: CostedDag) -> None:
    """A table is the same after packing and unpacking, be there nodes or none."""
    table = build_table(dag, Family.SLOWER_DEVICE)
    unpacked = unpack_table(pack_table(table))
    np.testing.assert_array_equal(unpacked.quantities, table.quantities, strict=True)
    np.testing.assert_array_equal(unpacked.masks(), table.masks(), strict=True)


def test_other_formats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG packed by a version with another format is refused, not misread."""
    dag = ingested("light_squeezenet").dag
    monkeypatch.setattr(packing, "FORMAT", packing.FORMAT + 1)
    packed = pack_dag(dag)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format"):
        unpack_dag(packed)


def test_tables_of_an_older_version_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of an older format is refused as such, as it is built anew; one of a format that is
    not known is refused."""
    table = build_table(ingested("light_squeezenet").dag, Family.SLOWER_DEVICE)
    for other, error in ((packing.TABLE_FORMAT - 1, OldTableError), (99, ValueError)):
        with monkeypatch.context() as patch:
            patch.setattr(packing, "TABLE_FORMAT", other)
            packed = pack_table(table)
        with pytest.raises(ValueError, match=r"format|older") as refused:
            unpack_table(packed)
        assert refused.type is error


@given(mask=st.lists(st.booleans(), max_size=100))
def test_mask_unpacks_as_it_was(mask: list[bool]) -> None:
    """Any mask is the same after packing, at a bit per node."""
    packed = pack_mask(np.array(mask, dtype=np.bool_))
    assert len(packed) == (len(mask) + 7) // 8
    assert unpack_mask(packed, len(mask)).tolist() == mask
