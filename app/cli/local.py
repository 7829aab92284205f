"""What ``/split`` and ``/models/{id}/cuts`` answer, from a file and without a service."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import dims_of
from app.cli.output import working

if TYPE_CHECKING:
    from app.api.schemas import CutTableOut, SplitIn, SplitOut
    from app.ingest import ModelFacts
    from app.services.prepared import PreparedModel


@dataclass(frozen=True, slots=True, eq=False)
class LocalModel:
    """A model that was read from a file, ready to be split."""

    prepared: "PreparedModel"
    facts: "ModelFacts"

    def answer(
        self, body: "SplitIn", include_nodes: bool, include_sensitivity: bool = False
    ) -> "SplitOut":
        """What ``POST /split`` answers; ``store`` is nothing to this.

        Raises ``SplitError``, ``UnknownPresetError``, and ``NotFoundError`` for a profile, which
        only a service has.
        """
        from app.api.queries import split_query
        from app.api.schemas import SplitOut
        from app.services.answers import answer_of, node_names
        from app.services.prepared import VariantKey
        from app.services.sensitivity import sensitivity_of
        from app.services.solving import solve
        from app.services.switching import decide

        query = split_query(body.model_copy(update={"model_id": self.prepared.model_id}))
        _require_tensors(body)
        _require_no_profile(body)
        model = self.prepared.variant(VariantKey(body.link.smashed_dtype))
        started = time.perf_counter()
        solved = solve(model, query.scenario, query.constraints, query.method)
        decision = None
        if query.current is not None:
            decision = decide(model, query.scenario, query.constraints, query.current, None, solved)
        answer = answer_of(model, query, solved, decision, time.perf_counter() - started)
        on_device = (solved.cut if decision is None else decision.cut).on_device
        if include_sensitivity:
            answer["sensitivity"] = sensitivity_of(
                model, query.scenario, query.constraints, on_device
            )
        if include_nodes:
            answer["nodes"] = node_names(model.dag, on_device)
        return SplitOut.model_validate(answer)

    def cuts(self, mode: str) -> "CutTableOut":
        """What ``GET /models/{id}/cuts`` answers. Raises ``TooManyCutsError``."""
        from app.api.schemas import CutTableOut
        from app.core.scenario import Mode
        from app.services.cut_facts import cuts_of

        table, _ = cuts_of(self.prepared, Mode(mode))
        return CutTableOut.model_validate(table)

    def for_cutting(self) -> dict[str, Any]:
        """What ``kerf cut`` has to know of a model that no service knows."""
        return {
            "graph_sha256": self.facts.graph_sha256,
            "bound_dims": self.facts.bound_dims,
            "model_batch": self.prepared.dag.model_batch,
            "parameters": list(self.facts.parameters),
        }


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be read here, and what is to be known beside it, as at an upload."""

    path: Path
    dims: Mapping[str, int]
    model_batch: int | None
    parameters: tuple[str, ...]

    def read(self) -> LocalModel:
        """Read it; it gets the id that ``kerf upload`` would get for it.

        Raises ``IngestError`` and ``OSError``.
        """
        from app.ingest import IngestOptions, ingest_file
        from app.services.model_ids import model_id_of
        from app.services.prepared import PreparedModel

        options = IngestOptions(self.dims, self.model_batch, self.parameters)
        with working(f"reading {self.path.name}"):
            with self.path.open("rb") as file:
                ingested = ingest_file(file, options)
            dag, facts = ingested.dag, ingested.facts
            sha256 = _sha256_of_upload(self.path)
            model_id = model_id_of(sha256, facts.bound_dims, dag.model_batch, self.parameters)
            return LocalModel(PreparedModel.of(model_id, dag), facts)


ModelOrFile = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|FILE",
        help="Id of a model of the service, or an .onnx file, which is read here; no service is "
        "needed for that.",
    ),
]


def local_file(
    text: str, dims: list[str] | None, model_batch: int | None, parameters: list[str] | None
) -> LocalFile | None:
    """The file that a command is about; None where it is the id of a model of the service."""
    path = Path(text)
    if path.suffix == ".onnx" or len(path.parts) > 1 or path.exists():
        return LocalFile(path, dims_of(dims), model_batch, tuple(parameters or ()))
    for value, flag in (
        (dims, "--dim"),
        (model_batch, "--model-batch"),
        (parameters, "--parameter"),
    ):
        if value:
            raise typer.BadParameter(
                "it goes with a file; the service knows all that of its models", param_hint=flag
            )
    return None


def _sha256_of_upload(path: Path) -> str:
    """Of what ``kerf upload`` would send of a file."""
    from app.client.uploads import Outgoing

    with Outgoing(path, send_weights=False) as outgoing:
        return hashlib.sha256(outgoing.content.read()).hexdigest()


def _require_tensors(body: "SplitIn") -> None:
    """Raise ``UnknownCutError`` where the current cut is that of a split that a service has."""
    from app.core.errors import UnknownCutError

    if isinstance(body.current_cut, str):
        raise UnknownCutError(
            "without a service there are no splits to name; name the current cut by its cut "
            "tensors",
            loc=("current_cut",),
        )


def _require_no_profile(body: "SplitIn") -> None:
    """Raise ``NotFoundError`` where a machine is named by its profile, which a service has."""
    from app.errors import NotFoundError

    for side, machine in (("device", body.device), ("server", body.server)):
        if machine.profile_id is not None:
            raise NotFoundError(
                "without a service there are no profiles to name; give the id of a model of the "
                f"service that has it, or the speed of the {side}",
                loc=(side, "profile_id"),
            )
