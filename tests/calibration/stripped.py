"""Models that come without their weights."""

from pathlib import Path

from app.ingest.stripping import strip_file
from tests.halves.weighted_models import WeightedModel


def write_stripped(model: WeightedModel, directory: Path) -> Path:
    """Write a model as it is sent where its weights shall not go, and none of them beside it."""
    whole = model.write(directory)
    path = directory / "stripped" / whole.name
    path.parent.mkdir()
    with whole.open("rb") as file:
        path.write_bytes(strip_file(file, whole.name).content)
    return path
