"""``GET /models/{id}/cuts``: the table, its tag, and the program that prices it."""

import random
from itertools import permutations
from pathlib import Path

import httpx
import pytest

from tests.api.price_cuts import price_cuts
from tests.api.reckoning import (
    MODES,
    Json,
    closed_sets,
    fixture_id,
    graph_of,
    quantities,
    random_scenario,
)
from tests.api.small_models import branching, random_model
from tests.server import DEMO_BYTES, assert_problem, serving, split, uploaded

NAMES = ("mobilenet_v2", "gpt2", "light_inception_v1", "segformer_b0")
COMPARED = (
    "device_flops",
    "uplink_bytes",
    "gradient_bytes",
    "result_bytes",
    "device_parameter_bytes",
    "device_activation_bytes",
    "crossing_tensors",
)


def cuts_of(client: httpx.Client, model_id: str, mode: str) -> Json:
    """The table of a mode."""
    response = client.get(f"/models/{model_id}/cuts", params={"mode": mode})
    assert response.status_code == 200, response.text
    table: Json = response.json()
    assert table["model_id"] == model_id
    assert table["mode"] == mode
    return table


def compared(row: Json) -> tuple[float, ...]:
    """By what rows compare."""
    return (*(row["quantities"][name] for name in COMPARED), row["server_nodes"] > 0)


def device_nodes(graph: Json, row: Json) -> frozenset[int]:
    """The nodes on the device of a row: the smallest closed set under which nothing else crosses,
    or all."""
    tensors = {tensor["name"]: tensor for tensor in graph["tensors"]}
    named = {tensor["name"] for tensor in row["cut_tensors"]}
    if not named:
        return frozenset(range(len(graph["nodes"])))
    on_device: set[int] = {
        tensors[name]["producer"] for name in named if tensors[name]["producer"] is not None
    }
    before = -1
    while before != len(on_device):
        before = len(on_device)
        for tensor in graph["tensors"]:
            users, producer = set(tensor["consumers"]), tensor["producer"]
            if users & on_device and producer is not None:
                on_device.add(producer)
            if (producer is None or producer in on_device) and tensor["name"] not in named:
                on_device |= users
    return frozenset(on_device)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_true_and_none_is_idle(client: httpx.Client, name: str, mode: str) -> None:
    """Every row's device nodes are a closed set whose quantities, recomputed from the graph, are
    those of the row; and no row is matched by another in every quantity."""
    model_id = fixture_id(client, name)
    graph, table = graph_of(client, model_id), cuts_of(client, model_id, mode)
    assert 2 <= len(table["cuts"]) <= 60
    assert [row["id"] for row in table["cuts"]] == list(range(len(table["cuts"])))
    flops = [row["quantities"]["device_flops"] for row in table["cuts"]]
    assert flops == sorted(flops)
    for row in table["cuts"]:
        on_device = device_nodes(graph, row)
        assert row["device_nodes"] == len(on_device)
        assert row["server_nodes"] == len(graph["nodes"]) - len(on_device)
        assert row["quantities"] == quantities(graph, on_device, mode)
        by_name = {tensor["name"]: tensor for tensor in graph["tensors"]}
        for tensor in row["cut_tensors"]:
            assert tensor == {key: by_name[tensor["name"]][key] for key in tensor}
    for row, other in permutations(map(compared, table["cuts"]), 2):
        assert any(ours < theirs for ours, theirs in zip(row, other, strict=True))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_rows_are_all_that_can_be_best(client: httpx.Client, seed: int | None, mode: str) -> None:
    """On small branching models the rows are exactly the closed sets that no other one matches in
    every quantity."""
    model = uploaded(client, branching() if seed is None else random_model(seed))
    graph, count = graph_of(client, model["id"]), model["nodes"]
    found = {
        (*(q[name] for name in COMPARED), len(chosen) < count)
        for chosen in closed_sets(graph)
        for q in [quantities(graph, chosen, mode)]
    }
    front = {
        row
        for row in found
        if not any(
            other != row and all(theirs <= ours for ours, theirs in zip(row, other, strict=True))
            for other in found
        )
    }
    rows = [compared(row) for row in cuts_of(client, model["id"], mode)["cuts"]]
    assert set(rows) == front
    assert len(rows) == len(front)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["mobilenet_v2", "gpt2", "branching, batch 4"])
