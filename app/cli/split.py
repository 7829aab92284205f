"""``kerf split``: the best cut, of a model that a service has or of a file."""

import json as json_text
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connecting import connect
from app.cli.faults import invalid_request
from app.cli.field_table import CHOOSING, SCENARIO
from app.cli.fields import Body, completed, merged, read_body, takes_fields
from app.cli.local import LocalFile, ModelOrFile, local_file
from app.cli.options import DEFAULT_URL, Dims, Json, ModelBatch, Parameters, Url
from app.cli.output import as_json, print_json
from app.cli.tables import print_answer

if TYPE_CHECKING:
    from app.api.schemas import SplitIn


@takes_fields([*SCENARIO, *CHOOSING])
def split(
    model: ModelOrFile,
    given: Body,
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="FILE.json|-",
            help="A body of POST /split, from a file or standard input; options given beside it "
            "replace its fields.",
        ),
    ] = None,
    include_nodes: Annotated[
        bool,
        typer.Option(
            "--include-nodes",
            help="Add the names of the nodes of both sides; with --json, it is then what "
            "`kerf cut --split` takes.",
        ),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Add what the cut loses if the device's speed, the server's, or the bandwidth is "
            "off by 10, 25 and 50 % in the worse direction.",
        ),
    ] = False,
    dims: Dims = None,
    model_batch: ModelBatch = None,
    parameters: Parameters = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Find the best cut of a model for one scenario.

    Figures take SI prefixes and units: 5G, 20Mbit/s, 10ms, 8GiB.
    """
    file = local_file(model, dims, model_batch, parameters)
    body = _body(model if file is None else "", given, request)
    if file is not None:
        _split_file(file, body, include_nodes, sensitivity, json)
        return

    with connect(url) as client:
        answer = client.split(body, include_nodes=include_nodes, include_sensitivity=sensitivity)
    if json:
        print_json(as_json(answer))
    else:
        print_answer(model, answer)


def _split_file(
    file: LocalFile, body: "SplitIn", include_nodes: bool, sensitivity: bool, json: bool
) -> None:
    local = file.read()
    answer = local.answer(body, include_nodes, sensitivity)
    if json:
        added = {"model": local.for_cutting()} if include_nodes else {}
        print_json({**as_json(answer), **added})
    else:
        print_answer(file.path.name, answer)


def _body(model_id: str, given: Body, request: str | None) -> "SplitIn":
    """What is asked for. Raises ``FaultError`` where the API would refuse it."""
    from pydantic import ValidationError

    from app.api.schemas import SplitIn

    body = completed(given) if request is None else merged(read_body(request), given)
    try:
        return SplitIn.model_validate_json(json_text.dumps({**body, "model_id": model_id}))
    except ValidationError as error:
        raise invalid_request(error.errors()) from error
