"""`kerf upload` and `kerf models`, against a running service."""

import itertools
import json
from pathlib import Path

import httpx
import onnx
import pytest

from app.cli import faults
from tests.cli.running import cells, kerf, rows
from tests.fixture_models import BY_NAME
from tests.halves.weighted_models import BY_NAME as WEIGHTED
from tests.server import Server, serving

_serial = itertools.count()


@pytest.fixture
def weighted(tmp_path: Path) -> Path:
    """A model with its weights inside, unlike any that the service has."""
    path = WEIGHTED["residual"].write(tmp_path)
    proto = onnx.load(path)
    proto.graph.name = f"number {next(_serial)}"
    onnx.save(proto, path)
    return path


def test_upload_leaves_the_weights_here(server: Server, weighted: Path) -> None:
    """The model is shown, and how many bytes leaving the weights out saved: as many as the service
    did not get."""
    done = kerf("upload", weighted, url=server.url)
    assert done.status == 0
    shown = cells(done.stdout)
    assert shown["name"] == "residual"
    model = server.client().get(f"/models/{shown['id']}").json()
    assert shown["nodes"] == str(model["nodes"])
    assert shown["weights"] == model["weights"] == "external"
    assert "leaving the weights out saved" in done.stderr
    assert kerf("upload", weighted, url=server.url).stderr.startswith("sent ")
    assert "had this model already" in kerf("upload", weighted, url=server.url).stderr


def test_upload_sends_the_weights_where_it_is_told_to(server: Server, weighted: Path) -> None:
    """With --send-weights the file goes as it is."""
    done = kerf("upload", weighted, "--send-weights", "--json", url=server.url)
    assert done.result["weights"] == "not-kept"
    assert "saved" not in done.stderr
    assert done.result["id"] != kerf("upload", weighted, "--json", url=server.url).result["id"]


def test_upload_as_json(server: Server) -> None:
    """With --json, standard output has the service's own answer and nothing else; warnings and
    counts of bytes go to standard error."""
    fixture = BY_NAME["bert_base"]
    arguments = ("upload", fixture.path, "--dim", "sequence=16", "--name", "a bert", "--json")
    done = kerf(*arguments, url=server.url)
    answer = server.client().get(f"/models/{done.result['id']}").json()
    assert {**done.result, "created_at": None} == {**answer, "created_at": None}
    assert done.result["bound_dims"] == {"batch": 1, "sequence": 16}
    assert done.result["name"] == "a bert"
    assert done.stderr.startswith("sent ")


def test_upload_takes_what_a_form_takes(server: Server, tmp_path: Path) -> None:
    """The batch that the shapes hold and the inputs that are parameters go with the file."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20], doc_string: "{next(_serial)}">
        g (float[6, 4] x, float[4, 4] w) => (float[6, 4] y) {{ y = MatMul(x, w) }}"""
    )
    file = tmp_path / "fed.onnx"
    file.write_bytes(model.SerializeToString())
    given = ("--parameter", "w", "--model-batch", "3", "--json")
    summary = kerf("upload", file, *given, url=server.url).result
    assert (summary["parameters"], summary["model_batch"]) == (["w"], 3)
    assert [tensor["name"] for tensor in summary["inputs"]] == ["x"]


def test_warnings_are_told(server: Server, tmp_path: Path) -> None:
    """What the service had to approximate is told beside the summary."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20, "mine" : 1]>
        g (float[2, 4] x) => (float[2, 4] y) { a = Relu(x) b = mine.Odd(a) y = Relu(a) }"""
    )
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    done = kerf("upload", path, url=server.url)
    warnings = server.client().get(f"/models/{cells(done.stdout)['id']}").json()["warnings"]
    assert [line for line in done.stderr.splitlines() if line.startswith("warning: ")] == [
        f"warning: {text}" for text in warnings
    ]


