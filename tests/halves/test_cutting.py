"""A local file to the files of its halves, and everything that may go wrong on the way."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from app.errors import (
    IngestError,
    InvalidModelError,
    KerfError,
    LimitExceededError,
    MissingDataError,
    NotOnnxError,
    UnboundDimensionError,
    WrongFileError,
)
from app.halves import Division, HalfFile, HalfFiles, cut_file
from app.halves.external import PAGE_BYTES
from app.halves.feeds import seeded_feeds
from app.halves.verification import compare_halves, run_whole
from app.ingest import IngestOptions, ingest_file
from app.ingest.left_out import entries_of, is_external
from app.ingest.limits import Limits
from app.ingest.stripping import strip_file
from app.ingest.tensors import tensors_of_model
from app.ingest.wire import length_header
from tests.halves.weighted_models import BY_NAME
from tests.halves.weighted_models.external import moved, referring
from tests.halves.weighted_models.weighted import Files, tensor, weight
from tests.ingest.build import floats, model, node, value

PLAIN = IngestOptions()
LAYERS = ("a", "ra", "b", "rb", "c")
WIDTH = 32
EACH_BYTES = 4 * WIDTH * WIDTH


def layers(weights: list[TensorProto] | None = None) -> ModelProto:
    """Three products with weights ``wa``, ``wb`` and ``wc`` of 4 KiB each, inside unless given."""
    return model(
        [
            node("MatMul", "x wa", "ha", name="a"),
            node("Tanh", "ha", "ta", name="ra"),
            node("MatMul", "ta wb", "hb", name="b"),
            node("Tanh", "hb", "tb", name="rb"),
            node("MatMul", "tb wc", "y", name="c"),
        ],
        [value("x", [2, WIDTH])],
        [value("y", [2, WIDTH])],
        weights if weights is not None else [weight(name, WIDTH, WIDTH) for name in names()],
    )


def names() -> list[str]:
    """Of the weights."""
    return ["wa", "wb", "wc"]


def external(place: Mapping[str, str]) -> tuple[ModelProto, Files]:
    """The same with each weight in the file that is stated for it."""
    files: Files = {}
    weights = [moved(weight(name, WIDTH, WIDTH), place[name], files) for name in names()]
    return layers(weights), files


def written(directory: Path, proto: ModelProto, files: Files | None = None) -> Path:
    """The path of a model, written with its external data."""
    for place, content in (files or {}).items():
        (directory / place).parent.mkdir(parents=True, exist_ok=True)
        (directory / place).write_bytes(content)
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def division(count: int) -> Division:
    """The first nodes of ``layers`` on the device."""
    return Division(LAYERS[:count], LAYERS[count:])


def cut(path: Path, directory: Path, count: int = 2, **options: Any) -> HalfFiles:
    """Cut a file of ``layers``."""
    return cut_file(path, PLAIN, division(count), directory, **options)


def content_of(directory: Path) -> dict[str, bytes]:
    """The names and the bytes of all that lies in a directory, at any depth."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in directory.rglob("*")
    }


def half_of(files: HalfFiles, side: str) -> HalfFile:
    """One of the halves, which has to be there."""
    half: HalfFile | None = getattr(files, side)
    assert half is not None
    return half


def require_equal(path: Path, files: HalfFiles) -> None:
    """Have the halves do what the whole does, bit for bit."""
    whole = run_whole(path, seeded_feeds(path, {}, 7), optimised=False)
    device, server = (half.path if half else None for half in (files.device, files.server))
    assert all(item.is_equal for item in compare_halves(whole, device, server))


def test_weights_inside_stay_inside(tmp_path: Path) -> None:
    """A half of a model with its weights inside is one file, with its weights inside as the file
    has them."""
    path = written(tmp_path, layers())
    files = cut(path, tmp_path / "out")
    device, server = half_of(files, "device"), half_of(files, "server")
    assert content_of(tmp_path / "out").keys() == {"device.onnx", "server.onnx"}
    for half, held in ((device, ["wa"]), (server, ["wb", "wc"])):
        assert half.data_path is None
        assert half.nbytes == half.path.stat().st_size
        proto = onnx.load(half.path)
        assert [item.name for item in proto.graph.initializer] == held
        assert [item.raw_data for item in proto.graph.initializer] == [
            weight(name, WIDTH, WIDTH).raw_data for name in held
        ]
    require_equal(path, files)


