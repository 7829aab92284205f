"""The command line: ``kerf COMMAND``.

Results go to standard output, everything else to standard error; with ``--json``, both are for
programs. Problems have the title and the detail that the API gives them. The exit status tells:

    0    done
    1    the answer is no: no cut satisfies the constraints, or the halves differ from the whole
    2    the command, the request or the model is not right
    3    the service refuses: it does not have what is named, or cannot answer now
    4    the service cannot be reached, its answer broke off, or is not one of Kerf's
    5    something of this machine is in the way: a file, a full disk, the database, a port, memory
    70   Kerf failed, and should not have
    130  stopped, by Ctrl-C or a signal

Commands import what they need when they run: ``kerf --help`` waits for no solver, no onnx and no
web framework.
"""

from typing import Annotated

import typer

from app import __version__
from app.cli.calibrate import calibrate
from app.cli.command_line import CommandLine
from app.cli.cut import cut
from app.cli.cuts import cuts
from app.cli.keys import keys
from app.cli.link import bench_link
from app.cli.models import models, upload
from app.cli.presets import presets
from app.cli.profiles import profiles
from app.cli.run import run_device, run_server
from app.cli.serving import demo, migrate, serve
from app.cli.split import split
from app.cli.verify import verify

main = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    add_completion=False,
    epilog="Exit status: 0 done; 1 the answer is no (infeasible, or halves that differ); 2 the "
    "command, the request or the model is not right; 3 the service refuses; 4 it cannot be "
    "reached; 5 a file, the disk or else of this machine is in the way; 70 Kerf failed; 130 "
    "stopped.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@main.callback()
def _kerf(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Kerf: the provably optimal division of a neural network between device and server."""


for _command in (upload, models, split, cuts, cut, verify):
    main.command()(_command)
for _command in (calibrate, profiles, presets):
    main.command()(_command)
main.command("run-device")(run_device)
main.command("run-server")(run_server)
main.command("bench-link")(bench_link)
for _command in (serve, migrate, demo):
    main.command()(_command)
main.add_typer(keys, name="keys")
