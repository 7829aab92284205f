"""Options that several commands have."""

import re
from typing import Annotated

import typer

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
