"""Answers of the service as tables for people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from app.cli.figures import shown
from app.cli.output import print_table

if TYPE_CHECKING:
    from app.api.schemas import CutOut, CutTensorOut, ModelOut, SplitOut

LISTED = 5
"""Names of a list that are shown."""


def print_answers(title: str, answers: "Mapping[str, SplitOut]") -> None:
    """Answers side by side: where the cut lies, where the time goes, what that saves."""
    rows = ((label, *map(show, answers.values())) for label, show in _ROWS.items())
    print_table(title, ["", *answers], rows)


def print_answer(title: str, answer: "SplitOut") -> None:
    """All of one answer."""
    rows = [(label, show(answer)) for label, show in _ROWS.items()]
    print_table(title, ["", answer.id or "not stored"], [*rows, *_more_rows(answer)])


def print_models(models: "Sequence[ModelOut]") -> None:
    """A line for each model."""
    rows = (
        (
            model.name,
            model.id,
            str(model.nodes),
            shown(model.flops, "FLOPs"),
            shown(model.parameter_bytes, "B"),
            model.weights,
        )
        for model in models
    )
    print_table(None, ["name", "id", "nodes", "FLOPs", "parameters", "weights"], rows)


def print_model(model: "ModelOut") -> None:
    """All of a model's summary that people ask for."""
    dims = ", ".join(f"{name}={extent}" for name, extent in model.bound_dims.items())
    rows = {
        "id": model.id,
        "nodes": str(model.nodes),
        "blocks": str(model.blocks),
        "FLOPs": shown(model.flops, "FLOPs"),
        "parameters": shown(model.parameter_bytes, "B"),
        "weights": model.weights,
        "samples per batch": str(model.model_batch),
        "dimensions": dims or "-",
        "inputs": names_of([tensor.name for tensor in model.inputs]),
        "outputs": names_of([tensor.name for tensor in model.outputs]),
    }
    print_table(None, ["name", model.name], rows.items())


def names_of(names: Sequence[str]) -> str:
    """A list that may be long."""
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + rest or "-"


def where(cut: "CutOut") -> str:
    """How many nodes run on either side."""
    if cut.server_nodes == 0:
        return "all on device"
    if cut.device_nodes == 0:
        return "all on server"
    return f"{cut.device_nodes} | {cut.server_nodes}"


def tensors(cut_tensors: "Sequence[CutTensorOut]") -> str:
    """The names of what crosses."""
    return names_of([tensor.name for tensor in cut_tensors])


def _seconds(part: str) -> "Callable[[SplitOut], str]":
    return lambda answer: shown(getattr(answer.delay, part), "s")


def _gain(baseline: str) -> "Callable[[SplitOut], str]":
    def show(answer: "SplitOut") -> str:
        baseline_s = getattr(answer.baselines, baseline)
        return f"{1 - answer.delay.total_s / baseline_s:.1%}" if baseline_s else "-"

    return show


_ROWS: "dict[str, Callable[[SplitOut], str]]" = {
    "nodes, device | server": lambda answer: where(answer.cut),
    "cut tensors": lambda answer: tensors(answer.cut.cut_tensors),
    "total": _seconds("total_s"),
    "  device compute": _seconds("device_compute_s"),
    "  server compute": _seconds("server_compute_s"),
    "  uplink": _seconds("uplink_s"),
    "  downlink": _seconds("downlink_s"),
    "  round trip": _seconds("round_trip_s"),
    "  model transfer": _seconds("model_transfer_s"),
    "saved against device only": _gain("device_only_s"),
    "saved against server only": _gain("server_only_s"),
    "proved optimal": lambda answer: "yes" if answer.optimal else "no",
    "found in": lambda answer: shown(answer.solve_s, "s"),
}
_RANGES = {
    "uplink_bits_per_s": ("  uplink", "bit/s"),
    "downlink_bits_per_s": ("  downlink", "bit/s"),
    "device_flops_per_s": ("  device", "FLOP/s"),
    "server_flops_per_s": ("  server", "FLOP/s"),
}


_USES = {
    "node-seconds": "measured seconds of each node",
    "sustained-flops": "its FLOPS over other models",
}
_FIGURES = {
    "device_flops_per_s": "  device",
    "server_flops_per_s": "  server",
    "bandwidth": "  uplink and downlink",
}


def _more_rows(answer: "SplitOut") -> Iterator[tuple[str, str]]:
    quantities = answer.cut.quantities
    yield "method", answer.method
    if answer.objective_value != answer.delay.total_s:
        yield "objective value", f"{answer.objective_value:.6g}"
    if answer.gap is not None:
        yield "a better cut saves at most", f"{answer.gap:.6g}"
    yield "bytes up, per batch of the model", shown(quantities.uplink_bytes, "B")
    yield "device's parameters", shown(quantities.device_parameter_bytes, "B")
    yield "device's activations", shown(quantities.device_activation_bytes, "B")
    if answer.valid_while is not None:
        yield "best while, each alone", ""
        for name, (label, unit) in _RANGES.items():
            yield label, _range(getattr(answer.valid_while, name), unit)
    if answer.profiles is not None:
        for side, used in (("device", answer.profiles.device), ("server", answer.profiles.server)):
            if used is not None:
                yield f"profile of the {side}", f"{used.name}: {_USES[used.used]}"
    if answer.sensitivity is not None:
        shares = " / ".join(f"{share} %" for share in answer.sensitivity.bandwidth)
        yield f"loses, if off by {shares}", ""
        for name, label in _FIGURES.items():
            losses = getattr(answer.sensitivity, name)
            yield label, " / ".join(map(_loss, losses.values()))
    if answer.certificate is not None:
        cut_value, flow_value = answer.certificate.cut_value, answer.certificate.flow_value
        yield "certificate, cut and flow", f"{cut_value!r}, {flow_value!r}"
    if answer.nodes is not None:
        yield "nodes on the device", names_of(answer.nodes.device)
        yield "nodes on the server", names_of(answer.nodes.server)
    if answer.switching is not None:
        gain_s = answer.switching.gain_s
        yield "decision", answer.switching.decision
        yield "gain per round", "-" if gain_s is None else shown(gain_s, "s")


def _loss(loss: float | None) -> str:
    if loss is None:
        return "?"
    return "nothing" if loss == 0 else f"{loss:.2%}"


def _range(ends: tuple[float | None, float | None] | None, unit: str) -> str:
    if ends is None:
        return "-"
    least, most = ends
    if least is None and most is None:
        return "any"
    if least is None:
        return f"up to {shown(most or 0.0, unit)}"
    return f"from {shown(least, unit)}" + (f" to {shown(most, unit)}" if most is not None else "")
