"""Model-local functions: called often, nested, with attributes, in branches, with large data."""

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, helper

from tests.halves.weighted_models.weighted import Collection, numbers, tensor, weight
from tests.ingest.build import graph, model, node, value

weighted = Collection()
DOMAIN = "local"
DOMAINS = {DOMAIN: 1}
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
SHAPE = [2, 24]


def function(
    name: str,
    inputs: str,
    outputs: str,
    nodes: Sequence[NodeProto],
    attributes: Sequence[str] = (),
    defaults: Sequence[AttributeProto] = (),
) -> FunctionProto:
    """A function of the domain ``local``."""
    made: FunctionProto = helper.make_function(
        DOMAIN, name, inputs.split(), outputs.split(), nodes, OPSETS, attributes, defaults
    )
    return made


def call(name: str, inputs: str, outputs: str, label: str, **attributes: object) -> NodeProto:
    """A call of such a function."""
    made = node(name, inputs, outputs, name=label, **attributes)
    made.domain = DOMAIN
    return made


def referring(
    made: NodeProto, attribute: str, parameter: str, kind: AttributeProto.AttributeType
) -> NodeProto:
    """A node with an attribute that is the function's own."""
    made.attribute.append(AttributeProto(name=attribute, ref_attr_name=parameter, type=kind))
    return made


def layer(name: str = "Layer") -> FunctionProto:
    """A matrix product, a bias and an activation, between which a cut may go."""
    nodes = [
        node("MatMul", "X W", "m", name="product"),
        node("Add", "m B", "s", name="sum"),
        node("Tanh", "s", "Y", name="activation"),
    ]
    return function(name, "X W B", "Y", nodes)


@weighted.model()
def function_twice() -> ModelProto:
    """One function called three times, twice with the same weights."""
    return model(
        [
            call("Layer", "x w0 b", "h", "one"),
            call("Layer", "h w1 b", "g", "two"),
            node("Relu", "g", "r", name="between"),
            call("Layer", "r w1 b", "y", "three"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w0", 16, 24), weight("w1", 24, 24), weight("b", 24)],
        domains=DOMAINS,
        functions=[layer()],
    )


@weighted.model()
def function_nested() -> ModelProto:
    """A function that calls a function, of which the file states the outer one first; both have
    several outputs."""
    outer = function(
        "Block",
        "X W B",
        "Y Z",
        [
            call("Layer", "X W B", "a", "first"),
            call("Both", "a B", "b c", "both"),
            node("Add", "b X", "Y", name="skip"),
            node("Sub", "c X", "Z", name="rest"),
        ],
    )
    both = function(
        "Both",
        "X B",
        "P Q",
        [node("Mul", "X B", "P"), node("Sub", "P X", "t"), node("Neg", "t", "Q")],
    )
    return model(
        [
            call("Block", "x w b", "h k", "one"),
            call("Block", "h v b", "y z", "two"),
            node("MatMul", "k v", "u", name="u"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE), value("u", SHAPE), value("z", SHAPE)],
        [weight("w", 24, 24), weight("v", 24, 24), weight("b", 24)],
        domains=DOMAINS,
        functions=[outer, both, layer()],
    )


@weighted.model()
def function_attributes() -> ModelProto:
    """Attributes handed through a function: given, left to their default, and passed on."""
    leaky = function(
        "Slope",
        "X",
        "Y",
        [
            referring(node("LeakyRelu", "X", "l"), "alpha", "slope", AttributeProto.FLOAT),
            referring(node("Softmax", "l", "Y"), "axis", "along", AttributeProto.INT),
        ],
        ["along"],
        [helper.make_attribute("slope", 0.25)],
    )
    inner_call = call("Slope", "m", "Y", "slope", along=-1)
    twice = function(
        "Scaled",
        "X W",
        "Y",
        [
            node("MatMul", "X W", "m"),
            referring(inner_call, "slope", "steep", AttributeProto.FLOAT),
        ],
        ["steep"],
    )
    return model(
        [
            call("Slope", "x", "a", "default", along=1),
            call("Slope", "a", "b", "given", along=0, slope=0.75),
            call("Scaled", "b w", "c", "passed", steep=0.5),
            call("Scaled", "c w", "y", "again", steep=2.0),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24)],
        domains=DOMAINS,
        functions=[leaky, twice],
    )


@weighted.model()
def function_unused_input() -> ModelProto:
    """A function that does not read one of its inputs, which a node makes for nothing else; and
    one that is called without its last input, and with its first output left out."""
    ignoring = function("Ignoring", "X U", "Y", [node("Tanh", "X", "Y")])
    partial = function(
        "Partial", "X W", "P Q", [node("Relu", "X", "P"), node("MatMul", "X W", "Q")]
    )
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("Sigmoid", "h", "for_nothing", name="nothing"),
            call("Ignoring", "h for_nothing", "t", "ignoring"),
            call("Partial", "t v", "- q", "partial"),
            node("Add", "q h", "y", name="y"),
        ],
        [value("x", [2, 16])],
        [value("y", SHAPE)],
        [weight("w", 16, 24), weight("v", 24, 24)],
        domains=DOMAINS,
        functions=[ignoring, partial],
    )


