"""The log: one line for each record on standard error, for people or, as JSON, for programs.

A log may travel far, so it tells neither secrets nor anything of models. Of exceptions it tells
their kind and where they came from, not their words: these may quote names of nodes, or parameters
of a statement. Of libraries it tells warnings only, as some show whole requests at lower levels.
"""

import logging
import os
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter
from uvicorn.logging import DefaultFormatter

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered; empty outside of one."""
TRACE_ID: ContextVar[str] = ContextVar("trace_id", default="")
"""Of its trace; empty where there is none."""

Format = Literal["text", "json"]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextLines(DefaultFormatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(levelprefix)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        request_id = REQUEST_ID.get()
        if not request_id:
            return line
        first, *rest = line.split("\n", 1)
        return "\n".join((f"{first} [request {request_id}]", *rest))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the name that logging calls
        return told(ei[1])


class JsonLines(JsonFormatter):
    """An object in a line: time (UTC), level, logger, message, and what else is known."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
            rename_fields_keep_missing=False,
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        )

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        for name, variable in (("request_id", REQUEST_ID), ("trace_id", TRACE_ID)):
            value = variable.get()
            if value:
                log_data[name] = value

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # First, for whoever reads along.
        return {"time": log_data.pop("time"), **log_data}

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the name that logging calls
        return told(ei[1])


def config_of(form: Format, level: str) -> dict[str, Any]:
    """The configuration for ``logging.config.dictConfig``; ``level``: of Kerf and of uvicorn."""
    formatter = {"()": f"{__name__}.{JsonLines.__name__ if form == 'json' else TextLines.__name__}"}
    to_root = {"level": level.upper(), "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": formatter},
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "formatter": "default",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["default"], "level": "WARNING"},
        "loggers": {"app": to_root, "uvicorn": to_root},
    }


def told(error: BaseException | None) -> str:
    """An exception as a log shows it: its causes, where each came from, and its kind."""
    return "" if error is None else "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__
    if before is None and not error.__suppress_context__:
        before = error.__context__
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "after which:"
    yield "Traceback (most recent call last):"
    yield from (line.rstrip("\n") for line in traceback.format_tb(error.__traceback__))
    yield f"{type(error).__module__}.{type(error).__qualname__}{_number_of(error)}"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "of which:"
                yield from _lines(each, seen)


def _number_of(error: BaseException) -> str:
    """What is told of an exception beside its kind: the number of an error of the system, and its
    meaning; the code of a database's."""
    if isinstance(error, OSError) and error.errno is not None:
        return f": {error.errno} ({os.strerror(error.errno)})"
    state = getattr(error, "sqlstate", None)
    return f": SQLSTATE {state}" if isinstance(state, str) else ""
