"""The blocks of a model as JSON."""

from typing import Any

from app.core.blocks import kinds_of
from app.core.splitting.blockwise import can_hold_a_cut
from app.core.splitting.cut_table import Family
from app.services.prepared import PreparedModel


def blocks_facts(model: PreparedModel) -> dict[str, Any]:
    """The blocks in order, with their kinds. Raises ``TooManyCutsError``."""
    dag, blocks = model.dag, model.blocks
    holds = can_hold_a_cut(model.free.tables.get(Family.SLOWER_DEVICE), blocks)
    kinds = kinds_of(dag, blocks)

    def name(tensor: int | None) -> str | None:
        return None if tensor is None else dag.tensor_names[tensor]

    return {
        "model_id": model.model_id,
        "blocks": [
            {
                "id": block.id,
                "kind": kind,
                "nodes": list(range(block.start, block.stop)),
                "input_tensor": name(block.input_tensor),
                "output_tensor": name(block.output_tensor),
                "flops": int(dag.node_flops[block.start : block.stop].sum()),
                "can_hold_a_cut": can_hold,
            }
            for block, kind, can_hold in zip(blocks, kinds, holds, strict=True)
        ],
    }
