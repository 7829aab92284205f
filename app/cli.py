"""The command line: ``kerf serve | migrate | demo``."""

from typing import Annotated

import typer
import uvicorn

from app.demo import run_demo
from app.settings import Settings
from app.store.database import Database

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
    settings = Settings()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
    )


@main.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    database = Database(Settings().effective_database_url)
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
    run_demo(url)
