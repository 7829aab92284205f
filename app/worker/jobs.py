"""What a worker does for the service: read a model, build tables of one, or cut one in two."""

import io
import socket
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from app.core.blocks import blocks_of
from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import TooManyCutsError
from app.core.splitting.cut_table import Family, build_table
from app.errors import IngestError, WrongFileError
from app.halves.dividing import divide
from app.halves.division import Division, Side
from app.halves.external import lost_data
from app.halves.pieces import pieces_of
from app.ingest import IngestOptions, Limits, ModelFacts, dissect_file, read_file
from app.store.packing import pack_dag, pack_graph, pack_table, unpack_dag, unpack_graph
from app.worker import frames
from app.worker.confinement import confine
from app.worker.facts import tensor_facts
from app.worker.frames import Frame


def work(connection: socket.socket, file: BinaryIO | None) -> None:
    """Do the one job that the service asks for, within the limits that it states.

    What is answered: frames of the kinds ``model``, ``graph``, ``table`` and ``half``, and at the
    end ``done``, or why there is none: ``refused`` (an error of ``app.errors``), ``out-of-memory``
    or ``failed``.
    """
    job = frames.receive(connection)
    if job is None:
        return
    confine(job.header["memory_bytes"], job.header["seconds"])
    try:
        for answer in _answers(job, file):
            frames.send(connection, answer)
        last = Frame({"kind": "done"})
    except (BrokenPipeError, ConnectionResetError):
        # Nobody listens any more.
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is told
        last = _refusal(error)
    frames.send(connection, last)


def _answers(job: Frame, file: BinaryIO | None) -> Iterator[Frame]:
    if file:
        return read_model(file, job.header)
    return cut_model(job) if "side" in job.header else build_tables(job)


def read_model(file: BinaryIO, job: Mapping[str, Any]) -> Iterator[Frame]:
    """The summary and the packed DAG of a model, its packed graph, and after these the table that
    nearly every request is answered from. Raises ``IngestError``."""
    file.seek(0)
    read = read_file(file, _options(job), Limits(**job["limits"]))
    dag, facts = read.ingested.dag, read.ingested.facts
    model = {"kind": "model", "summary": summary_of(dag, facts), "has_data": facts.has_data}
    yield Frame(model, pack_dag(dag))
    yield Frame({"kind": "graph"}, pack_graph(read.skeleton))
    yield from _tables(dag, [Family.SLOWER_DEVICE])


def cut_model(job: Frame) -> Iterator[Frame]:
    """One half of a packed graph, in pieces: ``pieces`` are counts of bytes, each for the next
    ones of the blob, and pairs [start, end] for bytes of the uploaded file. Nothing where nothing
    runs on that side. ``lost``: a tensor whose data are neither in the file nor referred to.

    Raises ``IngestError`` or ``WrongFileError``.
    """
    header = job.header
    graph = io.BytesIO(unpack_graph(job.blob))
    model = dissect_file(graph, _options(header), Limits(**header["limits"]), marks="own")
    names = {name: tuple(header[name]) for name in ("device", "server")}
    division = Division(**names, model_id=header["model_id"], split_id=header["split_id"])
    half = divide(model, division).of(Side(header["side"]))
    if half is not None:
        pieces = pieces_of(half)
        places = [
            len(piece) if isinstance(piece, bytes) else [piece.start, piece.end] for piece in pieces
        ]
        blob = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        yield Frame({"kind": "half", "pieces": places, "lost": lost_data(half)}, blob)


def _options(job: Mapping[str, Any]) -> IngestOptions:
    return IngestOptions(
        dims=job["dims"], model_batch=job["model_batch"], parameters=tuple(job["parameters"])
    )


def build_tables(job: Frame) -> Iterator[Frame]:
    """Tables of a packed DAG; those out of reach are left out."""
    return _tables(unpack_dag(job.blob), [Family(name) for name in job.header["families"]])


def _tables(dag: CostedDag, families: list[Family]) -> Iterator[Frame]:
    for family in families:
        try:
            table = build_table(dag, family)
        except TooManyCutsError:
            continue
        yield Frame({"kind": "table", "family": family.value}, pack_table(table))


def summary_of(dag: CostedDag, facts: ModelFacts) -> dict[str, Any]:
    """What ``GET /models/{id}`` tells of a model beside its id, name and moment."""
    return {
        "ir_version": facts.ir_version,
        "opsets": facts.opsets,
        "nodes": dag.node_count,
        "tensors": dag.tensor_count,
        "flops": dag.total_flops,
        "parameter_bytes": int(dag.parameter_bytes.sum()),
        "model_batch": dag.model_batch,
        "bound_dims": facts.bound_dims,
        "parameters": list(facts.parameters),
        "graph_sha256": facts.graph_sha256,
        "inputs": _chosen(dag, dag.tensor_producers == NO_PRODUCER),
        "outputs": _chosen(dag, dag.tensor_is_output),
        "blocks": len(blocks_of(dag)),
        "warnings": list(facts.warnings),
    }


def _chosen(dag: CostedDag, tensors: Mask) -> list[dict[str, Any]]:
    return [tensor_facts(dag, index) for index in tensors.nonzero()[0].tolist()]


def _refusal(error: Exception) -> Frame:
    if _of_memory(error):
        return Frame({"kind": "out-of-memory"})
    if isinstance(error, IngestError | WrongFileError):
        kind = type(error).__name__
        return Frame(
            {"kind": "refused", "error": kind, "detail": error.detail, "loc": list(error.loc)}
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return Frame({"kind": "failed", "what": f"{type(error).__name__} at {where}: {error}"[:500]})


def _of_memory(error: BaseException | None) -> bool:
    """Whether memory ended somewhere below an error, whatever was made of it on the way."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
