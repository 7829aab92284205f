"""Names by which nodes are found again."""

from pathlib import Path

import pytest

from app.calibration.execution import whole_bytes
from app.calibration.labels import Labels, makers_in, places_in
from app.halves.comparison import compare
from app.halves.runtime import LoadedModel
from app.halves.verification import run_whole
from app.ingest import dissect_file
from app.ingest.captures import with_inner
from tests.halves.weighted_models import MODELS, WeightedModel
from tests.ingest.build import BOOL, floats, graph, model, node, value


def test_labels_tell_places() -> None:
    """A name made from labels tells of which nodes, and by whose outputs."""
    assert places_in("fused <3>/<12:0>_nchwc") == {3, 12}
    assert makers_in("fused <3>/<12:0>_nchwc") == {12}
    assert places_in("<i1> <w20> gemm_7") == set()


def test_captured_names_are_relabelled_and_own_ones_are_not() -> None:
    """A body reads outer tensors by their labels, its own by their own names, even where it gives
    them names from outside."""
    inner = graph(
        [node("Add", "h w", "w", name="first"), node("Relu", "w", "r", name="h")],
        [],
        [value("r")],
    )
    proto = model(
        [
            node("Relu", "x", "h", name="before"),
            node("If", "c", "y", name="choose", then_branch=inner, else_branch=inner),
        ],
        [value("x"), value("c", [], BOOL)],
        [value("y")],
        [floats("w", 4)],
    )
    labels = Labels(proto)
    assert [item.name for item in proto.graph.node] == ["<0>", "<1>"]
    assert [list(item.input) for item in proto.graph.node] == [["<i0>"], ["<i1>"]]
    body = proto.graph.node[1].attribute[0].g
    assert [item.name for item in body.node] == ["", ""]
    assert [list(item.input) for item in body.node] == [["<0:0>", "<w0>"], ["w"]]
    assert [value.name for value in (*body.output, *proto.graph.output)] == ["r", "<1:0>"]
    assert labels.of("h") == "<0:0>"
    assert labels.restored("<1> wants <0:0> and <w0>, not <9>") == "choose wants h and w, not <9>"


@pytest.mark.parametrize("small", MODELS, ids=str)
def test_a_labelled_model_does_what_it_did(small: WeightedModel, tmp_path: Path) -> None:
    """No label stands for another name than its own: every output is what it was. Only nodes of
    the main graph have names, and no two the same."""
    path = small.write(tmp_path)
    feeds = small.inputs(path)
    whole = run_whole(path, feeds, optimised=False)
    with path.open("rb") as file:
        flat = dissect_file(file, small.options).flat
    labels = Labels(flat)
    names = [item.name for item in with_inner(flat.graph.node) if item.name]
    assert names == [f"<{place}>" for place in range(len(flat.graph.node))]
    labelled = tmp_path / "labelled.onnx"
    labelled.write_bytes(whole_bytes(flat, path))
    loaded = LoadedModel(labelled, "the labelled model", optimised=False)
    found = loaded.run({labels.of(name): value for name, value in feeds.items()})
    for name, right in whole.outputs.items():
        assert compare(right, found[labels.of(name)]).is_equal or not whole.repeats, name