def test_external_data_go_beside_each_half(tmp_path: Path) -> None:
    """The halves of a model with external data, in several files and folders, have one file each
    with what they use and nothing else, beside them, each weight at the beginning of a page."""
    place = {"wa": "deep/er/a.bin", "wb": "weights.bin", "wc": "weights.bin"}
    path = written(tmp_path, *external(place))
    before = content_of(tmp_path)
    files = cut(path, tmp_path / "out")
    assert {name: content_of(tmp_path)[name] for name in before} == before
    assert content_of(tmp_path / "out").keys() == {
        *("device.onnx", "device.onnx.data", "server.onnx", "server.onnx.data"),
    }
    for side, held in (("device", ["wa"]), ("server", ["wb", "wc"])):
        half = half_of(files, side)
        assert half.data_path == tmp_path / "out" / f"{side}.onnx.data"
        data = half.data_path.read_bytes()
        assert half.nbytes == half.path.stat().st_size + len(data)
        assert half.path.stat().st_size < 2000
        proto = ModelProto.FromString(half.path.read_bytes())
        assert len(data) == EACH_BYTES * len(held)
        for item in proto.graph.initializer:
            entries = entries_of(item)
            assert entries["location"] == f"{side}.onnx.data"
            start = int(entries["offset"])
            assert start % PAGE_BYTES == 0
            assert int(entries["length"]) == EACH_BYTES
            assert data[start : start + EACH_BYTES] == weight(item.name, WIDTH, WIDTH).raw_data
    require_equal(path, files)


def test_a_weight_of_both_halves_is_in_both(tmp_path: Path) -> None:
    """One weight that all products use is once in each half's file."""
    files: Files = {}
    held = moved(weight("w", WIDTH, WIDTH), "weights.bin", files)
    proto = layers([held])
    for made in proto.graph.node:
        made.input[:] = ["w" if name in names() else name for name in made.input]
    path = written(tmp_path, proto, files)
    halves = cut(path, tmp_path / "out", 3)
    for side in ("device", "server"):
        data_path = half_of(halves, side).data_path
        assert data_path is not None
        assert data_path.read_bytes() == weight("w", WIDTH, WIDTH).raw_data
    require_equal(path, halves)


def test_a_range_that_tensors_share_is_stored_once(tmp_path: Path) -> None:
    """Tensors with the same range of a file share it in the half's file, too, by whatever path they
    name the file; other ranges of it, overlapping ones included, are stored for themselves."""
    data = weight("data", 3 * WIDTH, WIDTH).raw_data
    shape = weight("wa", WIDTH, WIDTH)
    weights = [
        referring(shape, "w.bin", 100, EACH_BYTES),
        referring(weight("wb", WIDTH, WIDTH), "./w.bin", 100, EACH_BYTES),
        referring(weight("wc", WIDTH, WIDTH), "w.bin", 104, EACH_BYTES),
    ]
    path = written(tmp_path, layers(weights), {"w.bin": data})
    halves = cut(path, tmp_path / "out", 5)
    data_path = half_of(halves, "device").data_path
    assert data_path is not None
    assert data_path.read_bytes() == data[100 : 100 + EACH_BYTES] + data[104 : 104 + EACH_BYTES]
    require_equal(path, halves)


def test_offsets_and_lengths_may_be_left_out(tmp_path: Path) -> None:
    """Without an offset data begin the file, and without a length they are as long as type and
    shape take, be the file longer."""
    content = weight("wa", WIDTH, WIDTH).raw_data
    bare = referring(weight("wa", WIDTH, WIDTH), "wa.bin", 0, 0, entries="location")
    proto = layers([bare, *(weight(name, WIDTH, WIDTH) for name in ("wb", "wc"))])
    path = written(tmp_path, proto, {"wa.bin": content + b"more"})
    halves = cut(path, tmp_path / "out")
    half = half_of(halves, "device")
    assert half.data_path is not None
    assert half.data_path.read_bytes() == content
    (held,) = onnx.load(half.path, load_external_data=False).graph.initializer
    assert entries_of(held) == {
        "location": "device.onnx.data", "offset": "0", "length": str(EACH_BYTES)
    }  # fmt: skip
    assert half_of(halves, "server").data_path is None