def test_models_are_listed_shown_and_deleted(tmp_path: Path, weighted: Path) -> None:
    """All models are listed, page after page, newest first, as the service lists them; one is
    shown; those named are deleted."""
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data") as running:
        assert len(rows(kerf("models", url=running.url).stdout)) == 1
        assert kerf("models", "--json", url=running.url).result == []
        ids: list[str] = []
        for name in ("first", "[second]", "third"):
            proto = onnx.load(weighted)
            proto.graph.name = name
            onnx.save(proto, weighted)
            done = kerf("upload", weighted, "--name", name, "--json", url=running.url)
            ids.insert(0, done.result["id"])
        head, *lines = rows(kerf("models", url=running.url).stdout)
        assert head == ["name", "id", "nodes", "FLOPs", "parameters", "weights"]
        assert [line[:2] for line in lines] == [
            [name, id_] for name, id_ in zip(("third", "[second]", "first"), ids, strict=True)
        ]
        listed = kerf("models", "--json", url=running.url).result
        assert [model["id"] for model in listed] == ids
        client = running.client()
        assert [model["flops"] for model in listed] == [
            model["flops"] for model in client.get("/models").json()["items"]
        ]
        assert kerf("models", ids[0], "--json", url=running.url).result == listed[0]
        assert cells(kerf("models", ids[1], url=running.url).stdout)["name"] == "[second]"
        done = kerf("models", "--delete", ids[0], "--delete", ids[1], url=running.url)
        assert (done.status, done.stdout) == (0, "")
        assert done.stderr == f"deleted {ids[0]}\ndeleted {ids[1]}\n"
        assert [model["id"] for model in client.get("/models").json()["items"]] == [ids[2]]
        deleted = kerf("models", "--delete", ids[2], "--json", url=running.url)
        assert deleted.result == {"deleted": [ids[2]]}
        gone = kerf("models", "--delete", ids[2], "--json", url=running.url)
        assert gone.status == faults.REFUSED
        assert gone.problem["detail"] == f"there is no model '{ids[2]}'"


def test_an_unknown_model_is_told_as_the_api_tells_it(server: Server) -> None:
    """For people the problem is a line with the title and the detail of the API, for programs it
    is the API's JSON; the status is that of a refusal."""
    answer = server.client().get("/models/nope").json()
    done = kerf("models", "nope", url=server.url)
    assert (done.status, done.stdout) == (faults.REFUSED, "")
    assert done.stderr == f"{answer['title']}: {answer['detail']}\n"
    assert kerf("models", "nope", "--json", url=server.url).problem == answer


@pytest.mark.parametrize("command", [("upload",), ("split", "--device", "1")])
def test_what_is_no_model_is_told_as_the_api_tells_it(
    server: Server, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A file that is no ONNX model, one that breaks its rules, and one with an unbound dimension
    have the same title and detail whether the service reads them or this machine."""
    name, *options = command
    good = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[batch, length] x) => (float[batch, length] y) { y = Relu(x) }"""
    )
    bad = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[2] x) => (float[2] y) { y = Relu(z) }"""
    )
    with httpx.Client(base_url=server.url) as client:
        for content in (b"not a model", b"", bad.SerializeToString(), good.SerializeToString()):
            path = tmp_path / "model.onnx"
            path.write_bytes(content)
            rates = ("--server", "1", "--uplink", "1", "--downlink", "1") if options else ()
            done = kerf(name, path, *options, *rates, "--json", url=server.url)
            answer = client.post("/models", files={"file": ("model.onnx", content)}).json()
            assert done.status == faults.BAD_INPUT
            assert {**done.problem, "errors": 0} == {**answer, "errors": 0}, content


def test_problems_are_escaped(server: Server, tmp_path: Path) -> None:
    """What a terminal would take for a command stands in a message as text."""
    path = tmp_path / "evil\x1b[31m.onnx"
    done = kerf("upload", path, url=server.url)
    assert done.status == faults.MACHINE
    assert "\x1b" not in done.stderr
    assert "\\x1b[31m" in done.stderr
    assert json.loads(kerf("upload", path, "--json", url=server.url).stderr)
