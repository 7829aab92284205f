"""Models and splits by the client: what it sends, what it gives, and how refusals read."""

import json
from typing import Any

import httpx
import pytest

from app.api.schemas import BatchOut, ConstraintsIn, DeviceIn, ModelOut, SplitIn, SplitOut
from app.client import ClientError, ProblemError
from app.core.errors import KerfError
from app.errors import NotFoundError
from tests.client.conftest import Connect
from tests.client.driving import Wire, answering, http
from tests.server import Server, assert_problem, chain, scenario, serving, split, uploaded

Json = dict[str, Any]


def test_a_model_is_what_the_service_says(
    kerf: Any, client: httpx.Client, demo_model: Json
) -> None:
    """The summary of a model has every field that the service answers, with its value."""
    found = kerf.model(demo_model["id"])
    assert isinstance(found, ModelOut)
    assert found == ModelOut.model_validate(client.get(f"/models/{demo_model['id']}").json())


def test_what_a_newer_service_adds_is_passed_over(
    connect: Connect, client: httpx.Client, demo_model: Json
) -> None:
    """Members of an answer that this client does not know, at any depth, do not break it."""
    known = client.get(f"/models/{demo_model['id']}").json()
    newer = {**known, "colour": {"x": 1}, "inputs": [{**known["inputs"][0], "layout": "NCHW"}]}
    answer = http("200 OK", json.dumps(newer).encode(), "Content-Type: application/json")
    with answering(answer) as url:
        assert connect(url).model("m") == ModelOut.model_validate(known)


def test_lists_come_page_by_page(connect: Connect, tmp_path: Any) -> None:
    """All models and all splits are given, newest first, over several pages; a page is fetched
    when it is needed, and no sooner; splits can be those of one model."""
    wire = Wire()
    with serving(tmp_path) as server:
        client = server.client()
        ids = [uploaded(client, chain("a"))["id"] for _ in range(3)]
        body = scenario(ids[0])
        batch = {"model_id": ids[0], "scenarios": [_situation(body)] * 401, "store": True}
        assert client.post("/split/batch", json=batch).status_code == 200
        last = split(client, scenario(ids[1]))["id"]
        kerf = connect(server.url, transport=wire)
        assert [model.id for model in kerf.models()] == ids[::-1]
        assert len(wire.exchanges) == 1
        everything = kerf.splits()
        assert next(iter(everything)).id == last
        assert len(wire.exchanges) == 2
        results = list(kerf.splits())
        assert len({result.id for result in results}) == len(results) == 402
        assert results[0].id == last
        assert len(wire.exchanges) == 2 + 3
        assert [result.id for result in kerf.splits(ids[1])] == [last]
        assert list(kerf.splits("of-no-model")) == []


def _situation(body: Json) -> Json:
    return {name: body[name] for name in ("device", "server", "link")}


def test_a_deleted_model_is_gone(kerf: Any, client: httpx.Client) -> None:
    """A model that was deleted is not found any more, and deleting it again says so."""
    model_id = uploaded(client, chain("a"))["id"]
    assert kerf.delete(model_id) is None
    for call in (kerf.model, kerf.delete):
        with pytest.raises(ProblemError, match=f"there is no model '{model_id}'"):
            call(model_id)


def test_a_split_is_what_the_service_says(
    kerf: Any, client: httpx.Client, demo_model: Json
) -> None:
    """The best cut has every field of the answer; it is stored, unless it is not to be, and can be
    read again, with the names of the nodes where they are asked for."""
    body = scenario(demo_model["id"])
    found = kerf.split(body)
    assert isinstance(found, SplitOut)
    assert found == SplitOut.model_validate(client.get(f"/splits/{found.id}").json())
    assert found.nodes is None
    assert kerf.split_result(found.id) == found
    named = kerf.split_result(found.id, include_nodes=True)
    assert len(named.nodes.device) == found.cut.device_nodes
    assert kerf.split(body, include_nodes=True).nodes == named.nodes
    assert kerf.split({**body, "store": False}).id is None


