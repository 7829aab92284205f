"""`kerf cut`: halves from a local file, and from the service."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from app.cli import faults
from tests.cli.running import RATES, kerf, kerf_process, rows
from tests.client.driving import answering, http
from tests.halves.weighted_models import BY_NAME, WeightedModel
from tests.server import DEMO_BYTES, Server, scenario, serving, split, uploaded

EXTERNAL = ("external_one_file", "external_several_files")


def given(model: WeightedModel) -> list[str]:
    """The options that a model needs at its upload."""
    dims = [f"--dim={name}={extent}" for name, extent in model.options.dims.items()]
    return [*dims, *(f"--parameter={name}" for name in model.options.parameters)]


def middle(server: Server, path: Path, model: WeightedModel) -> dict[str, Any]:
    """A stored split that has nodes of a model on both sides."""
    done = kerf("upload", path, *given(model), "--json", url=server.url)
    nodes = server.client().get(f"/models/{done.result['id']}/graph").json()["nodes"]
    pins = {"pin_device": [nodes[0]["name"]], "pin_server": [nodes[-1]["name"]]}
    body = scenario(done.result["id"], constraints=pins, mode="inference")
    return split(server.client(), body, include="nodes")


@pytest.fixture
def model() -> WeightedModel:
    """A small model with its weights inside."""
    return BY_NAME["residual"]


def test_halves_of_a_stored_split(server: Server, tmp_path: Path, model: WeightedModel) -> None:
    """Both halves are written with their weights; what they take and give is told, and it is what
    their files say."""
    path, halves = model.write(tmp_path), tmp_path / "some" / "halves"
    answer = middle(server, path, model)
    done = kerf("cut", path, "--split", answer["id"], "-o", halves, "--json", url=server.url)
    assert sorted(each.name for each in halves.iterdir()) == ["device.onnx", "server.onnx"]
    names = [tensor["name"] for tensor in answer["cut"]["cut_tensors"]]
    device, server_half = done.result["device"], done.result["server"]
    assert device["outputs"][: len(names)] == server_half["inputs"] == names
    for side, half in done.result.items():
        file = halves / f"{side}.onnx"
        assert (half["path"], half["data_path"]) == (str(file), None)
        assert half["bytes"] == file.stat().st_size
        proto = onnx.load(file)
        assert [value.name for value in proto.graph.input] == half["inputs"]
        assert [value.name for value in proto.graph.output] == half["outputs"]
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        assert metadata["kerf.split"] == answer["id"]
        assert metadata["kerf.model"] == answer["model_id"]
    shown = rows(kerf("cut", path, "--split", answer["id"], "-o", halves, url=server.url).stdout)
    assert shown[0] == ["half", "size", "inputs", "outputs"]
    assert [row[0] for row in shown[1:]] == [device["path"], server_half["path"]]


def test_halves_without_a_service(tmp_path: Path, model: WeightedModel) -> None:
    """What `kerf split --include-nodes --json` prints is a split to cut by, from a file or through
    a pipe, and no service is asked."""
    path = model.write(tmp_path)
    done = kerf("split", path, *given(model), *RATES, "--include-nodes", "--json")
    answer = tmp_path / "answer.json"
    answer.write_text(done.stdout)
    for number, (source, stdin) in enumerate(((answer, None), ("-", done.stdout))):
        halves = tmp_path / str(number)
        cut = kerf("cut", path, "--split", source, "-o", halves, "--json", stdin=stdin)
        written = {side for side, half in cut.result.items() if half is not None}
        assert written == {side for side, nodes in done.result["nodes"].items() if nodes}
        assert {each.stem for each in halves.iterdir()} == written


def test_an_answer_of_the_service_is_a_split_too(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """An answer from the service in a file needs the service for what it says of the model alone,
    stored or not."""
    path = model.write(tmp_path)
    stored = middle(server, path, model)
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({**stored, "id": None}))
    done = kerf("cut", path, "--split", answer, "-o", tmp_path / "h", "--json", url=server.url)
    assert done.result["device"]["outputs"]
    metadata = onnx.load(tmp_path / "h" / "device.onnx").metadata_props
    assert {entry.key: entry.value for entry in metadata}["kerf.split"] == ""


@pytest.mark.parametrize("name", EXTERNAL)
def test_external_data_go_along(server: Server, tmp_path: Path, name: str) -> None:
    """Weights in files beside the model are in files beside the halves; where one is missing, it is
    named, the status says that the input is not right, and nothing is written."""
    model = BY_NAME[name]
    (tmp_path / "model").mkdir()
    path = model.write(tmp_path / "model")
    answer = middle(server, path, model)
    arguments = ("cut", path, "--split", answer["id"], "-o", tmp_path / "halves", "--json")
    done = kerf(*arguments, url=server.url)
    data = [Path(half["data_path"]) for half in done.result.values() if half["data_path"]]
    assert data
    assert all(each.parent == tmp_path / "halves" and each.stat().st_size for each in data)
    missing = next(each for each in path.parent.rglob("*") if each.is_file() and each != path)
    missing.unlink()
    before = {each: each.read_bytes() for each in (tmp_path / "halves").iterdir()}
    again = kerf(*arguments, url=server.url)
    assert again.status == faults.BAD_INPUT
    assert again.problem["type"] == "missing-external-data"
    assert missing.name in again.problem["detail"]
    assert {each: each.read_bytes() for each in (tmp_path / "halves").iterdir()} == before


def test_one_sided_splits_have_one_half(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """Where everything runs on one side, there is one half, and what was there of another split is
    gone."""
    path = model.write(tmp_path)
    stored = middle(server, path, model)
    halves = tmp_path / "halves"
    assert kerf("cut", path, "--split", stored["id"], "-o", halves, url=server.url).status == 0
    one_sided = scenario(stored["model_id"], device={"flops_per_s": 1.0}, mode="inference")
    answer = split(server.client(), one_sided)
    assert answer["cut"]["device_nodes"] == 0
    done = kerf("cut", path, "--split", answer["id"], "-o", halves, "--json", url=server.url)
    assert done.result["device"] is None
    assert "nothing runs on the device" in done.stderr
    assert [each.name for each in halves.iterdir()] == ["server.onnx"]


def test_another_file_is_refused(server: Server, tmp_path: Path, model: WeightedModel) -> None:
    """A split of another model, and a file that is none, are refused with a problem; nothing is
    written, and no directory is made."""
    (tmp_path / "other").mkdir()
    path, other = model.write(tmp_path), BY_NAME["branching"].write(tmp_path / "other")
    text = tmp_path / "text.onnx"
    text.write_text("nothing")
    answer = middle(server, path, model)
    for file, kind in ((other, "wrong-file"), (text, "not-onnx")):
        arguments = ("cut", file, "--split", answer["id"], "-o", tmp_path / "halves", "--json")
        done = kerf(*arguments, url=server.url)
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, kind)
    local = tmp_path / "answer.json"
    printed = kerf("split", path, *given(model), *RATES, "--include-nodes", "--json").stdout
    local.write_text(printed)
    done = kerf("cut", other, "--split", local, "-o", tmp_path / "halves", "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "wrong-file")
    assert not (tmp_path / "halves").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"id": null, "model_id": "m"}', "nodes: Field required"),
        ('{"id": 5, "model_id": "m", "nodes": {"device": [], "server": []}}', "id: "),
    ],
)
def test_a_file_that_is_no_split_is_told(tmp_path: Path, content: str, named: str) -> None:
    """What is no answer with the names of its nodes is refused, with the way to make one."""
    path = tmp_path / "answer.json"
    path.write_text(content)
    for command in (("cut", "m.onnx", "-o", tmp_path / "halves"), ("verify", "m.onnx")):
        done = kerf(*command, "--split", path, "--json")
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "not-a-split")
        assert named in done.problem["detail"]
        assert "--include-nodes --json" in done.problem["detail"]


def test_a_split_that_is_not_there_is_told_as_the_api_tells_it(server: Server) -> None:
    """An id that names no split has the API's problem, and the status of a refusal."""
    answer = server.client().get("/splits/nope").json()
    for command in (("cut", "m.onnx", "-o", "halves"), ("verify", "m.onnx")):
        done = kerf(*command, "--split", "nope", "--json", url=server.url)
        assert (done.status, done.problem) == (faults.REFUSED, answer)


