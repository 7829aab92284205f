"""How every command ends: with its result or with a problem, and a status that says which."""

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import typer
from typer.core import TyperGroup

from app.cli.faults import DONE, STOPPED, Fault, fault_of
from app.cli.field_table import flags_of
from app.cli.output import note

if TYPE_CHECKING:
    from typer._click import Context

_AS_JSON = "kerf.as_json"
"""Key in the context's ``meta``."""


class CommandLine(TyperGroup):
    """The commands. Whatever happens in one, nobody is shown Python's own account of it."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and exit with a status."""
        sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
        try:
            return super().main(*args, **kwargs)
        except SystemExit as ending:
            if isinstance(ending.__context__, BrokenPipeError):
                # As in `kerf models | head -1`: the reader has all that it wants.
                raise SystemExit(DONE) from None
            raise

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read what was typed, and remember whether problems are for programs."""
        ctx.meta[_AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: "Context") -> Any:
        """Run a command, and have its output written."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            note("stopped")
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            as_json = ctx.meta[_AS_JSON]
            if isinstance(error, typer.TyperException) and not as_json:
                raise
            fault = fault_of(error)
            _tell(fault, as_json)
            _forget_unwritten_output()
            raise typer.Exit(fault.exit_status) from error
        return result


def _usable(stream: TextIO | None) -> TextIO:
    """A stream that takes any text: escaped, where the terminal's encoding has no place for it."""
    if stream is None:
        # Closed by whoever started this: `kerf models >&-`.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _forget_unwritten_output() -> None:
    """What cannot be written now could not be at the end of Python either, which would say so."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(fault: Fault, as_json: bool) -> None:
    with suppress(OSError):
        note(json.dumps(fault.as_json(), indent=2) if as_json else _sentences(fault))


def _sentences(fault: Fault) -> str:
    """What is wrong, and which options are."""
    lines = [f"{fault.title}: {fault.detail}"]
    flags = [", ".join(flags_of(item["loc"])) for item in fault.errors]
    if len(flags) > 1:
        for item, its_flags in zip(fault.errors, flags, strict=True):
            lines.append(f"  {its_flags or '.'.join(map(str, item['loc']))}: {item['msg']}")
    elif any(flags):
        lines.append(f"  see {flags[0]}")
    if fault.request_id is not None:
        lines.append(f"  request id: {fault.request_id}")
    return "\n".join(lines)