def test_offsets_beyond_four_gigabytes(tmp_path: Path) -> None:
    """Data far into a file, here of 6 GB of which nearly all is a hole, are found."""
    held = [weight(name, WIDTH, WIDTH) for name in names()]
    starts = [0, 2**32 + 5, 6 * 10**9]
    weights = [
        referring(item, "large.bin", start, EACH_BYTES)
        for item, start in zip(held, starts, strict=True)
    ]
    path = written(tmp_path, layers(weights))
    with (tmp_path / "large.bin").open("wb") as file:
        for item, start in zip(held, starts, strict=True):
            file.seek(start)
            file.write(item.raw_data)
    halves = cut(path, tmp_path / "out", 1)
    data_path = half_of(halves, "server").data_path
    assert data_path is not None
    assert data_path.read_bytes() == held[1].raw_data + held[2].raw_data


def test_a_file_of_three_gigabytes(tmp_path: Path) -> None:
    """A single file that no protobuf library would read any more, as 3 GB of weights are inside
    that nothing uses, is cut, and what lies behind these is found."""
    path = tmp_path / "model.onnx"
    proto = layers()
    rest = ModelProto()
    rest.graph.initializer.extend(proto.graph.initializer)
    del proto.graph.initializer[:]
    nobody = TensorProto(name="nobody", dims=[3 * 10**9], data_type=TensorProto.INT8)
    head = nobody.SerializeToString() + length_header(9, 3 * 10**9)
    head = length_header(5, len(head) + 3 * 10**9) + head
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.write(length_header(7, len(head) + 3 * 10**9) + head)
        file.seek(3 * 10**9, os.SEEK_CUR)
        file.write(rest.SerializeToString())
    assert path.stat().st_size > 3 * 10**9
    halves = cut(path, tmp_path / "out")
    assert (tmp_path / "out" / "server.onnx").stat().st_size < 10_000
    small = tmp_path / "small.onnx"
    small.write_bytes(layers().SerializeToString())
    require_equal(small, halves)


def test_a_half_too_large_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a half would be larger than protobuf reads, its weights go to a file beside it, and
    those of a smaller half stay inside; both equal the whole."""
    path = written(tmp_path, layers())
    within = cut(path, tmp_path / "within")
    monkeypatch.setattr("app.halves.external.LARGEST_MODEL_BYTES", EACH_BYTES + 2000)
    halves = cut(path, tmp_path / "out")
    device, server = half_of(halves, "device"), half_of(halves, "server")
    assert device.path.read_bytes() == half_of(within, "device").path.read_bytes()
    assert server.data_path is not None
    assert server.data_path.stat().st_size == 2 * EACH_BYTES
    assert server.path.stat().st_size < 2000
    onnx.checker.check_model(str(server.path), full_check=True)
    require_equal(path, halves)


def test_the_graph_counts_toward_the_largest_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the whole file: a half whose weights alone would be small enough, but not
    with all that its graph says, has them beside it."""
    proto = layers()
    proto.metadata_props.add(key="labels", value="x" * 10_000)
    path = written(tmp_path, proto)
    monkeypatch.setattr("app.halves.external.LARGEST_MODEL_BYTES", EACH_BYTES + 9000)
    halves = cut(path, tmp_path / "out")
    assert half_of(halves, "device").data_path is not None
    require_equal(path, halves)


