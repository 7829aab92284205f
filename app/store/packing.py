"""Costed DAGs and cut tables as bytes, and back: numpy's archive format, no pickles, no onnx."""

import io
import json
import zlib
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from app.core.csr import Csr
from app.core.dag import CostedDag, Mask
from app.core.splitting.cut_table import CutTable

FORMAT = 2
"""Of DAGs. Format 1 did not know uncuttable tensors."""
TABLE_FORMAT = 2


def pack_dag(dag: CostedDag) -> bytes:
    """The compact form of a DAG: compressed arrays, with names and shapes as one JSON text.

    Raises ``ValueError`` for one whose tensors are cast where they cross: no format says so.
    """
    if dag.smashed_dtype is not None:
        raise ValueError("pack the DAG as the model has it, and cast what crosses thereafter")
    texts: dict[str, object] = {"format": FORMAT}
    arrays: dict[str, NDArray[np.generic]] = {}
    for field in fields(dag):
        if field.name == "smashed_dtype":
            continue
        value = getattr(dag, field.name)
        if isinstance(value, Csr):
            arrays[f"{field.name}.offsets"] = value.offsets
            arrays[f"{field.name}.indices"] = value.indices
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
        else:
            texts[field.name] = value
    encoded = json.dumps(texts, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, texts=np.frombuffer(encoded, dtype=np.uint8), **arrays
    )
    return buffer.getvalue()


def unpack_dag(packed: bytes) -> CostedDag:
    """The DAG that ``pack_dag`` packed, in this format or an earlier one.

    Raises ``ValueError`` for another format.
    """
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    texts = json.loads(arrays.pop("texts").tobytes())
    stored_format = texts.pop("format")
    if stored_format == 1:
        arrays["tensor_is_cuttable"] = np.ones(len(texts["tensor_names"]), dtype=np.bool_)
    elif stored_format != FORMAT:
        raise ValueError("the stored DAG has a format that this version does not read")
    values: dict[str, object] = {**texts, **arrays}
    for name in ("tensor_consumers", "parameter_users"):
        offsets, indices = values.pop(f"{name}.offsets"), values.pop(f"{name}.indices")
        values[name] = Csr(offsets, indices)  # type: ignore[arg-type]
    for name, value in texts.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    values["tensor_shapes"] = tuple(
        None if shape is None else tuple(shape) for shape in texts["tensor_shapes"]
    )
    return CostedDag(**values)  # type: ignore[arg-type]


class OldTableError(ValueError):
    """A table of an older version, which has to be built anew."""


def pack_table(table: CutTable) -> bytes:
    """A cut table as compressed arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        format=np.array(TABLE_FORMAT),
        quantities=table.quantities,
        on_device_bits=table.on_device_bits,
        node_count=np.array(table.node_count),
    )
    return buffer.getvalue()


def unpack_table(packed: bytes) -> CutTable:
    """The table that ``pack_table`` packed. Raises ``OldTableError`` for an older format, which has
    fewer quantities, and perhaps fewer rows, and ``ValueError`` for one that is not known."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        stored_format = int(archive["format"])
        if stored_format < TABLE_FORMAT:
            raise OldTableError("the stored table was built by an older version; build it anew")
        if stored_format != TABLE_FORMAT:
            raise ValueError("the stored table has a format that this version does not read")
        return CutTable(
            archive["quantities"], archive["on_device_bits"], int(archive["node_count"])
        )


def pack_mask(mask: Mask) -> bytes:
    """A bit per node, eight to a byte."""
    return np.packbits(mask).tobytes()


def unpack_mask(packed: bytes, count: int) -> Mask:
    """The first ``count`` bits that ``pack_mask`` packed."""
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count).astype(np.bool_)


def pack_graph(content: bytes) -> bytes:
    """The bytes of a graph, compressed."""
    return zlib.compress(content)


def unpack_graph(packed: bytes) -> bytes:
    """The bytes that ``pack_graph`` compressed."""
    return zlib.decompress(packed)
