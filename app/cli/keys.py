"""``kerf keys``: API keys, through the service or, for whoever has its database, without."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_line import CommandLine
from app.cli.connecting import API_KEY, connect
from app.cli.faults import invalid_request
from app.cli.figures import shown
from app.cli.options import Json
from app.cli.output import as_json, note, print_json, print_table, print_text
from app.cli.serving import opened_database, settings_of_environment

if TYPE_CHECKING:
    from app.api.key_schemas import KeyIn
    from app.services.access import KeyService

keys = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    help="API keys. Without --url these work on the database of the service's own settings "
    f"(KERF_DATABASE_URL, KERF_DATA_DIR); with it, through the service, by the key in {API_KEY}, "
    "which needs the scope admin.",
)

Through = Annotated[
    str | None, typer.Option("--url", help="The service; its database itself if left out.")
]
Tenant = Annotated[
    str | None,
    typer.Option(
        help="Whose keys: lower-case letters, digits, dots, dashes and underscores. Without --url "
        "only; through a service it is the tenant of the key that asks."
    ),
]
SCOPES = ("models:write", "split", "read", "admin")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Name of the key, for people.")],
    scope: Annotated[
        list[str],
        typer.Option(help=f"What it may do: {', '.join(SCOPES)}; may be given several times."),
    ],
    tenant: Tenant = None,
    requests_per_s: Annotated[
        float | None, typer.Option(help="Requests per second of one process of the service.")
    ] = None,
    most_models: Annotated[int | None, typer.Option(help="Models of its tenant.")] = None,
    most_bytes: Annotated[
        int | None, typer.Option(help="Bytes of the files of its tenant's models, as uploaded.")
    ] = None,
    json: Json = False,
    url: Through = None,
) -> None:
    """Make a key, and print it: this once, as only a digest of it is kept."""
    unknown = [each for each in scope if each not in SCOPES]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(SCOPES)}", param_hint="--scope"
        )
    body = _body(
        {
            "name": name,
            "scopes": scope,
            "requests_per_s": requests_per_s,
            "most_models": most_models,
            "most_bytes": most_bytes,
        }
    )
    made = _create_here(body, tenant) if url is None else _create_through(url, body, tenant)
    note(f"key {made['id']} of tenant {made['tenant']}; it is not shown again")
    print_json(made) if json else print_text(made["key"])


@keys.command("list")
def list_keys(tenant: Tenant = None, json: Json = False, url: Through = None) -> None:
    """List keys, newest first, revoked ones included: of a tenant, or of all."""
    listed = _list_here(tenant) if url is None else _list_through(url, tenant)
    print_json(listed) if json else _print_all(listed)


@keys.command()
def revoke(
    key: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `list` shows them.")],
    json: Json = False,
    url: Through = None,
) -> None:
    """Let keys be valid no longer: within two seconds, in every process of the service."""
    if url is None:
        with opened_database(settings_of_environment()) as database:
            for key_id in key:
                _service(database).revoke(None, key_id)
                note(f"revoked {key_id}")
    else:
        with connect(url) as client:
            for key_id in key:
                client.revoke_key(key_id)
                note(f"revoked {key_id}")
    if json:
        print_json({"revoked": key})


def _body(fields: dict[str, Any]) -> "KeyIn":
    """Raises ``FaultError`` where the API would refuse it."""
    from pydantic import ValidationError

    from app.api.key_schemas import KeyIn

    try:
        return KeyIn.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error.errors()) from error


def _create_here(body: "KeyIn", tenant: str | None) -> dict[str, Any]:
    from app.services.access import KeyLimits, key_facts
    from app.store.tenants import DEFAULT_TENANT

    limits = KeyLimits(body.requests_per_s, body.most_models, body.most_bytes)
    with opened_database(settings_of_environment()) as database:
        tenant_id = DEFAULT_TENANT if tenant is None else _checked(tenant)
        made = _service(database).create(tenant_id, body.name, body.scopes, limits)
    return {**key_facts(made.row), "key": made.text}


def _create_through(url: str, body: "KeyIn", tenant: str | None) -> dict[str, Any]:
    _require_none(tenant)
    with connect(url) as client:
        return as_json(client.create_key(body))


def _list_here(tenant: str | None) -> list[dict[str, Any]]:
    from app.services.access import key_facts
    from app.store.keys import KeyRow

    tenant_id = None if tenant is None else _checked(tenant)
    listed: list[dict[str, Any]] = []
    with opened_database(settings_of_environment()) as database:
        cursor = None
        while True:
            page = _service(database).page(tenant_id, 200, cursor)
            listed += [key_facts(KeyRow(**row)) for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return listed


def _list_through(url: str, tenant: str | None) -> list[dict[str, Any]]:
    _require_none(tenant)
    with connect(url) as client:
        return [as_json(key) for key in client.keys()]  # noqa: SIM118 - a call, not a dictionary


def _service(database: Any) -> "KeyService":
    from app.services.access import KeyService

    return KeyService(database)


def _checked(tenant: str) -> str:
    from app.store.tenants import is_tenant

    if not is_tenant(tenant):
        raise typer.BadParameter(
            f"{tenant!r} is no name of a tenant: 1 to 64 lower-case letters, digits, dots, dashes "
            "and underscores, the first a letter or a digit",
            param_hint="--tenant",
        )
    return tenant


def _require_none(tenant: str | None) -> None:
    if tenant is not None:
        raise typer.BadParameter(
            "through a service it is the tenant of the key that asks; leave it out",
            param_hint="--tenant",
        )


def _print_all(listed: Sequence[dict[str, Any]]) -> None:
    limits = ["requests/s", "models", "bytes"]
    headings = ["id", "tenant", "name", "scopes", *limits, "made", "revoked"]
    rows = [
        [
            each["id"],
            each["tenant"],
            each["name"],
            ", ".join(each["scopes"]),
            _limit(each["requests_per_s"]),
            _limit(each["most_models"]),
            "" if each["most_bytes"] is None else shown(each["most_bytes"], "B"),
            each["created_at"][:19],
            (each["revoked_at"] or "")[:19],
        ]
        for each in listed
    ]
    print_table(None, headings, rows)


def _limit(figure: float | None) -> str:
    return "" if figure is None else f"{figure:g}"
