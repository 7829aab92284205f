"""``kerf calibrate``: seconds per node, measured on the machine at hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.calibration_tables import print_machine, print_times
from app.cli.connecting import connect
from app.cli.local import LocalFile, LocalModel
from app.cli.options import Dims, Inputs, Json, ModelBatch, Parameters, Seed, Threads, dims_of
from app.cli.output import note, print_json, print_text, progress
from app.cli.stopping import stopped_cleanly

if TYPE_CHECKING:
    from app.calibration import Calibration
    from app.client import Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Store the profile at this service, and first the model, without its weights, if it "
        "does not have it. KERF_URL alone stores nothing.",
    ),
]
MOST_SPREAD = 0.2
"""Between runs, above which something else uses the machine."""


def calibrate(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Models to measure, for one profile of them all."),
    ],
    dims: Dims = None,
    model_batch: ModelBatch = None,
    parameters: Parameters = None,
    threads: Threads = None,
    seconds: Annotated[
        float,
        typer.Option(
            help="How long to run each model; a slow one takes longer, for some runs at least.",
            min=0.1,
            max=86_400.0,
        ),
    ] = 10.0,
    seed: Seed = 0,
    inputs: Inputs = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the profile.", show_default="the processor's, and threads"),
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Measure what this machine sustains on a model, and how long each node of it takes.

    With --url the service keeps it as a profile, to be named in the place of FLOPS: kerf split
    --device-profile ID. Weights that FILE lacks are made up.
    """
    if name is not None:
        _require_name(name)
    if inputs is not None and len(files) > 1:
        raise typer.BadParameter("inputs are of one FILE", param_hint="--input")
    given = dims_of(dims), model_batch, tuple(parameters or ())
    with stopped_cleanly():
        models = [_Model.read(LocalFile(file, *given)) for file in files]
        _require_different(models)
        if url is not None:
            _name_as_known(models, url)
        found = [_measured(model, threads, seconds, seed, inputs) for model in models]
        result = _Result(models, found, name)
        _warn(result)
        if json:
            _store_and_print_json(result, url)
            return
        print_machine(result.name, found[0])
        for model, calibration in result:
            print_times(model.file.path.name, calibration)
        if url is not None:
            _print_use(result, _stored(result, url), url)


@dataclass(slots=True)
class _Model:
    """A model, and the ids that it has, or would have, at a service."""

    file: LocalFile
    local: LocalModel
    ids: list[str]

    @classmethod
    def read(cls, file: LocalFile) -> "_Model":
        """Raises ``IngestError`` and ``OSError``."""
        local = file.read()
        return cls(file, local, [local.prepared.model_id])


@dataclass(frozen=True, slots=True)
class _Result:
    """What was measured of each model; ``given_name``: of the profile, if it was given one."""

    models: "Sequence[_Model]"
    found: "Sequence[Calibration]"
    given_name: str | None

    @property
    def name(self) -> str:
        """Of the profile."""
        first = self.found[0]
        threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
        return self.given_name or f"{first.machine.cpu}, {threads}"

    def __iter__(self) -> "Iterator[tuple[_Model, Calibration]]":
        return zip(self.models, self.found, strict=True)

    def profile(self) -> dict[str, Any]:
        """The body of ``POST /profiles``."""
        first = self.found[0]
        return {
            "name": self.name,
            "machine": first.machine.as_json(),
            "threads": first.threads,
            "models": [found.as_profile_model(each) for model, found in self for each in model.ids],
        }

    def as_json(self, profile_id: str | None) -> dict[str, Any]:
        """The profile, and beside it what profiles do not have."""
        models = [
            {
                "file": str(model.file.path),
                "model_ids": model.ids,
                "model_batch": found.model_batch,
                "flops": found.flops,
                "run_overhead_s": found.run_overhead_s,
                "profiled_runs": found.profiled_runs,
                "agreement": found.agreement,
                "has_made_up_weights": found.has_made_up_weights,
            }
            for model, found in self
        ]
        return {"profile_id": profile_id, "profile": self.profile(), "models": models}