def test_typed_data_of_a_half_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers in typed fields cannot be moved to another file; the message says what to do."""
    proto = layers([floats(name, WIDTH, WIDTH) for name in names()])
    path = written(tmp_path, proto)
    monkeypatch.setattr("app.halves.external.LARGEST_MODEL_BYTES", EACH_BYTES)
    message = "'wa' cannot go to a file of their own.*save the model with external data"
    require_refused(path, tmp_path / "out", InvalidModelError, message)


def test_everything_on_one_side(tmp_path: Path) -> None:
    """There is one half, and none for the other side; what an earlier cut left of that is gone."""
    place = dict.fromkeys(names(), "weights.bin")
    path = written(tmp_path, *external(place))
    out = tmp_path / "out"
    cut(path, out)
    (out / "server.onnx.txt").write_text("not a half")
    files = cut(path, out, 5)
    assert files.server is None
    assert content_of(out).keys() == {"device.onnx", "device.onnx.data", "server.onnx.txt"}
    require_equal(path, files)
    files = cut(path, out, 0)
    assert files.device is None
    assert content_of(out).keys() == {"server.onnx", "server.onnx.data", "server.onnx.txt"}
    require_equal(path, files)


def test_a_later_cut_replaces_an_earlier_one(tmp_path: Path) -> None:
    """Halves of another cut, and the data beside them, are replaced; no data of an earlier cut are
    left beside a half that has none."""
    out = tmp_path / "out"
    cut(written(tmp_path, *external(dict.fromkeys(names(), "weights.bin"))), out)
    path = written(tmp_path, layers())
    files = cut(path, out, 3)
    assert content_of(out).keys() == {"device.onnx", "server.onnx"}
    require_equal(path, files)


def test_the_source_may_lie_in_the_same_directory(tmp_path: Path) -> None:
    """Halves may be written beside the model, and leave it alone."""
    path = written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))
    before = content_of(tmp_path)
    require_equal(path, cut(path, tmp_path))
    after = content_of(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    "target", ["device.onnx", "server.onnx", "device.onnx.data", "server.onnx.data"]
)
@pytest.mark.parametrize("count", [0, 2, 5])
def test_halves_do_not_replace_their_source(tmp_path: Path, target: str, count: int) -> None:
    """A model, or its external data, of a half's name is not overwritten nor removed, whether that
    half is written or not."""
    if target.endswith(".data"):
        path = written(tmp_path, *external(dict.fromkeys(names(), target)))
    else:
        path = written(tmp_path, layers()).rename(tmp_path / target)
    before = content_of(tmp_path)
    with pytest.raises(WrongFileError, match=f"would replace .*{target}.*another directory"):
        cut(path, tmp_path, count)
    assert content_of(tmp_path) == before
    require_equal(path, cut(path, tmp_path / "out", count))


@pytest.mark.parametrize("target", ["device.onnx", "server.onnx.data"])
def test_halves_do_not_replace_their_source_by_another_name(tmp_path: Path, target: str) -> None:
    """The same where the source is a link to that file, or the directory is."""
    (tmp_path / "real").mkdir()
    place = dict.fromkeys(names(), "server.onnx.data")
    path = written(tmp_path / "real", *external(place)).rename(tmp_path / "real" / "device.onnx")
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    if target == "device.onnx":
        link = tmp_path / "link.onnx"
        link.symlink_to(path)
        (tmp_path / "server.onnx.data").symlink_to(tmp_path / "real" / "server.onnx.data")
        path = link
    before = content_of(tmp_path)
    with pytest.raises(WrongFileError, match="would replace"):
        cut(path, tmp_path / "linked")
    assert content_of(tmp_path) == before


def test_a_linked_source(tmp_path: Path) -> None:
    """A model that is a link is cut as the file it leads to; external data are looked for where the
    link is, as runtimes do, and may be links themselves."""
    (tmp_path / "real").mkdir()
    path = written(tmp_path / "real", *external(dict.fromkeys(names(), "weights.bin")))
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "model.onnx"
    link.symlink_to(path)
    with pytest.raises(MissingDataError, match=r"links.weights\.bin"):
        cut(link, tmp_path / "out")
    (tmp_path / "links" / "weights.bin").symlink_to(tmp_path / "real" / "weights.bin")
    require_equal(path, cut(link, tmp_path / "out"))


def test_links_out_of_the_models_directory(tmp_path: Path) -> None:
    """External data that are a link to somewhere else are refused: a model from a stranger does not
    get at other files."""
    (tmp_path / "elsewhere").mkdir()
    path = written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))
    secret = (tmp_path / "weights.bin").rename(tmp_path / "elsewhere" / "secret")
    (tmp_path / "model").mkdir()
    path = path.rename(tmp_path / "model" / "model.onnx")
    (tmp_path / "model" / "weights.bin").symlink_to(secret)
    before = content_of(tmp_path)
    with pytest.raises(InvalidModelError, match="no links that lead out of it"):
        cut(path, tmp_path / "out")
    assert content_of(tmp_path) == before


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source and directory may be relative to where one is."""
    written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))
    monkeypatch.chdir(tmp_path)
    require_equal(Path("model.onnx"), cut(Path("model.onnx"), Path("a/b")))


def progress_of(path: Path, directory: Path, count: int = 2) -> tuple[list[tuple[int, int]], int]:
    """What is reported while a file is cut, and the bytes of the halves."""
    reports: list[tuple[int, int]] = []
    files = cut(
        path, directory, count, on_progress=lambda done, total: reports.append((done, total))
    )
    halves = [half for half in (files.device, files.server) if half is not None]
    return reports, sum(half.nbytes for half in halves)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("is_external", [False, True], ids=["inside", "external"])
