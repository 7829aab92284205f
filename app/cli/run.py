"""``kerf run-server`` and ``run-device``: a split inference over a real link, measured."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.faults import NO, bad_input
from app.cli.figures import BYTES, shown
from app.cli.options import Dims, Inputs, Json, Parameters, Seed, Threads, dims_of, figure_parser
from app.cli.output import note, print_json, print_table, print_text, progress, working
from app.cli.stopping import stopped_cleanly

if TYPE_CHECKING:
    from app.execution import Address, Execution, Half
    from app.halves.comparison import Value
    from app.halves.division import Side
    from app.halves.verification import OutputDifference

DEFAULT_PORT = 8473
"""That of ``app.execution``, which the help need not load."""
MOST_SIZE_BYTES = 2**40

Timeout = Annotated[
    float,
    typer.Option(
        min=0.1, help="Seconds to wait for the other side in silence, its computation included."
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Without the runtime's optimisations and by one thread: slower, and bit for bit what "
        "the whole model gives so.",
    ),
]


def run_server(
    half: Annotated[
        Path, typer.Argument(metavar="HALF", help="server.onnx, as kerf cut wrote it.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 for any that is free.", min=0, max=65535)
    ] = DEFAULT_PORT,
    threads: Threads = None,
    exact: Exact = False,
    timeout: Timeout = 300.0,
    max_size: Annotated[
        float,
        typer.Option(
            metavar="BYTES",
            parser=figure_parser(BYTES, "500M"),
            help="The most that is taken of a device in one round.",
        ),
    ] = "1Gi",  # type: ignore[assignment]
    json: Json = False,
) -> None:
    """Run the server half of a split for one device at a time, until it is stopped.

    It encrypts nothing and asks nobody who they are: an instrument for networks that are trusted,
    and no way to serve models.
    """
    from app.execution import serve_half
    from app.halves.division import Side

    if not 1 <= max_size <= MOST_SIZE_BYTES:
        raise typer.BadParameter("it is from 1 byte to 1Ti", param_hint="--max-size")

    def ready(address: "Address") -> None:
        if json:
            # One line, as there may never be another.
            print_text(dumps({"host": address.host, "port": address.port}))
        else:
            print_text(f"listening on {address}")

    try:
        with stopped_cleanly():
            serve_half(
                _load(half, Side.SERVER, threads, exact),
                host,
                port,
                silence_s=timeout,
                most_bytes=int(max_size),
                on_ready=ready,
                on_event=note,
            )
    except KeyboardInterrupt:
        note("stopped")


def run_device(
    half: Annotated[
        Path | None,
        typer.Argument(
            metavar="HALF",
            help="device.onnx, as kerf cut wrote it; none where all of the model runs on the "
            "server.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Where kerf run-server listens; none where all of the model runs on the device.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds to measure.")] = 10,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds before those.")] = 3,
    threads: Threads = None,
    exact: Exact = False,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The whole model, to hold the outputs against.",
        ),
    ] = None,
    seed: Seed = 0,
    inputs: Inputs = None,
    dims: Dims = None,
    parameters: Parameters = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often to connect again where the connection breaks.")
    ] = 3,
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to try while the server is not there, or busy.")
    ] = 10.0,
    timeout: Timeout = 300.0,
    json: Json = False,
) -> None:
    """Run a split inference round after round, and report where the time went, in the terms of the
    prediction."""
    from app.execution import Plan, run_rounds
    from app.halves.division import Side

    address = _address(server)
    feeds = _feeds(half, check, inputs, dims, seed)
    plan = Plan(rounds, warm_up, tuple(parameters or ()), retries, wait, timeout)
    with stopped_cleanly():
        device = None if half is None else _load(half, Side.DEVICE, threads, exact)
        with progress("running", unit="rounds") as report:
            execution = run_rounds(device, address, feeds, plan, on_round=report, on_event=note)
        differences = _differences(check, feeds, execution)
    if json:
        print_json(_as_json(execution, differences))
    else:
        _print(execution)
    for item in differences or ():
        if not item.is_within_tolerance:
            note(f"{item.name} is not what the whole model gives: {_why(item)}")
    if differences is not None and not all(item.is_within_tolerance for item in differences):
        raise typer.Exit(NO)


def _load(path: Path, side: "Side", threads: int | None, exact: bool) -> "Half":
    from app.calibration.machine import usable_cores
    from app.execution import Half, RuntimeOptions

    options = RuntimeOptions(threads or usable_cores(), optimised=not exact)
    with working(f"loading {path.name}"):
        return Half(path, side, options)


def _address(text: str | None) -> "Address | None":
    from app.execution import Address

    try:
        return None if text is None else Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error


def _feeds(
    half: Path | None, check: Path | None, inputs: Path | None, dims: list[str] | None, seed: int
) -> "dict[str, Value]":
    """A value for each input of the model. Raises what the readers of files do."""
    from app.halves.feeds import load_feeds, seeded_feeds

    if inputs is not None:
        return load_feeds(inputs)
    model = check or half
    if model is None:
        raise bad_input(
            "no-inputs",
            "No inputs",
            "without a device half, nothing tells what the model takes; give --input FILE.npz, or "
            "--check MODEL, from which they are made up",
        )
    return dict(seeded_feeds(model, dims_of(dims), seed))


def _differences(
    check: Path | None, feeds: "dict[str, Value]", execution: "Execution"
) -> "list[OutputDifference] | None":
    if check is None:
        return None
    from app.execution.checking import check as checked

    with working(f"running {check.name}"):
        return checked(check, feeds, execution)


def _as_json(
    execution: "Execution", differences: "Sequence[OutputDifference] | None"
) -> dict[str, Any]:
    answer = execution.as_json()
    if differences is not None:
        answer["agrees"] = all(item.is_within_tolerance for item in differences)
    return answer


def _print(execution: "Execution") -> None:
    from app.execution import TERMS

    total_s = execution.spread("total_s").median
    rows = []
    for term in TERMS:
        if term == "model_transfer_s":  # Of training.
            continue
        spread = execution.spread(term)
        figures = [shown(each, "s") for each in (spread.median, spread.p10, spread.p90)]
        share = f"{spread.median / total_s:.1%}" if total_s else "-"
        rows.append([term.removesuffix("_s").replace("_", " "), *figures, share])
    title = (
        f"{len(execution.rounds)} rounds; {shown(execution.sent_bytes, 'B')} up and "
        f"{shown(execution.received_bytes, 'B')} down in each"
    )
    print_table(title, ["", "median", "10th percentile", "90th", "of the total"], rows)


def _why(item: "OutputDifference") -> str:
    return item.problem or f"it is off by {item.largest_relative:.3g} of its largest number"
