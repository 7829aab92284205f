"""A cut, and the table of cuts, as JSON."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from app.core.dag import CostedDag, Mask
from app.core.quantities import Cut
from app.core.scenario import Mode
from app.core.splitting.cut_table import Family, rows_for_mode
from app.services.prepared import PreparedModel
from app.worker.facts import tensor_facts


def cut_facts(model: PreparedModel, cut: Cut, mode: Mode) -> dict[str, Any]:
    """Where a model is cut, and what the cut uses in one mode; made once per cut.

    FLOPs are FLOPs, even where the cut was evaluated with measured seconds in their place.
    """

    def make() -> dict[str, Any]:
        flops = {} if model.work is None else _flops(model.dag, cut.on_device)
        return {
            "device_nodes": cut.device_nodes,
            "server_nodes": cut.server_nodes,
            "cut_tensors": [crossing_facts(model.dag, t) for t in cut.cut_tensors.tolist()],
            "quantities": {**asdict(cut.quantities), **flops},
        }

    return model.remember((cut.on_device.tobytes(), mode), make)


def crossing_facts(dag: CostedDag, tensor: int) -> dict[str, Any]:
    """A tensor of the model that crosses; where smashed data are cast, also to what."""
    facts = tensor_facts(dag, tensor)
    if dag.smashed_dtype is None:
        return facts
    is_cast = bool(dag.tensor_is_cast[tensor])
    return {
        **facts,
        "smashed_dtype": dag.smashed_dtype if is_cast else None,
        "smashed_bytes": int(dag.crossing_bytes[tensor]),
    }


def _flops(dag: CostedDag, on_device: Mask) -> dict[str, float]:
    device_flops = int(dag.node_flops[on_device].sum())
    return {
        "device_flops": float(device_flops),
        "server_flops": float(dag.total_flops - device_flops),
    }


def cuts_of(model: PreparedModel, mode: Mode) -> tuple[dict[str, Any], str]:
    """The table for a device no faster than the server, and its entity tag.

    Raises ``TooManyCutsError``.
    """
    table = model.free.tables.get(Family.SLOWER_DEVICE)
    rows = rows_for_mode(table, mode).tolist()
    body = {
        "model_id": model.model_id,
        "model_batch": model.dag.model_batch,
        "mode": mode.value,
        "cuts": [
            {"id": index, **cut_facts(model, model.cut_at(table, row, mode), mode)}
            for index, row in enumerate(rows)
        ],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
    return body, f'"{digest}"'