def test_progress_counts_up_to_the_total(tmp_path: Path, count: int, is_external: bool) -> None:
    """Progress begins at 0, never goes back, and ends at the total, which is the bytes written."""
    proto, files = (
        external(dict.fromkeys(names(), "weights.bin")) if is_external else (layers(), {})
    )
    path = written(tmp_path, proto, files)
    reports, nbytes = progress_of(path, tmp_path / "out", count)
    assert {total for _, total in reports} == {nbytes}
    done = [bytes_done for bytes_done, _ in reports]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, nbytes)
    assert sum(map(len, content_of(tmp_path / "out").values())) == nbytes


def test_progress_is_reported_as_it_is_made(tmp_path: Path) -> None:
    """A weight of 5 MiB takes several steps."""
    large = tensor("wa", np.ones((WIDTH, WIDTH * 1280), np.float32))
    proto = model(
        [node("MatMul", "x wa", "h", name="a"), node("Relu", "h", "y", name="ra")],
        [value("x", [2, WIDTH])],
        [value("y", [2, WIDTH * 1280])],
        [large],
    )
    path = written(tmp_path, proto)
    steps: list[int] = []
    split = Division(("a",), ("ra",))
    cut_file(path, PLAIN, split, tmp_path / "out", on_progress=lambda done, _: steps.append(done))
    assert len(steps) > 5
    assert max(later - before for before, later in pairwise(steps)) <= 2**20


def require_refused(
    path: Path,
    directory: Path,
    error: type[BaseException],
    message: str | None,
    how: Callable[[], object] | None = None,
) -> None:
    """Have a cut fail, twice: where nothing is, and where the halves of an earlier cut are. Either
    time all stays as it was. The directory lies somewhere beside the file."""
    other = path.parent / "other.onnx"
    other.write_bytes(layers().SerializeToString())
    for earlier in (False, True):
        if earlier:
            cut(other, directory)
        before = content_of(path.parent)
        with pytest.raises(error, match=message):
            (how or (lambda: cut(path, directory)))()
        assert content_of(path.parent) == before


def test_another_file(tmp_path: Path) -> None:
    """A file whose graph has another digest than the uploaded one is refused with both digests and
    what to do; the right digest is taken."""
    path = written(tmp_path, layers())
    with path.open("rb") as file:
        digest = ingest_file(file).facts.graph_sha256
    wrong = "0" * 64
    message = (
        rf"model\.onnx is not the model that was uploaded.*{digest[:12]}….*{wrong[:12]}….*take"
    )
    require_refused(
        path,
        tmp_path / "out",
        WrongFileError,
        message,
        lambda: cut(path, tmp_path / "out", graph_sha256=wrong),
    )
    require_equal(path, cut(path, tmp_path / "out", graph_sha256=digest))


def test_other_weights_are_another_matter(tmp_path: Path) -> None:
    """A file of the same graph with other numbers in its weights is taken: what was uploaded may
    have been stripped of them."""
    path = written(tmp_path, layers())
    with path.open("rb") as file:
        digest = ingest_file(file).facts.graph_sha256
    retrained = layers([weight(f"{name}'", WIDTH, WIDTH) for name in names()])
    for item, name in zip(retrained.graph.initializer, names(), strict=True):
        item.name = name
    path = written(tmp_path, retrained)
    require_equal(path, cut(path, tmp_path / "out", graph_sha256=digest))


@pytest.mark.parametrize(
    "split",
    [
        Division(("a",), ("b",)),
        Division((), ()),
        Division(("b",), tuple(name for name in LAYERS if name != "b")),
    ],
    ids=["too few", "none", "no cut"],
)
def test_nodes_of_another_model(tmp_path: Path, split: Division) -> None:
    """A division of other nodes, and one that is no cut, are refused."""
    path, out = written(tmp_path, layers()), tmp_path / "out"
    how = partial(cut_file, path, PLAIN, split, out)
    require_refused(path, out, WrongFileError, "take the file", how)


def test_missing_external_data(tmp_path: Path) -> None:
    """Files that are not there are named, with where they should be; only those that a half uses
    have to be there."""
    place = {"wa": "there.bin", "wb": "sub/missing.bin", "wc": "other.bin"}
    path = written(tmp_path, *external(place))
    (tmp_path / "sub" / "missing.bin").unlink()
    (tmp_path / "other.bin").unlink()
    message = r"are not there: .*other\.bin, .*sub.missing\.bin; put them beside the model"
    require_refused(path, tmp_path / "out", MissingDataError, message)
    (tmp_path / "other.bin").mkdir()
    require_refused(path, tmp_path / "out", MissingDataError, message)


