"""Types, shapes and known values of everything in a graph, bodies included.

What inference works out wins over what the file states: stored shapes go stale when a model's
inputs are edited, and dims changes the inputs. Where inference has no answer, a stored shape
serves.

onnx's inference of the whole graph comes first. It stalls wherever an operator is unknown to it,
or takes its shape from values that it does not carry, and then knows nothing of what follows. So a
second pass goes over the nodes in order: it carries values as well, and asks for each node that is
still open, one after the other: onnx about this node alone, the rules for operators that onnx has
none for, the node's bodies, and the stored type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import onnx.shape_inference
from onnx import GraphProto, ModelProto, NodeProto, TypeProto, numpy_helper

from app.errors import InvalidModelError
from app.ingest.bodies import (
    BodyInputs,
    BodyResult,
    body_inputs,
    output_types,
    with_known_trips,
)
from app.ingest.captures import bodies, captured_names, used_names
from app.ingest.constants import checked_values
from app.ingest.contrib_shapes import contrib_types
from app.ingest.ml_shapes import ml_types
from app.ingest.operators import (
    AI_ONNX,
    domain_of,
    is_known,
    qualified_type,
    schema_domain,
)
from app.ingest.reasons import reason
from app.ingest.shape_arithmetic import Array, evaluated
from app.ingest.value_types import ValueType, has_shape, merged, tensor_type, value_type_of
from app.ingest.weights import constants_to_initializers


@dataclass
class InferredGraph:
    """A graph whose nodes stand in topological order, and what is known of its values.

    ``constants``: names of the data that the graph itself holds. ``values``: the small ones that
    hang on constants and shapes alone. ``bodies``: of each node that carries graphs, by
    ``body_key``: how its bodies begin, and what is known in them.
    """

    nodes: list[NodeProto]
    outputs: list[str]
    constants: frozenset[str]
    types: dict[str, TypeProto]
    values: dict[str, Array]
    bodies: dict[str, list[tuple[BodyInputs, "InferredGraph"]]] = field(default_factory=dict)

    def type_of(self, name: str) -> ValueType:
        """What is known of a value's type."""
        return value_type_of(self.types.get(name))

    @cached_property
    def used(self) -> frozenset[str]:
        """Names that nodes of the graph read, and those of its outputs."""
        return frozenset(self.outputs).union(*map(used_names, self.nodes))


def infer(model: ModelProto, constants: frozenset[str] | None = None) -> InferredGraph:
    """What can be known of a model; takes its stored types out of it, in place.

    ``constants``: of a body, the names of the data that it holds itself.
    Raises ``InvalidModelError`` where types or shapes contradict each other.
    """
    stored = _take_stored(model.graph)
    whole = _Pass(model, stored, constants)
    # Of a body the values are wanted as well: they tell whether a loop goes on.
    if constants is not None or not whole.is_settled():
        whole.visit_nodes()
    return whole.graph


def _take_stored(graph: GraphProto) -> dict[str, TypeProto]:
    """Remove the types that the file states for what nodes make; what they were."""
    stored: dict[str, TypeProto] = {}
    for value in (*graph.output, *graph.value_info):
        proto = TypeProto()
        proto.CopyFrom(value.type)
        stored[value.name] = merged(stored.get(value.name), proto) or proto
    names = [value.name for value in graph.output]
    del graph.value_info[:]
    del graph.output[:]
    for name in names:
        graph.output.add(name=name)
    return stored


