"""``kerf verify``: the proof that two halves do what the whole does."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.cut import SIDES, Split
from app.cli.faults import NO
from app.cli.options import DEFAULT_URL, Json, Url
from app.cli.output import note, print_json, print_table, progress, working
from app.cli.stopping import stopped_cleanly

if TYPE_CHECKING:
    from app.cli.divided import DividedModel
    from app.halves.verification import OutputDifference

Runs = dict[bool, "list[OutputDifference]"]
"""How each output differs, without the runtime's optimisations and with them."""


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The .onnx file that was uploaded, or split.")
    ],
    split: Split,
    halves: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run device.onnx and server.onnx of this directory; otherwise FILE is cut anew, "
            "into a temporary one.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="From which inputs are made up.")] = 0,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE.npz", help="Inputs by their names, in place of made-up ones."
        ),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a model and its halves in ONNX Runtime on the same inputs, and compare their outputs.

    They have to agree bit for bit where the runtime's optimisations are off, and within tolerance
    where they are on.
    """
    from app.cli.divided import divided_model

    divided = divided_model(split, url)
    with stopped_cleanly(), _halves(file, divided, halves) as (device, server):
        runs = _runs(file, divided, (device, server), inputs, seed)
    agree = all(item.is_within_tolerance for run in runs.values() for item in run)
    if json:
        print_json({"agree": agree, "runs": [_as_json(*run) for run in runs.items()]})
    else:
        _print(runs)
    note("the halves do what the whole does" if agree else "the halves differ from the whole")
    if not agree:
        raise typer.Exit(NO)


@contextmanager
def _halves(
    file: Path, divided: "DividedModel", directory: Path | None
) -> Iterator[tuple[Path | None, Path | None]]:
    """The halves, None for a side on which nothing runs; they may last as long as the block.

    Raises what ``cut_file`` does.
    """
    if directory is not None:
        _require_same_graph(file, divided)
        yield _given(directory, divided)
        return
    from app.halves import cut_file

    with tempfile.TemporaryDirectory(prefix="kerf-") as temporary:
        with progress(f"cutting {file.name}") as report:
            files = cut_file(
                file,
                divided.options,
                divided.division,
                Path(temporary),
                graph_sha256=divided.graph_sha256,
                on_progress=report,
            )
        device, server = files.device, files.server
        yield device.path if device else None, server.path if server else None


def _given(directory: Path, divided: "DividedModel") -> tuple[Path | None, Path | None]:
    division = divided.division
    # A model without nodes is the device's.
    is_used = (bool(division.device) or not division.server, bool(division.server))
    device, server = (
        directory / f"{side}.onnx" if used else None
        for side, used in zip(SIDES, is_used, strict=True)
    )
    for path in (device, server):
        if path is not None:
            path.stat()  # Raises OSError where it is not there.
    return device, server


def _require_same_graph(file: Path, divided: "DividedModel") -> None:
    """Raise ``WrongFileError`` where a file is not the model that a split divides."""
    from app.halves.cutting import require_same_graph

    if divided.graph_sha256 is not None:
        with working(f"reading {file.name}"), file.open("rb") as opened:
            require_same_graph(file, opened, divided.graph_sha256)


def _runs(
    file: Path,
    divided: "DividedModel",
    halves: tuple[Path | None, Path | None],
    inputs: Path | None,
    seed: int,
) -> Runs:
    from app.halves import verification
    from app.halves.feeds import load_feeds, seeded_feeds

    options = divided.options
    feeds = seeded_feeds(file, options.dims, seed) if inputs is None else load_feeds(inputs)
    runs: Runs = {}
    for optimised in (False, True):
        with working(f"running {file.name}, optimisations {'on' if optimised else 'off'}"):
            runs[optimised] = verification.verify(
                file, *halves, feeds, optimised=optimised, parameters=options.parameters
            )
    return runs


def _as_json(optimised: bool, differences: "Sequence[OutputDifference]") -> dict[str, Any]:
    """Differences that are no number are null: JSON has no infinity."""
    outputs = [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in {
                **asdict(item),
                "is_within_tolerance": item.is_within_tolerance,
            }.items()
        }
        for item in differences
    ]
    return {"optimised": optimised, "outputs": outputs}


def _print(runs: Runs) -> None:
    headings = ["output", "made by", "type", "largest difference", "relative", "allowed", ""]
    for optimised, differences in runs.items():
        title = f"ONNX Runtime's optimisations {'on' if optimised else 'off'}"
        print_table(title, headings, map(_cells, differences))


def _cells(item: "OutputDifference") -> list[str]:
    shape = "" if item.shape is None else "x".join(map(str, item.shape))
    verdict = "equal" if item.is_equal else "within tolerance"
    return [
        item.name,
        item.half or "neither",
        f"{item.dtype} {shape}".strip(),
        f"{item.largest_absolute:.3g}",
        f"{item.largest_relative:.3g}",
        f"{item.tolerance:.3g}" if item.tolerance else "none",
        verdict if item.is_within_tolerance else item.problem or "differs",
    ]
