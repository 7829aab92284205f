"""From what two clocks showed to the terms of a delay.

The clocks of the two sides are not set by each other, and need not be. A ping tells how far they
are apart, but for half of what its ways there and back differ by; and that much the way of a ping
to the server then seems to take half of its round trip, whatever it took. So the time from when the
device half is done to when the last byte is at the server, less half a round trip, is what the
uplink took beyond a ping that is sent in its place, exactly; and so with the results on their way
back. What is left to err is the jitter of pings.

The terms of a round, in seconds; they are not negative, and add up to ``total_s``:

- ``total_s``: from before the device half runs to when all results are at the device.
- ``device_compute_s``: the run of the device half in ONNX Runtime. 0 where the device runs none.
- ``server_compute_s``: the run of the server half, by the server's clock.
- ``round_trip_s``: the median of the pings; less where the tensors themselves took less.
- ``uplink_s``: from the end of the device half until the server has all tensors, without half a
  round trip.
- ``downlink_s``: from the end of the server half until the device has all results, without half a
  round trip.

So what it costs to wrap and unwrap messages, and to wake up who waits for them, is in ``uplink_s``
and ``downlink_s``.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from app.core.quantities import Delay

NS = 1e-9


@dataclass(frozen=True, slots=True)
class Ping:
    """When a ping was sent and its answer came, by the device's clock, and when it was received and
    answered, by the server's."""

    sent_ns: int
    received_ns: int
    answered_ns: int
    returned_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Without the time that the server says it took to answer."""
        return max(0, (self.returned_ns - self.sent_ns) - (self.answered_ns - self.received_ns))

    @property
    def offset_ns(self) -> float:
        """What the server's clock is ahead, if both ways are equally long."""
        return ((self.received_ns - self.sent_ns) + (self.answered_ns - self.returned_ns)) / 2


@dataclass(frozen=True, slots=True)
class ClockedRound:
    """A round: ``arrived_ns`` and ``served_ns`` by the server's clock, else by the device's.

    ``computed_ns``: when the device half was done; ``arrived_ns``: when the server had all tensors;
    ``served_ns``: when the server half was done.
    """

    started_ns: int
    computed_ns: int
    arrived_ns: int
    served_ns: int
    ended_ns: int


class ServerClock:
    """The server's clock as the device's shows it: from bursts of pings, each its quickest one.

    Between two bursts the clocks drift apart at one pace.
    """

    def __init__(self, bursts: Iterable[Sequence[Ping]]) -> None:
        """``bursts``: in the order of time; at least one ping in all."""
        pings = [min(burst, key=lambda ping: ping.round_trip_ns) for burst in bursts if burst]
        self._times_ns = [ping.answered_ns for ping in pings]
        self._offsets_ns = [ping.offset_ns for ping in pings]

    def to_device_ns(self, server_ns: int) -> float:
        """What the device's clock showed when the server's showed this."""
        return server_ns - self._offset_ns(server_ns)

    def _offset_ns(self, at_ns: int) -> float:
        place = bisect(self._times_ns, at_ns)
        if place in (0, len(self._times_ns)):
            return self._offsets_ns[min(place, len(self._times_ns) - 1)]
        before_ns, after_ns = self._times_ns[place - 1 : place + 1]
        share = (at_ns - before_ns) / (after_ns - before_ns)
        before, after = self._offsets_ns[place - 1 : place + 1]
        return before + share * (after - before)


def delays_of(rounds: Iterable[ClockedRound], bursts: Sequence[Sequence[Ping]]) -> list[Delay]:
    """The terms of rounds on one connection, on which there was at least one ping."""
    clock = ServerClock(bursts)
    trip_ns = median(ping.round_trip_ns for burst in bursts for ping in burst)
    return [_delay(each, clock, trip_ns) for each in rounds]


def _delay(each: ClockedRound, clock: ServerClock, trip_ns: float) -> Delay:
    total_ns = each.ended_ns - each.started_ns
    device_ns = each.computed_ns - each.started_ns
    server_ns = min(each.served_ns - each.arrived_ns, total_ns - device_ns)
    away_ns = total_ns - device_ns - server_ns
    up_ns = clock.to_device_ns(each.arrived_ns) - each.computed_ns
    up_ns = min(max(up_ns, 0.0), away_ns)
    down_ns = away_ns - up_ns
    trip_up_ns, trip_down_ns = min(trip_ns / 2, up_ns), min(trip_ns / 2, down_ns)
    return Delay(
        total_s=total_ns * NS,
        device_compute_s=device_ns * NS,
        server_compute_s=server_ns * NS,
        uplink_s=(up_ns - trip_up_ns) * NS,
        downlink_s=(down_ns - trip_down_ns) * NS,
        round_trip_s=(trip_up_ns + trip_down_ns) * NS,
        model_transfer_s=0.0,
    )


def device_alone(started_ns: int, computed_ns: int) -> Delay:
    """The terms of a round in which everything ran on the device."""
    total_s = (computed_ns - started_ns) * NS
    return Delay(total_s, total_s, 0.0, 0.0, 0.0, 0.0, 0.0)
