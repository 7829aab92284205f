"""Uploads by the client: what leaves the machine, what is told of it, and what is refused."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from app.client import ProblemError, UnreachableError
from app.errors import IngestError
from tests.client.conftest import Connect
from tests.client.driving import Wire, answering
from tests.client.weighted import perceptron, weights
from tests.fixture_models import QUIRKY_FIXTURES
from tests.server import DEMO_BYTES, Server, serving

WIDTH = 64
"""So that a matrix has 16 KiB."""


@pytest.fixture
def weighted_file(tmp_path: Path) -> Path:
    """A model with weights, which the service does not have yet."""
    path = tmp_path / "größe.onnx"
    path.write_bytes(perceptron(weights(WIDTH)))
    return path


def test_weights_stay_here(connect: Connect, server: Server, tmp_path: Path) -> None:
    """No eight bytes of a weight, in whatever form the file has it, are in what is sent; what was
    sent and what was saved make up the file, and the model is that of the file."""
    matrices = weights(WIDTH, seed=7)
    path = tmp_path / "secret.onnx"
    path.write_bytes(perceptron(matrices, as_numbers=["w2"]))
    wire = Wire()
    done = connect(server.url, transport=wire).upload(path)
    (exchange,) = wire.exchanges
    for matrix in matrices.values():
        secret = matrix.tobytes()
        pieces = {secret[start : start + 8] for start in range(0, len(secret), 8)}
        assert not any(piece in exchange.body for piece in pieces)
    assert done.saved_bytes > 2 * 4 * WIDTH * WIDTH - 1000
    assert done.sent_bytes + done.saved_bytes == path.stat().st_size
    assert done.sent_bytes < len(exchange.body) < 4000
    assert done.model.parameter_bytes == 2 * 4 * WIDTH * WIDTH
    assert done.model.weights == "external"


def test_weights_are_sent_where_they_are_to_be(
    connect: Connect, server: Server, weighted_file: Path
) -> None:
    """With weights, the file goes over the wire as it is, and nothing is saved."""
    wire = Wire()
    done = connect(server.url, transport=wire).upload(weighted_file, send_weights=True)
    assert weighted_file.read_bytes() in wire.exchanges[0].body
    assert (done.sent_bytes, done.saved_bytes) == (weighted_file.stat().st_size, 0)
    assert done.model.weights == "not-kept"
    assert done.is_new


def test_a_file_without_weights_saves_little(kerf: Any, tmp_path: Path) -> None:
    """A graph-only file is sent as it is or almost so, and counts truly."""
    path = tmp_path / "demo.onnx"
    path.write_bytes(DEMO_BYTES)
    done = kerf.upload(path)
    assert done.sent_bytes + done.saved_bytes == len(DEMO_BYTES)
    assert abs(done.saved_bytes) < 1000


def test_an_upload_is_told_from_a_repetition(kerf: Any, weighted_file: Path) -> None:
    """The same file again is no new model; with its weights and without, the graph is the same."""
    first, again = kerf.upload(weighted_file), kerf.upload(weighted_file)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.model == first.model
    whole = kerf.upload(weighted_file, send_weights=True)
    assert whole.model.graph_sha256 == first.model.graph_sha256


def test_what_stands_beside_the_file_arrives(
    kerf: Any, weighted_file: Path, tmp_path: Path
) -> None:
    """The name is the file's where none is given; dimensions, batch and parameters are those that
    were given."""
    assert kerf.upload(weighted_file).model.name == "größe"
    bound = kerf.upload(weighted_file, name="other", dims={"batch": 6}, model_batch=3).model
    assert (bound.name, bound.bound_dims, bound.model_batch) == ("other", {"batch": 6}, 3)
    fed = next(fixture for fixture in QUIRKY_FIXTURES if fixture.parameters)
    options = {"dims": dict(fed.dims), "parameters": fed.parameters}
    assert kerf.upload(fed.path, **options).model.parameters == list(fed.parameters)


def test_a_path_may_be_text(kerf: Any, weighted_file: Path) -> None:
    """The path of a file may be given as text."""
    assert kerf.upload(str(weighted_file)).model.name == "größe"


@pytest.mark.parametrize("send_weights", [False, True])
def test_progress_is_told(kerf: Any, tmp_path: Path, send_weights: bool) -> None:
    """Progress grows from piece to piece up to all that is sent, which is no less than what is
    sent of the file."""
    path = tmp_path / "wide.onnx"
    path.write_bytes(perceptron(weights(1024)))
    told: list[tuple[int, int]] = []
    done = kerf.upload(path, send_weights=send_weights, on_progress=lambda *now: told.append(now))
    sent = [sent_bytes for sent_bytes, _ in told]
    totals = {total_bytes for _, total_bytes in told}
    assert sent == sorted(sent)
    assert totals == {sent[-1]}
    assert done.sent_bytes < sent[-1] < done.sent_bytes + 1000
    if send_weights:
        assert len(sent) >= 8


def test_a_file_is_never_held_whole(connect: Connect, server: Server, tmp_path: Path) -> None:
    """A file that is sent with its weights goes from the disk to the wire in pieces: memory does
    not grow with it."""
    path = tmp_path / "large.onnx"
    path.write_bytes(perceptron(weights(2048)))
    size_bytes = path.stat().st_size
    kerf = connect(server.url)
    # What is made once, by the first call, does not count.
    kerf.upload(path, send_weights=True)
    tracemalloc.start()
    try:
        kerf.upload(path, send_weights=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes > 30e6
    assert peak_bytes < 8e6


def test_a_service_may_refuse_in_the_middle(connect: Connect, tmp_path: Path) -> None:
    """A file that is too large for the service is refused in its words, though it has not been
    sent to its end."""
    path = tmp_path / "wide.onnx"
    path.write_bytes(perceptron(weights(1024)))
    with serving(tmp_path, upload_bytes=100_000) as server:
        kerf = connect(server.url)
        with pytest.raises(ProblemError, match="larger than 100000 bytes") as problem:
            kerf.upload(path, send_weights=True)
        assert problem.value.status == 413
        assert kerf.upload(path).is_new


def test_what_is_no_model_is_refused_before_it_is_sent(
    connect: Connect, server: Server, tmp_path: Path
) -> None:
    """A file that is no ONNX model is refused here, unless it is sent as it is: then the service
    refuses it, in the same words. A file that is not there is the system's to refuse."""
    wire = Wire()
    kerf = connect(server.url, transport=wire)
    path = tmp_path / "text.onnx"
    path.write_text("this is no model\n" * 10)
    with pytest.raises(IngestError) as ours:
        kerf.upload(path)
    assert wire.exchanges == []
    with pytest.raises(ProblemError) as theirs:
        kerf.upload(path, send_weights=True)
    assert str(theirs.value) == str(ours.value)
    with pytest.raises(FileNotFoundError):
        kerf.upload(tmp_path / "none.onnx")
    with pytest.raises(IsADirectoryError):
        kerf.upload(tmp_path)


def test_what_is_wrong_beside_the_file_is_said(kerf: Any, weighted_file: Path) -> None:
    """Dimensions and parameters that the model does not have are refused by the service."""
    with pytest.raises(ProblemError, match="sequence"):
        kerf.upload(weighted_file, dims={"sequence": 3})
    with pytest.raises(ProblemError, match="w9"):
        kerf.upload(weighted_file, parameters=["w9"])


def test_a_connection_that_breaks_while_sending(connect: Connect, tmp_path: Path) -> None:
    """A service that goes away while a file is being sent is named."""
    path = tmp_path / "wide.onnx"
    path.write_bytes(perceptron(weights(1024)))
    with (
        answering(b"", resets=True, reads_bytes=1000) as url,
        pytest.raises(UnreachableError) as error,
    ):
        connect(url).upload(path, send_weights=True)
    assert url in str(error.value)
