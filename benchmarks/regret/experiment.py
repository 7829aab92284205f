"""One model over several links: every cut predicted, executed, and chosen by the service.

The device is one core, slowed down; the server is the other. What Kerf is told of them comes from
``kerf calibrate`` on these very cores and from ``kerf bench-link`` over this very link, as a user
would do it, and nothing is fitted to what the execution gives.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from app.api.schemas import SplitOut
from app.calibration import with_made_up_weights
from app.client import Client
from app.core.dag import CostedDag, Mask, NodeWork
from app.core.quantities import Delay, cut_of, delay_of
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.cut_table import Family, build_table
from app.execution import TERMS
from app.ingest import IngestOptions, ingest_file
from benchmarks.regret.links import LinkFigures, ShapedLink
from benchmarks.regret.sides import Sides
from benchmarks.regret.slowdown import DEVICE_CORE, OTHER_CORE, SlowCore, hold_to

CALIBRATION_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a profile of the service says of this model: ``node_s`` (n,) in the DAG's order."""

    profile_id: str
    flops_per_s: float
    whole_s: float
    spread: float
    run_overhead_s: float
    node_s: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class OnLink:
    """All cuts over one link; each sequence has a delay per cut, medians where measured.

    ``chosen_by_flops``, ``chosen_by_profiles``: the places of the cuts that the service chose.
    """

    figures: LinkFigures
    link: dict[str, float]
    by_flops: Sequence[Delay]
    by_profiles: Sequence[Delay]
    measured: Sequence[Delay]
    rounds: int
    chosen_by_flops: int
    chosen_by_profiles: int

    def regret(self, chosen: int) -> float:
        """By how large a share the chosen cut took longer than the best one did."""
        totals_s = [float(delay.total_s) for delay in self.measured]
        return totals_s[chosen] / min(totals_s) - 1

    def errors(self, predicted: Sequence[Delay]) -> list[float]:
        """By how large a share of what was measured each prediction is off."""
        pairs = zip(predicted, self.measured, strict=True)
        return [abs(float(p.total_s) / float(m.total_s) - 1) for p, m in pairs]


@dataclass(frozen=True, slots=True)
class Result:
    """A model over all links; ``device_nodes``: of each cut."""

    model: str
    device: Calibrated
    server: Calibrated
    device_nodes: Sequence[int]
    links: Sequence[OnLink]


def experiment(
    fixture: Path,
    url: str,
    link: ShapedLink,
    core: SlowCore,
    links: Sequence[LinkFigures],
    directory: Path,
) -> Result:  # fmt: skip
    """Calibrate, cut, execute. ``url``: of a service on this machine, for decisions."""
    whole = with_made_up_weights(fixture, directory)
    with whole.open("rb") as file:
        dag = ingest_file(file, IngestOptions()).dag
    with Client(url) as client, Sides(link, core, directory) as sides:
        model_id = client.upload(fixture).model.id
        calibrated = partial(_calibrated, fixture, client, url, model_id, dag)
        server = calibrated(OTHER_CORE)
        core.on()
        device = calibrated(DEVICE_CORE)
        core.off()
        masks = _candidates(dag, NodeWork(device.node_s, server.node_s))
        sides.load(dag, whole, masks)
        ask = partial(_asked, client, model_id, dag, device, server)
        found = [_on_link(each, dag, masks, device, server, sides, ask) for each in links]
    return Result(fixture.stem, device, server, [int(mask.sum()) for mask in masks], found)


def _calibrated(
    fixture: Path, client: Client, url: str, model_id: str, dag: CostedDag, core: int
) -> Calibrated:
    """What ``kerf calibrate`` has the service keep, of a model on one core."""
    told = _kerf(
        ["calibrate", str(fixture), "--threads", "1", "--seconds", str(CALIBRATION_SECONDS),
         "--name", f"core {core}", "--url", url, "--json"], core,
    )  # fmt: skip
    profile = client.profile(told["profile_id"])
    (of_model,) = (each for each in profile.models if each.model_id == model_id)
    assert of_model.node_seconds is not None
    return Calibrated(
        profile.id,
        of_model.flops_per_s,
        of_model.whole_s,
        of_model.spread,
        of_model.run_overhead_s,
        np.array([of_model.node_seconds[name] for name in dag.node_names]),
    )


