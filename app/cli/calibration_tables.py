"""What a calibration found, for people."""

from typing import TYPE_CHECKING

from app.cli.figures import shown
from app.cli.output import print_table

if TYPE_CHECKING:
    from app.calibration import Calibration

SLOWEST = 10
"""Nodes that are shown."""


def print_machine(name: str, found: "Calibration") -> None:
    """On what it was measured."""
    facts = {**found.machine.as_json(), "threads": found.threads}
    print_table(None, ["machine", name], [(label, str(value)) for label, value in facts.items()])


def print_times(name: str, found: "Calibration") -> None:
    """A model as a whole, by its operators, and the nodes that take most."""
    print_table(None, [name, ""], _summary(found))
    _print_operators(found)
    _print_slowest(found)


def _summary(found: "Calibration") -> list[tuple[str, str]]:
    return [
        ("one run, median", shown(found.whole_s, "s")),
        ("runs", f"{found.runs}, and {found.profiled_runs} with the profiler"),
        ("they differ by", f"{found.spread:.1%}"),
        ("samples per run", str(found.model_batch)),
        ("FLOPs per run", shown(found.flops, "FLOPs")),
        ("sustained", shown(found.flops_per_s, "FLOP/s")),
    ]


def _print_operators(found: "Calibration") -> None:
    headings = ["operator", "nodes", "FLOPs", "time", "of the whole", "sustained"]
    rows = [
        [
            item.op_type,
            str(item.nodes),
            shown(item.flops, ""),
            shown(item.seconds, "s"),
            f"{item.seconds / found.whole_s:.1%}",
            shown(item.flops / item.seconds, "FLOP/s") if item.seconds else "-",
        ]
        for item in found.by_op_type()
    ]
    print_table(None, headings, rows)


def _print_slowest(found: "Calibration") -> None:
    headings = ["slowest nodes", "operator", "FLOPs", "time", "of the whole"]
    rows = [
        [
            node.name,
            node.op_type,
            shown(node.flops, ""),
            shown(node.seconds, "s"),
            f"{node.seconds / found.whole_s:.1%}",
        ]
        for node in found.slowest(SLOWEST)
    ]
    print_table(None, headings, rows)
