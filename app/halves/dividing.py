"""A dissected model to its two halves, as models without the data of large weights.

The device half takes the model's inputs and gives the cut tensors, in the order in which ``/split``
names them, and after them the graph outputs that it makes itself. The server half takes the cut
tensors, in the same order, and gives the other graph outputs. A graph input that crosses raw passes
through the device half, so that whoever runs both hands over what the one gives, and no more. Graph
inputs that the upload named as parameters are inputs of each half that uses them.

Where smashed data are cast (``app.halves.casts``), floating-point cut tensors cross in another type
and under other names. Then there is a device half even where no node runs on the device, if raw
graph inputs are cast: it has these casts.

What depends on no graph input (weights, constants, nodes between these) is in every half that uses
it, and graph outputs of that kind are the device's, where it has any part of the model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnx import ModelProto

from app.core.dag import Mask
from app.core.quantities import cut_of
from app.core.scenario import Mode
from app.core.smashed import SmashedDtype
from app.errors import WrongFileError
from app.halves.calls import with_calls
from app.halves.casts import add_casts
from app.halves.crossing import crossing_types
from app.halves.division import Division, Side
from app.halves.packaging import Contents, package
from app.ingest import DissectedModel
from app.ingest.captures import used_names


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Both halves; None for a side on which nothing runs."""

    device: ModelProto | None
    server: ModelProto | None

    def of(self, side: Side) -> ModelProto | None:
        """The half of a side."""
        return self.device if side is Side.DEVICE else self.server


def divide(
    model: DissectedModel, division: Division, smashed_dtype: SmashedDtype | None = None
) -> Halves:
    """Both halves of a model.

    ``smashed_dtype``: what floating-point cut tensors are cast to, but for those that would not get
    smaller (``CostedDag.smashed_as``). Raises ``WrongFileError`` where the nodes are not the
    model's own, or the division is no cut of it, and ``UnsupportedError`` where the operator set of
    the model has no such cast.
    """
    whole = _Whole(model, _on_device(model, division), smashed_dtype)
    types = crossing_types(model, whole.cut_tensors)

    def half(side: Side) -> ModelProto | None:
        if not whole.runs_on(side):
            return None
        inputs, outputs = whole.inputs_of(side), whole.outputs_of(side)
        given = whole.initializers.union(inputs, whole.parameters)
        chosen = whole.nodes_of(side, given, outputs)
        nodes = with_calls(model, chosen, given, whole.side_of, side)
        used = {name for node in nodes for name in used_names(node)}.union(outputs)
        inputs = [*inputs, *(name for name in whole.parameters if name in used)]
        contents = Contents(inputs, outputs, nodes, types)
        return package(model, contents, side, whole.runs_on(side.other), division)

    device, server = half(Side.DEVICE), half(Side.SERVER)
    if smashed_dtype is not None and whole.cast and device is not None and server is not None:
        results = [value.name for value in whole.graph.output]
        add_casts(device, server, whole.cut_tensors, whole.cast, smashed_dtype, results)
    return Halves(device, server)


def _on_device(model: DissectedModel, division: Division) -> Mask:
    dag = model.ingested.dag
    stated = [*division.device, *division.server]
    if len(stated) != dag.node_count or set(stated) != set(dag.node_names):
        raise WrongFileError(
            f"the split divides {len(stated)} nodes, which are not the {dag.node_count} that this "
            "file has; take the file that was uploaded, with the same dims"
        )
    on_device = np.zeros(dag.node_count, dtype=np.bool_)
    on_device[[dag.node_index[name] for name in division.device]] = True
    if not dag.is_cut(on_device):
        raise WrongFileError(
            "the split is no cut of this file: something would flow back from the server, or a "
            "tensor without a size would cross; take the file that was uploaded"
        )
    return on_device


class _Whole:
    """The model, with the side of each node.

    ``side_of``: of what the nodes of the DAG make, by name; what only prepares weights has none.
    ``cast``: the types of the cut tensors that are cast, by name.
    """

    def __init__(
        self, model: DissectedModel, on_device: Mask, smashed_dtype: SmashedDtype | None
    ) -> None:
        self.graph = model.flat.graph
        self.parameters = model.ingested.facts.parameters
        dag = model.ingested.dag.smashed_as(smashed_dtype)
        self.side_of = {
            name: Side.DEVICE if is_device else Side.SERVER
            for outputs, is_device in zip(model.node_outputs, on_device.tolist(), strict=True)
            for name in filter(None, outputs)
        }
        crossing = cut_of(dag, on_device, Mode.INFERENCE).cut_tensors.tolist()
        self.cut_tensors = [dag.tensor_names[index] for index in crossing]
        self.cast = {
            dag.tensor_names[index]: dag.tensor_dtypes[index]
            for index in crossing
            if dag.tensor_is_cast[index]
        }
        # A model without nodes is the device's.
        self._runs = {
            Side.DEVICE: bool(on_device.any() or self.cast) or dag.node_count == 0,
            Side.SERVER: not bool(on_device.all()),
        }

    def runs_on(self, side: Side) -> bool:
        """Whether a side has a half."""
        return self._runs[side]

    @cached_property
    def initializers(self) -> frozenset[str]:
        """Names of the weights."""
        sparse = (item.values.name for item in self.graph.sparse_initializer)
        return frozenset([*(tensor.name for tensor in self.graph.initializer), *sparse])

    def inputs_of(self, side: Side) -> list[str]:
        """What a half takes, beside weights and parameters."""
        if side is Side.SERVER and self.runs_on(Side.DEVICE):
            return self.cut_tensors
        others = self.initializers.union(self.parameters)
        return [value.name for value in self.graph.input if value.name not in others]

    def outputs_of(self, side: Side) -> list[str]:
        """What a half gives."""
        names = [value.name for value in self.graph.output]
        if not self.runs_on(Side.DEVICE):
            return names
        at_server = [name for name in names if self.side_of.get(name) is Side.SERVER]
        if side is Side.SERVER:
            return at_server
        crossing = self.cut_tensors if self.runs_on(Side.SERVER) else []
        return list(dict.fromkeys([*crossing, *(name for name in names if name not in at_server)]))

    def nodes_of(self, side: Side, given: Iterable[str], outputs: Iterable[str]) -> list[int]:
        """The places of the nodes of a half: its own, and those that prepare what it uses."""
        nodes = self.graph.node
        makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
        chosen = {place for name, place in makers.items() if self.side_of.get(name) is side}
        at_hand = set(given)
        waiting = [*outputs, *(name for place in chosen for name in used_names(nodes[place]))]
        while waiting:
            name = waiting.pop()
            place = makers.get(name)
            if name in at_hand or place is None or place in chosen:
                continue
            assert self.side_of.get(name, side) is side, f"{name!r} crosses, and is no cut tensor"
            chosen.add(place)
            waiting.extend(used_names(nodes[place]))
        return sorted(chosen)
