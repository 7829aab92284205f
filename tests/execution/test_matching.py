"""Halves that do not belong together are refused, on both sides, in words that say why."""

from pathlib import Path

import numpy as np
import pytest

from app.core.dag import Mask
from app.core.smashed import SmashedDtype
from app.errors import CannotRunError, MissingDataError
from app.execution import Address, Half, HalfServer, Plan, run_rounds
from app.execution.errors import CannotListenError, NoServerError, OtherHalfError
from app.halves import Division, HalfFiles, cut_file
from app.halves.division import Side
from tests.execution.sides import cut_at, dag_of, loaded, one_node, serving
from tests.halves.weighted_models import BY_NAME, WeightedModel
from tests.ingest.build import model, node, value

ONCE = Plan(rounds=1, warm_up_rounds=0, wait_s=0.0)
MODEL = BY_NAME["residual"]


def halves(
    directory: Path,
    nodes: int,
    split_id: str | None = None,
    model_id: str | None = None,
) -> HalfFiles:
    """The halves of a cut with so many nodes on the device, in a directory of their own."""
    target = directory / f"{nodes}-{split_id}-{model_id}"
    path = MODEL.write(directory)
    return cut_at(MODEL, path, first(MODEL, path, nodes), target, split_id, model_id)


def first(weighted: WeightedModel, path: Path, nodes: int) -> Mask:
    """The first nodes of a model."""
    mask: Mask = np.arange(dag_of(weighted, path).node_count) < nodes
    return mask


def refused(device: Half | None, server: Half | None, feeds: dict[str, object]) -> str:
    """Why a server refuses a device; both say the same."""
    assert server is not None
    with serving(server) as served:
        with pytest.raises(OtherHalfError) as caught:
            run_rounds(device, served.server.address, feeds, ONCE)
        told = caught.value.detail.removeprefix(f"the server at {served.server.address} refuses: ")
    assert [event.partition(": ")[2] for event in served.events] == [
        f"refused at its HELLO: {told}"
    ]
    return told


FEEDS: dict[str, object] = {"x": np.ones((2, 3, 8, 8), np.float32)}


def test_halves_of_different_splits_are_refused(tmp_path: Path) -> None:
    """Though the same tensors cross in both."""
    device = loaded(halves(tmp_path, 3, "one"), Side.DEVICE)
    server = loaded(halves(tmp_path, 3, "other"), Side.SERVER)
    told = refused(device, server, FEEDS)
    assert told.startswith("the server half is of split 'other', and the device half of 'one'; run")


def test_halves_of_different_models_are_refused(tmp_path: Path) -> None:
    """Where no service gave their splits an id."""
    device = loaded(halves(tmp_path, 3, None, "one"), Side.DEVICE)
    server = loaded(halves(tmp_path, 3, None, "other"), Side.SERVER)
    told = refused(device, server, FEEDS)
    assert told.startswith("the server half is of model 'other', and the device half of 'one'; run")


@pytest.mark.parametrize(("device_nodes", "server_nodes"), [(1, 3), (3, 1), (4, 9), (9, 4)])
def test_halves_without_ids_are_told_apart_by_what_crosses(
    device_nodes: int, server_nodes: int, tmp_path: Path
) -> None:
    """The server half of another cut takes what the device half does not give."""
    device = loaded(halves(tmp_path, device_nodes), Side.DEVICE)
    server = loaded(halves(tmp_path, server_nodes), Side.SERVER)
    told = refused(device, server, FEEDS)
    assert told.startswith("the server half takes '")
    assert told.endswith("'; run the two halves of one split")


def test_halves_of_one_split_are_served_with_ids_and_without(tmp_path: Path) -> None:
    """What refuses others does not refuse these."""
    for split_id in ("one", None):
        files = halves(tmp_path, 3, split_id)
        server = loaded(files, Side.SERVER)
        assert server is not None
        with serving(server) as served:
            device = loaded(files, Side.DEVICE)
            assert run_rounds(device, served.server.address, FEEDS, ONCE).server_outputs
        assert [event.partition(": ")[2] for event in served.events] == [
            "connected",
            "done after 1 round",
        ]


