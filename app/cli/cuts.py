"""``kerf cuts``: every cut of a model that can be best, and what each costs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from app.cli.connecting import connect
from app.cli.field_table import SCENARIO
from app.cli.fields import Body, completed, takes_fields
from app.cli.figures import shown
from app.cli.local import ModelOrFile, local_file
from app.cli.options import DEFAULT_URL, Dims, Json, ModelBatch, Parameters, Url
from app.cli.output import as_json, print_json, print_table
from app.cli.tables import tensors, where

if TYPE_CHECKING:
    from app.api.schemas import TableRowOut
    from app.client import LocalCuts, PricedCut
    from app.client.calls import TableMode

MODES: "tuple[TableMode, ...]" = ("training", "inference")
_HEADINGS = (
    *("cut", "nodes, device | server", "cut tensors", "bytes up", "device FLOPs"),
    *("parameters there", "activations there"),
)


@takes_fields(SCENARIO)
def cuts(
    model: ModelOrFile,
    given: Body,
    dims: Dims = None,
    model_batch: ModelBatch = None,
    parameters: Parameters = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show every cut of a model that can be best for a device no faster than the server.

    With a scenario (--device, --server, --uplink, --downlink and so on) every row is priced here,
    and the best one is marked.
    """
    mode = next((each for each in MODES if each == given.get("mode", MODES[0])), None)
    if mode is None:
        raise typer.BadParameter(f"it is one of {', '.join(MODES)}", param_hint="--mode")
    file = local_file(model, dims, model_batch, parameters)
    if file is not None:
        from app.client import LocalCuts

        table = LocalCuts(file.read().cuts(mode), tag=None)
    else:
        with connect(url) as client:
            table = client.cuts(model, mode)
    pricing = _pricing(table, completed(given)) if given.keys() - {"mode"} else None
    if json:
        print_json(_as_json(table, pricing))
    else:
        _print(table, pricing, is_energy=given.get("objective") == "energy")


@dataclass(frozen=True, slots=True)
class _Pricing:
    """What each row costs, by its id, None where it does not fit the device; and the best."""

    rows: "dict[int, PricedCut | None]"
    best: int


def _pricing(cuts: "LocalCuts", scenario: Body) -> _Pricing:
    """Raises ``NotCoveredError``, ``ProblemError`` or ``SplitError``."""
    best = cuts.best(scenario).row.id
    return _Pricing({row.id: _priced(cuts, row, scenario) for row in cuts.table.cuts}, best)


def _priced(cuts: "LocalCuts", row: "TableRowOut", scenario: Body) -> "PricedCut | None":
    from app.client import LocalCuts
    from app.core.errors import InfeasibleError

    alone = LocalCuts(cuts.table.model_copy(update={"cuts": [row]}), cuts.tag)
    try:
        return alone.best(scenario)
    except InfeasibleError:
        return None


def _as_json(cuts: "LocalCuts", pricing: _Pricing | None) -> dict[str, Any]:
    """The service's answer, with what each row costs in it."""
    table = as_json(cuts.table)
    if pricing is not None:
        for row in table["cuts"]:
            priced = pricing.rows[row["id"]]
            row["delay"] = priced and as_json(priced.delay)
            row["objective_value"] = priced and priced.objective_value
            row["is_best"] = row["id"] == pricing.best
    return table


def _print(cuts: "LocalCuts", pricing: _Pricing | None, is_energy: bool) -> None:
    rows = [_cells(row) for row in cuts.table.cuts]
    headings = list(_HEADINGS)
    if pricing is not None:
        headings += ["total", *(["energy"] if is_energy else []), ""]
        for row, cells in zip(cuts.table.cuts, rows, strict=True):
            priced = pricing.rows[row.id]
            cells.append("-" if priced is None else shown(priced.delay.total_s, "s"))
            if is_energy:
                cells.append("-" if priced is None else shown(priced.objective_value, "J"))
            mark = "best" if row.id == pricing.best else ""
            cells.append("does not fit" if priced is None else mark)
    print_table(f"{cuts.table.model_id}, {cuts.table.mode}", headings, rows)


def _cells(row: "TableRowOut") -> list[str]:
    quantities = row.quantities
    return [
        str(row.id),
        where(row),
        tensors(row.cut_tensors),
        shown(quantities.uplink_bytes, "B"),
        shown(quantities.device_flops, "FLOPs"),
        shown(quantities.device_parameter_bytes, "B"),
        shown(quantities.device_activation_bytes, "B"),
    ]