def _require_name(name: str) -> None:
    """Raise ``BadParameter`` where a service would refuse a name, before anything is measured."""
    from pydantic import TypeAdapter, ValidationError

    from app.api.profile_schemas import ProfileIn

    rules: TypeAdapter[str] = TypeAdapter(Annotated[str, ProfileIn.model_fields["name"]])
    try:
        rules.validate_python(name)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"], param_hint="--name") from error


def _require_different(models: "Sequence[_Model]") -> None:
    """Raise ``BadParameter`` where two files are the same model, of which a profile has one."""
    seen: dict[str, Path] = {}
    for model in models:
        before = seen.setdefault(model.ids[0], model.file.path)
        if before is not model.file.path:
            raise typer.BadParameter(
                f"{before} and {model.file.path} are the same model; name one of them",
                param_hint="FILE",
            )


def _name_as_known(models: "Sequence[_Model]", url: str) -> None:
    """Give each model its ids at a service, which is sent those that it does not have."""

    with connect(url) as client:
        for model in models:
            model.ids = _ids_at(client, model) or [_uploaded(client, model.file)]


def _ids_at(client: "Client", model: _Model) -> list[str]:
    """All ids of a model: it may be there with its weights and without them."""
    facts = model.local.for_cutting()
    facts["parameters"].sort()
    return [
        each.id
        for each in client.models()
        if facts
        == {
            "graph_sha256": each.graph_sha256,
            "bound_dims": each.bound_dims,
            "model_batch": each.model_batch,
            "parameters": sorted(each.parameters),
        }
    ]


def _uploaded(client: "Client", file: LocalFile) -> str:
    with progress(f"sending {file.path.name}") as report:
        uploaded = client.upload(
            file.path,
            dims=file.dims,
            model_batch=file.model_batch,
            parameters=file.parameters,
            on_progress=report,
        )
    note(f"sent {file.path.name} to the service, without its weights, as {uploaded.model.id}")
    return uploaded.model.id


def _measured(
    model: _Model, threads: int | None, seconds: float, seed: int, inputs: Path | None
) -> "Calibration":
    from app.calibration import calibrate as measure
    from app.calibration.machine import usable_cores
    from app.halves.feeds import load_feeds
    from app.ingest import IngestOptions

    file = model.file
    feeds = None if inputs is None else load_feeds(inputs)
    with progress(f"running {file.path.name}", unit="s") as report:
        return measure(
            file.path,
            IngestOptions(file.dims, file.model_batch, file.parameters),
            threads=threads or usable_cores(),
            seconds=seconds,
            on_progress=report,
            feeds=feeds,
            seed=seed,
        )


def _warn(result: _Result) -> None:
    for model, found in result:
        name = model.file.path.name
        if found.has_made_up_weights:
            note(f"{name} has no weights; they were made up, on which speed hardly depends")
        if found.spread > MOST_SPREAD:
            note(
                f"warning: the runs of {name} differ by {found.spread:.0%} of their median: "
                "something else uses this machine; measure again when it does not"
            )


def _stored(result: _Result, url: str) -> str:
    """The id of the profile. Raises ``ClientError``."""

    with connect(url) as client:
        return client.create_profile(result.profile()).id


def _store_and_print_json(result: _Result, url: str | None) -> None:
    profile_id = None
    try:
        if url is not None:
            profile_id = _stored(result, url)
    finally:
        # What took long to measure is told, also where it cannot be stored.
        print_json(result.as_json(profile_id))


def _print_use(result: _Result, profile_id: str, url: str) -> None:
    print_text(f"stored at {url} as profile {profile_id}; to split with it:")
    print_text(
        f"  kerf split {result.models[0].ids[0]} --device-profile {profile_id} --url {url} ..."
    )
