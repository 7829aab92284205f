"""The processes of both sides, and what they are told to do."""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from app.core.dag import CostedDag, Mask
from app.core.quantities import Delay
from app.halves import Division, HalfFiles, cut_file
from app.halves.feeds import seeded_feeds
from app.ingest import IngestOptions
from benchmarks.regret.links import LinkFigures, ShapedLink
from benchmarks.regret.slowdown import DEVICE_CORE, OTHER_CORE, SlowCore, hold_to

SWEEPS = 3
"""Rounds of a cut come in so many batches, all cuts in turn, so that noise meets all alike."""
SWEEP_S, MOST_ROUNDS = 1.0, 4
"""A batch takes about so long, and has no more rounds."""
SLOW_S = 1.5
"""Rounds that take longer come in half as many batches, and none warms up: these are as good as the
others, and it is their time that is short."""
LINK_SECONDS = 3.0


class Sides:
    """Both sides of one model, with all of its cuts loaded. A context manager."""

    def __init__(self, link: ShapedLink, core: SlowCore, directory: Path) -> None:
        self._link = link
        self._core = core
        self._directory = directory
        self._inputs = directory / "inputs.npz"
        self._cuts = 0
        self._on_device: set[str] = set()
        self._ports: dict[str, int] = {}
        self._service_port = 0

    def __enter__(self) -> "Sides":
        self._device = _Process(self._link.prefix("device"), DEVICE_CORE)
        self._server = _Process(self._link.prefix("server"), OTHER_CORE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._core.off()
        for process in (self._device, self._server):
            process.end()

    def load(self, dag: CostedDag, whole: Path, masks: Sequence[Mask]) -> None:
        """Cut a model at every mask, and load all halves."""
        feeds: dict[str, Any] = seeded_feeds(whole, {}, 0)
        np.savez(self._inputs, **feeds)
        files = [self._cut(dag, whole, mask) for mask in masks]
        self._cuts = len(files)
        device = {str(i): str(each.device.path) for i, each in enumerate(files) if each.device}
        server = {str(i): str(each.server.path) for i, each in enumerate(files) if each.server}
        self._on_device = set(device)
        self._device("load", paths=device)
        self._ports = self._server("serve", paths=server, host=self._link.host)
        data_dir = str(self._directory / "service")
        self._service_port = self._server("serve_kerf", host=self._link.host, data_dir=data_dir)

    def shape(self, figures: LinkFigures) -> dict[str, float]:
        """Make the link another one; what ``kerf bench-link`` measures of it, on the device."""
        self._link.shape(figures)
        port = self._link.port_to(self._service_port)
        self._core.on()
        found = self._device("measure_link", port=port, seconds=LINK_SECONDS)
        self._core.off()
        return {str(name): float(figure) for name, figure in found.items()}

    def execute(self, expected_s: Sequence[float]) -> list[list[Delay]]:
        """Rounds of every cut. ``expected_s``: how long a round of each may take."""
        ports = {key: self._link.port_to(port) for key, port in self._ports.items()}
        found: list[list[Delay]] = [[] for _ in range(self._cuts)]
        self._core.on()
        for sweep in range(SWEEPS):
            for place, round_s in enumerate(expected_s):
                if round_s > SLOW_S and sweep % 2:
                    continue
                key = str(place)
                rounds = self._device(
                    "run",
                    key=key if key in self._on_device else None,
                    port=ports.get(key),
                    inputs=str(self._inputs),
                    rounds=max(1, min(MOST_ROUNDS, int(SWEEP_S / round_s))),
                    warm_up=int(round_s <= SLOW_S),
                )
                found[place] += [Delay(**each) for each in rounds]
        self._core.off()
        return found

    def _cut(self, dag: CostedDag, whole: Path, mask: Mask) -> HalfFiles:
        names = np.array(dag.node_names, dtype=object)
        division = Division(tuple(names[mask]), tuple(names[~mask]))
        directory = self._directory / f"cut-{int(mask.sum())}-{hash(mask.tobytes()):x}"
        return cut_file(whole, IngestOptions(), division, directory)


class _Process:
    """``benchmarks.regret.machine`` in a process of its own, on one core."""

    def __init__(self, prefix: Sequence[str], core: int) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "benchmarks.regret.machine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=partial(hold_to, core),
        )
        self._answer()

    def __call__(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a side has ended before its time")
        return json.loads(line)

    def end(self) -> None:
        self._process.communicate()