def test_a_half_on_the_wrong_side_is_refused(tmp_path: Path) -> None:
    """Before anything is listened to or connected to."""
    files = halves(tmp_path, 3)
    assert files.device is not None
    assert files.server is not None
    with pytest.raises(OtherHalfError, match=r"is the device half; the server runs server\.onnx"):
        Half(files.device.path, Side.SERVER)
    with pytest.raises(OtherHalfError, match=r"is the server half; the device runs device\.onnx"):
        Half(files.server.path, Side.DEVICE)


def test_a_device_half_does_not_run_without_its_server(tmp_path: Path) -> None:
    """Its outputs would be taken for those of the model."""
    device = loaded(halves(tmp_path, 3), Side.DEVICE)
    with pytest.raises(OtherHalfError, match=r"the rest of the model is in server\.onnx"):
        run_rounds(device, None, FEEDS, ONCE)


def test_a_whole_model_on_the_device_needs_no_server(tmp_path: Path) -> None:
    """And a server is not taken for its other half."""
    device = loaded(halves(tmp_path, 100), Side.DEVICE)
    server = loaded(halves(tmp_path, 3), Side.SERVER)
    assert run_rounds(device, None, FEEDS, ONCE).server is None
    assert "nothing of its split runs on a server" in refused(device, server, FEEDS)


def test_a_whole_model_on_the_server_takes_no_device_half(tmp_path: Path) -> None:
    """And a server half is not given the model's inputs in place of what crosses."""
    device = loaded(halves(tmp_path, 3), Side.DEVICE)
    whole = loaded(halves(tmp_path, 0), Side.SERVER)
    assert "nothing of its split runs on the device" in refused(device, whole, FEEDS)
    half = loaded(halves(tmp_path, 3), Side.SERVER)
    assert "goes with a device half (device.onnx)" in refused(None, half, FEEDS)


def test_halves_that_both_make_an_output_are_refused(tmp_path: Path) -> None:
    """Models that are no halves of Kerf's are held against each other, too."""
    nodes = [node("Relu", "x", "a"), node("Neg", "a", "y")]
    path = tmp_path / "d.onnx"
    both = model(nodes, [value("x")], [value("a"), value("y")])
    path.write_bytes(both.SerializeToString())
    device = Half(path, Side.DEVICE)
    feeds: dict[str, object] = {"x": np.ones(4, np.float32)}
    server = Half(one_node(tmp_path / "s.onnx", "Relu", "a", "y", 4), Side.SERVER)
    assert "both halves make 'y'" in refused(device, server, feeds)
    other = Half(one_node(tmp_path / "o.onnx", "Relu", "a", "z", 4), Side.SERVER)
    with serving(other) as served:
        found = run_rounds(device, served.server.address, feeds, ONCE)
    assert list(found.server_outputs) == ["z"]
    assert found.sent_bytes == 16


def test_what_crosses_has_to_have_the_type_and_shape_that_is_taken(tmp_path: Path) -> None:
    """A tensor of the right name is not enough."""
    device = Half(one_node(tmp_path / "d.onnx", "Relu", "x", "y", 4), Side.DEVICE)
    server = Half(one_node(tmp_path / "s.onnx", "Relu", "y", "z", 5), Side.SERVER)
    feeds: dict[str, object] = {"x": np.ones(4, np.float32)}
    told = refused(device, server, feeds)
    assert told == "the server half takes 'y' (float32 5), and the device gives 'y' (float32 4)"
    told = refused(None, server, {"y": np.ones(5, np.int64)})
    assert told == "the server half takes 'y' (float32 5), and the device gives 'y' (int64 5)"


def test_halves_that_cast_to_different_types_are_refused(tmp_path: Path) -> None:
    """What the one casts smashed data to has to be what the other casts back."""
    path = MODEL.write(tmp_path)
    names = np.array(dag_of(MODEL, path).node_names, dtype=object)
    division = Division(tuple(names[:3]), tuple(names[3:]))
    sixteen, eight, plain = (
        cut_file(path, MODEL.options, division, tmp_path / str(dtype), smashed_dtype=dtype)
        for dtype in SMASHED
    )
    device = loaded(sixteen, Side.DEVICE)
    for other in (eight, plain):
        told = refused(device, loaded(other, Side.SERVER), FEEDS)
        assert told.startswith("the server half takes '")


