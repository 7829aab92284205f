"""``kerf presets``: common devices, servers and links."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.figures import shown
from app.cli.options import Json
from app.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.preset_schemas import (
        LinkPresetOut,
        MachinePresetOut,
        MeasurementOut,
        PeakOut,
        PresetsOut,
        SourceOut,
    )


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Show this one alone, with the sources of its figures."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List common devices, servers and links, for --device-preset, --server-preset and
    --link-preset of `kerf split`.

    They come with Kerf; no service is asked. Either machine may stand on either side.
    """
    from app.api.preset_schemas import PresetsOut
    from app.presets import all_presets

    known = PresetsOut.model_validate(all_presets())
    if name is None:
        print_json(known.model_dump()) if json else _print_all(known)
        return
    found = _named(known, name)
    if json:
        print_json(found.model_dump())
    elif found in known.links:
        _print_link(found)
    else:
        _print_machine(found)


def _named(known: "PresetsOut", name: str) -> Any:
    """A machine or a link. Raises ``UnknownPresetError``, which names those that are near."""
    from app.errors import UnknownPresetError
    from app.presets import link_named, machine_named

    by_name: dict[str, Any] = {each.name: each for each in (*known.devices, *known.servers)}
    by_name |= {each.name: each for each in known.links}
    if name in by_name:
        return by_name[name]
    details = []
    for look_up in (machine_named, link_named):
        try:
            look_up(name)
        except UnknownPresetError as error:
            details.append(error.detail)
    raise UnknownPresetError("; ".join(details))


def _print_all(known: "PresetsOut") -> None:
    _print_machines("devices", known.devices)
    _print_machines("servers", known.servers)
    headings = ["links", "what it is", "uplink", "downlink", "round trip"]
    rows = [
        [
            each.name,
            each.title,
            shown(each.uplink_bits_per_s, "bit/s"),
            shown(each.downlink_bits_per_s, "bit/s"),
            "-" if each.round_trip_s is None else shown(each.round_trip_s, "s"),
        ]
        for each in known.links
    ]
    print_table(None, headings, rows)


def _print_machines(what: str, machines: "Sequence[MachinePresetOut]") -> None:
    headings = [what, "what it is", "power mode", "precision", "sustained", "of its peak", "memory"]
    rows = [
        [
            each.name,
            each.title,
            each.power_mode,
            each.precision,
            shown(each.flops_per_s, "FLOP/s"),
            f"{each.efficiency:.0%}",
            "-" if each.memory is None else shown(each.memory.memory_bytes, "B"),
        ]
        for each in machines
    ]
    print_table(None, headings, rows)


def _print_machine(machine: "MachinePresetOut") -> None:
    facts = [
        ["what it is", machine.title, ""],
        ["power mode", machine.power_mode, ""],
        ["sustained", f"{shown(machine.flops_per_s, 'FLOP/s')} in {machine.precision}", ""],
    ]
    for peak in machine.peaks:
        facts += _peak_rows(peak)
    if machine.memory is not None:
        memory = shown(machine.memory.memory_bytes, "B")
        facts.append(["memory", memory, _cited(machine.memory.source)])
    if machine.power is not None:
        facts.append(["power", shown(machine.power.compute_w, "W"), _cited(machine.power.source)])
    facts += _note_rows(machine.note)
    print_table(None, ["name", machine.name, "source"], facts)


def _peak_rows(peak: "PeakOut") -> list[list[str]]:
    label = f"{peak.precision} peak"
    rows = [[label, shown(peak.peak_flops_per_s, "FLOP/s"), _cited(peak.source)]]
    if peak.efficiency is not None:
        rows.append([f"{peak.precision} sustained", f"{peak.efficiency:.1%} of its peak", ""])
    return [*rows, *(_measurement_row(each) for each in peak.measurements)]


def _measurement_row(measured: "MeasurementOut") -> list[str]:
    doing = " in training" if measured.training else ""
    speed = shown(measured.flops_per_s, "FLOP/s")
    return [f"  {measured.workload.title}{doing}", speed, _cited(measured.source)]


def _print_link(link: "LinkPresetOut") -> None:
    source = _cited(link.source)
    rows = [
        ["what it is", link.title, ""],
        ["uplink", shown(link.uplink_bits_per_s, "bit/s"), source],
        ["downlink", shown(link.downlink_bits_per_s, "bit/s"), source],
    ]
    if link.round_trip_s is not None:
        rows.append(["round trip", shown(link.round_trip_s, "s"), source])
    rows += [["figures", link.statistic, ""], *_note_rows(link.note)]
    print_table(None, ["name", link.name, "source"], rows)


def _note_rows(note: str | None) -> list[list[str]]:
    return [] if note is None else [["note", note, ""]]


def _cited(source: "SourceOut") -> str:
    return f"{source.publisher}, {source.title}, {source.date}"
