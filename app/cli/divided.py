"""Which split is meant: one that a service has, or an answer of ``kerf split`` in a file."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from app.api.schemas import ModelOut, NodeNamesOut
from app.cli.connecting import connect
from app.cli.faults import bad_input
from app.halves import Division
from app.ingest import IngestOptions


@dataclass(frozen=True, slots=True)
class DividedModel:
    """A division, and what is to be known of the model that it divides.

    ``graph_sha256``: None for a model of an older version of Kerf.
    """

    division: Division
    options: IngestOptions
    graph_sha256: str | None


class _Model(BaseModel):
    """What cutting has to know of a model."""

    graph_sha256: str | None
    bound_dims: dict[str, int]
    model_batch: int
    parameters: list[str]


class _Answer(BaseModel):
    """What matters of an answer; ``model``: where no service knows the model."""

    id: str | None
    model_id: str
    nodes: NodeNamesOut
    model: _Model | None = None


def divided_model(split: str, url: str) -> DividedModel:
    """The split of an id, or of a file (``-``: of standard input).

    Raises ``FaultError`` where the file is no such answer, ``ClientError`` and ``OSError``.
    """
    if is_split_file(split):
        answer = _read(split)
        if answer.model is not None:
            return _divided(answer.nodes, answer.model_id, answer.id, answer.model)
        with connect(url) as client:
            model = client.model(answer.model_id)
        return _divided(answer.nodes, answer.model_id, answer.id, model)
    with connect(url) as client:
        stored = client.split_result(split, include_nodes=True)
        model = client.model(stored.model_id)
    assert stored.nodes is not None, "the nodes were asked for"
    return _divided(stored.nodes, stored.model_id, stored.id, model)


def is_split_file(split: str) -> bool:
    """Whether a text names a file, rather than a split of a service."""
    path = Path(split)
    return split == "-" or path.suffix == ".json" or len(path.parts) > 1 or path.exists()


def _read(source: str) -> _Answer:
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    try:
        return _Answer.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise bad_input(
            "not-a-split",
            "Not an answer of kerf split",
            f"{source}: {f'{place}: ' if place else ''}{first['msg']}; make it with kerf split "
            "MODEL|FILE ... --include-nodes --json",
        ) from error


def _divided(
    nodes: NodeNamesOut, model_id: str, split_id: str | None, model: "_Model | ModelOut"
) -> DividedModel:
    division = Division(tuple(nodes.device), tuple(nodes.server), model_id, split_id)
    options = IngestOptions(model.bound_dims, model.model_batch, tuple(model.parameters))
    return DividedModel(division, options, model.graph_sha256)
