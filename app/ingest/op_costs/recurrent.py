"""Recurrent layers, per time step, direction, sample and hidden unit.

A gate's products with the input and with the hidden state share one accumulator, which starts
from the biases. Padded steps (`sequence_lens`) are counted, and coupled gates (`input_forget`)
are counted as separate.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.ingest.op_costs.elementwise import ACTIVATIONS
from app.ingest.op_costs.entry import Table
from app.ingest.op_costs.views import (
    InvalidNode,
    NodeView,
    has_input,
    input_shape,
    integer,
    items,
)

PEEPHOLES = 6  # product and addition for each of the gates i, o and f

TABLE = Table()


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Units computed in all, and the input and hidden extents that each reads."""

    units: int
    input_size: int
    hidden_size: int
    directions: int


def _recurrence(node: NodeView) -> Recurrence:
    steps, batch, input_size = input_shape(node, 0, rank=3)[:3]
    directions = input_shape(node, 1, rank=3)[0]
    hidden = input_shape(node, 2, rank=3)[2]
    if "hidden_size" in node.attributes:
        hidden = integer(node, "hidden_size")
    if hidden < 0:
        raise InvalidNode(node, f"hidden_size is {hidden}")
    units = steps * batch * directions * hidden
    return Recurrence(units, input_size, hidden, directions)


def _activations(node: NodeView, size: Recurrence, defaults: tuple[str, ...]) -> list[int]:
    """FLOPs of each activation function (f, g, h), summed over directions."""
    names = items(node, "activations") or list(defaults) * size.directions
    if len(names) != len(defaults) * size.directions:
        raise InvalidNode(node, f"{len(names)} activations for {size.directions} directions")
    clip = 1 if "clip" in node.attributes else 0
    decoded = [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]
    unknown = [name for name in decoded if name.lower() not in ACTIVATIONS]
    if unknown:
        raise InvalidNode(node, f"unknown activations {unknown}")
    costs = [ACTIVATIONS[name.lower()] + clip for name in decoded]
    return [sum(costs[i :: len(defaults)]) for i in range(len(defaults))]


def _total(size: Recurrence, per_unit: int, activations: int) -> int:
    """FLOPs, where `activations` is summed over directions and `per_unit` is of one unit."""
    per_direction = size.units // size.directions if size.directions else 0
    return size.units * per_unit + per_direction * activations


@TABLE.cost("RNN", source="Ht = f(Xt W^T + Ht-1 R^T + b): 2 (I + H) per unit and f")
def _rnn(node: NodeView) -> int:
    size = _recurrence(node)
    (f,) = _activations(node, size, ("Tanh",))
    return _total(size, 2 * (size.input_size + size.hidden_size), f)


@TABLE.cost(
    "GRU",
    source="3 gates of 2 (I + H) per unit, f twice, g once, 1 for rt (.) H, 4 for "
    "(1 - zt) (.) ht + zt (.) Ht-1; linear_before_reset splits one accumulator: 1 more",
)
def _gru(node: NodeView) -> int:
    size = _recurrence(node)
    f, g = _activations(node, size, ("Sigmoid", "Tanh"))
    split = 1 if integer(node, "linear_before_reset", 0) else 0
    gates = 3 * 2 * (size.input_size + size.hidden_size)
    return _total(size, gates + 5 + split, 2 * f + g)


@TABLE.cost(
    "LSTM",
    source="4 gates of 2 (I + H) per unit, f three times, g and h once, 3 for ft (.) Ct-1 + "
    "it (.) ct, 1 for ot (.) h(Ct), 6 for peepholes",
)
def lstm(node: NodeView) -> int:
    """FLOPs of an LSTM layer."""
    size = _recurrence(node)
    f, g, h = _activations(node, size, ("Sigmoid", "Tanh", "Tanh"))
    gates = 4 * 2 * (size.input_size + size.hidden_size)
    peepholes = PEEPHOLES if has_input(node, 7) else 0
    return _total(size, gates + 4 + peepholes, 3 * f + g + h)
