"""Weights: counted, never kept, and never looked for outside the upload."""

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message
from onnx import ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper

from app.errors import InvalidModelError
from app.ingest import ingest
from app.store.packing import pack_dag
from tests.ingest.build import (
    BOOL,
    FLOAT,
    INT64,
    dag_of,
    external,
    floats,
    graph,
    ints,
    model,
    node,
    parameters,
    shapes,
    taken,
    value,
)

ROOT = Path(__file__).parents[2]
PLACES = ("initializer", "constant", "integers", "sparse", "body", "body constant", "function")


def model_with_external_data(place: str, location: str) -> ModelProto:
    """A model with one weight of 4 floats, or of 2, that is said to lie at ``location``."""
    inputs, outputs = [value("x"), value("c", [], BOOL)], [value("y")]
    add = node("Add", "x w", "y", name="add")
    weight = external("w", location)
    if place == "initializer":
        return model([add], inputs, outputs, [weight])
    if place == "constant":
        return model([node("Constant", "", "w", value=weight), add], inputs, outputs)
    if place == "integers":
        indices = external("w", location, [4], INT64)
        gather = node("Gather", "x w", "y", name="gather")
        return model([gather], inputs, outputs, [indices])
    if place == "sparse":
        proto = model([add], inputs, outputs)
        indices = external("", location, [2], INT64)
        proto.graph.sparse_initializer.append(
            SparseTensorProto(values=external("w", location, [2]), indices=indices, dims=[4])
        )
        return proto
    if place == "function":
        body = [node("Constant", "", "w", value=weight), node("Add", "X w", "Y")]
        opsets = [helper.make_opsetid("", 17)]
        used, unused = (
            helper.make_function("there", name, ["X"], ["Y"], body, opsets)
            for name in ("Shift", "Unused")
        )
        call = node("Shift", "x", "y", domain="there")
        return model([call], inputs, outputs, domains={"there": 1}, functions=[used, unused])
    branch = {
        "body": graph([add], [], [value("y")], [weight]),
        "body constant": graph([node("Constant", "", "w", value=weight), add], [], [value("y")]),
    }[place]
    choice = node("If", "c", "z", then_branch=branch, else_branch=branch)
    return model([choice, node("Neg", "z", "y")], inputs, outputs)


@pytest.mark.parametrize("place", PLACES)
def test_external_weights_count_without_their_file(place: str) -> None:
    """A weight whose file is not there counts by the type and shape that the model states."""
    dag = taken(model_with_external_data(place, "weights.bin")).dag
    sizes = [size for size, _ in parameters(dag).values()]
    expected = {"integers": [32], "sparse": [2 * 4 + 2 * 8]}
    if place.startswith("body"):
        assert sizes == [16, 16]  # one for each branch
    else:
        assert sizes == expected.get(place, [16])


WATCHER = """
import sys
from pathlib import Path
from app.ingest import ingest

uploads = [Path(name).read_bytes() for name in sys.argv[1:]]
ingest(uploads[0])  # imports and plugins open files of their own
touched = []
sys.addaudithook(lambda event, args: touched.append((event, args)))
for data in uploads[1:]:
    ingest(data)
watched = ("open", "os", "mmap", "shutil", "socket", "subprocess", "glob", "pathlib")
print([(event, args) for event, args in touched if event.split(".")[0] in watched])
"""