@weighted.model()
def function_in_branch() -> ModelProto:
    """Calls inside the branches of an If, with captured tensors and weights; a function that has
    an If itself, whose branches capture the function's inputs."""
    chooser = function(
        "Choose",
        "C X W",
        "Y",
        [
            node(
                "If",
                "C",
                "Y",
                then_branch=graph([node("MatMul", "X W", "r")], [], [value("r", SHAPE)]),
                else_branch=graph([node("Neg", "X", "r")], [], [value("r", SHAPE)]),
            )
        ],
    )
    inside = graph([call("Layer", "h w b", "r", "inside")], [], [value("r", SHAPE)])
    other = graph(
        [call("Layer", "h w b", "t", "inside"), node("Mul", "t h", "r")], [], [value("r", SHAPE)]
    )
    return model(
        [
            node("MatMul", "x w", "h", name="h"),
            node("ReduceSum", "h", "total", name="total", keepdims=0),
            node("Greater", "total zero", "cond", name="cond"),
            node("If", "cond", "chosen", name="if", then_branch=inside, else_branch=other),
            call("Choose", "cond chosen w", "y", "choose"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24), weight("b", 24), tensor("zero", np.array(0, np.float32))],
        domains=DOMAINS,
        functions=[layer(), chooser],
    )


@weighted.model()
def function_with_data() -> ModelProto:
    """A function whose body holds Constants, one large and one small, and is called twice."""
    held = function(
        "Held",
        "X",
        "Y",
        [
            helper.make_node("Constant", [], ["W"], value=weight("held.w", 24, 24)),
            helper.make_node("Constant", [], ["B"], value=weight("held.b", 24)),
            node("MatMul", "X W", "m"),
            node("Add", "m B", "Y"),
        ],
    )
    return model(
        [
            call("Held", "x", "a", "one"),
            node("Relu", "a", "r", name="r"),
            call("Held", "r", "y", "two"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        domains=DOMAINS,
        functions=[held],
    )


@weighted.model()
def function_of_weights() -> ModelProto:
    """A call that depends on weights alone, in part: one of its results is folded."""
    prepare = function(
        "Prepare", "W X", "T Y", [node("Transpose", "W", "T"), node("MatMul", "X T", "Y")]
    )
    return model(
        [
            call("Prepare", "w x", "turned h", "prepare"),
            node("Relu", "h", "r", name="r"),
            node("MatMul", "r turned", "y", name="y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24)],
        domains=DOMAINS,
        functions=[prepare],
    )


@weighted.model()
def function_of_older_opset() -> ModelProto:
    """A function that states an older operator set than the model does."""
    older = helper.make_function(
        DOMAIN,
        "Older",
        ["X"],
        ["Y"],
        [node("Tanh", "X", "t"), node("Softmax", "t", "s"), node("Add", "s X", "Y")],
        [helper.make_opsetid("", 14)],
    )
    return model(
        [
            call("Older", "x", "h", "one"),
            node("MatMul", "h w", "r", name="r"),
            call("Older", "r", "s", "two"),
            node("MatMul", "s w", "y", name="y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24)],
        [value(name, SHAPE) for name in "hrs"],
        domains=DOMAINS,
        functions=[older],
    )


@weighted.model()
def function_data_of_every_kind() -> ModelProto:
    """Functions whose bodies hold numbers in typed fields, lists in attributes, and a branch with
    data of its own; and one that is never called."""
    floats = [float(number) for number in numbers("typed", 24, 24).reshape(-1)]
    typed = helper.make_tensor("held", TensorProto.FLOAT, [24, 24], floats)
    inside = graph(
        [
            helper.make_node("Constant", [], ["k"], value=weight("branch.k", 24, 24)),
            node("MatMul", "m k", "r"),
        ],
        [],
        [value("r", SHAPE)],
    )
    other = graph([node("Neg", "m", "r")], [], [value("r", SHAPE)])
    held = function(
        "Held",
        "C X",
        "Y",
        [
            helper.make_node("Constant", [], ["W"], value=typed),
            helper.make_node("Constant", [], ["B"], value_floats=floats[:400]),
            helper.make_node("Constant", [], ["S"], value_ints=[0, 24]),
            helper.make_node("Constant", [], ["starts"], value_ints=[0]),
            helper.make_node("Constant", [], ["ends"], value_ints=[24]),
            node("Slice", "B starts ends", "b"),
            node("MatMul", "X W", "p"),
            node("Add", "p b", "m"),
            node("If", "C", "Y", then_branch=inside, else_branch=other),
        ],
    )
    never = function("Never", "X", "Y", [call("Held", "X X", "Y", "inner")])
    return model(
        [
            node("ReduceSum", "x", "total", name="total", keepdims=0),
            node("Greater", "total zero", "cond", name="cond"),
            call("Held", "cond x", "h", "one"),
            node("Relu", "h", "r", name="r"),
            call("Held", "cond r", "y", "two"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [tensor("zero", np.array(0, np.float32))],
        domains=DOMAINS,
        functions=[never, held],
    )


@weighted.model()
def function_names_taken() -> ModelProto:
    """Nodes and tensors of the main graph have the names that are in a function's body."""
    return model(
        [
            node("MatMul", "x W", "m", name="product"),
            call("Layer", "m W B", "s", "activation"),
            node("Sigmoid", "s", "X", name="sum"),
            call("Layer", "X W B", "Y", "Layer"),
            node("Neg", "Y", "y", name="Y"),
        ],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("W", 24, 24), weight("B", 24)],
        domains=DOMAINS,
        functions=[layer()],
    )


@weighted.model()
def function_overloads() -> ModelProto:
    """Two functions of one name, told apart by their overload."""
    plain, other = layer(), layer()
    other.overload = "second"
    other.node[2].op_type = "Sigmoid"
    second = call("Layer", "h v b", "y", "two")
    second.overload = "second"
    return model(
        [call("Layer", "x w b", "h", "one"), second],
        [value("x", SHAPE)],
        [value("y", SHAPE)],
        [weight("w", 24, 24), weight("v", 24, 24), weight("b", 24)],
        ir_version=10,
        domains=DOMAINS,
        functions=[plain, other],
    )