SMASHED: tuple[SmashedDtype | None, ...] = ("float16", "int8", None)


def test_parameters_are_sent_once_and_only_if_they_are_named(tmp_path: Path) -> None:
    """An input that is no parameter does not reach the server beside the cut tensors."""
    weighted = next(each for each in BY_NAME.values() if each.options.parameters)
    path = weighted.write(tmp_path)
    feeds = weighted.inputs(path)
    names = weighted.options.parameters
    files = cut_at(weighted, path, first(weighted, path, 1), tmp_path / "halves")
    server, device = loaded(files, Side.SERVER), loaded(files, Side.DEVICE)
    assert server is not None
    taken = [port.name for port in server.takes if port.name in names]
    assert taken
    assert "run the two halves of one split" in refused(device, server, feeds)
    plan = Plan(rounds=3, warm_up_rounds=0, parameters=names)
    with serving(server) as served:
        execution = run_rounds(device, served.server.address, feeds, plan)
    crossing = [port.name for port in server.takes if port.name not in names]
    assert execution.sent_bytes == sum(execution.device_outputs[name].nbytes for name in crossing)


def test_a_half_without_its_weights_cannot_run(tmp_path: Path) -> None:
    """What is missing is named, and where it has to be."""
    weighted = next(each for each in BY_NAME.values() if isinstance(each.builder(), tuple))
    path = weighted.write(tmp_path)
    files = cut_at(weighted, path, first(weighted, path, 1), tmp_path / "halves")
    half = files.server if files.server and files.server.data_path else files.device
    assert half is not None
    assert half.data_path is not None
    half.data_path.unlink()
    side = Side.SERVER if half is files.server else Side.DEVICE
    with pytest.raises(MissingDataError, match=f"are to be in .*{half.data_path.name}"):
        Half(half.path, side)


def test_what_is_no_model_cannot_run(tmp_path: Path) -> None:
    """A file of other bytes is refused by its name; one that is not there by the system."""
    path = tmp_path / "server.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(CannotRunError, match=r"cannot load the server half .*server\.onnx"):
        Half(path, Side.SERVER)
    with pytest.raises(FileNotFoundError):
        Half(tmp_path / "none.onnx", Side.SERVER)


def test_inputs_that_are_missing_are_named(tmp_path: Path) -> None:
    """Before the server is called."""
    device = loaded(halves(tmp_path, 3), Side.DEVICE)
    with pytest.raises(CannotRunError, match="no values are given for the model's inputs 'x'"):
        run_rounds(device, Address("127.0.0.1", 1), {}, ONCE)


def test_nothing_to_run_is_refused() -> None:
    """Neither a half nor a server is no execution."""
    with pytest.raises(CannotRunError, match="there is nothing to run"):
        run_rounds(None, None, {}, ONCE)


def test_an_address_where_nobody_listens_is_told(tmp_path: Path) -> None:
    """With what the system says of it, and what would be right."""
    device = loaded(halves(tmp_path, 3), Side.DEVICE)
    told = r"there is no server at 127.0.0.1:1 \(Connection refused\); start it there: kerf run-"
    with pytest.raises(NoServerError, match=told):
        run_rounds(device, Address("127.0.0.1", 1), FEEDS, ONCE)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_cannot_be_had_is_told(host: str, tmp_path: Path) -> None:
    """A port that is taken, an address of another machine, a name that nobody has."""
    half = Half(one_node(tmp_path / "s.onnx", "Relu", "y", "z", 4), Side.SERVER)
    with serving(half) as served:
        port = served.server.address.port
        with pytest.raises(CannotListenError, match=f"cannot listen at {host}:{port}: [A-Z]"):
            HalfServer(half, host, port)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("edge-1:9000", Address("edge-1", 9000)),
        ("10.0.0.1", Address("10.0.0.1")),
        ("[::1]:9000", Address("::1", 9000)),
        ("[fe80::1%eth0]", Address("fe80::1%eth0")),
    ],
)
def test_addresses_are_read_as_they_are_written(text: str, address: Address) -> None:
    """And written so that they can be read."""
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "host:", "host:0", "host:65536", "::1", "http://host:1", "a b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 192\.168\.1\.20:8473"):
        Address.parse(text)
