"""Calibrations of real models: what this machine sustains on each, and whether the seconds of the
nodes are those of the whole.

A profile's seconds are scaled to the measured whole, so they always sum to it; the figure to judge
by is what they sum to before that, less what the profiler itself takes.
"""

from pathlib import Path

import onnx
from rich.console import Console
from rich.table import Table

from app.calibration import calibrate
from app.ingest import IngestOptions

SECONDS = 6.0
_FIXTURES = Path("tests/fixtures/models")
_TEXT = {"batch": 1, "sequence": 128}
_ZOO = Path(onnx.__file__).parent / "backend/test/data/light"


def run(console: Console) -> None:
    """Print a row for each model, run by one thread."""
    table = Table(title="Calibration, one thread")
    for column in (
        "model",
        "nodes",
        "ms",
        "spread",
        "GFLOPS",
        "nodes' seconds over the whole's",
        "the profiler's own counted in",
    ):
        table.add_column(column, justify="left" if column == "model" else "right")
    for path, dims in _models():
        found = calibrate(path, IngestOptions(dims), threads=1, seconds=SECONDS)
        table.add_row(
            path.stem,
            str(len(found.nodes)),
            f"{found.whole_s * 1e3:.2f}",
            f"{found.spread:.1%}",
            f"{found.flops_per_s / 1e9:.1f}",
            f"{found.agreement:.3f}",
            f"{found.raw_agreement:.3f}",
        )
    console.print(table)


def _models() -> list[tuple[Path, dict[str, int]]]:
    names = (
        "mobilenet_v2",
        "efficientnet_b0",
        "resnet50",
        "convnext_tiny",
        "segformer_b0",
        "vit_b16",
        "torchscript/resnet18",
        "gpt2",
    )
    return [
        *((_FIXTURES / f"{name}.onnx", {}) for name in names),
        (_FIXTURES / "bert_base.onnx", _TEXT),
        *((path, {}) for path in sorted(_ZOO.glob("*.onnx"))),
    ]
