"""Helpers: halves of small models, and the two sides that run them."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from onnx import TensorProto, helper

from app.core.dag import CostedDag, Mask
from app.core.splitting.cut_table import Family, build_table
from app.execution import Half, HalfServer, RuntimeOptions
from app.execution.messages import PRELUDE
from app.halves import Division, HalfFiles, cut_file
from app.halves.division import Side
from app.ingest import ingest_file
from tests.halves.weighted_models import WeightedModel

EXACT = RuntimeOptions(optimised=False)
DEADLINE_S = 60.0
"""How long a test waits for what has to happen."""


def dag_of(model: WeightedModel, path: Path) -> CostedDag:
    """The costed DAG of a model, written to ``path``."""
    with path.open("rb") as file:
        return ingest_file(file, model.options).dag


def rows_of(dag: CostedDag) -> list[Mask]:
    """The device nodes of each row of the cut table."""
    table = build_table(dag, Family.SLOWER_DEVICE)
    return [table.on_device(row) for row in range(len(table))]


def cut_at(
    model: WeightedModel,
    path: Path,
    on_device: Mask,
    directory: Path,
    split_id: str | None = None,
    model_id: str | None = None,
) -> HalfFiles:
    """Both halves of a model, in a directory."""
    names = np.array(dag_of(model, path).node_names, dtype=object)
    division = Division(tuple(names[on_device]), tuple(names[~on_device]), model_id, split_id)
    return cut_file(path, model.options, division, directory)


def loaded(files: HalfFiles, side: Side, options: RuntimeOptions | None = None) -> Half | None:
    """A half, ready to run; None where nothing runs on its side."""
    file = files.device if side is Side.DEVICE else files.server
    return None if file is None else Half(file.path, side, options)


@dataclass
class Served:
    """A half that is served in a thread of this process; ``events``: what the server told."""

    server: HalfServer
    events: list[str] = field(default_factory=list)


@contextmanager
def serving(half: Half, **options: float) -> Iterator[Served]:
    """Serve a half while the block lasts."""
    events: list[str] = []
    with HalfServer(half, on_event=events.append, **options) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield Served(server, events)
        finally:
            server.stop()
            thread.join()


class Process:
    """``python -m MODULE``, whose lines are read while it runs."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str) -> str:
        """The next line that holds a text; fails where the process ends before it."""
        while (line := self._queue.get(timeout=DEADLINE_S)) is not None:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was not told: {self.lines}")

    def go_on(self) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal, if it has not ended; its status."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its status when it has ended."""
        status = self._process.wait(timeout=DEADLINE_S)
        self._reader.join()
        while (line := self._queue.get()) is not None:
            self.lines.append(line)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        return status

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid


def one_node(path: Path, op_type: str, source: str, target: str, elements: int) -> Path:
    """A model of one node that makes as many floats as it takes, without Kerf's metadata."""
    extents = [elements]
    graph = helper.make_graph(
        [helper.make_node(op_type, [source], [target])],
        "g",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, extents)],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, extents)],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


def prelude(
    kind: int, header_bytes: int, nbytes: int = 0, magic: bytes = b"kerf", protocol: int = 1
) -> bytes:
    """How a message begins."""
    return PRELUDE.pack(magic, protocol, kind, header_bytes, nbytes)
