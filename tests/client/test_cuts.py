"""Cut tables in the client: fetched once, and priced as the service prices them."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.schemas import SplitIn
from app.client import Client, NotCoveredError, ProblemError
from app.core.errors import InfeasibleError, UnpriceableError
from tests.api.reckoning import fixture_id
from tests.api.small_models import branching, random_model
from tests.client.conftest import Connect
from tests.client.driving import Wire
from tests.server import Server, chain, scenario, uploaded

MODELS = ("mobilenet_v2", "gpt2", "branching, batch 4", "random")


@pytest.fixture(scope="module")
def model_ids(server: Server) -> dict[str, str]:
    """The ids of the models that are priced here."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        ids = {name: fixture_id(client, name) for name in ("mobilenet_v2", "gpt2")}
        ids["branching, batch 4"] = uploaded(client, branching(), model_batch="4")["id"]
        ids["random"] = uploaded(client, random_model(3))["id"]
    return ids


def spread(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers over orders of magnitude, round ones among them, so that cuts tie."""
    exact = st.floats(0.0, 1.0).map(lambda u: float(low * (high / low) ** u))
    return exact | st.sampled_from([low, high, float(round((low * high) ** 0.5))])


@st.composite
def covered(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies of ``POST /split`` that a cut table answers, without the id of the model."""
    slow, fast = sorted((draw(spread(1e8, 1e14)), draw(spread(1e8, 1e14))))
    energy = draw(st.booleans())
    device: dict[str, float] = {"flops_per_s": slow}
    if draw(st.booleans()):
        device["memory_bytes"] = draw(spread(1e3, 1e9))
    if energy:
        if draw(st.booleans()):
            slow, fast = fast, slow
            device["flops_per_s"] = slow
        device |= {name: draw(st.sampled_from([0.0, 0.9, 1.0, 10.0])) for name in POWERS}
    body: dict[str, Any] = {
        "device": device,
        "server": {"flops_per_s": fast},
        "link": {
            "uplink_bits_per_s": draw(spread(1e4, 1e11)),
            "downlink_bits_per_s": draw(spread(1e4, 1e11)),
        },
        "mode": draw(st.sampled_from(["training", "inference"])),
        "objective": "energy" if energy else "delay",
    }
    if draw(st.booleans()):
        body["link"]["round_trip_s"] = draw(st.sampled_from([0.0, 0.001, 1.0]))
    options = {
        "batch_size": st.integers(1, 1000),
        "local_iterations": st.integers(1, 500),
        "backward_ratio": st.sampled_from([0.0, 0.5, 2.0]),
        "optimizer_states": st.integers(0, 2),
    }
    return body | {name: draw(values) for name, values in options.items() if draw(st.booleans())}


POWERS = ("compute_w", "transmit_w", "receive_w")


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=150, deadline=None)
@given(body=covered())
def test_local_prices_are_those_of_the_service(
    waiting: Client, model_ids: Mapping[str, str], name: str, body: dict[str, Any]
) -> None:
    """For any scenario that the table covers, the client finds the row that POST /split answers,
    with the same delay and value to the last digit, or refuses it in the same words."""
    asked = {**body, "model_id": model_ids[name], "store": False}
    cuts = waiting.cuts(model_ids[name], body["mode"])
    try:
        answer = waiting.split(asked)
    except ProblemError as problem:
        refusal = str(problem)
    else:
        best = cuts.best(body)
        assert best.delay == answer.delay
        assert best.objective_value == answer.objective_value
        assert best.row.model_dump(exclude={"id"}) == answer.cut.model_dump()
        return
    with pytest.raises((InfeasibleError, UnpriceableError)) as refused:
        cuts.best(body)
    assert str(refused.value) == refusal


def test_a_table_is_fetched_once(
    connect: Connect, server: Server, model_ids: Mapping[str, str]
) -> None:
    """Asked again, the client says which copy it has, and gives the same object when the service
    has nothing newer; the other mode and another model have copies of their own."""
    wire = Wire()
    kerf = connect(server.url, transport=wire)
    demo = model_ids["mobilenet_v2"]
    training = kerf.cuts(demo)
    assert kerf.cuts(demo, "training") is training
    inference = kerf.cuts(demo, mode="inference")
    other = kerf.cuts(model_ids["gpt2"])
    assert kerf.cuts(demo) is training
    assert [exchange.status for exchange in wire.exchanges] == [200, 304, 200, 200, 304]
    tags = [exchange.headers.get("if-none-match") for exchange in wire.exchanges]
    assert tags == [None, training.tag, None, None, training.tag]
    assert (training.table.mode, inference.table.mode) == ("training", "inference")
    assert other.table.model_id == model_ids["gpt2"]


