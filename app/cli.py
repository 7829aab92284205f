"""The command line: ``kerf serve | migrate | demo``."""

from typing import Annotated

import httpx
import typer
import uvicorn
from pydantic import ValidationError

from app.demo import run_demo
from app.settings import Settings
from app.store.database import Database

SHUTDOWN_S = 5
"""How long requests that are under way may take when the service is told to end."""

main = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Kerf: the provably optimal division of a neural network between device and server.",
)


@main.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
) -> None:
    """Run the service. On SQLite it applies migrations itself."""
    settings = _settings()
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


@main.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    database = Database(_settings().effective_database_url)
    try:
        database.migrate()
    finally:
        database.close()
    typer.echo("the database has the newest schema")


@main.command()
def demo(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="KERF_URL", help="A running service; one is started for the demo if left out."
        ),
    ] = None,
) -> None:
    """Upload a real model, split it under three links in both modes, and print the answers."""
    try:
        run_demo(url)
    except httpx.TransportError as error:
        typer.echo(f"no answer from {url or 'the service'}: {error}", err=True)
        raise typer.Exit(1) from error


def _settings() -> Settings:
    """The settings, or a sentence for each that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        for item in error.errors():
            name = f"KERF_{item['loc'][0]}".upper()
            typer.echo(f"{name} is {item['input']!r}: {item['msg']}", err=True)
        raise typer.Exit(2) from error