def test_many_missing_files(tmp_path: Path) -> None:
    """Of many files that are not there, the first five are named, and how many more there are."""
    weights = [
        referring(weight(f"w{index}", WIDTH, WIDTH), f"w{index}.bin", 0, EACH_BYTES)
        for index in range(8)
    ]
    nodes = [
        node(
            "MatMul",
            f"{'x' if index == 0 else f'h{index - 1}'} w{index}",
            f"h{index}",
            name=f"n{index}",
        )
        for index in range(8)
    ]
    proto = model(nodes, [value("x", [2, WIDTH])], [value("h7", [2, WIDTH])], weights)
    path = written(tmp_path, proto)
    split = Division((), tuple(f"n{index}" for index in range(8)))
    with pytest.raises(MissingDataError, match=r"w0\.bin, .*w4\.bin and 3 more; put them"):
        cut_file(path, PLAIN, split, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_external_data_cut_short(tmp_path: Path) -> None:
    """A file that ends before the data do is named, with both places."""
    path = written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))
    os.truncate(tmp_path / "weights.bin", 2 * EACH_BYTES + 100)
    message = (
        rf"weights\.bin ends at byte {2 * EACH_BYTES + 100}, and .* up to byte {3 * EACH_BYTES}"
    )
    require_refused(path, tmp_path / "out", MissingDataError, message)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "..\\weights.bin", "C:\\weights.bin",
     "C:weights.bin", "\\\\server\\share", "a/..", ".."],
)  # fmt: skip
def test_locations_outside_of_the_directory(tmp_path: Path, location: str) -> None:
    """External data that are said to lie outside of the model's directory are refused, on any
    system and in any spelling."""
    (tmp_path / "weights.bin").write_bytes(bytes(EACH_BYTES))
    (tmp_path / "in").mkdir()
    weights = [referring(weight(name, WIDTH, WIDTH), location, 0, EACH_BYTES) for name in names()]
    path = written(tmp_path / "in", layers(weights))
    require_refused(path, tmp_path / "out", InvalidModelError, "'wa' lie at .* ONNX allows only")


@pytest.mark.parametrize("location", ["", ".", "a\0b", "missing?"], ids=repr)
def test_locations_that_are_no_file(tmp_path: Path, location: str) -> None:
    """Names that no file can have, and text that is no text, are data that are not there."""
    weights = [referring(weight(name, WIDTH, WIDTH), location, 0, EACH_BYTES) for name in names()]
    path = written(tmp_path, layers(weights))
    path.write_bytes(path.read_bytes().replace(b"missing?", b"missing\xff"))
    require_refused(path, tmp_path / "out", MissingDataError, "are not there.*put them beside")


@pytest.mark.parametrize(
    ("key", "text"),
    [("offset", "-1"), ("offset", "1.5"), ("offset", "x"), ("length", "-4"), ("length", "9" * 30),
     ("length", ""), ("offset", "?")],
)  # fmt: skip
def test_offsets_that_are_none(tmp_path: Path, key: str, text: str) -> None:
    """An offset or a length that is no count of bytes is refused with the tensor's name."""
    path = written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))
    proto = ModelProto.FromString(path.read_bytes())
    (entry,) = [item for item in proto.graph.initializer[1].external_data if item.key == key]
    entry.value = text
    path.write_bytes(proto.SerializeToString().replace(b"?", b"\xff"))
    require_refused(
        path, tmp_path / "out", InvalidModelError, "'wb' have no valid offset and length"
    )


def test_a_stripped_file(tmp_path: Path) -> None:
    """A stripped file without the one that it was made from is told what is missing; beside it, it
    is cut as the whole is."""
    path = written(tmp_path, layers())
    stripped = tmp_path / "stripped.onnx"
    with path.open("rb") as file:
        stripped.write_bytes(strip_file(file, "model.onnx").content)
    require_equal(path, cut(stripped, tmp_path / "first"))
    path.rename(tmp_path / "elsewhere.onnx")
    message = r"are not there: .*model\.onnx"
    require_refused(stripped, tmp_path / "out", MissingDataError, message)


