"""Proof by execution: the halves do what the whole does.

The whole runs once; then the device half on the same inputs, and the server half on what the device
half gave. One model is in memory at a time.

With ONNX Runtime's optimisations off, the halves do the same arithmetic in the same order, so they
have to agree bit for bit. There is one exception. The runtime has few 16-bit kernels for a CPU: it
computes in float32, and rounds only what leaves the graph; so the halves round a tensor of float16
that crosses, and the whole never does.

Optimisations fuse across the place of the cut, which changes the order of additions, and in a
quantised model which of two steps a number is rounded to.

Where smashed data are cast to a narrower type, precision is lost on purpose. What the server makes
of them may then differ by any amount, which is told, as long as it is of the right type and shape,
and finite where the whole's is.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.core.smashed import SmashedDtype
from app.errors import CannotRunError
from app.halves.casts import smashed_dtype_of
from app.halves.comparison import (
    HALF_PRECISION,
    QUANTISED_TOLERANCE,
    TOLERANCES,
    Difference,
    Value,
    compare,
    element_kinds,
    kind_of,
)
from app.halves.runtime import LoadedModel, quantises
from app.ingest.notes import listed

_seeds = count(1)
"""For what a model draws without a seed of its own; another one each time."""


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """One output of the whole, as the halves make it.

    ``half``: ``device`` or ``server``; None where neither makes it. ``dtype``, ``shape``: the
    whole's; no shape of what is no tensor. ``largest_absolute``, ``largest_relative``,
    ``is_equal``: see ``Difference``. ``tolerance``: the largest relative difference that is let
    pass; 0 where the two have to be equal bit for bit, None where any passes, as the output comes
    of tensors that were cast. ``not_finite``: how many numbers of the
    whole's output are NaN or infinite, of which two alike prove little. ``problem``: what is wrong
    beside numbers.
    """

    name: str
    half: str | None
    dtype: str
    shape: tuple[int, ...] | None
    largest_absolute: float
    largest_relative: float
    is_equal: bool
    tolerance: float | None
    not_finite: int = 0
    problem: str | None = None

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the halves pass, as far as this output tells."""
        if self.problem is not None:
            return False
        if self.tolerance is None:
            return True
        if self.tolerance == 0.0:
            return self.is_equal
        return self.largest_relative <= self.tolerance


@dataclass(frozen=True)
class WholeRun:
    """What the whole model made of ``feeds``; ``quantises``: see ``app.halves.runtime``."""

    path: Path
    feeds: Mapping[str, Value]
    optimised: bool
    quantises: bool
    outputs: Mapping[str, Value]

    @cached_property
    def repeats(self) -> bool:
        """Whether it makes the same again, however random numbers fall that have no seed.

        Runs the model.
        """
        ort.set_seed(next(_seeds))
        again = run_whole(self.path, self.feeds, optimised=self.optimised).outputs
        return all(
            compare(value, again[name]).largest_relative <= self.tolerance_of(value)
            for name, value in self.outputs.items()
        )

    def tolerance_of(self, value: Value, crossing: Collection[str] = ()) -> float:
        """The largest relative difference to let pass for an output; ``crossing``: the element
        types of the tensors that cross."""
        kinds = element_kinds(value)
        if not kinds <= TOLERANCES.keys():
            return 0.0
        inexact = HALF_PRECISION.intersection(crossing)
        tolerances = {TOLERANCES[kind] for kind in (kinds | inexact if self.optimised else inexact)}
        if self.optimised and self.quantises:
            tolerances.add(QUANTISED_TOLERANCE)
        return max(tolerances, default=0.0)


def verify(
    whole: Path,
    device: Path | None,
    server: Path | None,
    feeds: Mapping[str, Value],
    *,
    optimised: bool,
    parameters: Collection[str] = (),
    smashed_dtype: SmashedDtype | None = None,
) -> list[OutputDifference]:
    """Run a model and its halves; how each output of the model differs.

    ``device``, ``server``: the halves, None for a side on which nothing runs. ``feeds``: a value
    for each input of the model. ``parameters``: the inputs that are parameters, which either half
    may be fed. ``optimised``: as the runtime does by default; else its optimisations are off.
    ``smashed_dtype``: what halves may cast smashed data to, with any loss; of those that cast
    nothing, or to another type, no loss passes.
    Halves that cannot be run, outputs that are missing or too many, and other types or shapes are
    differences. Raises ``CannotRunError`` where the whole cannot be run on these inputs,
    ``MissingDataError``, and ``IngestError`` for what is no model.
    """
    run = run_whole(whole, feeds, optimised=optimised)
    return compare_halves(run, device, server, parameters, smashed_dtype)


def run_whole(path: Path, feeds: Mapping[str, Value], *, optimised: bool) -> WholeRun:
    """Run a model. Raises ``CannotRunError``, ``MissingDataError`` and ``IngestError``."""
    model = LoadedModel(path, "the model", optimised=optimised)
    known = [*model.inputs, *model.defaulted]
    unknown = [name for name in feeds if name not in known]
    if unknown:
        raise CannotRunError(
            f"values are given for {listed(unknown)}, which the model has no input for; its inputs "
            f"are {listed(known)}"
        )
    missing = [name for name in model.inputs if name not in feeds]
    if missing:
        raise CannotRunError(f"no values are given for the model's inputs {listed(missing)}")
    return WholeRun(path, feeds, optimised, quantises(path), model.run(feeds))


