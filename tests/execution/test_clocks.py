"""Where the time of a round went, told from two clocks that are not set by each other."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.execution.clocks import ClockedRound, Ping, ServerClock, delays_of

US = 1_000
times = st.integers(0, 10**9)
"""Up to a second, in nanoseconds."""


def ping_at(sent_ns: int, up_ns: int, down_ns: int, ahead_ns: int) -> Ping:
    """A ping that takes so long up and down, to a clock that is ahead by so much."""
    at_server_ns = sent_ns + up_ns + ahead_ns
    return Ping(sent_ns, at_server_ns, at_server_ns + US, sent_ns + up_ns + US + down_ns)


@given(times, times, times, times, times, times, st.integers(-(10**15), 10**15))
def test_each_way_is_charged_what_it_took_beyond_a_ping(
    device: int, server: int, up: int, down: int, ping_up: int, ping_down: int, ahead: int
) -> None:
    """However far the clocks are apart, and however unequal the ways of a ping are, each term is
    what the round was made of."""
    start = 10**12
    computed = start + device
    arrived = computed + ping_up + up
    served = arrived + server
    ended = served + ping_down + down
    clocked = ClockedRound(start, computed, arrived + ahead, served + ahead, ended)
    pings = [ping_at(start - 10**10, ping_up, ping_down, ahead)]
    [delay] = delays_of([clocked], [pings])
    expected = (device, server, up, down, ping_up + ping_down)
    found = (
        delay.device_compute_s,
        delay.server_compute_s,
        delay.uplink_s,
        delay.downlink_s,
        delay.round_trip_s,
    )
    assert found == pytest.approx([each * 1e-9 for each in expected], abs=1e-9)


any_ns = st.integers(0, 10**13)


@given(
    st.lists(any_ns, min_size=3, max_size=3),
    st.tuples(any_ns, any_ns),
    st.lists(st.tuples(any_ns, any_ns, any_ns, any_ns), min_size=1, max_size=3),
)
def test_terms_are_not_negative_and_add_up_to_the_total(
    device_ns: list[int], server_ns: tuple[int, int], ping_ns: list[tuple[int, int, int, int]]
) -> None:
    """Whatever clocks show, in the order in which each shows it."""
    start, computed, ended = sorted(device_ns)
    arrived, served = sorted(server_ns)
    pings = []
    for sent, returned, received, answered in ping_ns:
        first, second = sorted((received, answered))
        pings.append(Ping(min(sent, returned), first, second, max(sent, returned)))
    [delay] = delays_of([ClockedRound(start, computed, arrived, served, ended)], [pings])
    total_s, *parts = astuple(delay)
    assert total_s == pytest.approx((ended - start) * 1e-9)
    assert sum(parts) == pytest.approx(total_s, abs=1e-9)
    assert min(parts) >= 0.0


def test_the_quickest_ping_of_a_burst_sets_the_clock() -> None:
    """Pings that were held up on one way say nothing of how far the clocks are apart."""
    held_up = ping_at(0, 500 * US, 10 * US, ahead_ns=7_000)
    quick = ping_at(10**6, 10 * US, 10 * US, ahead_ns=7_000)
    assert ServerClock([[held_up, quick, held_up]]).to_device_ns(10**6) == 10**6 - 7_000


def test_clocks_that_drift_apart_are_followed_between_bursts() -> None:
    """In the midst of two bursts, the clock is ahead by the mean of what it was at each; before
    the first and after the last, by what it was there."""
    early = ping_at(0, 0, 0, ahead_ns=1_000)
    late = ping_at(10**9, 0, 0, ahead_ns=3_000)
    clock = ServerClock([[early], [], [late]])
    middle = (early.answered_ns + late.answered_ns) // 2
    assert clock.to_device_ns(middle) == pytest.approx(middle - 2_000, abs=1)
    assert clock.to_device_ns(0) == -1_000
    assert clock.to_device_ns(10**10) == 10**10 - 3_000
