"""What was approximated or left open while a model was read, and how it is told to people."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

LISTED = 5
"""How many names a message lists."""


@dataclass(slots=True)
class Notes:
    """Notes taken on the way. FLOPs are forward counts of the whole model's run.

    ``remarks``: told as they are. ``by_elements``: FLOPs by operator where output elements stand
    in for an entry. ``by_guess``: nodes by operator whose entry needs a size that is not known,
    with ``guessed_flops``, what they count all the same. ``counted_once``: nodes by operator whose
    bodies run a number of times that is not known, with ``once_flops``. ``unsized_parameters``:
    names of parameters whose bytes are not known.
    """

    remarks: list[str] = field(default_factory=list)
    by_elements: Counter[str] = field(default_factory=Counter)
    by_guess: Counter[str] = field(default_factory=Counter)
    guessed_flops: int = 0
    counted_once: Counter[str] = field(default_factory=Counter)
    once_flops: int = 0
    unsized_parameters: list[str] = field(default_factory=list)

    def lines(self, total_flops: int, node_count: int) -> Iterator[str]:
        """The warnings, each with the share of the model's FLOPs that it touches."""

        def share(flops: int) -> str:
            return f"{flops / total_flops if total_flops else 0.0:.2%} of the model's FLOPs"

        yield from self.remarks
        for op_type, flops in self.by_elements.items():
            yield (
                f"operator {op_type} has no FLOPs entry: counted as one FLOP per output element "
                f"({share(flops)})"
            )
        if self.by_guess:
            count = self.by_guess.total()
            yield (
                f"the FLOPs of {count} of {node_count} nodes ({_counted(self.by_guess)}) hang on "
                "sizes that only running the model tells: counted as one FLOP per output element "
                f"of known size, else as none ({share(self.guessed_flops)})"
            )
        if self.counted_once:
            yield (
                f"how often the bodies of {_counted(self.counted_once)} run is not known: each "
                f"counted once ({share(self.once_flops)})"
            )
        if self.unsized_parameters:
            yield (
                f"the bytes of parameters {listed(self.unsized_parameters)} cannot be told: "
                "counted as 0"
            )


def listed(names: Iterable[str]) -> str:
    """The first names, quoted, and how many more there are."""
    everything = list(names)
    rest = f" and {len(everything) - LISTED} more" if len(everything) > LISTED else ""
    return ", ".join(map(repr, everything[:LISTED])) + rest


def _counted(counts: Counter[str]) -> str:
    text = ", ".join(
        f"{count} {op_type}" if count > 1 else op_type
        for op_type, count in counts.most_common(LISTED)
    )
    return f"{text} and others" if len(counts) > LISTED else text
