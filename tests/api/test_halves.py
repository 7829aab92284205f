"""The halves of a split over HTTP: with weights, without, on one side, and where there are none."""

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from sqlalchemy import delete, select, update

from app.ingest.stripping import strip_file
from app.store.blobs import open_blobs
from app.store.tables import model_graphs, models
from tests.databases import database_at
from tests.server import (
    DEMO_BYTES,
    Server,
    assert_problem,
    chain,
    scenario,
    serving,
    split,
    upload,
    uploaded,
)
from tests.store.blobs.s3_server import BUCKET, s3_server, variables

WIDTH = 64
"""So a weight has 16 KiB, and the skeleton leaves its data out."""


def perceptron(seed: int = 0, width: int = WIDTH) -> bytes:
    """Two matrices with a Relu between them; weights as raw data in the file."""
    draw = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(draw.standard_normal((width, width)).astype(np.float32), name)
        for name in ("w1", "w2")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
            helper.make_node("Relu", ["a"], ["b"], name="middle"),
            helper.make_node("MatMul", ["b", "w2"], ["y"], name="second"),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])],
        weights,
        doc_string=f"seed {seed}",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def cut_in_the_middle(client: httpx.Client, model_id: str) -> str:
    """The id of a stored split of a perceptron, after its Relu."""
    pins = {"pin_device": ["middle"], "pin_server": ["second"]}
    answer = split(client, scenario(model_id, mode="inference", constraints=pins))
    assert [tensor["name"] for tensor in answer["cut"]["cut_tensors"]] == ["b"]
    split_id: str = answer["id"]
    return split_id


def one_sided(client: httpx.Client, model_id: str, side: str, names: list[str]) -> str:
    """The id of a stored split that has everything on one side."""
    pins = {f"pin_{side}": names}
    split_id: str = split(client, scenario(model_id, mode="inference", constraints=pins))["id"]
    return split_id


def half(client: httpx.Client, split_id: str, side: str) -> bytes:
    response = client.get(f"/splits/{split_id}/{side}.onnx")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == f'attachment; filename="{side}.onnx"'
    assert int(response.headers["content-length"]) == len(response.content)
    return response.content


def run(model: bytes, feeds: dict[str, Any], directory: Path | None = None) -> dict[str, Any]:
    """Run a model with the runtime's optimisations off; external data lie in a directory."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if directory is not None:
        path = directory / "half.onnx"
        path.write_bytes(model)
        session = ort.InferenceSession(str(path), options)
    else:
        session = ort.InferenceSession(model, options)
    names = [item.name for item in session.get_outputs()]
    values = session.run(names, {item.name: feeds[item.name] for item in session.get_inputs()})
    return dict(zip(names, values, strict=True))


def check_graph(model: onnx.ModelProto) -> None:
    """Have onnx check a model whose external data are not here: with inputs in their place."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    bare.graph.input.extend(
        helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in bare.graph.initializer
        if weight.data_location == TensorProto.EXTERNAL
    )
    inside = [
        weight for weight in bare.graph.initializer if weight.data_location != TensorProto.EXTERNAL
    ]
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(inside)
    onnx.checker.check_model(bare, full_check=True)


