"""What a file says of itself: inputs, outputs, and where its external data are."""

from dataclasses import dataclass
from pathlib import Path

from app.ingest import Limits
from app.ingest.left_out import entries_of, is_external
from app.ingest.parse import parse
from app.ingest.skeleton import read_skeleton
from app.ingest.tensors import tensors_of_model


@dataclass(frozen=True, slots=True)
class HalfFacts:
    """``inputs``: without weights that may be fed; ``locations``: of external data, as stated."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    locations: frozenset[str]


def read_half(path: Path) -> HalfFacts:
    """Read a half, without its weights. Raises ``IngestError`` and ``OSError``."""
    with path.open("rb") as file:
        model = parse(read_skeleton(file, Limits()).content, Limits())
    # Data that are in the file itself are external to what was read of it, and have no location.
    entries = map(entries_of, filter(is_external, tensors_of_model(model)))
    held = {tensor.name for tensor in model.graph.initializer}
    held.update(tensor.values.name for tensor in model.graph.sparse_initializer)
    return HalfFacts(
        inputs=tuple(value.name for value in model.graph.input if value.name not in held),
        outputs=tuple(value.name for value in model.graph.output),
        locations=frozenset(entry["location"] for entry in entries if entry.get("location")),
    )
