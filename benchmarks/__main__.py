"""``make bench``: all benchmarks, or those named on the command line."""

import sys

from rich.console import Console

from benchmarks import coverage, halves, http, solvers, tables, uploads

SECTIONS = {
    "solvers": solvers.run,
    "tables": tables.run,
    "http": http.run,
    "uploads": uploads.run,
    "halves": halves.run,
    "coverage": coverage.run,
}


def main(names: list[str]) -> None:
    console = Console(width=170)
    for name in names or SECTIONS:
        SECTIONS[name](console)


main(sys.argv[1:])
