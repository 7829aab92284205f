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
from app.cli.faults import NO, bad_input
from app.cli.options import DEFAULT_URL, Inputs, Json, Seed, Url
from app.cli.output import note, print_json, print_table, progress, working
from app.cli.stopping import stopped_cleanly
from app.core.smashed import SmashedDtype

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
    smashed_dtype: Annotated[
        SmashedDtype | None,
        typer.Option(
            help="The type in which floating-point cut tensors cross: those of halves that are cut "
            "anew will, those of --halves are to do so already. What that loses is told, and is no "
            "failure, unless numbers are NaN or infinite that are finite in FILE.",
        ),
    ] = None,
    seed: Seed = 0,
    inputs: Inputs = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a model and its halves in ONNX Runtime on the same inputs, and compare their outputs.

    They have to agree bit for bit where the runtime's optimisations are off, and within tolerance
    where they are on; but for what the server makes of tensors that were cast (--smashed-dtype).
    """
    from app.cli.divided import divided_model

    divided = divided_model(split, url)
    with stopped_cleanly(), _halves(file, divided, halves, smashed_dtype) as both:
        runs = _runs(file, divided, both, smashed_dtype, inputs, seed)
    found = [item for run in runs.values() for item in run]
    agree = all(item.is_within_tolerance for item in found)
    if json:
        as_json = [_as_json(*run) for run in runs.items()]
        print_json({"agree": agree, "smashed_dtype": smashed_dtype, "runs": as_json})
    else:
        _print(runs)
    loss = any(item.tolerance is None and not item.is_equal for item in found)
    but = f", but for what {smashed_dtype} loses" if loss else ""
    note(f"the halves do what the whole does{but}" if agree else "the halves differ from the whole")
    if not agree:
        raise typer.Exit(NO)


@contextmanager
def _halves(
    file: Path,
    divided: "DividedModel",
    directory: Path | None,
    smashed_dtype: SmashedDtype | None,
) -> Iterator[tuple[Path | None, Path | None]]:
    """The halves, None for a side on which nothing runs; they may last as long as the block.

    Raises what ``cut_file`` does.
    """
    if directory is not None:
        _require_same_graph(file, divided)
        yield _given(directory, divided, smashed_dtype)
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
                smashed_dtype=smashed_dtype,
                on_progress=report,
            )
        device, server = files.device, files.server
        yield device.path if device else None, server.path if server else None


def _given(
    directory: Path, divided: "DividedModel", smashed_dtype: SmashedDtype | None
) -> tuple[Path | None, Path | None]:
    from app.halves.casts import smashed_dtype_of

    division = divided.division
    paths = [directory / f"{side}.onnx" for side in SIDES]
    casts = [smashed_dtype_of(path) for path in paths]
    # A model without nodes is the device's, and so are casts.
    on_device = division.device or not division.server or casts[1]
    is_used = (bool(on_device), bool(division.server))
    for path, cast_to, used in zip(paths, casts, is_used, strict=True):
        if used:
            path.stat()  # Raises OSError where it is not there.
            _require_cast_to(smashed_dtype, cast_to, path)
    device, server = (path if used else None for path, used in zip(paths, is_used, strict=True))
    return device, server


def _require_cast_to(wanted: str | None, found: str | None, half: Path) -> None:
    """Raise ``FaultError`` where a half has casts to another type than the one asked for."""
    if found not in (None, wanted):
        asked = f"not {wanted}" if wanted else "and that was not asked for"
        raise bad_input(
            "other-smashed-dtype",
            "The halves cast to another type",
            f"{half} casts smashed data to {found}, {asked}; verify it with --smashed-dtype "
            f"{found}, or cut it anew",
        )


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
    smashed_dtype: SmashedDtype | None,
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
                file,
                *halves,
                feeds,
                optimised=optimised,
                parameters=options.parameters,
                smashed_dtype=smashed_dtype,
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
    allowed = f"{item.tolerance:.3g}" if item.tolerance else "none"
    return [
        item.name,
        item.half or "neither",
        f"{item.dtype} {shape}".strip(),
        f"{item.largest_absolute:.3g}",
        f"{item.largest_relative:.3g}",
        "any" if item.tolerance is None else allowed,
        _verdict(item),
    ]


def _verdict(item: "OutputDifference") -> str:
    if not item.is_within_tolerance:
        return item.problem or "differs"
    if item.is_equal:
        return "equal"
    return "loss of precision" if item.tolerance is None else "within tolerance"