def test_data_that_were_left_out_for_good(tmp_path: Path) -> None:
    """Typed data that stripping could not refer to are missing, with what to take instead."""
    whole = written(tmp_path, layers([floats(name, WIDTH, WIDTH) for name in names()]))
    stripped = tmp_path / "stripped.onnx"
    with whole.open("rb") as file:
        stripped.write_bytes(strip_file(file, "model.onnx").content)
    message = "'wa' are not in the file, nor does it say where.*from which the weights were not"
    require_refused(stripped, tmp_path / "out", MissingDataError, message)
    require_equal(whole, cut(whole, tmp_path / "out"))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", NotOnnxError, "empty"),
        (b"hello, world", NotOnnxError, "not an ONNX model"),
        (layers().SerializeToString()[:-9], NotOnnxError, "truncated"),
        (model([], [], []).SerializeToString(), WrongFileError, "not the 0"),
    ],
    ids=["empty", "text", "cut short", "nothing"],
)
def test_what_is_no_model(
    tmp_path: Path, content: bytes, error: type[KerfError], message: str
) -> None:
    """A file that is no model, or none that has these nodes, is refused as at an upload."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    require_refused(path, tmp_path / "out", error, message)


def test_bad_options(tmp_path: Path) -> None:
    """Dimensions that are not bound, and limits, hold as at an upload."""
    proto = layers()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
    path, out = written(tmp_path, proto), tmp_path / "out"
    require_refused(path, out, UnboundDimensionError, "'n' is axis 1 of 'x'")
    limits = Limits(nodes=3)
    require_refused(path, out, LimitExceededError, "3", lambda: cut(path, out, limits=limits))
    assert issubclass(LimitExceededError, IngestError)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    """What is wrong with files themselves is an ``OSError``: no such model, a directory for a
    model, a file or a directory where a half should go."""
    path = written(tmp_path, layers())
    with pytest.raises(FileNotFoundError):
        cut(tmp_path / "nothing.onnx", tmp_path / "out")
    with pytest.raises(IsADirectoryError):
        cut(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileExistsError):
        cut(path, tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        cut(path, tmp_path / "file" / "out")
    for name in ("device.onnx", "server.onnx", "server.onnx.data"):
        out = tmp_path / f"for {name}"
        cut(path, out)
        (out / name).unlink(missing_ok=True)
        (out / name / "inside").mkdir(parents=True)
        before = content_of(out)
        with pytest.raises(IsADirectoryError, match="where a directory is"):
            cut(path, out, 3)
        assert content_of(out) == before


class StopError(Exception):
    """Raised by a test where a person would stop."""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), StopError("stop"), OSError(errno.EIO, "broken")], ids=repr
)
def test_an_interruption(tmp_path: Path, share: float, error: BaseException) -> None:
    """Whatever interrupts a cut, at its beginning, in its midst or at its end: nothing half-written
    is left, and the halves of an earlier cut are as they were."""
    path = written(tmp_path, *external(dict.fromkeys(names(), "weights.bin")))

    def stop(done: int, total: int) -> None:
        if done >= share * total:
            raise error

    require_refused(
        path,
        tmp_path / "out" / "deep" / "er",
        type(error),
        None,
        lambda: cut(path, tmp_path / "out" / "deep" / "er", on_progress=stop),
    )


def test_made_directories_go_as_well(tmp_path: Path) -> None:
    """Directories that were made for halves that failed are gone; those that were there stay."""
    path = written(tmp_path, layers())
    (tmp_path / "there").mkdir()

    def stop(done: int, total: int) -> None:
        if done:
            raise StopError(total)

    with pytest.raises(StopError):
        cut(path, tmp_path / "there" / "a" / "b", on_progress=stop)
    assert content_of(tmp_path / "there") == {}


@pytest.mark.parametrize("is_external", [False, True], ids=["inside", "external"])
def test_a_source_that_shrinks_meanwhile(tmp_path: Path, is_external: bool) -> None:
    """A file that becomes shorter while it is copied is missing data, not halves with less."""
    large = tensor("wa", np.ones((WIDTH, 2**16), np.float32))
    files: Files = {}
    held = moved(large, "weights.bin", files) if is_external else large
    proto = model(
        [node("MatMul", "x wa", "h", name="a"), node("Relu", "h", "y", name="ra")],
        [value("x", [2, WIDTH])],
        [value("y", [2, 2**16])],
        [held],
    )
    path = written(tmp_path, proto, files)
    source = tmp_path / "weights.bin" if is_external else path

    def shrink(done: int, total: int) -> None:
        if total // 4 < done < total // 2:
            os.truncate(source, total // 2)

    with pytest.raises(
        MissingDataError, match=rf"{source.name} ended at byte \d+ while it was read"
    ):
        cut_file(path, PLAIN, Division(("a",), ("ra",)), tmp_path / "out", on_progress=shrink)
    assert not (tmp_path / "out").exists()


FULL = """
import resource, sys
from pathlib import Path
from app.errors import DiskFullError
from app.halves import Division, cut_file
from app.ingest import IngestOptions