def assert_halves_equal_whole(
    client: httpx.Client, split_id: str, whole: bytes, directory: Path | None = None
) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)}
    crossing = run(half(client, split_id, "device"), feeds, directory)
    assert list(crossing) == ["b"]
    made = run(half(client, split_id, "server"), crossing, directory)
    np.testing.assert_array_equal(made["y"], run(whole, feeds)["y"])


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that keeps weights."""
    with serving(tmp_path_factory.mktemp("keeping"), keep_weights=True) as server:
        yield server


def kept_files(server: Server) -> list[Path]:
    return sorted((server.data_dir / "blobs").glob("*"))


def test_kept_weights_come_with_the_halves(keeping: Server) -> None:
    """Of a model whose weights are kept, the halves run as they are, and together give what the
    whole gives, bit for bit; each names the model, the split and the other half."""
    client, whole = keeping.client(), perceptron()
    model = uploaded(client, whole)
    assert model["weights"] == "kept"
    split_id = cut_in_the_middle(client, model["id"])
    assert_halves_equal_whole(client, split_id, whole)
    for side, other in (("device", "server"), ("server", "device")):
        read = onnx.load_model_from_string(half(client, split_id, side))
        onnx.checker.check_model(read, full_check=True)
        assert {entry.key: entry.value for entry in read.metadata_props} == {
            "kerf.model": model["id"],
            "kerf.split": split_id,
            "kerf.half": side,
            "kerf.other_half": f"{other}.onnx",
        }
        assert [weight.name for weight in read.graph.initializer] == [
            "w1" if side == "device" else "w2"
        ]


def test_kept_weights_outlive_the_process_and_go_with_their_model(tmp_path: Path) -> None:
    """Kept files are there after a restart, and are deleted with their model."""
    with serving(tmp_path, keep_weights=True) as server:
        model = uploaded(server.client(), perceptron())
        split_id = cut_in_the_middle(server.client(), model["id"])
        before = half(server.client(), split_id, "server")
        server.end()
        server.start()
        client = server.client()
        assert half(client, split_id, "server") == before
        assert len(kept_files(server)) == 1
        assert client.delete(f"/models/{model['id']}").status_code == 204
        assert kept_files(server) == []


def test_weights_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to, the service keeps files in S3: halves come from there, nothing of them is on its
    own disk, a server that is away is 503 and no loss, and files go with their model."""
    with s3_server(tmp_path / "s3.txt") as s3:
        for name, text in variables(s3.url).items():
            monkeypatch.setenv(name, text)
        url, whole = f"s3://{BUCKET}/kerf", perceptron()
        (tmp_path / "data").mkdir()
        with serving(tmp_path / "data", keep_weights=True, blob_url=url) as server:
            client = server.client()
            model = uploaded(client, whole)
            assert model["weights"] == "kept"
            split_id = cut_in_the_middle(client, model["id"])
            assert_halves_equal_whole(client, split_id, whole)
            assert not (server.data_dir / "blobs").exists()
            blobs = open_blobs(url)
            assert [blob.size_bytes for blob in blobs.list("")] == [len(whole)]
            doomed = uploaded(client, perceptron(seed=1))
            assert client.delete(f"/models/{doomed['id']}").status_code == 204
            assert len(list(blobs.list(""))) == 1
            s3.process.kill()
            s3.process.wait()
            assert_problem(client.get(f"/splits/{split_id}/device.onnx"), 503, "not-ready")
            assert_problem(upload(client, perceptron(seed=2)), 503, "not-ready")
            assert client.get("/models").json()["items"] == [model]


def test_the_same_upload_again_keeps_one_file(keeping: Server) -> None:
    """Uploading a model again leaves the file that is kept alone, and adds no other."""
    client, whole = keeping.client(), perceptron(seed=1)
    uploaded(client, whole)
    files = kept_files(keeping)
    assert upload(client, whole).status_code == 200
    assert kept_files(keeping) == files


def test_weights_not_kept(server: Server, client: httpx.Client, tmp_path: Path) -> None:
    """A service that keeps no weights answers 409 for the halves of a model that has some, with
    the command that makes them, and says so in the model's summary; told to keep them, it does
    so when the file comes again, and the same split has halves."""
    whole = perceptron(seed=2)
    model = uploaded(client, whole)
    assert model["weights"] == "not-kept"
    split_id = cut_in_the_middle(client, model["id"])
    for side in ("device", "server"):
        response = client.get(f"/splits/{split_id}/{side}.onnx")
        problem = assert_problem(response, 409, "halves-unavailable")
        assert f"kerf cut model.onnx --split {split_id}" in problem["detail"]
        assert "KERF_KEEP_WEIGHTS" in problem["detail"]


def test_weights_that_come_later(tmp_path: Path) -> None:
    """A model whose weights were not kept gets them by another upload, once the service is told to
    keep them, and its earlier splits have halves then."""
    whole = perceptron()
    with serving(tmp_path) as server:
        model = uploaded(server.client(), whole)
        split_id = cut_in_the_middle(server.client(), model["id"])
    with serving(tmp_path, keep_weights=True) as server:
        client = server.client()
        assert_problem(client.get(f"/splits/{split_id}/device.onnx"), 409, "halves-unavailable")
        again = upload(client, whole)
        assert (again.status_code, again.json()["weights"]) == (200, "kept")
        assert_halves_equal_whole(client, split_id, whole)


def test_a_graph_alone_gives_graphs_that_refer_to_the_same_data(
    client: httpx.Client, tmp_path: Path
) -> None:
    """Of a model whose weights stayed in its file at home, the halves refer to that file, and run
    beside it; the service has none of them."""
    whole = perceptron(seed=3)
    path = tmp_path / "home.onnx"
    path.write_bytes(whole)
    with path.open("rb") as file:
        stripped = strip_file(file, "home.onnx").content
    model = uploaded(client, stripped)
    assert model["weights"] == "external"
    split_id = cut_in_the_middle(client, model["id"])
    for side in ("device", "server"):
        read = onnx.load_model_from_string(half(client, split_id, side))
        (weight,) = read.graph.initializer
        entries = {entry.key: entry.value for entry in weight.external_data}
        assert entries["location"] == "home.onnx"
        assert int(entries["length"]) == 4 * WIDTH**2
    assert_halves_equal_whole(client, split_id, whole, tmp_path)


