"""Errors of the core.

KerfError                     anything that Kerf refuses, with a text for its user
├── SplitError                a request for a cut that cannot be answered
│   ├── UnknownNodeError      a constraint names a node that the model does not have
│   ├── ContradictoryPinsError  pins that contradict each other or the order of the DAG
│   ├── InfeasibleError       no cut satisfies the constraints
│   ├── UnpriceableError      a scenario whose delays leave the range of floating point
│   ├── UnknownCutError       tensors that are not those of a cut
│   ├── UnsupportedError      a method that cannot serve the objective
│   └── TooManyCutsError      a table that would take too much time or memory
└── (app.errors carries on with what is not the core's)
"""

from collections.abc import Sequence


class KerfError(Exception):
    """Base of everything that Kerf refuses; ``str(error)`` is a sentence for the user.

    ``loc`` names the request field at fault, where one is (a path such as
    ``("constraints", "pin_device", 0)``).
    """

    def __init__(self, detail: str, *, loc: Sequence[str | int] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.loc = tuple(loc)


class SplitError(KerfError):
    """A request for a cut that cannot be answered."""


class UnknownNodeError(SplitError):
    """A constraint names a node that the model does not have."""


class ContradictoryPinsError(SplitError):
    """Pins that contradict each other, or the order of the DAG."""


class InfeasibleError(SplitError):
    """No cut satisfies the constraints."""


class UnknownCutError(SplitError):
    """Tensors that are not those of a cut."""


class UnsupportedError(SplitError):
    """A method that cannot serve the objective."""


class TooManyCutsError(SplitError):
    """A table that would take too much time or memory."""


class UnpriceableError(SplitError):
    """A scenario whose delays are not finite floating-point numbers."""
