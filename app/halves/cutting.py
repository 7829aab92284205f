"""A local file to the files of its halves."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EISDIR
from pathlib import Path
from typing import BinaryIO

from app.core.smashed import SmashedDtype
from app.errors import WrongFileError
from app.halves.dividing import Halves, divide
from app.halves.division import Division, Side
from app.halves.external import DataFile, move_data
from app.halves.pieces import Piece, nbytes_of_pieces, pieces_of
from app.halves.writing import Progress, StagedFile, StagedFiles
from app.ingest import DissectedModel, IngestOptions, Limits, digest_file, dissect_file
from app.ingest.left_out import FileRange


@dataclass(frozen=True, slots=True)
class HalfFile:
    """A half on disk; ``data_path``: its external data, if it has any; ``nbytes`` of both."""

    path: Path
    data_path: Path | None
    nbytes: int


@dataclass(frozen=True, slots=True)
class HalfFiles:
    """The halves on disk; None for a side on which nothing runs."""

    device: HalfFile | None
    server: HalfFile | None


def cut_file(
    path: Path,
    options: IngestOptions,
    division: Division,
    directory: Path,
    *,
    graph_sha256: str | None = None,
    smashed_dtype: SmashedDtype | None = None,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
) -> HalfFiles:
    """Write both halves of a model, with its weights, as ``device.onnx`` and ``server.onnx``.

    ``directory`` is made when missing; halves of another cut in it are replaced. Weights stay in
    the model's file where they are in it, and go to ``device.onnx.data`` and ``server.onnx.data``
    where they are external data, or the half would be larger than protobuf reads. They are copied
    in pieces, so memory is of the order of the graph. ``graph_sha256``: of the model that was
    uploaded. ``smashed_dtype``: what floating-point cut tensors are cast to (see ``divide``).
    Raises ``IngestError``, ``WrongFileError``, ``UnsupportedError``, ``MissingDataError``,
    ``DiskFullError`` or ``OSError``; then the directory is as it was.
    """
    with path.open("rb") as file:
        halves = divide(_read(path, file, options, graph_sha256, limits), division, smashed_dtype)
        plans = _plans(path, halves)
        _require_elsewhere(path, plans, directory)
        total_bytes = sum(plan.nbytes for plan in plans.values())
        with ExitStack() as sources, StagedFiles(directory, total_bytes, on_progress) as staged:
            opened: dict[Path, BinaryIO] = {path: file}
            for plan in plans.values():
                _write(plan, staged, opened, sources)
    for name in set(_names()).difference(*(plan.names for plan in plans.values())):
        (directory / name).unlink(missing_ok=True)
    files = {side: _written(plan, directory) for side, plan in plans.items()}
    return HalfFiles(files.get(Side.DEVICE), files.get(Side.SERVER))


def require_same_graph(
    path: Path, file: BinaryIO, graph_sha256: str, limits: Limits | None = None
) -> None:
    """Raise ``WrongFileError`` unless a file has the graph that was uploaded; ``IngestError`` for
    what is no model at all."""
    found = digest_file(file, limits)
    if found != graph_sha256:
        raise WrongFileError(
            f"{path} is not the model that was uploaded and split: the digest of its graph is "
            f"{found[:12]}…, not {graph_sha256[:12]}…; take the file that was uploaded, or upload "
            "this one and split it anew"
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a half consists of, before any of it is written. Ranges are of the model's file."""

    side: Side
    source: Path
    pieces: list[Piece]
    data: DataFile

    @property
    def nbytes(self) -> int:
        return nbytes_of_pieces(self.pieces) + self.data.nbytes

    @property
    def names(self) -> set[str]:
        """Of its files."""
        return {self.side.file_name, *([self.data.name] if self.data.offsets else [])}


def _data_name(side: Side) -> str:
    return f"{side.file_name}.data"


def _names() -> list[str]:
    """Of all files that halves may have."""
    return [name for side in Side for name in (side.file_name, _data_name(side))]


def _read(
    path: Path,
    file: BinaryIO,
    options: IngestOptions,
    graph_sha256: str | None,
    limits: Limits | None,
) -> DissectedModel:
    if graph_sha256 is not None:
        require_same_graph(path, file, graph_sha256, limits)
    return dissect_file(file, options, limits)


def _plans(path: Path, halves: Halves) -> dict[Side, _Plan]:
    plans = {}
    for side in Side:
        half = halves.of(side)
        if half is not None:
            data = move_data(half, path, _data_name(side))
            plans[side] = _Plan(side, path, pieces_of(half), data)
    return plans


def _require_elsewhere(path: Path, plans: dict[Side, _Plan], directory: Path) -> None:
    """Raise ``WrongFileError`` where a half would replace a file that it is made from, and
    ``OSError`` where it could replace nothing, as a directory is there."""
    targets = {(directory / name).resolve() for name in _names()}
    for target in targets:
        if target.is_dir():
            raise IsADirectoryError(EISDIR, "a half would go where a directory is", str(target))
    sources = {path, *(source.path for plan in plans.values() for source in plan.data.offsets)}
    for source in sources:
        if source.resolve() in targets:
            raise WrongFileError(
                f"the halves would replace {source}, from which they are made; write them to "
                "another directory"
            )


def _write(
    plan: _Plan, staged: StagedFiles, opened: dict[Path, BinaryIO], sources: ExitStack
) -> None:
    # The data first: a model never stands there without them.
    if plan.data.offsets:
        with staged.file(plan.data.name) as out:
            for source, offset in plan.data.offsets.items():
                if source.path not in opened:
                    opened[source.path] = sources.enter_context(source.path.open("rb"))
                out.skip_to(offset)
                out.copy(opened[source.path], source.range)
    with staged.file(plan.side.file_name) as out:
        _write_pieces(out, plan.pieces, opened[plan.source])


def _write_pieces(out: StagedFile, pieces: Iterable[Piece], file: BinaryIO) -> None:
    for piece in pieces:
        if isinstance(piece, FileRange):
            out.copy(file, piece)
        else:
            out.write(piece)


def _written(plan: _Plan, directory: Path) -> HalfFile:
    data_path = directory / plan.data.name if plan.data.offsets else None
    return HalfFile(directory / plan.side.file_name, data_path, plan.nbytes)