source, directory, *nodes = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
try:
    division = Division(tuple(nodes[:2]), tuple(nodes[2:]))
    cut_file(Path(source), IngestOptions(), division, Path(directory))
except DiskFullError as error:
    print(error)
"""


@pytest.mark.parametrize("is_external", [False, True], ids=["inside", "external"])
def test_a_full_disk(tmp_path: Path, is_external: bool) -> None:
    """Where a file cannot grow any further, the message says how much room is wanted and where;
    nothing half-written is left, and the halves of an earlier cut are as they were."""
    proto, files = (
        external(dict.fromkeys(names(), "weights.bin")) if is_external else (layers(), {})
    )
    path = written(tmp_path, proto, files)
    _, nbytes = progress_of(path, tmp_path / "room")

    def fill(directory: Path) -> str:
        command = [sys.executable, "-c", FULL, str(path), str(directory), *LAYERS]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    new, old = tmp_path / "new", tmp_path / "room"
    before = content_of(tmp_path)
    for directory in (new, old):
        assert fill(directory) == (
            f"there is no room in {directory} for {nbytes} bytes; make room, or write elsewhere. "
            "Nothing has been written\n"
        )
        assert content_of(tmp_path) == before


def test_the_files_are_as_the_file_system_would_have_them(tmp_path: Path) -> None:
    """Halves are files that others may read as any other file that is made there."""
    path = written(tmp_path, layers())
    files = cut(path, tmp_path / "out")
    (tmp_path / "any").write_text("")
    assert half_of(files, "device").path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_types_survive(tmp_path: Path) -> None:
    """Data of zero bytes, of 4 bits, of text, and scalars come through, external or not."""
    arrays: dict[str, NDArray[Any]] = {
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(3.5, np.float32),
        "large": np.arange(400, dtype=np.float64),
        "short": np.arange(4000, dtype=np.int16),
    }
    for is_outside in (False, True):
        directory = tmp_path / str(is_outside)
        directory.mkdir()
        files: Files = {}
        held = [tensor(name, array) for name, array in arrays.items()]
        if is_outside:
            held = [moved(item, "weights.bin", files) for item in held]
        proto = model(
            [
                node("Identity", "x", "a", name="a"),
                *(node("Identity", name, f"{name}.out") for name in arrays),
                node("Identity", "a", "y", name="y"),
            ],
            [value("x", [2])],
            [
                value("y", [2]),
                *(value(f"{item.name}.out", list(item.dims), item.data_type) for item in held),
            ],
            held,
        )
        path = written(directory, proto, files)
        halves = cut_file(path, PLAIN, Division(("a",), ("y",)), directory / "out")
        found = onnx.load(half_of(halves, "device").path)
        for item in found.graph.initializer:
            assert np.array_equal(numpy_helper.to_array(item), arrays[item.name])
        require_equal(path, halves)


@pytest.mark.parametrize("name", ["external_in_bodies", "external_in_attribute"])
def test_no_reference_to_the_source_is_left(tmp_path: Path, name: str) -> None:
    """Every external tensor of a half, in bodies and attributes too, refers to the half's file."""
    weighted = BY_NAME[name]
    path = weighted.write(tmp_path)
    with path.open("rb") as file:
        dag = ingest_file(file, weighted.options).dag
    split = Division(dag.node_names[:1], dag.node_names[1:])
    files = cut_file(path, weighted.options, split, tmp_path / "out")
    for half in (files.device, files.server):
        assert half is not None
        proto = ModelProto.FromString(half.path.read_bytes())
        places = [entries_of(item) for item in tensors_of_model(proto) if is_external(item)]
        assert {place["location"] for place in places} <= {f"{half.path.name}.data"}
        assert all(place.keys() == {"location", "offset", "length"} for place in places)
