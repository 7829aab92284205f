"""``kerf serve``, ``migrate`` and ``demo``: what runs the service, or a service."""

import ipaddress
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import api_key
from app.cli.faults import DONE, MACHINE, Fault, FaultError, bad_input
from app.cli.output import note, print_text

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.database import Database


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
) -> None:
    """Run the service. On SQLite it applies migrations itself."""
    import logging.config

    import uvicorn

    from app.cli.listening import run_several
    from app.logs import config_of
    from app.metric_files import shared_by

    settings = settings_of_environment()
    log_config = config_of(settings.log_format, settings.log_level)
    logging.config.dictConfig(log_config)
    _require_closed(settings, host)
    # The service does that as well; but what stands in its way is better said here.
    with opened_database(settings):
        pass
    application = "app.main:create_app"
    options: dict[str, Any] = {
        "factory": True,
        "host": host,
        "port": port,
        "log_level": settings.log_level,
        "log_config": log_config,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": settings.end_seconds,
    }
    try:
        with shared_by(workers, settings.data_dir.resolve()):
            if workers == 1:
                uvicorn.run(application, **options)
            else:
                run_several(uvicorn.Config(application, workers=workers, **options))
    except SystemExit as ending:
        # It could not start, and has logged why.
        raise typer.Exit(MACHINE if ending.code else DONE) from ending


def _require_closed(settings: "Settings", host: str) -> None:
    """Raise ``FaultError`` where everybody could reach a service that asks for no keys."""
    if settings.auth == "keys" or _is_loopback(host):
        return
    if not settings.auth_off_anywhere:
        raise bad_input(
            "open-to-all",
            "The service would be open to all",
            f"with KERF_AUTH=off it listens on this machine only, and {host} is reached from "
            "elsewhere; set KERF_AUTH=keys and make a key (kerf keys create), or, where something "
            "else keeps strangers out, set KERF_AUTH_OFF_ANYWHERE=true",
        )
    warning = f"KERF_AUTH=off, and {host} is reached from elsewhere: all may do everything"
    if settings.log_format == "json":
        logging.getLogger(__name__).warning(warning)
    else:
        note(f"warning: {warning}")


def _is_loopback(host: str) -> bool:
    """Whether an address, or every address of a name, is this machine's own."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        # uvicorn will say what is wrong with it.
        return False
    # An address may have a zone.
    addresses = [str(place[4][0]).partition("%")[0] for place in found]
    return bool(host) and all(ipaddress.ip_address(each).is_loopback for each in addresses)


def migrate() -> None:
    """Bring the database to the newest schema."""
    with opened_database(settings_of_environment()) as database:
        is_ours = database.migrate()
    print_text(
        "the database has the newest schema"
        if is_ours
        else "the database has a newer schema than this version of Kerf knows; it is left as it is"
    )


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

    run_demo(url, None if url is None else api_key())


def settings_of_environment() -> "Settings":
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
    shown = "" if name.endswith(("_url", "_endpoint")) else f" is {value!r}"
    return f"KERF_{name.upper()}{shown}: {message.removeprefix('Value error, ')}"


_WRONG_SETTING = "A setting is not right"


@contextmanager
def opened_database(settings: "Settings") -> "Iterator[Database]":
    """The database of the settings, closed when the block ends; Kerf's own (SQLite) has the newest
    schema.

    Raises ``FaultError`` where the URL names none that can be used, and where it cannot be used in
    the block. The URL is not told, as it may hold a password.
    """
    from alembic.util import CommandError
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from app.errors import NotReadyError
    from app.store.database import Database

    try:
        database = Database(settings.effective_database_url)
    except (ArgumentError, ImportError, ValueError) as error:
        detail = f"KERF_DATABASE_URL names no database that can be used: {error}"
        raise bad_input("invalid-settings", _WRONG_SETTING, detail) from error
    try:
        if database.is_sqlite:
            database.migrate()
        yield database
    except NotReadyError as error:
        raise FaultError(Fault(MACHINE, *_DATABASE_TROUBLE, error.detail)) from error
    except (DBAPIError, ImportError) as error:
        detail = str(error.orig if isinstance(error, DBAPIError) else error)
        raise FaultError(Fault(MACHINE, *_DATABASE_TROUBLE, detail)) from error
    except CommandError as error:
        detail = f"{error}; has a newer version of Kerf changed it?"
        raise FaultError(Fault(MACHINE, *_DATABASE_TROUBLE, detail)) from error
    finally:
        database.close()


_DATABASE_TROUBLE = ("database-trouble", "The database cannot be used")
