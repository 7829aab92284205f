"""``kerf cut``: the two halves of a model."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import connect
from app.cli.figures import shown
from app.cli.options import DEFAULT_URL, Json, Url
from app.cli.output import note, print_json, print_table, progress
from app.cli.stopping import stopped_cleanly
from app.cli.tables import names_of
from app.core.smashed import SmashedDtype

if TYPE_CHECKING:
    from app.client.calls import Side

SIDES: "tuple[Side, Side]" = ("device", "server")

Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="ID|FILE.json",
        help="A split that the service has, or what `kerf split --include-nodes --json` wrote "
        "(- for standard input).",
    ),
]


def cut(
    split: Split,
    directory: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Where the halves go; made when missing."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The .onnx file that was uploaded, or split."),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Have the service make the halves, in place of cutting FILE here: without "
            "weights, unless they were uploaded and it keeps them.",
        ),
    ] = False,
    smashed_dtype: Annotated[
        SmashedDtype | None,
        typer.Option(
            help="Have floating-point cut tensors cross in this type, but for those that would not "
            "get smaller. That loses precision; kerf verify tells how much.",
        ),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Write both halves of a model, device.onnx and server.onnx, with its weights.

    They appear when both are whole; whatever goes wrong before, the directory is as it was.
    """
    if (file is None) is not download:
        raise typer.BadParameter(
            "name the FILE to cut here, or --download the halves from the service; not both"
        )
    if download and smashed_dtype is not None:
        raise typer.BadParameter(
            "the halves that a service makes have no casts; name the FILE, to cut it here",
            param_hint="--smashed-dtype",
        )
    with stopped_cleanly():
        if file is None:
            halves = _download(split, directory, url)
        else:
            halves = _cut(file, split, directory, url, smashed_dtype)
    for side in SIDES:
        if side not in halves:
            note(f"nothing runs on the {side}: there is no {side}.onnx")
    if json:
        print_json({side: halves[side].as_json() if side in halves else None for side in SIDES})
    else:
        rows = [half.cells() for half in halves.values()]
        print_table(None, ["half", "size", "inputs", "outputs"], rows)


@dataclass(frozen=True, slots=True)
class _Half:
    """A half that was written; ``nbytes``: with its external data."""

    path: Path
    data_path: Path | None
    nbytes: int
    inputs: list[str]
    outputs: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "data_path": self.data_path and str(self.data_path),
            "bytes": self.nbytes,
            "inputs": self.inputs,
            "outputs": self.outputs,
        }

    def cells(self) -> list[str]:
        size = shown(self.nbytes, "B")
        return [str(self.path), size, names_of(self.inputs), names_of(self.outputs)]


def _half(path: Path, data_path: Path | None, nbytes: int) -> _Half:
    """What a half says of itself; a note where its weights have yet to be put beside it."""
    from app.halves.reading import read_half

    facts = read_half(path)
    for name in sorted(facts.locations):
        if not (path.parent / name).exists():
            note(f"{path} has its weights in {name}; put that file beside it")
    return _Half(path, data_path, nbytes, list(facts.inputs), list(facts.outputs))


def _cut(
    file: Path, split: str, directory: Path, url: str, smashed_dtype: SmashedDtype | None
) -> dict[str, _Half]:
    from app.cli.divided import divided_model
    from app.halves import cut_file

    divided = divided_model(split, url)
    with progress(f"cutting {file.name}") as report:
        files = cut_file(
            file,
            divided.options,
            divided.division,
            directory,
            graph_sha256=divided.graph_sha256,
            smashed_dtype=smashed_dtype,
            on_progress=report,
        )
    written = {"device": files.device, "server": files.server}
    return {
        side: _half(half.path, half.data_path, half.nbytes)
        for side, half in written.items()
        if half is not None
    }


def _download(split: str, directory: Path, url: str) -> dict[str, _Half]:

    # On the disk of the directory, into which the halves are moved when both are whole.
    beside = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    with connect(url) as client, tempfile.TemporaryDirectory(prefix=".kerf-", dir=beside) as stage:
        fetched: dict[Side, Path] = {}
        for side in SIDES:
            with progress(f"downloading {side}.onnx") as report:
                path = client.download_half(split, side, Path(stage) / f"{side}.onnx", report)
            if path is not None:
                fetched[side] = path
        _publish(fetched, directory)
    paths = {side: directory / f"{side}.onnx" for side in fetched}
    return {side: _half(path, None, path.stat().st_size) for side, path in paths.items()}


def _publish(fetched: "Mapping[Side, Path]", directory: Path) -> None:
    """Put downloaded halves where they shall be, all or none, and remove what is there of another
    cut.

    Raises ``WrongFileError`` where that would remove the weights to which they refer.
    """
    from app.errors import WrongFileError
    from app.halves.reading import read_half
    from app.halves.writing import StagedFiles

    targets = {f"{side}.onnx{suffix}" for side in SIDES for suffix in ("", ".data")}
    for path in fetched.values():
        for name in sorted(read_half(path).locations & targets):
            raise WrongFileError(
                f"the halves have their weights in {name}, which they would replace in "
                f"{directory}; download them to another directory, and put that file beside them"
            )
    with StagedFiles(directory, 0, None) as staged:
        for side, path in fetched.items():
            staged.adopt(f"{side}.onnx", path)
    for name in targets - {f"{side}.onnx" for side in fetched}:
        (directory / name).unlink(missing_ok=True)
