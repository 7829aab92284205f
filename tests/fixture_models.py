"""The fixture models: the zoo topologies that onnx ships, and torch exports beside the tests."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx

from app.ingest import IngestedModel, ingest

ZOO = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
EXPORTS = Path(__file__).parent / "fixtures" / "models"


@dataclass(frozen=True)
class Fixture:
    """A model file, and the dimensions that its upload has to bind."""

    name: str
    path: Path
    dims: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.name


def _fixtures() -> tuple[Fixture, ...]:
    zoo = [Fixture(path.stem, path) for path in sorted(ZOO.glob("*.onnx"))]
    exports = [
        Fixture(
            path.relative_to(EXPORTS).with_suffix("").as_posix(),
            path,
            (("sequence", 128),) if path.stem.startswith("bert") else (),
        )
        for path in sorted(EXPORTS.rglob("*.onnx"))
    ]
    return (*zoo, *exports)


FIXTURES = _fixtures()
BY_NAME = {fixture.name: fixture for fixture in FIXTURES}


@cache
def ingested(name: str) -> IngestedModel:
    """A fixture as Kerf understands it; read once per test process."""
    fixture = BY_NAME[name]
    return ingest(fixture.path.read_bytes(), dict(fixture.dims))