def test_five_lines_price_as_split_does(client: httpx.Client, name: str, mode: str) -> None:
    """A client that prices the rows itself finds what POST /split answers, for two hundred random
    scenarios with a device no faster than the server."""
    if name == "branching, batch 4":
        summary = uploaded(client, branching(), model_batch="4")
        assert summary["model_batch"] == 4
        model_id = summary["id"]
    else:
        model_id = fixture_id(client, name)
    choose = random.Random(f"{name} {mode}")
    table = cuts_of(client, model_id, mode)
    for _ in range(200):
        body = random_scenario(choose, model_id, mode)
        answer = split(client, body)
        delay_s, row = price_cuts(table, body)
        assert delay_s == pytest.approx(answer["delay"]["total_s"], rel=1e-9)
        assert row["quantities"] == answer["cut"]["quantities"]
        assert row["cut_tensors"] == answer["cut"]["cut_tensors"]


def test_tag_is_that_of_the_content(tmp_path: Path) -> None:
    """The tag is the same from another process, after a restart and from another service with the
    same model, and another one for the other mode and for another model."""
    tags: dict[str, set[str]] = {mode: set() for mode in MODES}
    others = set()
    for directory in (tmp_path / "one", tmp_path / "two"):
        directory.mkdir()
        with serving(directory) as server:
            for start in range(2):
                if start:
                    server.end()
                    server.start()
                client = server.client()
                model_id = uploaded(client, DEMO_BYTES)["id"]
                for mode in MODES:
                    answer = client.get(f"/models/{model_id}/cuts?mode={mode}")
                    tags[mode].add(answer.headers["etag"])
                default = client.get(f"/models/{model_id}/cuts").headers["etag"]
                assert tags["training"] == {default}
                other = uploaded(client, branching())["id"]
                others.add(client.get(f"/models/{other}/cuts").headers["etag"])
    assert [len(found) for found in (*tags.values(), others)] == [1, 1, 1]
    assert len(set.union(*tags.values(), others)) == 3
    for tag in set.union(*tags.values(), others):
        assert tag.startswith('"')
        assert tag.endswith('"')
        assert len(tag) >= 18


def test_known_content_is_not_sent_again(client: httpx.Client, demo_model: Json) -> None:
    """If-None-Match with the tag, weak or strong, alone or in a list, or with a star gives 304
    with the tag and no body; any other tag, that of the other mode among them, gives the table."""
    path = f"/models/{demo_model['id']}/cuts"
    whole = client.get(path)
    tag = whole.headers["etag"]
    other = client.get(path, params={"mode": "inference"}).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', f'"x",{tag},"y"', f'W/"x" ,  W/{tag}', "*"):
        answer = client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-request-id"]
    for unknown in ("", '"x"', tag.strip('"'), other, f'"{tag}"', f"w/{tag}", "é", '"x", "y"'):
        answer = client.get(path, headers=[(b"If-None-Match", unknown.encode())])
        assert answer.status_code == 200, unknown
        assert answer.json() == whole.json()
        assert answer.headers["etag"] == tag
    with_mode = client.get(
        path, params={"mode": "inference"}, headers={"If-None-Match": f"{tag}, {other}"}
    )
    assert with_mode.status_code == 304


@pytest.mark.parametrize("route", ["cuts", "blocks"])
def test_unknown_model_and_unknown_queries_are_refused(
    client: httpx.Client, demo_model: Json, route: str
) -> None:
    """An unknown model is 404, even for a client that says it has any table; an unknown mode or
    parameter is 422."""
    for model_id in ("0" * 32, "nope", "%00"):
        answer = client.get(f"/models/{model_id}/{route}", headers={"If-None-Match": "*"})
        assert_problem(answer, 404, "not-found")
    for query in ("mode=both", "mode=", "foo=1"):
        answer = client.get(f"/models/{demo_model['id']}/{route}?{query}")
        assert_problem(answer, 422, "invalid-request")
