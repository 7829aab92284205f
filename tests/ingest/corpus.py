"""The corpus: all models that the installed onnx ships, and those of its node tests."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto
from onnx.backend.test import loader

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass(frozen=True)
class Sample:
    """One model; ``values``: what its test feeds it and what comes out, by name, where it has
    data."""

    name: str
    data: bytes
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        """The model, parsed anew."""
        model: ModelProto = ModelProto.FromString(self.data)
        return model


@cache
def corpus() -> tuple[Sample, ...]:
    """Every model, in the order of names; made once per test process."""
    return tuple(sorted([*_shipped(), *_node_tests()], key=lambda sample: sample.name))


def _shipped() -> Iterator[Sample]:
    for path in DATA.rglob("*.onnx"):
        where = path.relative_to(DATA).with_suffix("").as_posix()
        yield Sample(where.removesuffix("/model"), path.read_bytes())


def _node_tests() -> Iterator[Sample]:
    with warnings.catch_warnings():
        # The references are computed on import, overflows and all.
        warnings.simplefilter("ignore")
        cases = loader.load_node_model_tests()
    for case in cases:
        values: dict[str, Any] = {}
        assert case.model is not None, case.name
        for fed, made in (case.data_sets or [])[:1]:
            graph = case.model.graph
            values |= zip((value.name for value in graph.input), fed, strict=False)
            values |= zip((value.name for value in graph.output), made, strict=False)
        yield Sample(f"node/{case.name}", case.model.SerializeToString(), values)
