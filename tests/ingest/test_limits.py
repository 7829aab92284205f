"""Limits on what is read: each holds to the node, the level and the byte."""

import io

import pytest
from onnx import GraphProto, ModelProto

from app.errors import LimitExceededError
from app.ingest import IngestedModel, Limits, ingest_file
from app.settings import Settings
from tests.ingest.build import BOOL, graph, model, node, value


def read(proto: ModelProto, **limits: int) -> IngestedModel:
    """The model under limits."""
    return ingest_file(io.BytesIO(proto.SerializeToString()), limits=Limits(**limits))


def chain(length: int, name: str = "t") -> ModelProto:
    """So many nodes in a row."""
    nodes = [node("Relu", f"{name}{i}", f"{name}{i + 1}") for i in range(length)]
    return model(nodes, [value(f"{name}0")], [value(f"{name}{length}")])


def nested(depth: int) -> ModelProto:
    """An If in an If and so on; the main graph is level 0."""
    body: GraphProto = graph([node("Relu", "x", "r0")], [], [value("r0")])
    for level in range(1, depth):
        choice = node("If", "c", f"r{level}", then_branch=body, else_branch=body)
        body = graph([choice], [], [value(f"r{level}")])
    last = node("If", "c", "y", then_branch=body, else_branch=body)
    return model([last], [value("x"), value("c", [], BOOL)], [value("y")])


def test_nodes_are_limited() -> None:
    """A model of as many nodes as the limit is taken, of one more refused with the setting's
    name."""
    assert read(chain(20), nodes=20).dag.node_count == 20
    with pytest.raises(LimitExceededError, match=r"more than 20 nodes.*KERF_MODEL_NODES"):
        read(chain(21), nodes=20)


def test_nodes_of_bodies_count() -> None:
    """Seven Ifs and eight Relus in their branches are 15 nodes."""
    proto = nested(3)
    assert read(proto, nodes=15).dag.node_count == 1
    with pytest.raises(LimitExceededError, match="KERF_MODEL_NODES"):
        read(proto, nodes=14)


def test_nesting_is_limited() -> None:
    """Bodies as deep as the limit are taken, a level deeper refused."""
    assert read(nested(4), nesting=4).dag.node_count == 1
    with pytest.raises(LimitExceededError, match="KERF_NESTING"):
        read(nested(4), nesting=3)


def test_names_are_limited() -> None:
    """A name of as many bytes as the limit is taken, of one more refused, and quoted in part."""
    assert read(chain(1, "a" * 99), name_bytes=100).dag.node_count == 1
    with pytest.raises(LimitExceededError, match=r"aaa'….*KERF_NAME_BYTES") as e:
        read(chain(1, "a" * 100), name_bytes=100)
    assert len(str(e.value)) < 300


def test_the_graph_is_limited_and_weights_are_not() -> None:
    """The bytes of the graph count, those of its weights do not."""
    proto = chain(3)
    size = len(proto.SerializeToString())
    weight = proto.graph.initializer.add(name="w", data_type=1, dims=[10_000])
    weight.raw_data = bytes(40_000)
    assert read(proto, graph_bytes=size + 100).dag.node_count == 3
    with pytest.raises(LimitExceededError, match="KERF_GRAPH_BYTES"):
        read(proto, graph_bytes=size - 1)


def test_the_service_has_the_same_limits() -> None:
    """The defaults of the settings are those that ingest has by itself."""
    settings = Settings()
    ours = Limits()
    assert (settings.graph_bytes, settings.model_nodes) == (ours.graph_bytes, ours.nodes)
    assert (settings.nesting, settings.name_bytes) == (ours.nesting, ours.name_bytes)
