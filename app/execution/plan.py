"""How a split inference is executed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

SILENCE_S = 300.0
"""How long either side waits for the other in silence, its computation included."""
OnRound = Callable[[int, int], None]
"""Called with the rounds that are measured, and all that will be."""
OnEvent = Callable[[str], None]
"""Called with a sentence for people; a server calls it from several threads."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a device does.

    ``warm_up_rounds``: on each connection, before those that are measured. ``parameters``: inputs
    of the model that are parameters, which are sent once, before the rounds. ``retries``: how often
    a connection that broke is made anew. ``wait_s``: how long to try to be served. ``silence_s``:
    how long to wait for the server in silence, its computation included.
    """

    rounds: int = 10
    warm_up_rounds: int = 3
    parameters: Collection[str] = ()
    retries: int = 3
    wait_s: float = 10.0
    silence_s: float = SILENCE_S

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.warm_up_rounds < 0:
            raise ValueError("there is at least one round, and no fewer than none to warm up")