def test_external_data_stay_where_they_are(client: httpx.Client, tmp_path: Path) -> None:
    """A model with external data gives halves with the very same references."""
    model = onnx.load_model_from_string(perceptron(seed=4))
    onnx.save(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    graph = (tmp_path / "model.onnx").read_bytes()
    split_id = cut_in_the_middle(client, uploaded(client, graph)["id"])
    known = {item.name: item for item in onnx.load_model_from_string(graph).graph.initializer}
    for side in ("device", "server"):
        read = onnx.load_model_from_string(half(client, split_id, side))
        for weight in read.graph.initializer:
            assert weight == known[weight.name]
    assert_halves_equal_whole(client, split_id, perceptron(seed=4), tmp_path)


def test_data_that_nobody_has(client: httpx.Client) -> None:
    """A model whose stripped data cannot be referred to, as they were no raw data, has no halves
    here, and the answer says which tensor's data are missing."""
    model = onnx.load_model_from_string(perceptron(seed=5))
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        weight.ClearField("raw_data")
        weight.data_type = TensorProto.INT32
        weight.int32_data.extend(values.view(np.int32).ravel().tolist())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    stripped = strip_file(BytesIO(model.SerializeToString()), "home.onnx").content
    split_id = cut_in_the_middle(client, uploaded(client, stripped)["id"])
    response = client.get(f"/splits/{split_id}/device.onnx")
    assert "'w1'" in assert_problem(response, 409, "halves-unavailable")["detail"]


def test_everything_on_one_side(client: httpx.Client) -> None:
    """Where everything runs on one side, that half is the whole model, and the other is 204 with
    no body."""
    names = ["first", "second", "third"]
    model = uploaded(client, chain(*names))
    for side, other in (("device", "server"), ("server", "device")):
        split_id = one_sided(client, model["id"], side, names)
        read = onnx.load_model_from_string(half(client, split_id, side))
        assert [node.name for node in read.graph.node] == names
        assert {entry.key: entry.value for entry in read.metadata_props}["kerf.other_half"] == ""
        response = client.get(f"/splits/{split_id}/{other}.onnx")
        assert (response.status_code, response.content) == (204, b"")


def test_halves_of_a_real_model(client: httpx.Client) -> None:
    """Each row of the demo model's table has halves that the checker takes, whose inputs and
    outputs are the cut tensors as the answer states them: names, order, types and shapes."""
    model = uploaded(client, DEMO_BYTES)
    rows = client.get(f"/models/{model['id']}/cuts", params={"mode": "inference"}).json()["cuts"]
    seen = 0
    for uplink in (1e5, 1e6, 3e6, 1e7, 2e7, 5e7, 1e8, 1e9):
        link = {"uplink_bits_per_s": uplink, "downlink_bits_per_s": 1e9, "round_trip_s": 0.0}
        answer = split(client, scenario(model["id"], mode="inference", link=link))
        stated = answer["cut"]["cut_tensors"]
        if 0 in (answer["cut"]["device_nodes"], answer["cut"]["server_nodes"]):
            continue
        seen += 1
        device, server = (
            onnx.load_model_from_string(half(client, answer["id"], side))
            for side in ("device", "server")
        )
        for read, values in ((device, device.graph.output), (server, server.graph.input)):
            check_graph(read)
            assert [value.name for value in values] == [tensor["name"] for tensor in stated]
            for value, tensor in zip(values, stated, strict=True):
                kind = value.type.tensor_type
                assert kind.elem_type == TensorProto.FLOAT
                extents = [dim.dim_value for dim in kind.shape.dim]
                assert extents[1:] == tensor["shape"][1:]
        assert [value.name for value in server.graph.output] == ["logits"]
    assert seen >= 2
    assert len(rows) >= seen


def test_halves_of_a_batch(client: httpx.Client) -> None:
    """A stored result of a batch has halves as any other has."""
    model = uploaded(client, DEMO_BYTES)
    situation = scenario(model["id"], mode="inference")
    del situation["model_id"]
    body = {"model_id": model["id"], "scenarios": [situation], "store": True}
    (answer,) = client.post("/split/batch", json=body).json()["answers"]
    single = split(client, scenario(model["id"], mode="inference"))
    for side in ("device", "server"):
        ours = onnx.load_model_from_string(half(client, answer["id"], side))
        theirs = onnx.load_model_from_string(half(client, single["id"], side))
        assert ours.graph == theirs.graph


def test_unknown_splits_and_sides(client: httpx.Client) -> None:
    """The halves of an unknown split are 404, and so is a side that there is not."""
    for path in ("/splits/unknown/device.onnx", f"/splits/{'0' * 32}/server.onnx"):
        assert_problem(client.get(path), 404, "not-found")
    assert_problem(client.get(f"/splits/{'0' * 32}/cloud.onnx"), 404, "not-found")
    assert_problem(
        client.get(f"/splits/{'0' * 32}/device.onnx", params={"a": "b"}), 422, "invalid-request"
    )


def test_models_of_an_older_version(tmp_path: Path) -> None:
    """A model that was stored before graphs were has no halves; after its file came again, it
    does, for the splits of before as well."""
    with serving(tmp_path) as server:
        model = uploaded(server.client(), DEMO_BYTES)
        answer = split(server.client(), scenario(model["id"], mode="inference"))
        server.end()
        with closing(database_at(tmp_path)) as database, database.writing() as connection:
            connection.execute(delete(model_graphs))
            (summary,) = connection.execute(select(models.c.summary)).scalars()
            for name in ("parameters", "graph_sha256", "weights_are_left_out"):
                del summary[name]
            connection.execute(update(models).values(summary=summary))
        server.start()
        client = server.client()
        old = client.get(f"/models/{model['id']}").json()
        assert (old["graph_sha256"], old["parameters"], old["weights"]) == (None, [], "not-kept")
        path = f"/splits/{answer['id']}/device.onnx"
        problem = assert_problem(client.get(path), 409, "halves-unavailable")
        assert "upload its file again" in problem["detail"]
        assert upload(client, DEMO_BYTES).status_code == 200
        assert client.get(f"/models/{model['id']}").json() == model
        check_graph(onnx.load_model_from_string(half(client, answer["id"], "device")))


def test_a_client_that_hangs_up_holds_nothing(tmp_path: Path) -> None:
    """Whoever hangs up in the middle of a half leaves no open file behind."""
    with serving(tmp_path, keep_weights=True) as server:
        client = server.client()
        # Larger than what socket buffers take, so that the service is in the middle.
        model = uploaded(client, perceptron(width=1500))
        split_id = cut_in_the_middle(client, model["id"])
        opened = Counter(open_files(server))
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                path = f"/splits/{split_id}/server.onnx"
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: kerf\r\n\r\n".encode())
                assert connection.recv(20).startswith(b"HTTP/1.1 200")
        give_up_at = time.monotonic() + 30
        while held := Counter(open_files(server)) - opened:
            assert time.monotonic() < give_up_at, held
            assert client.get("/healthz").status_code == 200


def open_files(server: Server) -> list[str]:
    """What the files are that the service has open, but for its database, to which several at once
    need several connections, which stay."""
    names = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(OSError):
            names.append(str(entry.readlink()))
    return [name for name in names if name.startswith("/") and "/kerf.db" not in name]


def test_forged_marks(client: httpx.Client) -> None:
    """A model that claims that its data were left out, in places that it names, has no halves: of
    its word nothing is believed."""
    model = onnx.load_model_from_string(perceptron(seed=6))
    forged = "fields " + ",".join(["0-1000000"] * 900)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="kerf.data", value=forged)
    split_id = cut_in_the_middle(client, uploaded(client, model.SerializeToString())["id"])
    response = client.get(f"/splits/{split_id}/device.onnx")
    assert_problem(response, 409, "halves-unavailable")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """If a kept file has been taken away, the halves are 409 rather than cut short."""
    with serving(tmp_path, keep_weights=True) as server:
        client = server.client()
        model = uploaded(client, perceptron())
        split_id = cut_in_the_middle(client, model["id"])
        (file,) = kept_files(server)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        assert_problem(client.get(f"/splits/{split_id}/server.onnx"), 409, "halves-unavailable")
        file.unlink()
        assert_problem(client.get(f"/splits/{split_id}/server.onnx"), 409, "halves-unavailable")
        assert client.get("/healthz").status_code == 200


def test_files_that_no_model_names_are_swept(tmp_path: Path) -> None:
    """At its start the service deletes kept files that no model names, if they are older than a
    day, and no others."""
    with serving(tmp_path, keep_weights=True) as server:
        uploaded(server.client(), perceptron())
        (kept,) = kept_files(server)
        server.end()
        stray, fresh = kept.with_name(kept.name[:-1] + "x"), kept.with_name(kept.name[:-1] + "y")
        stray.write_bytes(b"stray")
        fresh.write_bytes(b"fresh")
        long_ago = time.time() - 2 * 86_400
        for path in (stray, kept):
            os.utime(path, (long_ago, long_ago))
        server.start()
        while stray.exists():
            assert server.client().get("/readyz").status_code == 200
        assert kept_files(server) == sorted([kept, fresh])
