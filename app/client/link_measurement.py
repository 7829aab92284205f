"""What the link to the service's machine carries, measured by transfers that grow.

A transfer of n bytes takes a round trip, and the time in which TCP finds its pace, beside n / rate.
So a transfer counts when it took so long that these hardly matter, and until then the next one is
larger. Nothing here does I/O: ``measurement`` gives calls, and is sent the seconds that each took.
"""

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from statistics import median

import httpx

from app.api.link_schemas import MOST_DOWNLINK_BYTES, ProbeOut
from app.client.answers import checked, parsed, url_of
from app.client.calls import Call
from app.client.errors import UnexpectedAnswerError
from app.client.streams import Pieces

MEDIA_TYPE = "application/octet-stream"
MOST_UPLINK_BYTES = 2**24
"""As large as the service takes a body."""
FIRST_BYTES = 2**14
GROWTH = 4
ROUND_TRIPS = 10
"""A transfer counts if it takes so many round trips: then TCP has had the time to find its pace,
and the one round trip that is taken off is a small part of it."""
LEAST_S = 0.05
"""... and so long, against the jitter of short times."""
MOST_TRANSFERS = 5
"""So many that count are enough, each way."""
FEWEST_ROUND_TRIPS, MOST_ROUND_TRIPS = 3, 15
WARM_UPS = 2
"""Requests that are not timed: they open the connection."""
ROUND_TRIP_SHARE, UPLINK_SHARE, DOWNLINK_SHARE = 0.1, 0.45, 0.45
"""Of the time."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The least and the most of what was measured several times."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class LinkMeasurement:
    """Medians, each with its spread. Rates in bits per second, the round trip in seconds.

    ``uplink_transfers`` and ``downlink_transfers``: how many transfers each rate is from.
    """

    uplink_bits_per_s: float
    downlink_bits_per_s: float
    round_trip_s: float
    uplink_spread: Spread
    downlink_spread: Spread
    round_trip_spread: Spread
    uplink_transfers: int
    downlink_transfers: int

    def as_link(self) -> dict[str, float]:
        """The ``link`` of a body of ``POST /split``."""
        return {
            "uplink_bits_per_s": self.uplink_bits_per_s,
            "downlink_bits_per_s": self.downlink_bits_per_s,
            "round_trip_s": self.round_trip_s,
        }


LinkProgress = Callable[[float, float], None]
"""Called with the seconds that are used up, and all that there are."""
Probe = Callable[[int], Call[float]]
"""From a number of bytes to the call that carries them, and gives the seconds that it took."""


class Measuring:
    """A measurement that is under way. ``call``: what to do next; None when ``found`` is there."""

    def __init__(self, seconds: float, on_progress: LinkProgress | None) -> None:
        self.found: LinkMeasurement
        self._seconds, self._used_s = seconds, 0.0
        self._on_progress = on_progress
        self._steps = measurement(seconds)
        self.call: Call[float] | None = next(self._steps)

    def done(self, elapsed_s: float) -> None:
        """Say how long the call took, in seconds."""
        self._used_s = min(self._used_s + elapsed_s, self._seconds)
        try:
            self.call = self._steps.send(elapsed_s)
        except StopIteration as end:
            self.call, self.found = None, end.value
            self._used_s = self._seconds
        if self._on_progress is not None:
            self._on_progress(self._used_s, self._seconds)


def measurement(seconds: float) -> Generator[Call[float], float, LinkMeasurement]:
    """Calls to make one after the other on one connection; each is answered with its seconds."""
    times_s = yield from _round_trips(ROUND_TRIP_SHARE * seconds)
    round_trip_s = median(times_s)
    up = yield from _rates(send, MOST_UPLINK_BYTES, UPLINK_SHARE * seconds, round_trip_s)
    down = yield from _rates(fetch, MOST_DOWNLINK_BYTES, DOWNLINK_SHARE * seconds, round_trip_s)
    return LinkMeasurement(
        uplink_bits_per_s=median(up),
        downlink_bits_per_s=median(down),
        round_trip_s=round_trip_s,
        uplink_spread=Spread(min(up), max(up)),
        downlink_spread=Spread(min(down), max(down)),
        round_trip_spread=Spread(min(times_s), max(times_s)),
        uplink_transfers=len(up),
        downlink_transfers=len(down),
    )


def send(nbytes: int) -> Call[float]:
    """Bytes up."""

    def read(response: httpx.Response) -> float:
        return _seconds(response, parsed(response, ProbeOut).received_bytes, nbytes)

    headers = {"Content-Type": MEDIA_TYPE}
    return Call("POST", _PATH, read, headers=headers, stream=Pieces(_random_bytes()[:nbytes]))


def fetch(nbytes: int) -> Call[float]:
    """Bytes down."""

    def read(response: httpx.Response) -> float:
        checked(response, MEDIA_TYPE)
        return _seconds(response, len(response.content), nbytes)

    return Call("GET", _PATH, read, {"bytes": nbytes}, {"Accept-Encoding": "identity"})


@cache
def _random_bytes() -> memoryview:
    """What nothing on the way can make shorter; made before the clock runs, and only once."""
    return memoryview(os.urandom(MOST_UPLINK_BYTES))


_PATH = "/link/probe"


def _seconds(response: httpx.Response, carried_bytes: int, nbytes: int) -> float:
    """From the first byte sent to the last byte received."""
    if carried_bytes != nbytes:
        raise UnexpectedAnswerError(
            f"{url_of(response)} carried {carried_bytes} bytes of {nbytes}; is something between "
            "that changes them?"
        )
    return response.elapsed.total_seconds()


def _round_trips(budget_s: float) -> Generator[Call[float], float, list[float]]:
    """Seconds of requests that carry nothing."""
    for _ in range(WARM_UPS):
        yield fetch(0)
    times_s: list[float] = []
    while len(times_s) < FEWEST_ROUND_TRIPS or (
        len(times_s) < MOST_ROUND_TRIPS and sum(times_s) < budget_s
    ):
        times_s.append((yield fetch(0)))
    return times_s


def _rates(
    probe: Probe, most_bytes: int, budget_s: float, round_trip_s: float
) -> Generator[Call[float], float, list[float]]:
    """Rates in bits/s of the transfers that count; of the last one, where none does.

    Ends when too little time is left for another transfer that would tell more.
    """
    rates: list[float] = []
    nbytes, left_s = FIRST_BYTES, budget_s
    while True:
        elapsed_s = yield probe(nbytes)
        left_s -= elapsed_s
        # Of a transfer that is hardly longer than a round trip, noise could leave nothing.
        rate = 8 * nbytes / max(elapsed_s - round_trip_s, elapsed_s / 2, 1e-6)
        affordable_bytes = int(rate * (left_s - round_trip_s) / 8)
        if nbytes == most_bytes or elapsed_s >= max(ROUND_TRIPS * round_trip_s, LEAST_S):
            rates.append(rate)
            if len(rates) == MOST_TRANSFERS or affordable_bytes < nbytes:
                return rates
        elif affordable_bytes < 2 * nbytes:
            return rates or [rate]
        else:
            nbytes = min(GROWTH * nbytes, most_bytes, affordable_bytes)