@pytest.mark.parametrize("kind", ["absolute file", "relative file", "pipe", "outside"])
def test_external_data_are_never_opened(kind: str, tmp_path: Path) -> None:
    """Ingest opens no file at all, whatever location the weights name: a file that is there, a
    path out of the directory, or a pipe, on which opening from C++, too, would hang."""
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    os.mkfifo(tmp_path / "pipe")
    location = {
        "absolute file": str(tmp_path / "secret.bin"),
        "relative file": "secret.bin",
        "pipe": "pipe",
        "outside": "../../../../../../etc/passwd",
    }[kind]
    names = []
    for number, place in enumerate(("initializer", *PLACES)):
        where = location if number else ""
        names.append(f"{number}.onnx")
        proto = model_with_external_data(place, where)
        (tmp_path / names[-1]).write_bytes(proto.SerializeToString())
    ran = subprocess.run(
        [sys.executable, "-c", WATCHER, *names],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"


def test_whether_a_file_is_there_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the same for a location that exists and for one that does not, so an upload
    cannot probe the server's files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_bytes(bytes(16))
    for place in PLACES:
        for location in ("there", "absent"):
            dag = taken(model_with_external_data(place, location)).dag
            assert dag.parameter_bytes.sum() > 0
    for location in ("there", "absent"):
        attribute = node("ConstantOfShape", "k", "w", value=external("", location, [1]))
        proto = model(
            [attribute, node("Add", "x w", "y")], [value("x")], [value("y")], [ints("k", 4)]
        )
        assert taken(proto).dag.parameter_bytes.tolist() == [16]


def test_weights_are_not_kept() -> None:
    """After ingest no memory of a weight's size is held, and no bytes of it are in the result."""
    megabytes = 16
    rng = np.random.default_rng(0)
    weight = rng.random(megabytes * 2**18, dtype=np.float32)
    proto = model(
        [
            node("Constant", "", "k", value=numpy_helper.from_array(weight, "k")),
            node("Add", "w k", "f"),
            node("Add", "x f", "y", name="add"),
        ],
        [value("x", [len(weight)])],
        [value("y", [len(weight)])],
        [numpy_helper.from_array(weight, "w")],
    )
    data = proto.SerializeToString()
    del proto
    gc.collect()
    tracemalloc.start()
    try:
        ingested = ingest(data)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(parameters(ingested.dag)) == ["k", "w"]
    assert held < 2**20
    # Messages of protobuf lie outside of what tracemalloc sees.
    large = [
        item for item in gc.get_objects() if isinstance(item, Message) and item.ByteSize() > 2**20
    ]
    assert large == []
    packed = pack_dag(ingested.dag)
    assert len(packed) < 2**14
    assert weight[:8].tobytes() not in packed


def test_small_integers_stay_as_arguments() -> None:
    """Shapes, axes and bounds inside the file keep their values, since shapes hang on them."""
    dag = dag_of(
        [node("Reshape", "x shape", "r"), node("Slice", "r from to axis", "y")],
        [value("x", [12])],
        [value("y", ["a", "b"])],
        [ints("shape", 3, -1), ints("from", 1), ints("to", 3), ints("axis", 0)],
    )
    assert shapes(dag) == {"x": (12,), "r": (3, 4), "y": (2, 4)}


def test_old_files_list_weights_among_the_inputs() -> None:
    """In IR version 3 initializers are graph inputs as well, and still are weights."""
    proto = model(
        [node("MatMul", "x w", "h"), node("Reshape", "h s", "y")],
        [value("x", [2, 300]), value("w", [300, 4]), value("s", [1], INT64)],
        [value("y", [8])],
        [floats("w", 300, 4), ints("s", -1)],
        ir_version=3,
        opset=8,
    )
    ingested = taken(proto)
    assert ingested.facts.ir_version == 3
    assert ingested.dag.tensor_names == ("x", "h", "y")
    assert {name: size for name, (size, _) in parameters(ingested.dag).items()} == {
        "w": 4800,
        "s": 8,
    }


def test_symbolic_dimensions_of_listed_weights_are_not_the_callers() -> None:
    """A weight that an old file lists with a symbolic shape needs no binding."""
    proto = model(
        [node("MatMul", "x w", "y")],
        [value("x", [2, 300]), value("w", ["k", "m"])],
        [value("y", [2, 4])],
        [floats("w", 300, 4)],
        ir_version=3,
        opset=8,
    )
    ingested = taken(proto)
    assert ingested.facts.bound_dims == {}
    assert shapes(ingested.dag)["y"] == (2, 4)


def test_sparse_weights_count_values_and_indices() -> None:
    """A sparse initializer has the bytes of what the file stores of it."""
    proto = model([node("Add", "x w", "y")], [value("x", [1000])], [value("y", [1000])])
    values = helper.make_tensor("w", FLOAT, [3], [1.0] * 3)
    indices = helper.make_tensor("i", INT64, [3], [0, 5, 9])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1000]))
    assert parameters(taken(proto).dag) == {"w": (3 * 4 + 3 * 8, ["Add_0"])}


def test_strings_count_by_their_length() -> None:
    """A weight of strings has the bytes of its texts."""
    words = TensorProto(
        name="w", data_type=TensorProto.STRING, dims=[2], string_data=[b"ab", b"cde"]
    )
    dag = dag_of(
        [
            node("Identity", "x", "i"),
            node("Equal", "i w", "e", name="equal"),
            node("Not", "e", "y"),
        ],
        [value("x", [2], TensorProto.STRING)],
        [value("y", [2], BOOL)],
        [words],
        opset=19,
        ir_version=9,
    )
    assert parameters(dag) == {"w": (5, ["equal"])}


@pytest.mark.parametrize(("dtype", "dims"), [(0, [4]), (99, [4]), (FLOAT, [-1]), (FLOAT, [-2, -2])])
def test_a_weight_without_type_or_shape_is_refused(dtype: int, dims: list[int]) -> None:
    """A weight of undefined type or negative extent is named."""
    tensor = TensorProto(name="w", data_type=dtype, dims=dims, raw_data=bytes(16))
    with pytest.raises(InvalidModelError, match="'w'"):
        taken(model([node("Add", "x w", "y")], [value("x")], [value("y")], [tensor]))


def test_a_small_weight_whose_data_do_not_fit_is_refused() -> None:
    """A small weight with too few or too many values for its shape is named."""
    for count in (0, 3, 5):
        tensor = TensorProto(name="w", data_type=FLOAT, dims=[4], float_data=[1.0] * count)
        with pytest.raises(InvalidModelError, match="'w' do not fit"):
            taken(model([node("Add", "x w", "y")], [value("x")], [value("y")], [tensor]))


def test_a_constant_needs_a_value_of_its_type() -> None:
    """A Constant node without a value, with two, or with one of another type is refused."""
    wrong: list[dict[str, object]] = [
        {},
        {"value_int": 1.5},
        {"value": [1, 2]},
        {"value_int": 1, "value_float": 1.0},
        {"unheard_of": 1},
    ]
    for attributes in wrong:
        nodes = [node("Constant", "", "c", **attributes), node("Add", "x c", "y")]
        with pytest.raises(InvalidModelError, match=r"Constant node .*'c'"):
            taken(model(nodes, [value("x")], [value("y")]))


def test_training_graphs_in_the_file_are_ignored() -> None:
    """What a file says about training it is not read, and does not count."""
    proto = model([node("Relu", "x", "y")], [value("x")], [value("y")])
    initialization = proto.training_info.add().initialization
    initialization.name = "start"
    initialization.initializer.append(external("w", "weights.bin"))
    dag = taken(proto).dag
    assert (dag.node_count, len(dag.parameter_names)) == (1, 0)