def compare_halves(
    whole: WholeRun,
    device: Path | None,
    server: Path | None,
    parameters: Collection[str] = (),
    smashed_dtype: SmashedDtype | None = None,
) -> list[OutputDifference]:
    """``verify`` for a whole that has been run. Raises ``MissingDataError``."""
    halves = _run_halves(whole, device, server, parameters)
    if server is not None:
        halves.cast_to = smashed_dtype_of(server)
        halves.is_lossy = halves.cast_to is not None and halves.cast_to == smashed_dtype
    differences = [_difference(name, whole, halves) for name in whole.outputs]
    if halves.failure is None:
        differences.extend(_surplus(whole, halves))
    if all(item.is_within_tolerance for item in differences) or whole.repeats:
        return differences
    remark = "the model itself gives other results when it runs again: it draws random numbers"
    return [
        item if item.is_within_tolerance else replace(item, problem=item.problem or remark)
        for item in differences
    ]


@dataclass(slots=True)
class _Halves:
    """What the halves made, by half and name, and what of it crossed; and why one made nothing.

    ``cast_to``: what some of that was cast to; ``is_lossy``: whether it may lose by it.
    """

    made: dict[str, dict[str, Value]] = field(default_factory=dict)
    crossing: list[str] = field(default_factory=list)
    failure: str | None = None
    cast_to: str | None = None
    is_lossy: bool = False

    @property
    def crossing_kinds(self) -> set[str]:
        """The element types of what crossed, but for that of casts."""
        kinds = {kind_of(self.made["device"][name]) for name in self.crossing}
        return kinds - {self.cast_to}

    def tolerance_of(self, value: Value, half: str | None, whole: WholeRun) -> float | None:
        """The largest relative difference to let pass for an output that a half made."""
        if self.is_lossy and half != "device":
            return None
        return whole.tolerance_of(value, self.crossing_kinds)

    def problem_of(self, found: Difference, half: str | None) -> str | None:
        """What is wrong with an output that a half made, beside loss."""
        if found.problem is None and found.overflowed and self.is_lossy and half != "device":
            return (
                f"{found.overflowed} of its numbers are NaN or infinite, and finite in the model, "
                f"as where a cut tensor has some that {self.cast_to} does not hold"
            )
        return found.problem


def _run_halves(
    whole: WholeRun, device: Path | None, server: Path | None, parameters: Collection[str]
) -> _Halves:
    halves = _Halves()
    try:
        if device is not None:
            halves.made["device"] = _run_device(device, whole)
        if server is not None:
            _run_server(server, whole, halves, parameters)
    except CannotRunError as error:
        halves.failure = error.detail
    return halves


def _run_device(path: Path, whole: WholeRun) -> dict[str, Value]:
    model = LoadedModel(path, "the device half", optimised=whole.optimised)
    _require(model, whole.feeds, "the device half wants {}, which the model has no input for")
    return model.run(whole.feeds)


def _run_server(path: Path, whole: WholeRun, halves: _Halves, parameters: Collection[str]) -> None:
    """Run it on what the device half made, and on parameters; alone, on the model's inputs."""
    model = LoadedModel(path, "the server half", optimised=whole.optimised)
    given = dict(whole.feeds)
    if "device" in halves.made:
        own = {*model.defaulted, *parameters}
        given = {name: value for name, value in whole.feeds.items() if name in own}
        given |= halves.made["device"]
        halves.crossing = [name for name in model.inputs if name in halves.made["device"]]
    _require(model, given, "the server half wants {}, which the device half does not give")
    halves.made["server"] = model.run(given)


def _require(model: LoadedModel, given: Collection[str], complaint: str) -> None:
    missing = [name for name in model.inputs if name not in given]
    if missing:
        raise CannotRunError(complaint.format(listed(missing)))


def _difference(name: str, whole: WholeRun, halves: _Halves) -> OutputDifference:
    right = whole.outputs[name]
    makers = [half for half, outputs in halves.made.items() if name in outputs]
    if makers:
        found = compare(right, halves.made[makers[0]][name])
    else:
        problem = halves.failure or "neither half makes it"
        found = Difference(np.inf, np.inf, is_equal=False, problem=problem)
    half = makers[0] if makers else None
    is_array = isinstance(right, np.ndarray)
    is_floating = is_array and kind_of(right) in TOLERANCES
    return OutputDifference(
        name=name,
        half=half,
        dtype=kind_of(right),
        shape=right.shape if is_array else None,
        largest_absolute=found.largest_absolute,
        largest_relative=found.largest_relative,
        is_equal=found.is_equal,
        tolerance=halves.tolerance_of(right, half, whole),
        not_finite=int(np.count_nonzero(~np.isfinite(right))) if is_floating else 0,
        problem="both halves make it" if len(makers) > 1 else halves.problem_of(found, half),
    )


def _surplus(whole: WholeRun, halves: _Halves) -> Iterator[OutputDifference]:
    """What the halves make for nobody."""
    for half, outputs in halves.made.items():
        for name, value in outputs.items():
            if name not in whole.outputs and not (half == "device" and name in halves.crossing):
                yield OutputDifference(
                    name=name,
                    half=half,
                    dtype=kind_of(value),
                    shape=value.shape if isinstance(value, np.ndarray) else None,
                    largest_absolute=np.inf,
                    largest_relative=np.inf,
                    is_equal=False,
                    tolerance=0.0,
                    problem="the model has no such output, and the other half does not use it",
                )
