"""Models that a seed makes up: weights, folded nodes, functions, bodies, captures, in any mixture.

All tensors of the main graph are of shape 2x24, and all matrices of 24x24, so that everything fits
everything; every number goes through a tanh again and again, so that none grows.
"""

from random import Random

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from tests.halves.weighted_models.weighted import numbers, tensor, weight
from tests.ingest.build import BOOL, INT64, graph, model, node, value

SHAPE, SQUARE = [2, 24], [24, 24]
DOMAIN = "local"
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
UNARY = ("Tanh", "Neg", "Sigmoid", "Identity", "Softmax")
BINARY = ("Add", "Sub", "Mul")
DEEPEST = 2


def random_model(seed: int) -> ModelProto:
    """A model that runs, the same for the same seed."""
    return _Maker(Random(seed)).model()


class _Maker:
    """Makes one model. ``tensors``, ``matrices``, ``vectors``: names that are visible at a place,
    in the form of arguments."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._made = 0
        self._weights: list[TensorProto] = [
            weight("m0", *SQUARE),
            self._typed("m1"),
            weight("v0", 24),
            tensor("never", np.array(False)),
            tensor("trips", np.array(2)),
            tensor("zero", np.array(0, np.float32)),
        ]
        self._functions: list[FunctionProto] = []
        for index in range(rng.randint(1, 3)):
            self._functions.append(self._function(index))

    def model(self) -> ModelProto:
        """The model."""
        inputs = [value(f"x{index}", SHAPE) for index in range(self._rng.randint(1, 3))]
        tensors, matrices = [item.name for item in inputs], ["m0", "m1"]
        nodes: list[NodeProto] = []
        for _ in range(self._rng.randint(3, 12)):
            nodes += self._step(tensors, matrices, ["v0"], DEEPEST)
        outputs = [value(tensors[-1], SHAPE)]
        for name in self._rng.sample(tensors[:-1], min(2, len(tensors) - 1)):
            outputs.append(value(name, SHAPE))
        if self._rng.random() < 0.3:
            outputs.append(value(self._rng.choice(matrices), SQUARE))
        self._rng.shuffle(outputs)
        return model(
            nodes,
            inputs + [value("m1", SQUARE)] * (self._rng.random() < 0.3),
            outputs,
            self._weights,
            domains={DOMAIN: 1},
            functions=self._functions,
        )

    def _step(
        self, tensors: list[str], matrices: list[str], vectors: list[str], depth: int
    ) -> list[NodeProto]:
        """Nodes that make one more tensor, or two, or a matrix; adds their names."""
        kinds = ["unary", "binary", "product", "product", "split", "bias", "call", "call"]
        kinds += ["matrix", "constant"] + (["if", "if", "loop"] if depth else [])
        kind = self._rng.choice(kinds)
        if kind in ("matrix", "constant"):
            return [self._matrix(kind, matrices)]
        if kind == "split":
            return self._split(tensors)
        out = self._name("t")
        a, b, m = (self._rng.choice(names) for names in (tensors, tensors, matrices))
        if kind == "unary":
            nodes = [node(self._rng.choice(UNARY), a, out, name=self._label(out))]
        elif kind == "binary":
            nodes = [node(self._rng.choice(BINARY), f"{a} {b}", out, name=self._label(out))]
        elif kind == "bias":
            nodes = [node("Add", f"{a} {self._rng.choice(vectors)}", out, name=self._label(out))]
        elif kind == "product":
            nodes = [
                node("MatMul", f"{a} {m}", f"{out}.p", name=self._label(f"{out}.p")),
                node("Tanh", f"{out}.p", out, name=self._label(out)),
            ]
        elif kind == "call":
            nodes = [self._call(a, b, m, out)]
        elif kind == "if":
            nodes = self._if(tensors, matrices, vectors, depth - 1, out)
        else:
            nodes = [self._loop(tensors, matrices, vectors, depth - 1, out)]
        tensors.append(out)
        return nodes

    def _matrix(self, kind: str, matrices: list[str]) -> NodeProto:
        """A node that prepares a matrix: of others, or from nothing."""
        source, other = (self._rng.choice(matrices) for _ in range(2))
        name = self._name("m")
        matrices.append(name)
        if kind == "constant":
            held = weight(name, *SQUARE) if self._rng.random() < 0.5 else self._typed(name)
            made: NodeProto = helper.make_node("Constant", [], [name], value=held)
            return made
        if self._rng.random() < 0.5:
            return node("Transpose", source, name, name=self._label(name))
        return node("Mul", f"{source} {other}", name, name=self._label(name))

    def _split(self, tensors: list[str]) -> list[NodeProto]:
        a, out = self._rng.choice(tensors), self._name("t")
        nodes = [
            node("Split", a, f"{out}.l {out}.r", name=self._label(f"{out}.l"), axis=1),
            node("Concat", f"{out}.r {out}.l", out, name=self._label(out), axis=1),
        ]
        tensors.append(out)
        return nodes

    def _call(self, a: str, b: str, m: str, out: str) -> NodeProto:
        function = self._rng.choice(self._functions)
        made = node(function.name, f"{a} {b} {m}", f"{out} {out}.also", name=self._label(out))
        made.domain = DOMAIN
        return made

    def _body(
        self,
        tensors: list[str],
        matrices: list[str],
        vectors: list[str],
        depth: int,
    ) -> tuple[list[NodeProto], str, list[TensorProto]]:
        """Nodes of a body, the name of its result, and its own weights."""
        tensors, matrices, vectors = [*tensors], [*matrices], [*vectors]
        weights = []
        if self._rng.random() < 0.5:
            held = weight(self._name("m"), *SQUARE)
            weights.append(held)
            matrices.append(held.name)
        nodes: list[NodeProto] = []
        for _ in range(self._rng.randint(1, 3)):
            nodes += self._step(tensors, matrices, vectors, depth)
        result = self._name("t")
        return [*nodes, node("Tanh", tensors[-1], result)], result, weights

    def _if(
        self, tensors: list[str], matrices: list[str], vectors: list[str], depth: int, out: str
    ) -> list[NodeProto]:
        bodies = {}
        for branch in ("then_branch", "else_branch"):
            nodes, result, weights = self._body(tensors, matrices, vectors, depth)
            bodies[branch] = graph(nodes, [], [value(result, SHAPE)], weights)
        if self._rng.random() < 0.2:
            return [node("If", "never", out, name=self._label(out), **bodies)]
        total, condition = f"{out}.total", f"{out}.condition"
        return [
            node("ReduceSum", self._rng.choice(tensors), total, keepdims=0),
            node("Greater", f"{total} zero", condition),
            node("If", condition, out, name=self._label(out), **bodies),
        ]

    def _loop(
        self, tensors: list[str], matrices: list[str], vectors: list[str], depth: int, out: str
    ) -> NodeProto:
        state, step, goes = self._name("t"), self._name("i"), self._name("g")
        nodes, result, weights = self._body([*tensors, state], matrices, vectors, depth)
        body: GraphProto = graph(
            [*nodes, node("Identity", goes, f"{goes}.on")],
            [value(step, [], INT64), value(goes, [], BOOL), value(state, SHAPE)],
            [value(f"{goes}.on", [], BOOL), value(result, SHAPE)],
            weights,
        )
        start = self._rng.choice(tensors)
        return node("Loop", f"trips - {start}", out, name=self._label(out), body=body)

    def _function(self, index: int) -> FunctionProto:
        """A function of two tensors and a matrix, with two results; it may call those before."""
        tensors, matrices = ["A", "B"], ["M", "K"]
        held = helper.make_node("Constant", [], ["K"], value=weight(f"f{index}.k", *SQUARE))
        nodes: list[NodeProto] = [held]
        for _ in range(self._rng.randint(1, 4)):
            a, b = (self._rng.choice(tensors) for _ in range(2))
            name = self._name("f")
            m, chance = self._rng.choice(matrices), self._rng.random()
            if chance < 0.4:
                nodes.append(node("MatMul", f"{a} {m}", f"{name}.p"))
                nodes.append(node("Tanh", f"{name}.p", name))
            elif chance < 0.6 and self._functions:
                nodes.append(self._call(a, b, m, name))
            else:
                nodes.append(node(self._rng.choice(BINARY), f"{a} {b}", name))
            tensors.append(name)
        nodes += [node("Tanh", tensors[-1], "Y"), node("Sub", "Y A", "Z")]
        made: FunctionProto = helper.make_function(
            DOMAIN, f"F{index}", ["A", "B", "M"], ["Y", "Z"], nodes, OPSETS
        )
        return made

    def _typed(self, name: str) -> TensorProto:
        """A matrix whose data are no raw bytes."""
        floats = [float(number) for number in numbers(name, *SQUARE).reshape(-1)]
        made: TensorProto = helper.make_tensor(name, TensorProto.FLOAT, SQUARE, floats)
        return made

    def _label(self, out: str) -> str:
        """A node's name: most have one."""
        return f"node {out}" if self._rng.random() < 0.8 else ""

    def _name(self, stem: str) -> str:
        self._made += 1
        return f"{stem}_{self._made}"
