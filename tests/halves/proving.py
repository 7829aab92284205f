"""Proof by execution: a model against both halves of each of its cuts."""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from app.core.dag import CostedDag, Mask
from app.core.smashed import SmashedDtype
from app.core.splitting.cut_table import Family, build_table
from app.halves import Division, HalfFiles, cut_file
from app.halves.verification import WholeRun, compare_halves, run_whole
from app.ingest import IngestOptions, ingest_file

RANDOM_CUTS = 12


@dataclass(frozen=True)
class Proof:
    """A model's file, how it is read, and what it made of its inputs, optimised and not.

    ``checks``: how far onnx's checker passes the whole: not at all, or without or with inferred
    shapes (None, False, True as its ``full_check``).
    """

    path: Path
    options: IngestOptions
    dag: CostedDag
    wholes: tuple[WholeRun, ...]
    checks: bool | None

    @classmethod
    def of(cls, path: Path, options: IngestOptions, feeds: Mapping[str, Any]) -> "Proof":
        """Read a model and run it twice."""
        with path.open("rb") as file:
            dag = ingest_file(file, options).dag
        wholes = tuple(run_whole(path, feeds, optimised=optimised) for optimised in (False, True))
        return cls(path, options, dag, wholes, checks(path))

    def rows(self) -> list[Mask]:
        """The rows of the cut table."""
        table = build_table(self.dag, Family.SLOWER_DEVICE)
        return [table.on_device(row) for row in range(len(table))]

    def other_cuts(self) -> list[Mask]:
        """Every beginning of the topological order that is a cut, and random ones."""
        count = self.dag.node_count
        beginnings = [np.arange(count) < end for end in range(count + 1)]
        return [mask for mask in (*beginnings, *self._random_cuts()) if self.dag.is_cut(mask)]

    def _random_cuts(self) -> Iterator[Mask]:
        """What some nodes drawn at random require."""
        requirements, count = self.dag.requirements, self.dag.node_count
        rng = random.Random(count)
        for _ in range(RANDOM_CUTS):
            chosen = requirements.must_run_on_device.copy()
            chosen[rng.sample(range(count), rng.randint(0, min(4, count)))] = True
            yield requirements.requires.reached_from(chosen)

    def hold(self, cuts: Iterable[Mask], directory: Path) -> int:
        """Assert that the halves of every cut equal the whole; how many distinct cuts there are."""
        distinct = {mask.tobytes(): mask for mask in cuts}
        for on_device in distinct.values():
            halves = cut_file(self.path, self.options, self.division(on_device), directory)
            assert (halves.server is None) == bool(on_device.all())
            assert (halves.device is None) == (not on_device.any() and halves.server is not None)
            require_valid(halves, self.checks)
            for whole in self.wholes:
                require_equal(whole, halves, self.options.parameters)
        return len(distinct)

    def division(self, on_device: Mask) -> Division:
        """Both sides of a cut by the names of their nodes."""
        names = np.array(self.dag.node_names, dtype=object)
        return Division(tuple(names[on_device]), tuple(names[~on_device]))


def require_valid(halves: HalfFiles, checks: bool | None) -> None:
    """Have onnx's checker pass both halves as far as it passes the whole."""
    for half in (halves.device, halves.server):
        if half is not None and checks is not None:
            onnx.checker.check_model(str(half.path), full_check=checks)


def require_equal(
    whole: WholeRun,
    halves: HalfFiles,
    parameters: Collection[str],
    smashed_dtype: SmashedDtype | None = None,
) -> None:
    """Have every output of the whole come out of one half, but for what ``smashed_dtype`` loses."""
    device = halves.device.path if halves.device else None
    server = halves.server.path if halves.server else None
    differences = compare_halves(whole, device, server, parameters, smashed_dtype)
    assert [item.name for item in differences] == list(whole.outputs)
    assert [item for item in differences if not item.is_within_tolerance] == []


def checks(path: Path) -> bool | None:
    """How far onnx's checker passes a model (see ``Proof``)."""
    passed = None
    for full in (False, True):
        try:
            onnx.checker.check_model(str(path), full_check=full)
        except Exception:  # noqa: BLE001 - what its C++ throws
            return passed
        passed = full
    return passed
