"""What a model of these tests is, and the weights that it is built of."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from app.halves.feeds import seeded_feeds
from app.ingest import IngestOptions

Files = dict[str, bytes]
Built = ModelProto | tuple[ModelProto, Files]
SEED = 20250102


@dataclass(frozen=True)
class WeightedModel:
    """A small model with weights, which ONNX Runtime runs.

    ``builder`` makes the model, or the model and the files of its external data by their places.
    ``is_valid``: whether onnx's checker passes it. ``feeds``: values for inputs that cannot have
    any value.
    """

    name: str
    builder: Callable[[], Built]
    options: IngestOptions
    is_valid: bool = True
    feeds: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def build(self) -> ModelProto:
        """The model."""
        built = self.builder()
        return built[0] if isinstance(built, tuple) else built

    def write(self, directory: Path) -> Path:
        """Write the model, and its external data beside it; the path of the ``.onnx`` file."""
        built = self.builder()
        proto, files = built if isinstance(built, tuple) else (built, Files())
        for place, content in files.items():
            (directory / place).parent.mkdir(parents=True, exist_ok=True)
            (directory / place).write_bytes(content)
        path = directory / f"{self.name}.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    def inputs(self, path: Path) -> dict[str, Any]:
        """Values for the inputs of the model, written to ``path``: seeded, where not its own."""
        if {value.name for value in self.build().graph.input} == self.feeds.keys():
            return dict(self.feeds)
        return seeded_feeds(path, self.options.dims, SEED) | dict(self.feeds)


class Collection:
    """Models of one subject; ``model`` is the decorator that turns a builder into one of them."""

    def __init__(self) -> None:
        self.models: list[WeightedModel] = []

    def model(
        self,
        dims: Mapping[str, int] | None = None,
        parameters: tuple[str, ...] = (),
        *,
        is_valid: bool = True,
        feeds: Mapping[str, Any] | None = None,
    ) -> Callable[[Callable[[], Built]], WeightedModel]:
        """Name a model after its builder."""

        def named(builder: Callable[[], Built]) -> WeightedModel:
            options = IngestOptions(dict(dims or {}), None, parameters)
            made = WeightedModel(builder.__name__, builder, options, is_valid, dict(feeds or {}))
            self.models.append(made)
            return made

        return named


def numbers(name: str, *shape: int) -> NDArray[np.float32]:
    """Normal numbers drawn from a name, scaled so that a product with them keeps its size."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    terms = max(1, prod(shape) // max(shape, default=1))
    return np.asarray(random.normal(size=shape) / np.sqrt(terms), dtype=np.float32)


def tensor(name: str, array: NDArray[Any]) -> TensorProto:
    """An initializer of these values, as raw data."""
    made: TensorProto = numpy_helper.from_array(array, name)
    return made


def weight(name: str, *shape: int) -> TensorProto:
    """An initializer of ``numbers``, 4 bytes each, as raw data."""
    return tensor(name, numbers(name, *shape))


def positive(name: str, *shape: int) -> TensorProto:
    """Numbers between 1 and 2, as variances and scales have to be."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return tensor(name, random.uniform(1.0, 2.0, shape).astype(np.float32))
