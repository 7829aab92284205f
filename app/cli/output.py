"""What commands write: JSON for programs, tables for people, and progress while it takes long.

Standard output has the result and nothing else; everything else goes to standard error.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pydantic import BaseModel

Progress = Callable[[float, float], None]
"""Called with what is done, and all there is to do."""

WIDE = 200
"""Columns where nobody reads along; tables take what they need of it."""


def print_json(value: Any) -> None:
    """A result, for programs; in ASCII, so that every terminal and every locale can take it."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def as_json(answer: "BaseModel") -> dict[str, Any]:
    """What the service answered, with the members that it had."""
    return answer.model_dump(mode="json", exclude_unset=True)


def print_text(text: str) -> None:
    """A line of a result, for people."""
    typer.echo(printable(text))


def print_table(title: str | None, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; figures to the right, but for the first column."""
    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(escape(printable(heading)), justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console = console_of(sys.stdout)
    if title is not None:
        # Not as the table's own title, which would be filled up with spaces.
        console.print(escape(printable(title)), style="bold", soft_wrap=True)
    console.print(table)


def note(text: str) -> None:
    """Something to know beside the result."""
    typer.echo(printable(text), err=True)


def console_of(file: TextIO) -> Console:
    """A console that cuts nothing off where its output goes to a file or another program."""
    is_free = not file.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, width=WIDE if is_free else None, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Text without what a terminal would take for commands: names come from files of others."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


@contextmanager
def working(label: str) -> Iterator[None]:
    """A sign of life on standard error while the block lasts, if that is a terminal."""
    with console_of(sys.stderr).status(escape(label)) if sys.stderr.isatty() else nullcontext():
        yield


@contextmanager
def progress(label: str, unit: str = "B") -> Iterator[Progress]:
    """A bar on standard error while the block lasts, if that is a terminal.

    ``unit``: of what is done: ``B``, ``s`` or ``rounds``.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn(escape(label)), BarColumn(), TimeRemainingColumn()]
    if unit == "B":
        columns.append(DownloadColumn())
    with Bars(*columns, console=console_of(sys.stderr), transient=True) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
