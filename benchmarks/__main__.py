"""``make bench``: all benchmarks, or those named on the command line."""

import sys

from rich.console import Console

from benchmarks import (
    calibration,
    coverage,
    endurance,
    halves,
    http,
    observing,
    regret,
    solvers,
    storing,
    tables,
    uploads,
)

SECTIONS = {
    "solvers": solvers.run,
    "tables": tables.run,
    "http": http.run,
    "storing": storing.run,
    "observing": observing.run,
    "uploads": uploads.run,
    "halves": halves.run,
    "coverage": coverage.run,
    "calibration": calibration.run,
    "endurance": endurance.run,
}
LONG = {"regret": regret.run}
"""Half an hour on a quiet machine: run only where it is named."""


def main(names: list[str]) -> None:
    console = Console(width=170)
    for name in names or SECTIONS:
        (SECTIONS | LONG)[name](console)


main(sys.argv[1:])