def _candidates(dag: CostedDag, work: NodeWork) -> list[Mask]:
    """Every cut that can be best for a delay of inference: by FLOPs, or by these seconds."""
    tables = (
        build_table(dag, Family.SLOWER_DEVICE),
        build_table(dag, Family.MEASURED, work=work),
    )
    masks = {mask.tobytes(): mask for table in tables for mask in table.masks()}
    return [*masks.values()]


def _on_link(
    figures: LinkFigures,
    dag: CostedDag,
    masks: Sequence[Mask],
    device: Calibrated,
    server: Calibrated,
    sides: Sides,
    ask: Callable[[dict[str, float]], tuple[Mask, Mask]],
) -> OnLink:
    link = sides.shape(figures)
    work = NodeWork(device.node_s, server.node_s)
    as_flops = _scenario(link, device, server)
    # A second costs a second, on either side.
    as_seconds = replace(as_flops, device_flops_per_s=1.0, server_flops_per_s=1.0)
    by_flops = _predicted(dag, masks, as_flops, None)
    by_profiles = _predicted(dag, masks, as_seconds, work)
    rounds = sides.execute([float(each.total_s) for each in by_profiles])
    places = {mask.tobytes(): place for place, mask in enumerate(masks)}
    chosen_by_flops, chosen_by_profiles = (places[mask.tobytes()] for mask in ask(link))
    return OnLink(
        figures,
        link,
        by_flops,
        by_profiles,
        [_median(each) for each in rounds],
        sum(map(len, rounds)),
        chosen_by_flops,
        chosen_by_profiles,
    )


def _scenario(link: dict[str, float], device: Calibrated, server: Calibrated) -> Scenario:
    """As FLOPS tell it."""
    return Scenario(
        device.flops_per_s,
        server.flops_per_s,
        Link(**link),
        mode=Mode.INFERENCE,
        device_run_overhead_s=device.run_overhead_s,
        server_run_overhead_s=server.run_overhead_s,
    )


def _predicted(
    dag: CostedDag, masks: Sequence[Mask], scenario: Scenario, work: NodeWork | None
) -> list[Delay]:
    prices = prices_of(scenario, dag.model_batch)
    return [delay_of(cut_of(dag, mask, Mode.INFERENCE, work), prices) for mask in masks]


def _asked(
    client: Client,
    model_id: str,
    dag: CostedDag,
    device: Calibrated,
    server: Calibrated,
    link: dict[str, float],
) -> tuple[Mask, Mask]:
    """The cuts that the service chooses over a link: by FLOPs, and by profiles."""
    sides = (
        {
            name: {"flops_per_s": side.flops_per_s, "run_overhead_s": side.run_overhead_s}
            for name, side in (("device", device), ("server", server))
        },
        {
            "device": {"profile_id": device.profile_id},
            "server": {"profile_id": server.profile_id},
        },
    )
    scenario = {"model_id": model_id, "link": link, "mode": "inference"}
    answers = [client.split({**scenario, **each}, include_nodes=True) for each in sides]
    by_flops, by_profiles = (_mask(dag, answer) for answer in answers)
    return by_flops, by_profiles


def _mask(dag: CostedDag, answer: SplitOut) -> Mask:
    assert answer.nodes is not None
    mask = np.zeros(dag.node_count, dtype=np.bool_)
    mask[[dag.node_index[name] for name in answer.nodes.device]] = True
    return mask


def _median(rounds: Sequence[Delay]) -> Delay:
    """The median of each term."""
    return Delay(*(median(getattr(each, term) for each in rounds) for term in TERMS))


def _kerf(arguments: list[str], core: int, prefix: Sequence[str] = ()) -> Any:
    """What a command prints as JSON, run on one core."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "app", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        preexec_fn=partial(hold_to, core),
    )
    return json.loads(done.stdout)
