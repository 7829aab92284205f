"""How figures are stated, and what all of them share."""

from dataclasses import dataclass

from app.core.scenario import Link, Mode, Scenario

SERVER_FLOPS_PER_S = 1e8
DOWNLINK_PER_UPLINK = 4
ROUND_TRIP_S = 0.001

BATCH = 2
FLOAT_BYTES, HALF_BYTES, INT32_BYTES, INT64_BYTES = 4, 2, 4, 8


@dataclass(frozen=True)
class Figures:
    """Nodes, forward FLOPs and parameter bytes of one file, and its best cut.

    ``cut_tensors``: what crosses in the best cut of ``scenario``; nothing where all nodes run on
    the device. ``warns``: the start of each warning, in order.
    """

    nodes: int
    flops: int
    parameter_bytes: int
    scenario: Scenario
    cut_tensors: tuple[str, ...]
    warns: tuple[str, ...] = ()


def training(device_flops_per_s: float, uplink_bits_per_s: float) -> Scenario:
    """Ten local iterations. The models are about a millionth of real ones, and so are the rates."""
    link = Link(uplink_bits_per_s, DOWNLINK_PER_UPLINK * uplink_bits_per_s, ROUND_TRIP_S)
    return Scenario(device_flops_per_s, SERVER_FLOPS_PER_S, link, local_iterations=10)


def inference(device_flops_per_s: float, uplink_bits_per_s: float) -> Scenario:
    """One batch."""
    link = Link(uplink_bits_per_s, DOWNLINK_PER_UPLINK * uplink_bits_per_s, ROUND_TRIP_S)
    return Scenario(device_flops_per_s, SERVER_FLOPS_PER_S, link, Mode.INFERENCE)


def product(rows: int, inner: int, columns: int) -> int:
    """A matrix product: one multiply-accumulate is 2 FLOPs."""
    return 2 * rows * inner * columns


UNSIZED = "the size of "
GUESSED = "the FLOPs of "
ONCE = "how often the bodies of "
"""How warnings begin: of tensors without a size, of FLOPs that hang on one, of trip counts."""
