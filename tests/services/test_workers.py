"""Workers in processes of their own: what they answer, what they may take, and how they end."""

import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import numpy as np
import pytest

from app.core.splitting.cut_table import Family, build_table
from app.errors import (
    BadBindingError,
    IngestError,
    LimitExceededError,
    NotOnnxError,
    NotReadyError,
)
from app.services.workers import ReadModel, ReadOptions, WorkerLimits, Workers
from app.store.packing import pack_table, unpack_dag, unpack_table
from app.worker import frames
from app.worker.frames import BrokenFrameError, Frame
from tests.fixture_models import ingested
from tests.processes import status, tree, zygotes
from tests.server import DEMO_BYTES, chain

MODEL_LIMITS = {"graph_bytes": 2**26, "nodes": 100_000, "nesting": 16, "name_bytes": 4096}
LIMITS = WorkerLimits(memory_bytes=2**30, seconds=60, model=MODEL_LIMITS)


@asynccontextmanager
async def running(limits: WorkerLimits = LIMITS, count: int = 2) -> AsyncIterator[Workers]:
    workers = Workers(count, limits)
    workers.start()
    try:
        yield workers
    finally:
        workers.stop()


def file_of(data: bytes) -> BinaryIO:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - whoever calls closes it
    file.write(data)
    return file


async def read(workers: Workers, data: bytes, **options: Any) -> ReadModel:
    with file_of(data) as file:
        return await workers.read(file, ReadOptions(**options))


def test_worker_reads_what_ingest_reads() -> None:
    """A model read by a worker has the DAG, the summary and the first table that it has when it is
    read here, and the further tables are those built here."""

    async def work() -> None:
        async with running() as workers:
            found = await read(workers, DEMO_BYTES)
            families = [Family.HULL_TRAINING, Family.HULL_INFERENCE]
            tables = found.tables | await workers.build(found.dag, families)
        dag = ingested("mobilenet_v2").dag
        assert unpack_dag(found.dag).node_names == dag.node_names
        assert found.summary["flops"] == dag.total_flops
        assert found.summary["bound_dims"] == {"batch": 1}
        assert set(tables) == {Family.SLOWER_DEVICE, *families}
        for family, packed in tables.items():
            there, here = unpack_table(packed), unpack_table(pack_table(build_table(dag, family)))
            np.testing.assert_array_equal(there.quantities, here.quantities)
            np.testing.assert_array_equal(there.on_device_bits, here.on_device_bits)

    anyio.run(work)


@pytest.mark.parametrize(
    ("data", "options", "kind", "loc"),
    [
        (b"no model", {}, NotOnnxError, ()),
        (DEMO_BYTES, {"dims": {"nope": 1}}, BadBindingError, ("dims", "nope")),
        (chain("x" * 5000), {}, LimitExceededError, ()),
    ],
    ids=["no model", "unknown dimension", "long name"],
)
def test_refusals_cross_as_they_are(
    data: bytes, options: dict[str, Any], kind: type[IngestError], loc: tuple[str, ...]
) -> None:
    """What ingest raises in a worker is raised here: the same class, words and place."""

    async def work() -> None:
        async with running() as workers:
            with pytest.raises(IngestError) as refusal:
                await read(workers, data, **options)
        assert type(refusal.value) is kind
        assert refusal.value.loc == loc
        assert refusal.value.detail

    anyio.run(work)


def test_no_more_workers_than_allowed() -> None:
    """However many models are to be read, there are never more workers than allowed, each reads
    one, and afterwards none is left."""
    counts: set[int] = set()
    data = [chain(*(f"n{i}" for i in range(300))) for _ in range(6)]

    async def work() -> None:
        async with running(count=2) as workers:
            await read(workers, data[0])
            (zygote,) = zygotes()
            ended = threading.Event()

            def watch() -> None:
                while not ended.is_set():
                    counts.add(len(tree(zygote)) - 1)

            watcher = threading.Thread(target=watch)
            watcher.start()
            async with anyio.create_task_group() as group:
                for one in data:
                    group.start_soon(read, workers, one)
            ended.set()
            watcher.join()
            assert tree(zygote) == [zygote]

    anyio.run(work)
    assert max(counts) == 2
    assert zygotes() == []