def test_a_body_may_be_given_in_any_form(
    connect: Connect, server: Server, demo_model: Json
) -> None:
    """A model of the body, its fields, and fields that are models themselves send the same; what
    was not given is not sent, as some fields may be given only beside others."""
    wire = Wire()
    kerf = connect(server.url, transport=wire)
    body = scenario(demo_model["id"], store=False)
    forms = [
        body,
        SplitIn.model_validate(body),
        {**body, "device": DeviceIn.model_validate(body["device"])},
    ]
    answers = [kerf.split(form) for form in forms]
    sent = [json.loads(exchange.body) for exchange in wire.exchanges]
    assert sent == [body] * len(forms)
    assert all(answer.delay == answers[0].delay for answer in answers)


def test_a_batch_is_answered_in_order(kerf: Any, demo_model: Json) -> None:
    """A batch gives the answers that its scenarios get alone, in order; constraints hold in all of
    them, and answers are stored where asked."""
    fast = {"uplink_bits_per_s": 1e9, "downlink_bits_per_s": 1e9}
    bodies = [scenario(demo_model["id"]), scenario(demo_model["id"], link=fast)]
    found = kerf.split_batch(demo_model["id"], map(_situation, bodies))
    assert isinstance(found, BatchOut)
    alone = [kerf.split({**body, "store": False}) for body in bodies]
    assert [answer.delay for answer in found.answers] == [answer.delay for answer in alone]
    assert [found.cuts[answer.cut] for answer in found.answers] == [one.cut for one in alone]
    assert [answer.id for answer in found.answers] == [None, None]
    private = ConstraintsIn(keep_inputs_on_device=True)
    for constraints in (private, {"keep_inputs_on_device": True}):
        kept = kerf.split_batch(demo_model["id"], [_situation(bodies[1])], constraints, True)
        assert kept.cuts[0].device_nodes > 0 == alone[1].cut.device_nodes
        assert kerf.split_result(kept.answers[0].id).cut == kept.cuts[0]


def test_a_refusal_has_all_that_the_service_says(
    connect: Connect, server: Server, client: httpx.Client, demo_model: Json
) -> None:
    """A problem's status, type, title, detail and fields at fault are those of the HTTP answer, and
    its request id is that of the answer; the detail is what the error reads as."""
    body = scenario(demo_model["id"], device={"flops_per_s": -1.0}, sever={})
    answer = assert_problem(client.post("/split", json=body), 422, "invalid-request")
    with pytest.raises(ProblemError) as caught:
        connect(server.url).split(body)
    problem = caught.value
    assert isinstance(problem, ClientError)
    assert isinstance(problem, KerfError)
    assert problem.status == answer["status"]
    assert problem.type == answer["type"]
    assert problem.title == answer["title"]
    assert problem.detail == str(problem) == answer["detail"]
    assert problem.errors == answer["errors"]
    assert problem.request_id


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused_in_words(
    kerf: Any, demo_model: Json, number: float
) -> None:
    """NaN and infinity reach the service, which says that a finite number would be right."""
    with pytest.raises(ProblemError, match=r"body\.device\.flops_per_s: .*finite"):
        kerf.split(scenario(demo_model["id"], device={"flops_per_s": number}))


@pytest.mark.parametrize("name", ["..", ".", "a?b#c", "%00", "%2F", "é", "\ud800", "x" * 65, " "])
def test_any_text_may_be_taken_for_an_id(kerf: Any, name: str) -> None:
    """Text that is no id is refused by the service as an id, and leads to no other call."""
    for call in (kerf.model, kerf.cuts, kerf.split_result, kerf.delete):
        with pytest.raises(ProblemError) as problem:
            call(name)
        assert problem.value.status in (404, 422)
        assert "there is nothing at" not in str(problem.value)


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_text_that_would_be_another_path_is_no_id(kerf: Any, name: str) -> None:
    """Text that would make the path of another call is refused here, in the service's words."""
    for call in (kerf.model, kerf.cuts, kerf.delete):
        with pytest.raises(NotFoundError, match=f"^there is no model '{name}'$"):
            call(name)
    with pytest.raises(NotFoundError, match=f"^there is no split '{name}'$"):
        kerf.split_result(name)
