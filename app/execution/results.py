"""What an execution measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from app.core.quantities import Delay
from app.execution.messages import Runtime
from app.halves.comparison import Value

TERMS = tuple(item.name for item in fields(Delay))


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure over the rounds; the tenth and the ninetieth percentile."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Of at least one figure."""
        p10, middle, p90 = np.percentile(figures, (10, 50, 90)).tolist()
        return cls(middle, p10, p90)


@dataclass(frozen=True, slots=True)
class Execution:
    """Rounds that were executed and measured; ``app.execution.clocks`` defines the terms.

    ``rounds``: each round's terms, without ``warm_up_rounds`` others on each connection.
    ``sent_bytes``, ``received_bytes``: of tensors in one round, up and down, which are
    ``uplink_bytes`` and ``result_bytes`` of the cut. ``device``, ``server``: what ran each half,
    None where none ran. ``pings_s``: round trips of pings. ``interruptions``: why connections broke
    that were made anew; a round that was interrupted was done again. ``device_outputs``: what the
    device half made in the last round, cut tensors among it; ``server_outputs``: what the server
    sent. ``crossing_dtypes``: element types of what it was sent; ``smashed_dtype``: the one that
    cut tensors were cast to for that, None where none were.
    """

    rounds: tuple[Delay, ...]
    warm_up_rounds: int
    sent_bytes: int
    received_bytes: int
    device: Runtime | None
    server: Runtime | None
    pings_s: tuple[float, ...]
    interruptions: tuple[str, ...]
    device_outputs: Mapping[str, Value]
    server_outputs: Mapping[str, Value]
    crossing_dtypes: frozenset[str]
    smashed_dtype: str | None

    def spread(self, term: str) -> Spread:
        """Of one of ``TERMS`` over the rounds, in seconds."""
        return Spread.of([getattr(delay, term) for delay in self.rounds])

    @property
    def delay(self) -> Delay:
        """The median of each term. Those of the parts need not add up to that of the total."""
        return Delay(*(self.spread(term).median for term in TERMS))

    def as_json(self) -> dict[str, Any]:
        """Everything but the outputs, for programs."""
        spreads = {term: self.spread(term) for term in TERMS}
        return {
            "rounds": len(self.rounds),
            "warm_up_rounds": self.warm_up_rounds,
            "delay": {term: spread.median for term, spread in spreads.items()},
            "p10": {term: spread.p10 for term, spread in spreads.items()},
            "p90": {term: spread.p90 for term, spread in spreads.items()},
            "per_round": [delay.as_dict() for delay in self.rounds],
            "uplink_bytes": self.sent_bytes,
            "result_bytes": self.received_bytes,
            "smashed_dtype": self.smashed_dtype,
            "device": self.device and self.device.model_dump(),
            "server": self.server and self.server.model_dump(),
            "pings_s": list(self.pings_s),
            "interruptions": list(self.interruptions),
        }
