"""``/models`` over HTTP: upload, list, show, graph, delete."""

import hashlib
import io
import json
from typing import Any

import httpx
import networkx as nx
import pytest

from app.api.schemas import GraphOut, ModelOut, ModelPage
from tests.fixture_models import BY_NAME
from tests.server import (
    DEMO_BYTES,
    assert_problem,
    chain,
    listed,
    scenario,
    split,
    upload,
    uploaded,
)


def test_first_upload_creates_and_the_second_finds(client: httpx.Client) -> None:
    """A new model is 201 with its Location; the same bytes again are 200 with the same id, whatever
    they are called."""
    data = chain("first", "second")
    first = upload(client, data, "first.onnx")
    assert first.status_code == 201
    assert first.headers["location"] == f"/models/{first.json()['id']}"
    again = upload(client, data, "other-name.onnx")
    assert again.status_code == 200
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert client.get(first.headers["location"]).json() == first.json()


def test_summary_says_what_was_uploaded(client: httpx.Client) -> None:
    """The summary has the file's digest and name, the counts of the graph and its inputs and
    outputs, and nothing beside what the document promises."""
    data = chain("a", "b", "c", extents=("batch", 8))
    response = upload(client, data, "some/where/net.onnx", dims='{"batch": 4}')
    summary = ModelOut.model_validate_json(response.text, extra="forbid")
    assert summary.name == "net"
    assert summary.sha256 == hashlib.sha256(data).hexdigest()
    assert (summary.nodes, summary.tensors, summary.blocks) == (3, 4, 3)
    assert summary.model_batch == 4
    assert summary.bound_dims == {"batch": 4}
    assert summary.ir_version == 10
    assert summary.opsets == {"ai.onnx": 20}
    assert summary.parameter_bytes == 0
    assert summary.flops == 3 * 4 * 8
    assert [(t.name, t.shape, t.dtype, t.bytes) for t in summary.inputs] == [
        ("x", [4, 8], "float32", 128)
    ]
    assert [t.name for t in summary.outputs] == ["y"]
    assert summary.created_at.utcoffset() is not None


