"""Options that several commands have."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.cli.figures import Unit, figure_of

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="KERF_URL", help="The service.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="For programs: JSON and nothing else on standard output, problems as JSON on "
        "standard error.",
    ),
]
Dims = Annotated[
    list[str] | None,
    typer.Option(
        "--dim",
        metavar="NAME=N",
        help="What a symbolic dimension is; may be given several times. A batch that is left out "
        "is 1.",
    ),
]
ModelBatch = Annotated[
    int | None,
    typer.Option(
        "--model-batch",
        metavar="N",
        min=1,
        help="How many samples the shapes hold, if the first axis of the first input does not say.",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="INPUT",
        help="A graph input that is a parameter, as in training graphs that are fed their "
        "weights; may be given several times.",
    ),
]


Threads = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="How many threads run it.", show_default="as many as there are cores"
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="From which inputs are made up.")]
Inputs = Annotated[
    Path | None,
    typer.Option(
        "--input", metavar="FILE.npz", help="Inputs by their names, in place of made-up ones."
    ),
]


def figure_parser(unit: Unit, example: str) -> Callable[[str], float]:
    """A reader of figures, as typer takes it; see ``figure_of``."""
    read = figure_of(unit, example)

    def parse(text: str) -> float:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parse


def dims_of(texts: list[str] | None) -> dict[str, int]:
    """Extents by the names of symbolic dimensions, from ``NAME=N``."""
    dims: dict[str, int] = {}
    for text in texts or []:
        # A name may hold `=`; a number does not.
        name, _, extent = text.rpartition("=")
        if not name or not re.fullmatch(r"[0-9]{1,18}", extent):
            raise typer.BadParameter(
                f"{text!r} is not NAME=N, such as sequence=128", param_hint="--dim"
            )
        if name in dims:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--dim")
        dims[name] = int(extent)
    return dims