class _Pass:
    """One graph: the inference of the whole, then the pass over its nodes."""

    def __init__(
        self, model: ModelProto, stored: Mapping[str, TypeProto], constants: frozenset[str] | None
    ) -> None:
        self._model = model
        self._stored = stored
        self._is_body = constants is not None
        self._versions = {item.domain or AI_ONNX: item.version for item in model.opset_import}
        self.graph = InferredGraph(
            nodes=list(model.graph.node),
            outputs=[value.name for value in model.graph.output],
            constants=constants or frozenset(),
            types=_infer_whole(model),
            values={tensor.name: checked_values(tensor) for tensor in model.graph.initializer},
        )

    def visit_nodes(self) -> None:
        """Ask for one node after the other."""
        for node in self.graph.nodes:
            self._visit(node)

    def is_settled(self) -> bool:
        """Whether every type is known, and no values are asked for, which only bodies need."""
        return not any(
            self._unknown(node) or next(bodies(node), None) is not None for node in self.graph.nodes
        )

    def _unknown(self, node: NodeProto) -> list[str]:
        return [name for name in node.output if name and not has_shape(self.graph.types.get(name))]

    def _visit(self, node: NodeProto) -> None:
        graph = self.graph
        shapes = {
            name: shape
            for name in node.input
            if name and (shape := graph.type_of(name).shape) is not None
        }
        values = evaluated(node, graph.values, shapes, self._model.opset_import)
        graph.values.update(values)
        for name, value in values.items():
            dtype = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            graph.types[name] = tensor_type(dtype, value.shape)
        self._enter_bodies(node)
        for derive in (self._by_onnx, self._by_rule, self._by_bodies, self._by_file):
            open_names = self._unknown(node)
            if not open_names:
                return
            found = derive(node)
            for name in open_names:
                known = merged(graph.types.get(name), found.get(name))
                if known is not None:
                    graph.types[name] = known

    def _by_onnx(self, node: NodeProto) -> dict[str, TypeProto]:
        if next(bodies(node), None) is not None:
            return {}
        types = self.graph.types
        try:
            return self._infer_node(node, types)
        except Exception as error:  # InferenceError, and what else its C++ throws
            # A body need not run: runtimes open models with a branch that never could.
            is_certain = not self._is_body
            if is_certain and all(has_shape(types.get(name)) for name in filter(None, node.input)):
                raise InvalidModelError(
                    f"the model's shapes contradict each other at node {node.name!r} "
                    f"({qualified_type(node)}): {reason(error)}; check its dimensions, and what "
                    "dims binds them to"
                ) from error
            return {}

    def _infer_node(self, node: NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
        """onnx's inference for one node; nothing for an operator that it does not know."""
        version = self._versions.get(domain_of(node), 1)
        if not is_known(node, version):
            return {}
        names = list(filter(None, node.input))
        found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, schema_domain(node)),
            node,
            {name: types.get(name, TypeProto()) for name in names},
            {
                name: numpy_helper.from_array(self.graph.values[name], name)
                for name in names
                if name in self.graph.values
            },
            opset_imports=list(self._model.opset_import),
            ir_version=self._model.ir_version,
        )
        return found

    def _by_file(self, node: NodeProto) -> dict[str, TypeProto]:
        return {name: self._stored[name] for name in node.output if name in self._stored}

    def _by_rule(self, node: NodeProto) -> dict[str, TypeProto]:
        types = ml_types(node, self.graph.types)
        version = self._versions.get(domain_of(node), 1)
        if types or (domain_of(node) == AI_ONNX and is_known(node, version)):
            return types
        return contrib_types(
            node, self.graph.types, self.graph.values, self._model.opset_import, self._stand_in
        )

    def _stand_in(self, node: NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
        try:
            return self._infer_node(node, types)
        except Exception:  # noqa: BLE001 - InferenceError, and what else its C++ throws
            return {}

    def _enter_bodies(self, node: NodeProto) -> None:
        entered = []
        for inputs, body in body_inputs(node, self.graph.types, self.graph.values):
            model = self._body_model(body)
            constants = frozenset(tensor.name for tensor in model.graph.initializer)
            self._feed(model.graph, inputs)
            inferred = infer(model, constants)
            results = [inferred.values.get(name) for name in inferred.outputs]
            entered.append((with_known_trips(node, inputs, results), inferred))
        if entered:
            self.graph.bodies[body_key(node)] = entered

    def _body_model(self, body: GraphProto) -> ModelProto:
        """A body as a model of its own, its Constant nodes as initializers."""
        model = ModelProto(ir_version=self._model.ir_version)
        model.opset_import.extend(self._model.opset_import)
        model.graph.CopyFrom(body)
        constants_to_initializers(model.graph)
        return model

    def _feed(self, body: GraphProto, inputs: BodyInputs) -> None:
        """Type a body's inputs as they arrive, and add what it captures, with what is known."""
        own = {tensor.name for tensor in body.initializer}
        declared = {value.name: value.type for value in body.input}
        types = {
            name: merged(inputs.types.get(name), proto)
            for name, proto in declared.items()
            if name not in own
        }
        values = dict(inputs.values)
        for name in dict.fromkeys(captured_names(body)):
            types[name] = self.graph.types.get(name)
            if name in self.graph.values:
                values[name] = self.graph.values[name]
        del body.input[:]
        for name, proto in types.items():
            if name in values:
                body.initializer.append(numpy_helper.from_array(values[name], name))
            else:
                body.input.add(name=name, type=proto)

    def _by_bodies(self, node: NodeProto) -> dict[str, TypeProto]:
        results = [
            BodyResult(
                inputs,
                [body.types.get(name) for name in body.outputs],
                [body.values.get(name) for name in body.outputs],
            )
            for inputs, body in self.graph.bodies.get(body_key(node), ())
        ]
        return output_types(node, results, self.graph.types)


def body_key(node: NodeProto) -> str:
    """By what a node's bodies are found: its first output, which is unique in its graph."""
    return next(filter(None, node.output), "")


def _infer_whole(model: ModelProto) -> dict[str, TypeProto]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except UnicodeDecodeError:
        raise
    except MemoryError as error:
        raise InvalidModelError(
            "the model's shapes cannot be worked out in memory; check its dimensions"
        ) from error
    except Exception as error:  # InferenceError, and what else its C++ throws
        raise InvalidModelError(
            f"the model's shapes contradict each other: {reason(error)}; check its dimensions, and "
            "what dims binds them to"
        ) from error
    graph = inferred.graph
    # A graph input may be a graph output as well, whose type has been taken out.
    types = {value.name: value.type for value in (*graph.output, *graph.value_info, *graph.input)}
    for tensor in graph.initializer:
        types[tensor.name] = tensor_type(tensor.data_type, tuple(tensor.dims))
    return types
