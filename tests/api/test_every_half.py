"""Every row of every small model's cut table, through the API, the client and the command line."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.client import Client
from app.core.dag import CostedDag, Mask
from app.core.splitting.cut_table import Family, build_table
from app.ingest import ingest_file
from tests.cli.running import kerf
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.server import Server, scenario, serving, split


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that keeps weights."""
    with serving(tmp_path_factory.mktemp("keeping"), keep_weights=True) as server:
        yield server


def stored_split(server: Server, model_id: str, dag: CostedDag, on_device: Mask) -> str:
    """The id of a stored split that is a given cut: every node is pinned to its side."""
    names = np.array(dag.node_names, dtype=object)
    pins = {"pin_device": [*names[on_device]], "pin_server": [*names[~on_device]]}
    answer = split(server.client(), scenario(model_id, mode="inference", constraints=pins))
    assert answer["cut"]["device_nodes"] == int(on_device.sum())
    split_id: str = answer["id"]
    return split_id


def bare(path: Path) -> onnx.ModelProto:
    """A half with its data, wherever these are, and without the word where that is."""
    model = onnx.load(path)
    for tensor in itertools.chain(model.graph.initializer, *map(_values, model.graph.node)):
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return model


def _values(node: onnx.NodeProto) -> list[onnx.TensorProto]:
    return [attribute.t for attribute in node.attribute if attribute.HasField("t")]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_all_ways_to_the_halves_of_a_row_give_the_same(
    keeping: Server, model: WeightedModel, tmp_path: Path
) -> None:
    """For each row of the cut table, `kerf cut` on the file and the client from the service give
    the same halves: byte for byte where the weights are in the file, and with the same references
    to external data where they are not. (`tests/halves/test_every_cut.py` holds what `kerf cut`
    writes against the whole.)"""
    home = tmp_path / "home"
    home.mkdir()
    path = model.write(home)
    is_graph_alone = any(each.suffix != ".onnx" for each in home.rglob("*") if each.is_file())
    with path.open("rb") as file:
        dag = ingest_file(file, model.options).dag
    options: dict[str, Any] = {
        "dims": dict(model.options.dims),
        "parameters": model.options.parameters,
        "send_weights": True,
    }
    table = build_table(dag, Family.SLOWER_DEVICE)
    cut_here = tmp_path / "here"
    with Client(keeping.url) as client:
        summary = client.upload(path, **options).model
        assert summary.weights == "external" if is_graph_alone else summary.weights != "not-kept"
        for row in range(len(table)):
            split_id = stored_split(keeping, summary.id, dag, table.on_device(row))
            arguments = ("cut", path, "--split", split_id, "-o", cut_here, "--json")
            written = kerf(*arguments, url=keeping.url).result
            for side in ("device", "server"):
                target = home / f"{side}-half.onnx"
                got = client.download_half(split_id, side, target)
                mine = cut_here / f"{side}.onnx"
                assert (got is None) == (written[side] is None) == (not mine.exists())
                if got is None:
                    continue
                if is_graph_alone:
                    assert bare(got) == bare(mine)
                else:
                    assert got.read_bytes() == mine.read_bytes()
                got.unlink()
    shutil.rmtree(cut_here)
