"""Measuring the link: the routes, the steps of a measurement, and one against a service."""

import zlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.link_schemas import MOST_DOWNLINK_BYTES
from app.api.schemas import LinkIn
from app.client.link_measurement import (
    FIRST_BYTES,
    MOST_TRANSFERS,
    MOST_UPLINK_BYTES,
    LinkMeasurement,
    Measuring,
)
from tests.client.conftest import Connect
from tests.client.driving import Wire
from tests.server import Server, assert_problem

PROBE = "/link/probe"
BINARY = {"Content-Type": "application/octet-stream"}


@pytest.mark.parametrize("nbytes", [0, 1, 65_536, 1_000_001, MOST_DOWNLINK_BYTES])
def test_bytes_come_down(client: httpx.Client, nbytes: int) -> None:
    """As many bytes come as were asked for, which nothing can make shorter, and which nothing on
    the way is to keep or to change."""
    answer = client.get(PROBE, params={"bytes": nbytes})
    assert (answer.status_code, len(answer.content)) == (200, nbytes)
    assert answer.headers["content-length"] == str(nbytes)
    assert answer.headers["content-type"] == BINARY["Content-Type"]
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-request-id"]
    assert len(zlib.compress(answer.content[:1_000_000], 1)) >= min(nbytes, 1_000_000)


def test_without_a_number_nothing_comes(client: httpx.Client) -> None:
    """Without a number of bytes the answer is empty."""
    assert client.get(PROBE).content == b""


@pytest.mark.parametrize("nbytes", [0, 1, 1_000_001, MOST_UPLINK_BYTES])
def test_bytes_go_up(client: httpx.Client, nbytes: int) -> None:
    """The service says how many bytes came, whether they were announced or not."""
    content = bytes(nbytes)
    for body in (content, iter([content[: nbytes // 2], content[nbytes // 2 :]])):
        answer = client.post(PROBE, content=body, headers=BINARY)
        assert (answer.status_code, answer.json()) == (200, {"received_bytes": nbytes})


def test_bad_probes_are_refused(client: httpx.Client) -> None:
    """Too many bytes either way, another media type, a number that is none and unknown parameters
    are problems."""
    too_many = bytes(MOST_UPLINK_BYTES + 1)
    assert_problem(client.post(PROBE, content=too_many, headers=BINARY), 413, "content-too-large")
    for headers in ({}, {"Content-Type": "application/json"}):
        answer = client.post(PROBE, content=b"x", headers=headers)
        assert_problem(answer, 415, "unsupported-media-type")
    for query in ("bytes=-1", f"bytes={MOST_DOWNLINK_BYTES + 1}", "bytes=x", "bytes=", "byte=1"):
        assert_problem(client.get(f"{PROBE}?{query}"), 422, "invalid-request")
    assert_problem(
        client.post(f"{PROBE}?bytes=1", content=b"", headers=BINARY), 422, "invalid-request"
    )


def simulated(
    up: float, down: float, round_trip_s: float, seconds: float
) -> tuple[LinkMeasurement, float, dict[str, int]]:
    """A measurement of a link that carries bytes at these rates (bits/s) after a round trip: what
    it finds, the seconds that it takes, and the bytes that it moves each way."""
    measuring, spent_s = Measuring(seconds, None), 0.0
    moved = {"GET": 0, "POST": 0}
    while (call := measuring.call) is not None:
        nbytes = call.stream.nbytes if call.stream else int(call.params["bytes"])
        moved[call.method] += nbytes
        elapsed_s = round_trip_s + 8 * nbytes / (down if call.method == "GET" else up)
        spent_s += elapsed_s
        measuring.done(elapsed_s)
    return measuring.found, spent_s, moved


RATES = st.floats(4.5, 9.5).map(lambda digits: float(10**digits))


@given(up=RATES, down=RATES, round_trip_s=st.floats(1e-5, 0.3), seconds=st.floats(0.5, 10.0))
def test_a_steady_link_is_measured_within_its_bounds(
    up: float, down: float, round_trip_s: float, seconds: float
) -> None:
    """Of a link whose rates do not change, a measurement finds the round trip, and rates that are
    exact where transfers may take long against it, and never above the truth; it takes no more
    time than it may, but for the first transfers, and no more bytes."""
    found, spent_s, moved = simulated(up, down, round_trip_s, seconds)
    assert found.round_trip_s == pytest.approx(round_trip_s)
    first_s = 8 * FIRST_BYTES * (1 / up + 1 / down)
    assert spent_s <= max(seconds, 0.1) + first_s + 25 * round_trip_s
    assert moved["POST"] <= MOST_TRANSFERS * MOST_UPLINK_BYTES + 2 * MOST_UPLINK_BYTES
    assert moved["GET"] <= MOST_TRANSFERS * MOST_DOWNLINK_BYTES + 2 * MOST_DOWNLINK_BYTES
    for rate, measured in ((up, found.uplink_bits_per_s), (down, found.downlink_bits_per_s)):
        assert measured <= rate * (1 + 1e-6)
        if 0.2 * seconds > max(30 * round_trip_s, 8 * FIRST_BYTES / rate):
            assert measured == pytest.approx(rate, rel=1e-3)


def test_a_link_is_measured(connect: Connect, server: Server) -> None:
    """Against a service: on one connection, with progress up to the end, figures that fit their
    spreads, and that a split takes as they are."""
    wire = Wire()
    told: list[tuple[float, float]] = []
    found = connect(server.url, transport=wire).measure_link(
        seconds=0.5, on_progress=lambda *now: told.append(now)
    )
    assert isinstance(found, LinkMeasurement)
    assert found.round_trip_spread.least <= found.round_trip_s <= found.round_trip_spread.most
    assert found.uplink_spread.least <= found.uplink_bits_per_s <= found.uplink_spread.most
    assert found.downlink_spread.least <= found.downlink_bits_per_s <= found.downlink_spread.most
    assert 1 <= found.uplink_transfers <= MOST_TRANSFERS
    assert 1 <= found.downlink_transfers <= MOST_TRANSFERS
    # The loopback of any machine carries more than 10 Mbit/s, within less than a second.
    assert found.uplink_bits_per_s > 1e7
    assert found.downlink_bits_per_s > 1e7
    assert 0 < found.round_trip_s < 1
    LinkIn.model_validate(found.as_link())
    assert [used for used, _ in told] == sorted(used for used, _ in told)
    assert {seconds for _, seconds in told} == {0.5}
    assert told[-1] == (0.5, 0.5)
    assert {exchange.url.path for exchange in wire.exchanges} == {PROBE}