def test_a_full_disk_leaves_nothing(tmp_path: Path, model: WeightedModel) -> None:
    """Where the disk does not take the halves, that is told, and no file is left."""
    path, answer = model.write(tmp_path), tmp_path / "answer.json"
    printed = kerf("split", path, *given(model), *RATES, "--include-nodes", "--json").stdout
    answer.write_text(printed)
    halves = tmp_path / "halves"
    halves.mkdir()
    arguments = ("cut", path, "--split", answer, "-o", halves, "--json")
    done = kerf_process(*arguments, most_file_bytes=1000)
    assert done.status == faults.MACHINE
    assert done.problem["type"] == "disk-full"
    assert list(halves.iterdir()) == []


def demo_split(server: Server) -> dict[str, Any]:
    """A stored split of the demo model in its middle."""
    model_id = uploaded(server.client(), DEMO_BYTES)["id"]
    return split(server.client(), scenario(model_id, mode="inference"))


def test_halves_are_downloaded(server: Server, tmp_path: Path) -> None:
    """Without a file, --download writes what the service makes, byte for byte, and tells which
    file of weights has yet to be put beside it."""
    answer, halves = demo_split(server), tmp_path / "halves"
    done = kerf(
        "cut", "--download", "--split", answer["id"], "-o", halves, "--json", url=server.url
    )
    assert sorted(each.name for each in halves.iterdir()) == ["device.onnx", "server.onnx"]
    for side, half in done.result.items():
        sent = server.client().get(f"/splits/{answer['id']}/{side}.onnx")
        assert Path(half["path"]).read_bytes() == sent.content
        assert half["bytes"] == len(sent.content)
        assert f"{half['path']} has its weights in mobilenet_v2.onnx.data" in done.stderr
    assert done.result["device"]["outputs"] == done.result["server"]["inputs"] == ["getitem_60"]


