"""What a worker does for the service: read a model, or build tables of one."""

import socket
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from app.core.blocks import blocks_of
from app.core.dag import NO_PRODUCER, CostedDag, Mask
from app.core.errors import TooManyCutsError
from app.core.splitting.cut_table import Family, build_table
from app.errors import IngestError
from app.ingest import IngestOptions, Limits, ModelFacts, ingest_file
from app.store.packing import pack_dag, pack_table, unpack_dag
from app.worker import frames
from app.worker.confinement import confine
from app.worker.facts import tensor_facts
from app.worker.frames import Frame


def work(connection: socket.socket, file: BinaryIO | None) -> None:
    """Do the one job that the service asks for, within the limits that it states.

    What is answered: frames of the kinds ``model`` and ``table``, and at the end ``done``, or why
    there is none: ``refused`` (an ``IngestError``), ``out-of-memory`` or ``failed``.
    """
    job = frames.receive(connection)
    if job is None:
        return
    confine(job.header["memory_bytes"], job.header["seconds"])
    try:
        answers = read_model(file, job.header) if file else build_tables(job)
        for answer in answers:
            frames.send(connection, answer)
        last = Frame({"kind": "done"})
    except (BrokenPipeError, ConnectionResetError):
        # Nobody listens any more.
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is told
        last = _refusal(error)
    frames.send(connection, last)


def read_model(file: BinaryIO, job: Mapping[str, Any]) -> Iterator[Frame]:
    """The summary and the packed DAG of a model, and after it the table that nearly every request
    is answered from. Raises ``IngestError``."""
    file.seek(0)
    options = IngestOptions(
        dims=job["dims"], model_batch=job["model_batch"], parameters=tuple(job["parameters"])
    )
    ingested = ingest_file(file, options, Limits(**job["limits"]))
    summary = summary_of(ingested.dag, ingested.facts)
    yield Frame({"kind": "model", "summary": summary}, pack_dag(ingested.dag))
    yield from _tables(ingested.dag, [Family.SLOWER_DEVICE])


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
    if isinstance(error, IngestError):
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
