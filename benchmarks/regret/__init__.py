"""What a choice costs against the best there is, measured: the regret; and how far predictions
are off.

For each model and link every cut that can be best is executed for real: a device process on one
core, slowed down, and a server process on the other, over a shaped link. Kerf chooses by FLOPs
alone and by profiles; how much longer its choice takes than the best measured cut is the regret.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from app.presets import all_presets
from benchmarks.regret.experiment import OnLink, Result, experiment
from benchmarks.regret.links import LinkFigures, ShapedLink
from benchmarks.regret.slowdown import OFF_US, ON_US, SlowCore
from tests.server import serving

FIXTURES = Path("tests/fixtures/models")
MODELS = (
    "mobilenet_v2",
    "efficientnet_b0",
    "resnet50",
    "convnext_tiny",
    "segformer_b0",
)
LINKS = tuple(
    LinkFigures(
        preset.title,
        preset.uplink_bits_per_s,
        preset.downlink_bits_per_s,
        preset.round_trip_s or 0.0,
    )
    for preset in all_presets().links
    if preset.name != "3g"  # On which one round of some of these cuts takes a quarter of a minute.
)


def run(console: Console) -> None:
    """Print regret and error, of each model over each link and of all; takes half an hour."""
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="regret-") as name,
        serving(Path(name)) as service,
        ShapedLink() as link,
        SlowCore() as core,
    ):
        console.print(f"Link: {link.how}")
        console.print(f"Device: {_of_device(core)}")
        for model in MODELS:
            with tempfile.TemporaryDirectory(prefix="regret-", dir=name) as directory:
                path = FIXTURES / f"{model}.onnx"
                results.append(experiment(path, service.url, link, core, LINKS, Path(directory)))
            _print_calibration(console, results[-1])
            for on_link in results[-1].links:
                _print_link(console, model, on_link)
    _print_summary(console, results)


def _of_device(core: SlowCore) -> str:
    if not core.is_permitted:
        return "one core at its full speed, as this user may not slow it down"
    return f"one core, taken away for {ON_US} of every {ON_US + OFF_US} us"


def _print_calibration(console: Console, result: Result) -> None:
    sides = (
        f"{name} {side.whole_s * 1e3:.1f} ms + {side.run_overhead_s * 1e3:.2f} ms "
        f"({side.flops_per_s / 1e9:.1f} GFLOPS, spread {side.spread:.0%})"
        for name, side in (("device", result.device), ("server", result.server))
    )
    console.print(f"\n{result.model}, {len(result.device_nodes)} cuts: {', '.join(sides)}")


def _print_link(console: Console, model: str, found: OnLink) -> None:
    """Every cut: predicted by FLOPs, by profiles, and measured."""
    table = Table(title=f"{model}, {found.figures.name}: total and its parts, ms")
    for column in ("cut", "", "total", "device", "server", "uplink", "downlink", "round trip"):
        table.add_column(column, justify="right")
    rows = (found.by_flops, found.by_profiles, found.measured)
    for place in range(len(found.measured)):
        for label, delays in zip(("by FLOPs", "by profiles", "measured"), rows, strict=True):
            delay = delays[place]
            terms = (delay.total_s, delay.device_compute_s, delay.server_compute_s,
                     delay.uplink_s, delay.downlink_s, delay.round_trip_s)  # fmt: skip
            table.add_row(str(place), label, *(f"{term * 1e3:.1f}" for term in terms))
    console.print(table)


def _print_summary(console: Console, results: Sequence[Result]) -> None:
    bases: dict[str, tuple[Callable[[OnLink], int], Callable[[OnLink], list[float]]]] = {
        "FLOPs alone": (lambda it: it.chosen_by_flops, lambda it: it.errors(it.by_flops)),
        "profiles": (lambda it: it.chosen_by_profiles, lambda it: it.errors(it.by_profiles)),
    }
    for basis, (chosen, errors) in bases.items():
        table = Table(title=f"By {basis}: regret, and median error of predictions in brackets")
        table.add_column("model")
        for figures in LINKS:
            table.add_column(figures.name, justify="right")
        for result in results:
            cells = (
                f"{it.regret(chosen(it)):.1%} ({median(errors(it)):.1%})" for it in result.links
            )
            table.add_row(result.model, *cells)
        console.print(table)
        of_links = [it for result in results for it in result.links]
        regrets = [it.regret(chosen(it)) for it in of_links]
        all_errors = [error for it in of_links for error in errors(it)]
        console.print(
            f"{basis}: regret median {median(regrets):.2%}, worst {max(regrets):.2%}; error of "
            f"{len(all_errors)} predictions median {median(all_errors):.1%}, worst "
            f"{max(all_errors):.1%}; {sum(it.rounds for it in of_links)} rounds"
        )
