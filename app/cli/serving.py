"""``kerf serve``, ``migrate`` and ``demo``: what runs the service, or a service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.faults import DONE, MACHINE, Fault, FaultError, bad_input
from app.cli.output import print_text

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.database import Database

SHUTDOWN_S = 5
"""How long requests that are under way may take when the service is told to end."""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
) -> None:
    """Run the service. On SQLite it applies migrations itself."""
    import uvicorn

    settings = _settings()
    with _database(settings) as database:
        if database.is_sqlite:
            # The service does that as well; but what stands in its way is better said here.
            database.migrate()
    try:
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_level=settings.log_level,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    except SystemExit as ending:
        # It could not start, and has logged why.
        raise typer.Exit(MACHINE if ending.code else DONE) from ending


def migrate() -> None:
    """Bring the database to the newest schema."""
    with _database(_settings()) as database:
        database.migrate()
    print_text("the database has the newest schema")


def demo(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="KERF_URL", help="A running service; one is started for the demo if left out."
        ),
    ] = None,
) -> None:
    """Upload a real model, split it under three links in both modes, and print the answers."""
    from app.demo import run_demo

    run_demo(url)


def _settings() -> "Settings":
    """The settings. Raises ``FaultError`` with a sentence for each that is wrong."""
    from pydantic import ValidationError

    from app.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = [_wrong(str(item["loc"][0]), item["input"], item["msg"]) for item in error.errors()]
        raise bad_input("invalid-settings", _WRONG_SETTING, "; ".join(wrong)) from error


def _wrong(name: str, value: object, message: str) -> str:
    """What is wrong with a setting. A URL is not told, as it may hold a password."""
    shown = "" if name.endswith("_url") else f" is {value!r}"
    return f"KERF_{name.upper()}{shown}: {message.removeprefix('Value error, ')}"


_WRONG_SETTING = "A setting is not right"


@contextmanager
def _database(settings: "Settings") -> "Iterator[Database]":
    """The database of the settings, closed when the block ends.

    Raises ``FaultError`` where the URL names none that can be used, and where it cannot be used in
    the block. The URL is not told, as it may hold a password.
    """
    from alembic.util import CommandError
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from app.store.database import Database

    try:
        database = Database(settings.effective_database_url)
    except (ArgumentError, ImportError, ValueError) as error:
        detail = f"KERF_DATABASE_URL names no database that can be used: {error}"
        raise bad_input("invalid-settings", _WRONG_SETTING, detail) from error
    try:
        yield database
    except (DBAPIError, ImportError) as error:
        detail = str(error.orig if isinstance(error, DBAPIError) else error)
        raise FaultError(Fault(MACHINE, *_DATABASE_TROUBLE, detail)) from error
    except CommandError as error:
        detail = f"{error}; has a newer version of Kerf changed it?"
        raise FaultError(Fault(MACHINE, *_DATABASE_TROUBLE, detail)) from error
    finally:
        database.close()


_DATABASE_TROUBLE = ("database-trouble", "The database cannot be used")
