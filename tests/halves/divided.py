"""A model and the halves of its cuts, without any file."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx.checker
from onnx import GraphProto, ModelProto

from app.core.dag import CostedDag, Mask
from app.halves.dividing import Halves, divide
from app.halves.division import Division
from app.ingest import DissectedModel, IngestOptions, dissect_file
from app.ingest.captures import used_names
from tests.oracles import all_cuts

MODEL_ID, SPLIT_ID = "m" * 32, "s" * 32


@dataclass(frozen=True)
class Divided:
    """A model that can be divided anywhere."""

    model: DissectedModel

    @classmethod
    def of(cls, proto: ModelProto, options: IngestOptions | None = None) -> "Divided":
        """Read a model as a file has it."""
        return cls(dissect_file(io.BytesIO(proto.SerializeToString()), options))

    @property
    def dag(self) -> CostedDag:
        """The costed DAG."""
        return self.model.ingested.dag

    def at(self, *device: str) -> Halves:
        """The halves of the cut with these nodes on the device; both pass onnx's checker."""
        others = [name for name in self.dag.node_names if name not in device]
        halves = divide(self.model, Division(device, tuple(others), MODEL_ID, SPLIT_ID))
        for half in (halves.device, halves.server):
            if half is not None:
                onnx.checker.check_model(half, full_check=True)
        return halves

    def at_mask(self, on_device: Mask) -> Halves:
        """The halves of a cut, unchecked."""
        names = np.array(self.dag.node_names, dtype=object)
        return divide(self.model, Division(tuple(names[on_device]), tuple(names[~on_device])))

    def every(self) -> Iterator[tuple[frozenset[str], Halves]]:
        """Every cut of a small model: the names of the device's nodes, and the halves."""
        for chosen in all_cuts(self.dag):
            names = [self.dag.node_names[index] for index in sorted(chosen)]
            yield frozenset(names), self.at(*names)


def both(halves: Halves) -> tuple[ModelProto, ModelProto]:
    """Both halves, where there are two."""
    assert halves.device is not None
    assert halves.server is not None
    return halves.device, halves.server


def inputs(half: ModelProto) -> list[str]:
    """The names of its inputs that have no value of their own."""
    held = weights(half)
    return [value.name for value in half.graph.input if value.name not in held]


def outputs(half: ModelProto) -> list[str]:
    """The names of its outputs."""
    return [value.name for value in half.graph.output]


def weights(half: ModelProto) -> list[str]:
    """The names of its initializers, in order."""
    sparse = (item.values.name for item in half.graph.sparse_initializer)
    return [*(tensor.name for tensor in half.graph.initializer), *sparse]


def types(half: ModelProto) -> list[str]:
    """What its nodes are, in order."""
    return [node.op_type for node in half.graph.node]


def made(graph: GraphProto) -> list[str]:
    """What its nodes make."""
    return [name for node in graph.node for name in node.output if name]


def used(graph: GraphProto) -> set[str]:
    """What its nodes and its outputs read."""
    names = {name for node in graph.node for name in used_names(node)}
    return names.union(value.name for value in graph.output)


def extents(half: ModelProto, name: str) -> Sequence[int | str | None]:
    """The shape of an input or output as it is stated; None where an extent is left open."""
    values = {value.name: value for value in (*half.graph.input, *half.graph.output)}
    dims = values[name].type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]


def metadata(half: ModelProto) -> dict[str, str]:
    """Its metadata; each key once."""
    found = {entry.key: entry.value for entry in half.metadata_props}
    assert len(found) == len(half.metadata_props)
    return found


def some_cuts(dag: CostedDag, seeds: Iterable[int] = range(4)) -> list[Mask]:
    """Everything on either side, the middle of the order, and random cuts."""
    count = dag.node_count
    order = np.arange(count)
    found = [order < end for end in (0, 1, count // 2, count - 1, count) if end >= 0]
    for seed in seeds:
        chosen = np.random.default_rng(seed).random(count) < 0.2
        chosen |= dag.requirements.must_run_on_device
        found.append(dag.requirements.requires.reached_from(chosen))
    return [mask for mask in found if dag.is_cut(mask)]
