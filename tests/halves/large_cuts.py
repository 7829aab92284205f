"""Models of gigabytes, and what it takes to cut one, measured in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, helper

DATA = "weights.bin"
MARK_BYTES = 16


@dataclass(frozen=True)
class Chain:
    """A chain of square MatMul and Relu layers, each with a float32 weight of ``width`` x
    ``width``."""

    layers: int
    width: int

    @property
    def each_bytes(self) -> int:
        """Of a weight."""
        return 4 * self.width * self.width

    @property
    def nbytes(self) -> int:
        """Of all weights."""
        return self.layers * self.each_bytes

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes, in order."""
        return [f"{kind}{layer}" for layer in range(self.layers) for kind in ("dense", "relu")]

    @staticmethod
    def mark(layer: int) -> bytes:
        """With what the weight of a layer begins and ends."""
        return f"weight {layer}".encode().ljust(MARK_BYTES, b".")

    def write(self, path: Path) -> None:
        """Write the model, and its weights in external data beside it: next to nothing but holes,
        which take no room on the disk."""
        nodes, tensors = [], []
        for i in range(self.layers):
            nodes.append(
                helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"], name=f"dense{i}")
            )
            nodes.append(helper.make_node("Relu", [f"h{i}"], [f"x{i + 1}"], name=f"relu{i}"))
            tensor = TensorProto(
                name=f"w{i}", dims=[self.width, self.width], data_type=TensorProto.FLOAT
            )
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": DATA, "offset": i * self.each_bytes, "length": self.each_bytes}
            for key, text in place.items():
                tensor.external_data.add(key=key, value=str(text))
            tensors.append(tensor)
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, self.width))
            for name in ("x0", f"x{self.layers}")
        ]
        graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
        opsets = [helper.make_opsetid("", 20)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        path.write_bytes(proto.SerializeToString())
        with (path.parent / DATA).open("wb") as file:
            file.truncate(self.nbytes)
            for i in range(self.layers):
                for start in (i * self.each_bytes, (i + 1) * self.each_bytes - MARK_BYTES):
                    file.seek(start)
                    file.write(self.mark(i))


@dataclass(frozen=True)
class Measured:
    """What a cut took: ``memory_bytes``: the most that the process held at any moment, less what it
    held when all was imported; ``nbytes`` of the halves."""

    seconds: float
    memory_bytes: int
    nbytes: int


_MEASURE = """
import json, sys, time
from pathlib import Path

from app.halves import Division, cut_file
from app.ingest import IngestOptions


def resident_bytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


source, directory, count = sys.argv[1:]
names = tuple(json.load(sys.stdin))
division = Division(names[: int(count)], names[int(count) :])
start_bytes = resident_bytes("VmRSS")
started = time.perf_counter()
files = cut_file(Path(source), IngestOptions(), division, Path(directory))
seconds = time.perf_counter() - started
halves = [half for half in (files.device, files.server) if half is not None]
print(json.dumps({
    "seconds": seconds,
    "memory_bytes": resident_bytes("VmHWM") - start_bytes,
    "nbytes": sum(half.nbytes for half in halves),
}))
"""


def measured_cut(path: Path, nodes: Sequence[str], on_device: int, directory: Path) -> Measured:
    """Cut a model in a fresh process; ``nodes``: its names in order, of which the first
    ``on_device`` are the device's."""
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path), str(directory), str(on_device)],
        input=json.dumps(list(nodes)),
        capture_output=True,
        text=True,
        check=True,
    )
    return Measured(**json.loads(run.stdout))
