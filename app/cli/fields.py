"""Options that make up a body of ``POST /split``, and how a command gets them."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.cli.faults import bad_input
from app.cli.figures import Unit
from app.cli.options import figure_parser

Kind = Literal["figure", "count", "number", "text", "names", "flag"]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldOption:
    """An option, and the field that it fills in, by its path in the body.

    ``default``: what the field is where nothing is given, as the help has it. ``metavar``: what
    stands for the value there. ``unit``: that of a figure, and ``example`` is how one is written.
    ``meant``: what a flag stands for.
    """

    path: str
    flag: str
    kind: Kind
    metavar: str | None
    help: str
    panel: str
    default: str | None = None
    unit: Unit | None = None
    example: str = ""
    meant: Any = True

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.flag.removeprefix("--").replace("-", "_")

    def parameter(self) -> inspect.Parameter:
        """As typer wants it; None or False where the option is not given."""
        kinds: dict[Kind, Any] = {
            "figure": float | None,
            "count": int | None,
            "number": float | None,
            "text": str | None,
            "names": list[str] | None,
            "flag": bool,
        }
        parser = figure_parser(self.unit, self.example) if self.unit else None
        option = typer.Option(
            self.flag,
            metavar=self.metavar,
            help=self.help,
            parser=parser,
            rich_help_panel=self.panel,
            show_default=self.default or False,
        )
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if self.kind == "flag" else None,
            annotation=Annotated[kinds[self.kind], option],
        )


def takes_fields(options: Sequence[FieldOption]) -> Callable[[Callable[..., None]], Any]:
    """Give a command these options, and what was given of them as its argument ``given``: a body,
    with no field in it that no option named."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**arguments: Any) -> None:
            values = {option.name: arguments.pop(option.name) for option in options}
            command(given=_body(options, values), **arguments)

        own = inspect.signature(command).parameters.values()
        kept = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name != "given"]
        signature = inspect.Signature([*kept, *(option.parameter() for option in options)])
        wrapped.__signature__ = signature  # type: ignore[attr-defined]
        return wrapped

    return give


def _body(options: Sequence[FieldOption], values: dict[str, Any]) -> Body:
    body: Body = {}
    filled: dict[str, str] = {}
    for option in options:
        value = values[option.name]
        if value is None or value is False or value == []:
            continue
        if option.path in filled:
            flags = f"{filled[option.path]} and {option.flag}"
            raise typer.BadParameter(f"{flags} say the same thing; give one of them")
        filled[option.path] = option.flag
        _put(body, option.path, option.meant if option.kind == "flag" else value)
    return body


def _put(body: Body, path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        body = body.setdefault(group, {})
    body[name] = value


def read_body(source: str) -> Body:
    """A whole body from a file, or from standard input (``-``).

    Raises ``FaultError`` where it is no JSON object, and ``OSError``.
    """
    text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    title = "The request is not valid"
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_input("invalid-request", title, f"{source}: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_input("invalid-request", title, f"{source}: a body is a JSON object")
    return body


def merged(base: Body, given: Body) -> Body:
    """A body with the fields of another one put in; those win."""
    result = dict(base)
    for name, value in given.items():
        inner = result.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            result[name] = merged(inner, value)
        else:
            result[name] = value
    return result


def completed(given: Body) -> Body:
    """A body whose missing fields are missed one by one, as each has an option of its own."""
    return merged({"device": {}, "server": {}, "link": {}}, given)