def test_a_table_of_a_deleted_model_is_given_up(
    connect: Connect, server: Server, model_ids: Mapping[str, str]
) -> None:
    """After a model was deleted, by this client or by another one, its table is no longer given,
    and the client does not say that it has it."""
    wire = Wire()
    kerf, other = connect(server.url, transport=wire), connect(server.url)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for deleter in (kerf, other):
            model_id = uploaded(client, chain("a", "b"))["id"]
            kerf.cuts(model_id)
            deleter.delete(model_id)
            for _ in range(2):
                with pytest.raises(ProblemError) as problem:
                    kerf.cuts(model_id)
                assert problem.value.status == 404
            assert "if-none-match" not in wire.exchanges[-1].headers


def test_a_scenario_may_be_given_in_any_form(waiting: Client, model_ids: Mapping[str, str]) -> None:
    """A whole body of POST /split, a model of one, and fields alone are priced alike; the method
    and whether to store make no difference."""
    model_id = model_ids["branching, batch 4"]
    cuts = waiting.cuts(model_id)
    body = scenario(model_id, batch_size=8)
    fields = {name: value for name, value in body.items() if name != "model_id"}
    best = cuts.best(body)
    assert cuts.best(fields) == best
    assert cuts.best(SplitIn.model_validate(body)) == best
    assert cuts.best({**body, "method": "general", "store": True, "constraints": {}}) == best
    named = {"device": {"preset": "jetson-tx2"}, "link": {"preset": "lte", "round_trip_s": 0.0}}
    answer = waiting.split({**body, **named})
    assert cuts.best({**body, **named}).delay == answer.delay


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": {"flops_per_s": 6e12}}, "device faster than the server"),
        ({"mode": "inference"}, 'mode "inference"'),
        ({"constraints": {"keep_inputs_on_device": True}}, "without constraints"),
        ({"constraints": {"pin_device": ["n_a"]}}, "without constraints"),
        ({"current_cut": ["x"], "switching_s": 1.0}, "current_cut"),
        ({"model_id": "another"}, "'another'"),
        ({"device": {"profile_id": "x"}}, "a profile's seconds"),
        ({"link": {"preset": "lte", "smashed_dtype": "int8"}}, "smashed data in this type"),
    ],
)
def test_what_the_table_does_not_tell_is_said(
    waiting: Client, model_ids: Mapping[str, str], changes: dict[str, Any], words: str
) -> None:
    """A scenario in which another cut than those of the table can be the answer is not priced; the
    error says why."""
    model_id = model_ids["branching, batch 4"]
    with pytest.raises(NotCoveredError, match=words):
        waiting.cuts(model_id).best({**scenario(model_id), **changes})


def test_throughput_is_not_covered(waiting: Client, model_ids: Mapping[str, str]) -> None:
    """The throughput of a pipeline needs other rows than those of the table, and is not priced."""
    model_id = model_ids["branching, batch 4"]
    body = scenario(model_id, mode="inference", objective="throughput")
    with pytest.raises(NotCoveredError, match="objective throughput"):
        waiting.cuts(model_id, "inference").best(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": {"flops_per_s": 0.0}},
        {"link": {"uplink_bits_per_s": float("nan"), "downlink_bits_per_s": "fast"}},
        {"objective": "energy"},
        {"sever": {}},
        {"batch_size": 0},
        {"device": {"flops_per_s": 1e-300}, "local_iterations": 2**31},
    ],
)
def test_a_bad_scenario_is_refused_as_by_the_service(
    waiting: Client, model_ids: Mapping[str, str], changes: dict[str, Any]
) -> None:
    """What the service refuses is refused without it too, in the same words, with the same fields
    at fault."""
    model_id = model_ids["branching, batch 4"]
    body = {**scenario(model_id), **changes}
    with pytest.raises(ProblemError) as theirs:
        waiting.split(body)
    with pytest.raises((ProblemError, UnpriceableError)) as ours:
        waiting.cuts(model_id).best(body)
    assert str(ours.value) == str(theirs.value)
    if isinstance(ours.value, ProblemError):
        assert ours.value.errors == theirs.value.errors
        assert (ours.value.status, ours.value.type) == (theirs.value.status, theirs.value.type)
        assert ours.value.title == theirs.value.title