def test_zygote_has_one_thread() -> None:
    """The process that is forked has one thread: what another one holds at that moment would stay
    held in the worker for ever."""

    async def work() -> None:
        async with running() as workers:
            await read(workers, chain("a"))
            (zygote,) = zygotes()
            assert status(zygote)["Threads"] == "1"

    anyio.run(work)


def test_stopped_workers_refuse() -> None:
    """Before the start, and after the end, there are no workers, and whoever asks is told."""

    async def work() -> None:
        workers = Workers(2, LIMITS)
        with pytest.raises(NotReadyError):
            await read(workers, chain("a"))
        workers.start()
        workers.stop()
        workers.stop()
        with pytest.raises(NotReadyError):
            await read(workers, chain("a"))

    anyio.run(work)


def in_a_fresh_process(*lines: str) -> int:
    """Run statements in an interpreter of their own, which holds no memory that it had and gave
    back; its exit status, negative for a signal."""
    program = "\n".join(["from app.worker.confinement import confine", *lines])
    return subprocess.run(
        [sys.executable, "-c", program], check=False, stderr=subprocess.DEVNULL
    ).returncode


def test_confined_process_cannot_take_more_than_its_memory() -> None:
    """Beyond its memory a process gets none, while what is less than that it gets."""
    status = in_a_fresh_process(
        "confine(memory_bytes=2**30, seconds=60)",
        "assert len(bytes(2**28)) == 2**28",
        "try:",
        "    bytes(2**30)",
        "except MemoryError:",
        "    raise SystemExit(7)",
    )
    assert status == 7


def test_confined_process_ends_with_its_processor_time() -> None:
    """A process that computes on and on is ended by the signal that says so."""
    status = in_a_fresh_process(
        "confine(memory_bytes=2**30, seconds=0.1)",
        "while True:",
        "    pass",
    )
    assert status == -signal.SIGXCPU


def test_confined_process_writes_no_file(tmp_path: Path) -> None:
    """A process that has nothing to write cannot."""
    status = in_a_fresh_process(
        "confine(memory_bytes=2**30, seconds=60)",
        f"file = open({str(tmp_path / 'file')!r}, 'wb', buffering=0)",
        "try:",
        "    file.write(b'content')",
        "except OSError:",
        "    raise SystemExit(7)",
    )
    assert status == 7
    assert (tmp_path / "file").stat().st_size == 0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.mark.parametrize(
    "frame", [Frame({}), Frame({"a": [1, "ü", None]}, b"\0\xff"), Frame({"kind": "x"}, b"")]
)
def test_frames_arrive_as_sent(ends: tuple[socket.socket, socket.socket], frame: Frame) -> None:
    """Frames come out as they went in, one after the other, and then the end."""
    left, right = ends
    for _ in range(3):
        frames.send(left, frame)
    left.close()
    assert [frames.receive(right) for _ in range(4)] == [frame, frame, frame, None]


def lengths(header: int, blob: int) -> bytes:
    return struct.pack("!IQ", header, blob)


@pytest.mark.parametrize(
    "sent",
    [
        b"\0",
        lengths(2, 0) + b"{",
        lengths(2, 5) + b"{}1234",
        lengths(2, 2**40),
        lengths(2**32 - 1, 0),
        lengths(2, 0) + b"[]",
        lengths(4, 0) + b"nope",
        lengths(100_000, 0) + b"[" * 100_000,
        lengths(1, 0) + b"\xff",
    ],
    ids=["head", "header", "blob", "size", "header size", "list", "text", "nesting", "bytes"],
)
def test_broken_frames_are_told(ends: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    """What is no frame raises, without taking the memory that it announces."""
    left, right = ends

    def send() -> None:
        left.sendall(sent)
        left.close()

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(BrokenFrameError):
        frames.receive(right)
    sender.join()


def test_deadline_ends_the_wait(ends: tuple[socket.socket, socket.socket]) -> None:
    """Waiting for a frame, or for the rest of one, ends at the deadline."""
    left, right = ends
    left.sendall(lengths(2, 0))
    with pytest.raises(TimeoutError):
        frames.receive(right, deadline=0.0)
