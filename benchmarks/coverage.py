"""Which exports Kerf can profile, beside onnx-tool: nine architectures exported by torch 2.13."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.core.dag import CostedDag
from app.ingest import ingest

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
SECONDS_FOR_EACH = 180
TEXT = {"sequence": 128}
# Each with the attention that transformers takes by default (the files in sdpa).
MODELS: dict[str, dict[str, int]] = {
    "models/resnet50": {},
    "models/mobilenet_v2": {},
    "models/efficientnet_b0": {},
    "models/convnext_tiny": {},
    "sdpa/vit_b16": {},
    "sdpa/bert_base": TEXT,
    "sdpa/gpt2": {},
    "sdpa/llama": {},
    "models/segformer_b0": {},
}
PRODUCTS = ("Conv", "Gemm", "MatMul")


def run(console: Console) -> None:
    """Print for each model what onnx-tool says, and Kerf's count."""
    table = Table(
        title="Coverage beside onnx-tool: billions of multiply-accumulates, batch 1, 128 tokens "
        "(half of Kerf's FLOPs; of these, products)"
    )
    for column in ("model", "nodes", "Kerf", "products", "warnings", "onnx-tool"):
        table.add_column(column, justify="left" if column in ("model", "onnx-tool") else "right")
    stopped = 0
    for name, dims in MODELS.items():
        path = FIXTURES / f"{name}.onnx"
        model = ingest(path.read_bytes(), dims)
        outcome = by_onnx_tool(path, dims)
        stopped += not isinstance(outcome, int)
        table.add_row(
            Path(name).name,
            str(model.dag.node_count),
            f"{model.dag.total_flops / 2e9:.3f}",
            f"{products(model.dag) / 2e9:.3f}",
            str(len(model.facts.warnings)),
            f"{outcome / 1e9:.3f}" if isinstance(outcome, int) else f"stops: {outcome}",
        )
    console.print(table)
    console.print(f"Kerf profiles all {len(MODELS)}; onnx-tool stops on {stopped}.\n")


def products(dag: CostedDag) -> int:
    """FLOPs of convolutions and matrix products alone, which published figures count."""
    return int(dag.node_flops[np.isin(dag.node_op_types, PRODUCTS)].sum())


def by_onnx_tool(path: Path, dims: dict[str, int]) -> int | str:
    """Multiply-accumulates by onnx-tool, in a process of its own, or what it stopped with.

    Raises ``RuntimeError`` where it could not be asked.
    """
    command = [sys.executable, "-m", "benchmarks.onnx_tool_profile", str(path), json.dumps(dims)]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_FOR_EACH, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS_FOR_EACH} s"
    if ran.returncode < 0:
        return f"signal {-ran.returncode}"
    if ran.returncode:
        raise RuntimeError(f"onnx-tool cannot be asked: {ran.stderr}")
    outcome = json.loads(ran.stdout.splitlines()[-1])
    return outcome["macs"] if "macs" in outcome else str(outcome["exception"])
