"""`kerf run-server` and `run-device`: a split inference over loopback, each side a process."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.cli import faults
from app.cli.run import DEFAULT_PORT
from app.execution import DEFAULT_PORT as PORT_OF_THE_RUNTIME
from app.execution import TERMS
from tests.cli.running import DEADLINE_S, RATES, Running, kerf, kerf_process, rows, running
from tests.cli.test_cut import given
from tests.execution.sides import dag_of
from tests.halves.weighted_models import BY_NAME, WeightedModel

QUICK = ("--rounds", "3", "--warm-up", "1")
FOREVER = ("--rounds", "1000000")


@pytest.fixture
def model() -> WeightedModel:
    """A small model with its weights inside."""
    return BY_NAME["residual"]


@contextmanager
def served(half: Path, *options: object, port: int = 0) -> Iterator[Running]:
    """A server half that is served."""
    with running(half.parent, "run-server", half, "--port", port, "--json", *options) as side:
        assert side.process.stdout is not None
        line = side.process.stdout.readline()
        assert line, side.stderr.read_text()
        listening = json.loads(line)
        side.address = f"{listening['host']}:{listening['port']}"
        yield side


def cut(
    model: WeightedModel, directory: Path, name: str = "halves", on_device: int = 1
) -> tuple[Path, Path, dict[str, Any]]:
    """A model's file, its halves with so many of its nodes pinned to the device and all others to
    the server, and the answer of `kerf split`."""
    path = model.write(directory)
    names = dag_of(model, path).node_names
    pins = [
        *(f"--pin-device={each}" for each in names[:on_device]),
        *(f"--pin-server={each}" for each in names[on_device:]),
    ]
    options = (*given(model), *RATES, *pins, "--mode", "inference", "--include-nodes", "--json")
    answer = directory / f"{name}.json"
    answer.write_text(kerf("split", path, *options).stdout)
    assert kerf("cut", path, "--split", answer, "-o", directory / name).status == 0
    return path, directory / name, json.loads(answer.read_text())


@pytest.mark.parametrize("name", ["residual", "split_in_three", "external_one_file", "qdq"])
def test_both_sides_do_what_the_whole_does(tmp_path: Path, name: str) -> None:
    """Each output is that of the whole model, bit for bit without the runtime's optimisations; what
    crossed is what the split said, and the terms of every round add up to its total."""
    path, halves, answer = cut(BY_NAME[name], tmp_path)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **BY_NAME[name].inputs(path))
    for more in ((), ("--exact",)):
        with served(halves / "server.onnx", *more) as server:
            sides = ("run-device", halves / "device.onnx", "--server", server.address, *more)
            done = kerf_process(*sides, "--check", path, "--input", inputs, *QUICK, "--json")
            assert done.status == 0, done.stderr
        found = done.result
        assert found["agrees"] is True
        assert (found["rounds"], found["warm_up_rounds"], found["interruptions"]) == (3, 1, [])
        assert found["uplink_bytes"] == answer["cut"]["quantities"]["uplink_bytes"]
        assert found["result_bytes"] == answer["cut"]["quantities"]["result_bytes"]
        assert len(found["per_round"]) == 3
        for terms in found["per_round"]:
            total_s = terms.pop("total_s")
            assert min(terms.values()) >= 0
            assert sum(terms.values()) == pytest.approx(total_s)
            assert min(terms["device_compute_s"], terms["server_compute_s"]) > 0
        for side in ("device", "server"):
            assert found[side]["optimised"] is not bool(more)


def test_a_table_tells_where_the_time_goes(tmp_path: Path, model: WeightedModel) -> None:
    """For people, each term of an inference has a row, with its share of the total."""
    path, halves, _ = cut(model, tmp_path)
    with served(halves / "server.onnx") as server:
        sides = ("run-device", halves / "device.onnx", "--server", server.address)
        done = kerf(*sides, "--check", path, *QUICK)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith("3 rounds; ")
    head, *terms = rows(done.stdout)
    assert head == ["", "median", "10th percentile", "90th", "of the total"]
    assert [row[0] for row in terms] == [
        term.removesuffix("_s").replace("_", " ") for term in TERMS if term != "model_transfer_s"
    ]
    assert terms[0][-1] == "100.0%"


def test_all_of_a_model_on_one_side(tmp_path: Path, model: WeightedModel) -> None:
    """A device half of everything runs alone; a server half of everything is sent the inputs, made
    up from the whole model or from a file. Either gives what the whole gives."""
    nodes = len(dag_of(model, model.write(tmp_path)).node_names)
    path, device, _ = cut(model, tmp_path, "device", nodes)
    alone = kerf("run-device", device / "device.onnx", "--check", path, *QUICK, "--json")
    assert alone.result["agrees"] is True
    assert (alone.result["server"], alone.result["uplink_bytes"]) == (None, 0)
    _, server, answer = cut(model, tmp_path, "server", 0)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **model.inputs(path))
    with served(server / "server.onnx") as side:
        for source in ((), ("--input", inputs)):
            arguments = ("run-device", "--server", side.address, "--check", path, *source, *QUICK)
            done = kerf(*arguments, "--json")
            assert done.result["agrees"] is True
            assert done.result["device"] is None
            assert done.result["uplink_bytes"] == answer["cut"]["quantities"]["uplink_bytes"]


def test_halves_of_another_split_are_refused_on_both_sides(
    tmp_path: Path, model: WeightedModel
) -> None:
    """A device of another split is told why it is refused, and so is whoever runs the server; the
    right device is served next."""
    path, halves, _ = cut(model, tmp_path)
    _, others, _ = cut(model, tmp_path, "others", 2)
    with served(halves / "server.onnx") as server:
        other = ("run-device", others / "device.onnx", "--server", server.address)
        done = kerf(*other, "--json")
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "other-half")
        assert f"the server at {server.address} refuses: " in done.problem["detail"]
        reason = done.problem["detail"].partition(" refuses: ")[2]
        assert f"refused at its HELLO: {reason}" in server.told("refused")
        assert (
            kerf(*other).stderr == f"The halves do not belong together: {done.problem['detail']}\n"
        )
        right = ("run-device", halves / "device.onnx", "--server", server.address)
        assert kerf(*right, "--check", path, *QUICK, "--json").result["agrees"] is True


def test_a_device_that_is_killed_leaves_the_server_to_the_next(
    tmp_path: Path, model: WeightedModel
) -> None:
    """The server tells that the connection broke, and serves the next device, whose outputs are
    right."""
    path, halves, _ = cut(model, tmp_path)
    with served(halves / "server.onnx") as server:
        sides = ("run-device", halves / "device.onnx", "--server", server.address)
        with running(tmp_path, *sides, *FOREVER) as device:
            server.told("connected")
            busy = kerf(*sides, "--wait", "0", "--json")
            assert (busy.status, busy.problem["type"]) == (faults.NO_SERVICE, "busy-server")
            device.end(signal.SIGKILL)
        server.told("the connection broke")
        assert kerf(*sides, "--check", path, *QUICK, "--json").result["agrees"] is True


def test_a_server_that_is_started_again_goes_on(tmp_path: Path, model: WeightedModel) -> None:
    """A device whose server is killed connects again, tells it, and does all of its rounds; where
    it may not, it says how far it came."""
    path, halves, _ = cut(model, tmp_path)
    half = halves / "server.onnx"
    with served(half) as server:
        port = server.address.rpartition(":")[2]
        sides = ("run-device", halves / "device.onnx", "--server", server.address, "--wait", "60")
        rounds = ("--rounds", "3000", "--check", path, "--json")
        with running(tmp_path, *sides, *rounds) as device:
            server.told("connected")
            server.end(signal.SIGKILL)
            with served(half, port=int(port)) as again:
                device.told("connecting again")
                stdout, _ = device.process.communicate(timeout=DEADLINE_S)
                found = json.loads(stdout)
                assert (found["agrees"], found["rounds"]) == (True, 3000)
                assert len(found["interruptions"]) == 1
                with running(tmp_path, *sides, *FOREVER, "--retries", "0", "--json") as device:
                    again.told("connected")
                    while again.stderr.read_text().count(": connected") < 2:
                        assert again.process.poll() is None
                    again.end(signal.SIGKILL)
                    assert device.process.wait(DEADLINE_S) == faults.NO_SERVICE
                    problem = json.loads(device.stderr.read_text())
                    assert problem["type"] == "broken-link"
                    assert f"the connection to 127.0.0.1:{port} broke" in problem["detail"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_either_side(
    tmp_path: Path, model: WeightedModel, number: signal.Signals
) -> None:
    """A device that is stopped says so, with the status of a stop, and the server serves on; a
    server runs until it is stopped, so that is how it is done, also while it serves."""
    path, halves, _ = cut(model, tmp_path)
    with served(halves / "server.onnx") as server:
        sides = ("run-device", halves / "device.onnx", "--server", server.address)
        with running(tmp_path, *sides, *FOREVER) as device:
            server.told("connected")
            assert device.end(number) == (faults.STOPPED, "")
            assert device.stderr.read_text() == "stopped\n"
        server.told("the connection broke")
        assert kerf(*sides, "--check", path, *QUICK, "--json").result["agrees"] is True
        with running(tmp_path, *sides, *FOREVER, "--retries", "0") as device:
            while server.stderr.read_text().count(": connected") < 3:
                assert server.process.poll() is None
            assert server.end(number) == (faults.DONE, "")
            assert server.stderr.read_text().endswith("stopped\n")
            assert device.process.wait(DEADLINE_S) == faults.NO_SERVICE


def test_outputs_that_differ_are_told(tmp_path: Path, model: WeightedModel) -> None:
    """Held against another model, the outputs are not what it gives: that is told, and the status
    is 1."""
    path, halves, _ = cut(model, tmp_path)
    other = onnx.load(path)
    for tensor in other.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            changed = onnx.numpy_helper.to_array(tensor) * 1.5
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    onnx.save(other, tmp_path / "other.onnx")
    with served(halves / "server.onnx") as server:
        sides = ("run-device", halves / "device.onnx", "--server", server.address)
        done = kerf(*sides, "--check", tmp_path / "other.onnx", *QUICK, "--json")
    assert (done.status, done.result["agrees"]) == (faults.NO, False)
    assert "is not what the whole model gives: " in done.stderr


def test_what_cannot_run_is_told(tmp_path: Path, model: WeightedModel) -> None:
    """Nobody there, an address that is taken or is none, a half on the wrong side, a file that is
    none or no model, wrong inputs, and no inputs, each end with a status and a sentence."""
    _, halves, _ = cut(model, tmp_path)
    device, server = halves / "device.onnx", halves / "server.onnx"
    garbage, inputs = tmp_path / "garbage.onnx", tmp_path / "inputs.npz"
    garbage.write_bytes(b"no model")
    np.savez(inputs, other=np.zeros(3))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for arguments, status, kind, words in (
            (("run-server", server, "--port", port), faults.MACHINE, "cannot-listen", "in use"),
            (("run-server", device), faults.BAD_INPUT, "other-half", "is the device half"),
            (("run-server", garbage), faults.BAD_INPUT, "cannot-run", "cannot load"),
            (("run-server", tmp_path / "no.onnx"), faults.MACHINE, "file-trouble", "No such file"),
            (("run-server", server, "--max-size", "0"), faults.BAD_INPUT, "usage", "1 byte"),
            (("run-server", server, "--max-size", "9x"), faults.BAD_INPUT, "usage", "500M"),
            (("run-device", server), faults.BAD_INPUT, "other-half", "is the server half"),
            (("run-device", device), faults.BAD_INPUT, "other-half", "have kerf run-server run it"),
            (("run-device",), faults.BAD_INPUT, "no-inputs", "--input FILE.npz"),
            (("run-device", "--input", inputs), faults.BAD_INPUT, "cannot-run", "nothing to run"),
            (("run-device", device, "--server", "a:b"), faults.BAD_INPUT, "usage", "HOST:PORT"),
            (("run-device", device, "--input", inputs), faults.BAD_INPUT, "cannot-run", "'x'"),
            (("run-device", device, "--input", garbage), faults.BAD_INPUT, "cannot-run", ".npz"),
            (
                ("run-device", device, "--server", "127.0.0.1:9", "--wait", "0"),
                *(faults.NO_SERVICE, "no-server", "kerf run-server"),
            ),
        ):
            done = kerf(*arguments, "--json")
            assert (done.status, done.problem["type"]) == (status, kind), arguments
            assert words in done.problem["detail"], arguments
            assert words in " ".join(kerf(*arguments).stderr.split()), arguments


def test_a_server_takes_no_more_than_it_is_told(tmp_path: Path, model: WeightedModel) -> None:
    """A device that has to send more than --max-size is told what the server takes."""
    _, halves, answer = cut(model, tmp_path)
    with served(halves / "server.onnx", "--max-size", "0.1Ki") as server:
        sides = ("run-device", halves / "device.onnx", "--server", server.address)
        done = kerf(*sides, "--json")
    assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "cannot-run")
    assert "at most 102 bytes" in done.problem["detail"]
    assert str(answer["cut"]["quantities"]["uplink_bytes"]) in done.problem["detail"]


def test_both_sides_mean_the_same_port() -> None:
    """Where no port is named, a device asks at the one that a server listens at."""
    assert DEFAULT_PORT == PORT_OF_THE_RUNTIME
