"""``kerf profiles``: the measured machines of a service."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connecting import connect
from app.cli.faults import invalid_request
from app.cli.fields import read_body
from app.cli.figures import shown
from app.cli.options import DEFAULT_URL, Json, Url
from app.cli.output import as_json, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.profile_schemas import ProfileIn, ProfileOut
    from app.client import Client


def profiles(
    profile: Annotated[
        str | None, typer.Argument(metavar="ID", help="Show this profile alone.")
    ] = None,
    add: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json|-",
            help="Store a profile: what `kerf calibrate --json` wrote, on a machine that does not "
            "reach the service, say; or a body of POST /profiles.",
        ),
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Delete this profile, and list none; may be given several times."
        ),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the profiles of a service, newest first; show one, with the seconds of its nodes where
    --json asks for them; add one; delete some."""

    if (profile is not None) + (add is not None) + bool(delete) > 1:
        raise typer.BadParameter("name the ID of a profile to show, --add one, or --delete some")
    body = None if add is None else _body(add)
    with connect(url) as client:
        if delete:
            _delete(client, delete, json)
        elif body is not None:
            _show(client.create_profile(body), json)
        elif profile is not None:
            _show(client.profile(profile), json)
        else:
            listed = list(client.profiles())
            print_json([as_json(each) for each in listed]) if json else _print_all(listed)


def _body(source: str) -> "ProfileIn":
    """Raises ``FaultError`` where the API would refuse it, and ``OSError``."""
    from pydantic import ValidationError

    from app.api.profile_schemas import ProfileIn

    read: dict[str, Any] = read_body(source)
    inner = read.get("profile")
    try:
        return ProfileIn.model_validate(inner if isinstance(inner, dict) else read)
    except ValidationError as error:
        raise invalid_request(error.errors()) from error


def _delete(client: "Client", ids: list[str], json: bool) -> None:
    for profile_id in ids:
        client.delete_profile(profile_id)
        note(f"deleted {profile_id}")
    if json:
        print_json({"deleted": ids})


def _show(profile: "ProfileOut", json: bool) -> None:
    if json:
        print_json(as_json(profile))
        return
    facts = {
        "id": profile.id,
        "stored": f"{profile.created_at:%Y-%m-%d %H:%M:%S} UTC",
        **profile.machine.model_dump(),
        "threads": profile.threads,
        "sustained": shown(profile.flops_per_s, "FLOP/s"),
    }
    rows = [(label, str(value)) for label, value in facts.items()]
    print_table(None, ["name", profile.name], rows)
    headings = ["model", "nodes", "one run", "runs", "they differ by", "sustained"]
    models = [
        [
            each.model_id,
            str(each.nodes),
            shown(each.whole_s, "s"),
            str(each.runs),
            f"{each.spread:.1%}",
            shown(each.flops_per_s, "FLOP/s"),
        ]
        for each in profile.models
    ]
    print_table(None, headings, models)


def _print_all(listed: "Sequence[ProfileOut]") -> None:
    rows = (
        [
            each.name,
            each.id,
            each.machine.cpu,
            str(each.threads),
            str(len(each.models)),
            shown(each.flops_per_s, "FLOP/s"),
        ]
        for each in listed
    )
    print_table(None, ["name", "id", "cpu", "threads", "models", "sustained"], rows)