def test_other_dims_or_batch_are_another_model(client: httpx.Client) -> None:
    """The same bytes with other dimensions or another batch are another model; stating what would
    be assumed anyway is the same one."""
    data = chain("a", extents=("batch", 8))
    ids = [
        uploaded(client, data, **fields)["id"]
        for fields in (
            {},
            {"dims": '{"batch": 1}'},
            {"dims": '{"batch": 2}'},
            {"dims": '{"batch": 2}', "model_batch": "1"},
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_unbound_first_axis_is_the_batch(client: httpx.Client) -> None:
    """A symbolic first axis that nobody binds is bound to 1, and the summary says so; the other
    symbols must be bound, and then are."""
    fixture = BY_NAME["bert_base"]
    summary = uploaded(client, fixture.path.read_bytes(), dims='{"sequence": 128}')
    assert summary["bound_dims"]["sequence"] == 128
    assert summary["model_batch"] == 1
    assert all(tensor["shape"][0] == 1 for tensor in summary["inputs"])


@pytest.mark.parametrize(
    "name", ["模型 🎉", "naïve", "a" * 200, "<script>alert(1)</script>", "' OR 1=1 --"]
)
def test_names_are_kept_as_they_are(client: httpx.Client, name: str) -> None:
    """Any printable text is a name, kept letter by letter."""
    data = chain("a")
    summary = uploaded(client, data, name=name)
    assert summary["name"] == name
    assert client.get(f"/models/{summary['id']}").json()["name"] == name


def test_list_is_newest_first_and_pages_without_loss(client: httpx.Client) -> None:
    """Pages of any size hold every model once, newest first, though others arrive meanwhile."""
    made = [uploaded(client, chain("a"))["id"] for i in range(5)]
    whole = listed(client, "/models")
    assert [item["id"] for item in whole[:5]] == made[::-1]
    moments = [item["created_at"] for item in whole]
    assert moments == sorted(moments, reverse=True)
    for limit in (1, 2, 3, len(whole), 200):
        assert listed(client, "/models", limit=limit) == whole
    first = ModelPage.model_validate_json(client.get("/models?limit=2").text, extra="forbid")
    uploaded(client, chain("a"))
    second = client.get("/models", params={"limit": 2, "cursor": first.next_cursor}).json()
    assert [item["id"] for item in second["items"]] == made[::-1][2:4]


def test_last_page_has_no_cursor(client: httpx.Client) -> None:
    """A page that ends exactly with the last row says that nothing follows."""
    uploaded(client, chain("a"))
    count = len(listed(client, "/models"))
    assert client.get(f"/models?limit={count}").json()["next_cursor"] is None
    uploaded(client, chain("a"))
    assert client.get(f"/models?limit={count}").json()["next_cursor"] is not None


def test_graph_agrees_with_the_summary(client: httpx.Client, demo_model: dict[str, Any]) -> None:
    """The graph's ids are positions in topological order, and its counts, FLOPs and bytes are the
    summary's."""
    text = client.get(f"/models/{demo_model['id']}/graph").text
    GraphOut.model_validate_json(text, extra="forbid")
    graph = json.loads(text)
    assert [node["id"] for node in graph["nodes"]] == list(range(demo_model["nodes"]))
    assert [tensor["id"] for tensor in graph["tensors"]] == list(range(demo_model["tensors"]))
    assert sum(node["flops"] for node in graph["nodes"]) == demo_model["flops"]
    total = sum(parameter["bytes"] for parameter in graph["parameters"])
    assert total == demo_model["parameter_bytes"]
    blocks = [node["block"] for node in graph["nodes"]]
    assert set(blocks) == set(range(demo_model["blocks"]))
    for tensor in graph["tensors"]:
        producer = -1 if tensor["producer"] is None else tensor["producer"]
        assert all(producer < consumer for consumer in tensor["consumers"])
    facts = ("name", "shape", "dtype", "bytes")
    inputs = [{k: t[k] for k in facts} for t in graph["tensors"] if t["producer"] is None]
    outputs = [{k: t[k] for k in facts} for t in graph["tensors"] if t["is_output"]]
    assert inputs == demo_model["inputs"]
    assert outputs == demo_model["outputs"]


def _from_graphml(text: str) -> Any:
    return nx.read_graphml(io.BytesIO(text.encode()), force_multigraph=True)


def _from_node_link(text: str) -> Any:
    return nx.node_link_graph(json.loads(text), edges="edges")


READERS = {"graphml": _from_graphml, "node-link": _from_node_link}


@pytest.mark.parametrize(
    ("form", "media_type"),
    [("graphml", "application/graphml+xml"), ("node-link", "application/json")],
)
def test_networkx_reads_the_graph(
    client: httpx.Client, demo_model: dict[str, Any], form: str, media_type: str
) -> None:
    """networkx reads both of its formats back into the same acyclic graph that the JSON states."""
    path = f"/models/{demo_model['id']}/graph"
    response = client.get(path, params={"format": form})
    assert response.headers["content-type"].partition(";")[0] == media_type
    read = READERS[form](response.text)
    graph = client.get(path).json()
    names = [node["name"] for node in graph["nodes"]]
    assert nx.is_directed_acyclic_graph(read)
    assert set(read) - set(names) == {"input:pixel_values"}
    assert {name: read.nodes[name]["flops"] for name in names} == {
        node["name"]: node["flops"] for node in graph["nodes"]
    }
    edges = {(u, v, data["tensor"], data["bytes"]) for u, v, data in read.edges(data=True)}
    assert edges == {
        (
            "input:pixel_values" if tensor["producer"] is None else names[tensor["producer"]],
            names[consumer],
            tensor["name"],
            tensor["bytes"],
        )
        for tensor in graph["tensors"]
        for consumer in tensor["consumers"]
    }


@pytest.mark.parametrize("form", READERS)
def test_graph_formats_survive_odd_names(client: httpx.Client, form: str) -> None:
    """Names that XML cannot hold, or that look like Kerf's own for inputs, neither break a format
    nor merge two vertices."""
    data = chain("input:x", 'a\x01<&>"é', "模型")
    summary = uploaded(client, data)
    text = client.get(f"/models/{summary['id']}/graph", params={"format": form}).text
    read = READERS[form](text)
    assert len(read) == 4
    assert nx.is_directed_acyclic_graph(read)
    assert read.number_of_edges() == 3


def test_deleted_model_is_gone_everywhere(client: httpx.Client) -> None:
    """After 204, the model and its results are 404 wherever they could be asked for, and a new
    upload of it starts afresh."""
    data = chain("a", "b")
    model = uploaded(client, data)
    kept = split(client, scenario(model["id"]))
    path = f"/models/{model['id']}"
    assert client.get(f"/splits/{kept['id']}").status_code == 200
    deleted = client.delete(path)
    assert deleted.status_code == 204
    assert deleted.content == b""
    assert deleted.headers["x-request-id"]
    for response in (
        client.get(path),
        client.get(f"{path}/graph"),
        client.get(f"/splits/{kept['id']}"),
        client.get(f"/splits/{kept['id']}?include=nodes"),
        client.post("/split", json=scenario(model["id"])),
        client.post("/split", json=scenario(model["id"], store=False)),
        client.delete(path),
    ):
        assert_problem(response, 404, "not-found")
    assert listed(client, "/splits", model_id=model["id"]) == []
    assert model["id"] not in {item["id"] for item in listed(client, "/models")}
    assert upload(client, data).status_code == 201
    assert listed(client, "/splits", model_id=model["id"]) == []


def test_deleting_one_model_leaves_the_others(client: httpx.Client) -> None:
    """Deleting a model touches no other model and no result of another."""
    doomed, kept = (uploaded(client, chain("a")) for i in range(2))
    result = split(client, scenario(kept["id"]))
    assert client.delete(f"/models/{doomed['id']}").status_code == 204
    assert client.get(f"/models/{kept['id']}").json() == kept
    assert client.get(f"/splits/{result['id']}").json() == result


@pytest.mark.parametrize("name", ["light_resnet50", "vit_b16", "gpt2"])
def test_real_models_upload_and_split(client: httpx.Client, name: str) -> None:
    """A model of each family is taken, and its optimum proved."""
    fixture = BY_NAME[name]
    summary = uploaded(client, fixture.path.read_bytes(), dims=json.dumps(dict(fixture.dims)))
    assert split(client, scenario(summary["id"], store=False))["optimal"] is True


def test_model_without_named_nodes_can_be_pinned(client: httpx.Client) -> None:
    """Nodes that the file leaves unnamed get distinct names, which pins accept."""
    summary = uploaded(client, chain("", "", ""))
    graph = client.get(f"/models/{summary['id']}/graph").json()
    names = [node["name"] for node in graph["nodes"]]
    assert len(set(names)) == 3
    assert all(names)
    body = scenario(summary["id"], constraints={"pin_device": names[1:2]}, store=False)
    assert names[1] in split(client, body, include="nodes")["nodes"]["device"]


def test_weights_are_not_needed(client: httpx.Client) -> None:
    """The demo model's file holds no weights (they are external data, absent here), and is taken
    with the parameters' sizes all the same."""
    summary = uploaded(client, DEMO_BYTES)
    assert summary["parameter_bytes"] > 100 * len(DEMO_BYTES)
