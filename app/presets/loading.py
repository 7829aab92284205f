"""The presets of this package, by name."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from app.errors import UnknownPresetError
from app.presets.models import LinkPreset, MachinePreset, Presets

TABLES = {"source": "sources", "workload": "workloads"}
"""Fields that name a row, and the tables that they name it in."""

MOST_SHOWN = 64
"""Characters of an unknown name that a message quotes."""
MOST_NEAR = 3
LEAST_LIKENESS = 0.5
"""Words in common, and the share of letters that are."""

_Loc = Sequence[str | int]


@cache
def all_presets() -> Presets:
    """Every preset, in the order of the file; read once."""
    return read_presets(files("app.presets").joinpath("presets.toml").read_text("utf-8"))


def read_presets(text: str) -> Presets:
    """The presets in a TOML document like ``presets.toml``.

    Raises ``ValueError`` for what is not TOML, names a row that is not there, or is not as
    ``app.presets.models`` says.
    """
    document = tomllib.loads(text)
    tables = {field: document.pop(table, {}) for field, table in TABLES.items()}
    return Presets.model_validate(_with_rows(document, tables))


def machine_named(name: str, loc: _Loc = ()) -> MachinePreset:
    """The device or server of this name; either may stand on either side.

    Raises ``UnknownPresetError`` (with ``loc``, the field at fault) where there is none.
    """
    presets = all_presets()
    machines = {machine.name: machine for machine in (*presets.devices, *presets.servers)}
    if name not in machines:
        raise _unknown(name, "device or server", machines, loc)
    return machines[name]


def link_named(name: str, loc: _Loc = ()) -> LinkPreset:
    """The link of this name.

    Raises ``UnknownPresetError`` (with ``loc``, the field at fault) where there is none.
    """
    links = {link.name: link for link in all_presets().links}
    if name not in links:
        raise _unknown(name, "link", links, loc)
    return links[name]


def _unknown(
    name: str, kind: str, known: Mapping[str, MachinePreset | LinkPreset], loc: _Loc
) -> UnknownPresetError:
    near = _near(name, known)
    hint = (
        f"did you mean {', '.join(map(repr, near))}?" if near else f"there are {', '.join(known)}"
    )
    shown = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}..."
    return UnknownPresetError(f"there is no preset of a {kind} named {shown!r}; {hint}", loc=loc)


def _near(name: str, known: Mapping[str, MachinePreset | LinkPreset]) -> list[str]:
    """Names that may be meant, the likeliest first: by words that they, or their titles, share with
    what was asked for, and by letters."""
    folded = "-".join(_words(name))
    likeness = {
        each: len(set(_words(name)) & {*_words(each), *_words(preset.title)})
        + difflib.SequenceMatcher(None, folded, each).ratio()
        for each, preset in known.items()
    }
    likely = [each for each, degree in likeness.items() if degree >= LEAST_LIKENESS]
    return sorted(likely, key=lambda each: (likeness[each], each), reverse=True)[:MOST_NEAR]


def _words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def _with_rows(part: Any, tables: Mapping[str, Mapping[str, Any]]) -> Any:
    """A part of the document, with the rows that it names in the place of their names."""
    if isinstance(part, list):
        return [_with_rows(item, tables) for item in part]
    if not isinstance(part, dict):
        return part
    whole = {}
    for field, value in part.items():
        if field in tables:
            if value not in tables[field]:
                raise ValueError(f"there is no {field} {value!r}")
            value = tables[field][value]
        whole[field] = _with_rows(value, tables)
    return whole
