"""``GET /models/{id}/blocks``: a partition in order, kinds that repeat, and which can be cut."""

from collections import Counter
from itertools import pairwise

import httpx
import pytest

from tests.api.reckoning import MODES, Json, fixture_id, graph_of
from tests.api.small_models import branching, random_model
from tests.api.test_cuts import cuts_of, device_nodes
from tests.server import uploaded

NAMES = ("mobilenet_v2", "gpt2", "resnet50", "light_resnet50", "segformer_b0", "bert_base")


def model_id_of(client: httpx.Client, name: str) -> str:
    """The id of a fixture or of a small model."""
    if name == "branching":
        return str(uploaded(client, branching())["id"])
    if name.startswith("random"):
        return str(uploaded(client, random_model(int(name.split()[1])))["id"])
    return fixture_id(client, name)


def blocks_of(client: httpx.Client, model_id: str) -> list[Json]:
    """The blocks of a model."""
    response = client.get(f"/models/{model_id}/blocks")
    assert response.status_code == 200, response.text
    blocks: list[Json] = response.json()["blocks"]
    return blocks


@pytest.mark.parametrize("name", [*NAMES, "branching", "random 0", "random 3"])
def test_blocks_partition_the_nodes(client: httpx.Client, name: str) -> None:
    """The blocks hold every node once, in order; their FLOPs are those of their nodes; each begins
    where the one before ends, and the connecting tensor alone crosses there."""
    model_id = model_id_of(client, name)
    graph, blocks = graph_of(client, model_id), blocks_of(client, model_id)
    assert [block["id"] for block in blocks] == list(range(len(blocks)))
    assert [i for block in blocks for i in block["nodes"]] == list(range(len(graph["nodes"])))
    assert all(block["nodes"] for block in blocks)
    of_node = {i: block["id"] for block in blocks for i in block["nodes"]}
    assert {node["id"]: node["block"] for node in graph["nodes"]} == of_node
    assert client.get(f"/models/{model_id}").json()["blocks"] == len(blocks)
    for block in blocks:
        assert block["flops"] == sum(graph["nodes"][i]["flops"] for i in block["nodes"])
    for before, after in pairwise(blocks):
        assert before["output_tensor"] == after["input_tensor"] is not None
        end = before["nodes"][-1]
        crossing = [
            tensor["name"]
            for tensor in graph["tensors"]
            if (tensor["producer"] is None or tensor["producer"] <= end)
            and any(user > end for user in tensor["consumers"])
        ]
        assert crossing == [before["output_tensor"]]
    inputs = [t["name"] for t in graph["tensors"] if t["producer"] is None]
    outputs = [
        tensor["name"]
        for tensor in graph["tensors"]
        if tensor["is_output"] and tensor["producer"] in blocks[-1]["nodes"]
    ]
    assert blocks[0]["input_tensor"] == (inputs[0] if len(inputs) == 1 else None)
    assert blocks[-1]["output_tensor"] == (outputs[0] if len(outputs) == 1 else None)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_a_kind_are_alike(client: httpx.Client, name: str) -> None:
    """Kinds are numbered as they appear, and blocks of one kind have the same operators and FLOPs,
    and tensors of the same shapes at both ends."""
    model_id = model_id_of(client, name)
    graph, blocks = graph_of(client, model_id), blocks_of(client, model_id)
    shapes = {tensor["name"]: (tensor["shape"], tensor["dtype"]) for tensor in graph["tensors"]}
    seen: dict[int, tuple[object, ...]] = {}
    for block in blocks:
        assert block["kind"] <= len(seen)
        operators = [graph["nodes"][i]["op_type"] for i in block["nodes"]]
        ends = [shapes.get(block[end]) for end in ("input_tensor", "output_tensor")]
        looks = (operators, block["flops"], ends)
        assert seen.setdefault(block["kind"], looks) == looks


@pytest.mark.parametrize(
    ("name", "stem", "head", "projection", "identity"),
    [
        ("resnet50", 3, 3, 7, 6),
        ("light_resnet50", 4, 4, 11, 9),
    ],
)
def test_resnet_reads_as_its_stages(
    client: httpx.Client, name: str, stem: int, head: int, projection: int, identity: int
) -> None:
    """ResNet-50 reads as the paper draws it: a stem; stages of 3, 4, 6 and 3 bottlenecks, of which
    the first projects and the others share a kind, each with its Relu behind it; and a head."""
    blocks = blocks_of(client, model_id_of(client, name))
    kinds = [block["kind"] for block in blocks]
    sizes = [len(block["nodes"]) for block in blocks]
    expected, new = list(range(stem)), stem
    expected_sizes = [1] * stem
    for bottlenecks in (3, 4, 6, 3):
        expected += [new, new + 1] + [new + 2, new + 1] * (bottlenecks - 1)
        expected_sizes += [projection, 1] + [identity, 1] * (bottlenecks - 1)
        new += 3
    expected += range(new, new + head)
    expected_sizes += [1] * head
    assert kinds == expected
    assert sizes == expected_sizes
    assert len(kinds) == stem + 32 + head
    assert len(set(kinds)) == stem + 12 + head
    assert sorted(Counter(kinds).values())[-8:] == [2, 2, 3, 3, 3, 4, 5, 6]


@pytest.mark.parametrize("name", [*NAMES, "branching", "random 0", "random 1", "random 2"])
def test_blocks_that_can_hold_a_cut_do(client: httpx.Client, name: str) -> None:
    """A block can hold a cut where some row of /cuts, of either mode, has nodes of it on both
    sides; where no row has, it can not, unless rows of the two modes tie."""
    model_id = model_id_of(client, name)
    graph, blocks = graph_of(client, model_id), blocks_of(client, model_id)
    sets = [
        device_nodes(graph, row)
        for mode in MODES
        for row in cuts_of(client, model_id, mode)["cuts"]
    ]
    expected = [
        any(0 < len(on_device & set(block["nodes"])) < len(block["nodes"]) for on_device in sets)
        for block in blocks
    ]
    assert [block["can_hold_a_cut"] for block in blocks] == expected