def test_a_download_does_not_replace_the_weights_that_it_needs(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """Where the halves would replace the very file in which their weights are, that is refused,
    and the directory is as it was."""
    home = model.write(tmp_path).rename(tmp_path / "device.onnx")
    answer = middle(server, home, model)
    before = home.read_bytes()
    done = kerf(
        *("cut", "--download", "--split", answer["id"], "-o", tmp_path, "--json"), url=server.url
    )
    assert done.status == faults.BAD_INPUT
    assert done.problem["type"] == "wrong-file"
    assert [each.name for each in tmp_path.iterdir()] == ["device.onnx"]
    assert home.read_bytes() == before


def test_a_download_changes_all_or_nothing(server: Server, tmp_path: Path) -> None:
    """Where one half cannot get its place, the other does not either; directories that were made
    for a download that fails are gone."""
    answer, halves = demo_split(server), tmp_path / "halves"
    (halves / "server.onnx").mkdir(parents=True)
    (halves / "device.onnx").write_bytes(b"as it was")
    (halves / "device.onnx.data").write_bytes(b"this too")
    arguments = ("cut", "--download", "--json")
    done = kerf(*arguments, "--split", answer["id"], "-o", halves, url=server.url)
    assert done.status == faults.MACHINE
    assert (halves / "device.onnx").read_bytes() == b"as it was"
    assert (halves / "device.onnx.data").read_bytes() == b"this too"
    nested = tmp_path / "a" / "b"
    assert kerf(*arguments, "--split", "nosuch", "-o", nested, url=server.url).status != 0
    assert not (tmp_path / "a").exists()


def test_a_one_sided_split_downloads_one_half(server: Server, tmp_path: Path) -> None:
    """Where nothing runs on a side, its half is not there, and that of another split is gone."""
    answer, halves = demo_split(server), tmp_path / "halves"
    arguments = ("cut", "--download", "-o", halves, "--json")
    assert kerf(*arguments, "--split", answer["id"], url=server.url).status == 0
    one_sided = scenario(answer["model_id"], device={"flops_per_s": 1.0}, mode="inference")
    split_id = split(server.client(), one_sided)["id"]
    done = kerf(*arguments, "--split", split_id, url=server.url)
    assert done.result["device"] is None
    assert "nothing runs on the device" in done.stderr
    assert [each.name for each in halves.iterdir()] == ["server.onnx"]


def test_weights_that_the_service_kept_are_downloaded(tmp_path: Path, model: WeightedModel) -> None:
    """Halves from a service that was sent the weights, and keeps them, hold the same weights as
    those that are cut here."""
    (tmp_path / "data").mkdir()
    path = model.write(tmp_path)
    with serving(tmp_path / "data", keep_weights=True) as running:
        done = kerf("upload", path, "--send-weights", "--json", url=running.url)
        assert done.result["weights"] == "kept"
        answer = split(running.client(), scenario(done.result["id"], mode="inference"))
        both = ("--split", answer["id"], "--json")
        there = kerf("cut", "--download", *both, "-o", tmp_path / "there", url=running.url)
        here = kerf("cut", path, *both, "-o", tmp_path / "here", url=running.url)
    assert there.stderr == here.stderr
    sides = [side for side, half in here.result.items() if half is not None]
    assert sides
    for side in sides:
        assert weights_in(there.result[side]["path"]) == weights_in(here.result[side]["path"]) != {}


def weights_in(path: str) -> dict[str, bytes]:
    """The data of the weights of a half, by their names."""
    return {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}


def test_weights_that_the_service_does_not_have_are_told(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """A service that did not keep the weights says how to cut the file here; no directory is
    made."""
    path = model.write(tmp_path)
    done = kerf("upload", path, "--send-weights", "--json", url=server.url)
    answer = split(server.client(), scenario(done.result["id"], mode="inference"))
    arguments = ("cut", "--download", "--split", answer["id"], "-o", tmp_path / "halves", "--json")
    refused = kerf(*arguments, url=server.url)
    assert (refused.status, refused.problem["status"]) == (faults.REFUSED, 409)
    assert f"kerf cut model.onnx --split {answer['id']}" in refused.problem["detail"]
    assert not (tmp_path / "halves").exists()


@pytest.mark.parametrize("is_new", [True, False])
def test_an_interrupted_download_leaves_things_as_they_were(tmp_path: Path, is_new: bool) -> None:
    """A download that breaks off is told as that, with a status of its own, and the directory is as
    it was: not there, or with the halves that it had."""
    halves = tmp_path / "halves"
    if not is_new:
        halves.mkdir()
        (halves / "device.onnx").write_bytes(b"another")
    arguments = ("cut", "--download", "--split", "s", "-o", halves, "--json")
    with answering(http("200 OK", b"half of it", length=1000)) as url:
        done = kerf(*arguments, url=url)
    assert (done.status, done.problem["type"]) == (faults.NO_SERVICE, "interrupted-download")
    assert "10 of 1000 bytes" in done.problem["detail"]
    assert halves.exists() is not is_new
    if not is_new:
        assert [each.name for each in halves.iterdir()] == ["device.onnx"]
        assert (halves / "device.onnx").read_bytes() == b"another"


def test_a_full_disk_ends_a_download(server: Server, tmp_path: Path) -> None:
    """Where the disk does not take a download, that is told, and nothing is left."""
    answer, halves = demo_split(server), tmp_path / "halves"
    arguments = ("cut", "--download", "--split", answer["id"], "-o", halves, "--json")
    done = kerf_process(*arguments, url=server.url, most_file_bytes=1000)
    assert (done.status, done.problem["type"]) == (faults.MACHINE, "disk-full")
    assert not halves.exists()


def test_a_directory_that_cannot_be_is_told(
    server: Server, tmp_path: Path, model: WeightedModel
) -> None:
    """Where a file stands in the place of the directory, that is told."""
    path = model.write(tmp_path)
    answer = middle(server, path, model)
    for source in ((path,), ("--download",)):
        done = kerf("cut", *source, "--split", answer["id"], "-o", path, "--json", url=server.url)
        assert (done.status, done.problem["type"]) == (faults.MACHINE, "file-trouble")
        assert str(path) in done.problem["detail"]
