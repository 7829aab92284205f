"""``kerf upload`` and ``kerf models``: the models of a service."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.connecting import connect
from app.cli.figures import shown
from app.cli.options import DEFAULT_URL, Dims, Json, ModelBatch, Parameters, Url, dims_of
from app.cli.output import as_json, note, print_json, progress
from app.cli.tables import print_model, print_models


def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    name: Annotated[
        str | None, typer.Option(help="Name for people.", show_default="the file's")
    ] = None,
    dims: Dims = None,
    model_batch: ModelBatch = None,
    parameters: Parameters = None,
    send_weights: Annotated[
        bool,
        typer.Option(
            "--send-weights",
            help="Send the weights too, for a service that keeps them and makes the halves. "
            "Otherwise they never leave this machine.",
        ),
    ] = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Upload a model, without its weights: these are left out before anything is sent."""

    with connect(url) as client, progress(f"sending {file.name}") as report:
        uploaded = client.upload(
            file,
            name=name,
            dims=dims_of(dims),
            model_batch=model_batch,
            parameters=parameters or (),
            send_weights=send_weights,
            on_progress=report,
        )
    sent = f"sent {shown(uploaded.sent_bytes, 'B')}"
    if not send_weights:
        sent += f"; leaving the weights out saved {shown(uploaded.saved_bytes, 'B')}"
    note(sent if uploaded.is_new else f"{sent}; the service had this model already")
    for warning in uploaded.model.warnings:
        note(f"warning: {warning}")
    if json:
        print_json(as_json(uploaded.model))
    else:
        print_model(uploaded.model)


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="ID", help="Show this model alone.")
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Delete this model with its results, and list none; may be given several times.",
        ),
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the models of a service, newest first; show one; delete some."""

    if model is not None and delete:
        raise typer.BadParameter("it goes without the id of a model to show", param_hint="--delete")
    with connect(url) as client:
        if delete:
            for model_id in delete:
                client.delete(model_id)
                note(f"deleted {model_id}")
            if json:
                print_json({"deleted": delete})
        elif model is not None:
            found = client.model(model)
            print_json(as_json(found)) if json else print_model(found)
        else:
            listed = list(client.models())
            print_json([as_json(each) for each in listed]) if json else print_models(listed)
