"""Figures as people write and read them: ``5G``, ``20 Mbit/s``, ``10ms``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?)\s*(.*)")
_SHOWN = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
"""Decimal powers of the prefixes that are written, from the least."""
_DIGITS = 4

_LARGE = {prefix: Decimal(10) ** _SHOWN[prefix.replace("K", "k")] for prefix in "kKMGTP"}
_SMALL = {prefix: Decimal(10) ** _SHOWN[prefix] for prefix in "num"} | dict.fromkeys(
    ("\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"), Decimal("1e-6")
)
_BINARY = {"Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40)}


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A unit that figures are given in; ``factors``: by what may stand behind the number."""

    metavar: str
    factors: dict[str, Decimal]


def _unit(metavar: str, names: tuple[str, ...], prefixes: dict[str, Decimal], bare: bool) -> Unit:
    """``bare``: whether a prefix may stand without a name."""
    prefixes = {"": Decimal(1), **prefixes}
    factors = {prefix + name: prefixes[prefix] for prefix in prefixes for name in names}
    return Unit(metavar, (prefixes if bare else {"": Decimal(1)}) | factors)


FLOPS = _unit("FLOP/s", ("FLOP/s", "FLOPs/s", "FLOPS"), _LARGE, bare=True)
BITS_PER_S = _unit("bit/s", ("bit/s", "bits/s", "bps", "b/s"), _LARGE, bare=True)
BYTES = _unit("bytes", ("B", "bytes"), _LARGE | _BINARY, bare=True)
WATTS = _unit("watts", ("W",), _SMALL | _LARGE, bare=True)
# `10m` may be meant as minutes.
SECONDS = _unit("seconds", ("s",), _SMALL, bare=False)


def figure_of(unit: Unit, example: str) -> Callable[[str], float]:
    """A reader of figures in a unit; ``example``: how one is written.

    A figure is the float nearest to what is written: ``20M`` is ``2e7`` to the last digit. What
    the reader cannot read raises ``ValueError``.
    """

    def read(text: str) -> float:
        match = _NUMBER.fullmatch(text.strip())
        factor = unit.factors.get(match[2]) if match else None
        if match is None or factor is None:
            raise ValueError(f"{text!r} is no figure in {unit.metavar}; write it as {example}")
        return float(Decimal(match[1]) * factor)

    return read


def shown(value: float, unit: str) -> str:
    """A figure to four digits, with a prefix: ``50.18 kB``, ``79.73 ms``, ``5 GFLOP/s``.

    Seconds take no prefix above one, and what is counted none below.
    """
    rounded = float(f"{value:.{_DIGITS}g}")
    least, most = {"s": (-9, 0), "J": (-9, 15)}.get(unit, (0, 15))
    prefixes = [prefix for prefix, power in _SHOWN.items() if least <= power <= most]
    fitting = [p for p in prefixes if abs(rounded) >= 10.0 ** _SHOWN[p]]
    prefix = fitting[-1] if fitting else ("" if rounded == 0 else prefixes[0])
    number = f"{float(Decimal(rounded) / 10 ** Decimal(_SHOWN[prefix])):.{_DIGITS}g}"
    return f"{number} {prefix}{unit}".rstrip()
