"""The cut table: every cut of a model that can be best, in families by what grows with what.

Which cuts can be best depends on what grows with what:

- ``SLOWER_DEVICE``. A device no faster than the server, per FLOP. With total FLOPs T and prices
  p_d >= p_s, computation costs p_d * d + p_s * (T - d) = (p_d - p_s) * d + p_s * T for d FLOPs on
  the device, so every delay, energy and memory limit is monotone in device FLOPs, bytes across
  (up, back and down), parameters, activations and crossing tensors. The best cut is among those
  that are not dominated in these. (Energy counts the device's side only, so this family serves it
  whatever the speeds.)
- ``HULL_*``. A device faster than the server and a linear objective, by mode: server FLOPs take
  the place of device FLOPs, and only the vertices of the lower convex hull can be the only best.
- ``MEASURED``. Seconds measured per node on either side take the place of FLOPs. Their price is 1
  on both sides, so what computation costs is one quantity, their sum, and takes the place of device
  FLOPs in the first family, whichever side is faster at which node. (With the device's seconds as
  its FLOPs, the first family itself serves energy, and so does whatever the device's speed.)
- ``MEASURED_FULL_*``. Measured seconds that cost more on one side than on the other (one machine is
  slower than it was measured), by mode, and throughput under a memory limit: seconds on the device
  and on the server are both to be small, and have no fixed sum.
- ``MEASURED_PIPELINE``. Throughput of measured seconds without a limit, at any speeds: of the
  quantities, only those of the four stages count.
- ``FULL_*``. Any speeds, throughput and memory limits, by mode: as device FLOPs and server FLOPs
  are both to be small and have a fixed sum, two cuts compare only where they agree in these.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.core.constraints import ForcedSides
from app.core.dag import CostedDag, Mask, NodeWork
from app.core.quantities import cut_of, peak_activation_bytes
from app.core.scenario import Mode
from app.core.splitting.frontier import (
    COLUMNS,
    CROSSING,
    DEVICE,
    DEVICE_RUNS,
    GRADIENT,
    KEPT,
    MOST_COMPARISONS,
    PARAMETER,
    PEAK,
    RESULT,
    RETAINED,
    ROUND_TRIPS,
    SERVER,
    UPLINK,
    FoundCuts,
    Search,
    find_cuts,
)
from app.core.splitting.pareto import (
    Matrix,
    Rows,
    hull_vertices,
    nondominated,
    nondominated_within_groups,
    off_hull,
)
from app.core.splitting.ties import columns_of_mode

MOST_CUTS = 100_000
MANY = 1500
"""From here on, partial cuts are held against the hull, which costs more than comparing pairs."""


class Family(StrEnum):
    """Which situations a table serves."""

    SLOWER_DEVICE = "slower-device"
    HULL_TRAINING = "hull-training"
    HULL_INFERENCE = "hull-inference"
    MEASURED = "measured"
    MEASURED_FULL_TRAINING = "measured-full-training"
    MEASURED_FULL_INFERENCE = "measured-full-inference"
    MEASURED_PIPELINE = "measured-pipeline"
    FULL_TRAINING = "full-training"
    FULL_INFERENCE = "full-inference"

    @classmethod
    def hull(cls, mode: Mode) -> "Family":
        """The family of linear objectives with a device faster than the server."""
        return cls.HULL_TRAINING if mode is Mode.TRAINING else cls.HULL_INFERENCE

    @classmethod
    def full(cls, mode: Mode) -> "Family":
        """The family of everything."""
        return cls.FULL_TRAINING if mode is Mode.TRAINING else cls.FULL_INFERENCE

    @classmethod
    def measured_full(cls, mode: Mode) -> "Family":
        """The family of everything, with measured seconds."""
        training = mode is Mode.TRAINING
        return cls.MEASURED_FULL_TRAINING if training else cls.MEASURED_FULL_INFERENCE


_BYTES_AND_COUNTS = (
    UPLINK,
    GRADIENT,
    RESULT,
    PARAMETER,
    KEPT,
    PEAK,
    CROSSING,
    ROUND_TRIPS,
    DEVICE_RUNS,
)
COMPARED: dict[Family, tuple[int, ...]] = {
    Family.SLOWER_DEVICE: (DEVICE, *_BYTES_AND_COUNTS),
    Family.MEASURED: (SERVER, *_BYTES_AND_COUNTS),
    Family.MEASURED_FULL_TRAINING: (
        *(DEVICE, SERVER, UPLINK, GRADIENT, PARAMETER, KEPT, ROUND_TRIPS, DEVICE_RUNS),
    ),
    Family.MEASURED_FULL_INFERENCE: (
        *(DEVICE, SERVER, UPLINK, RESULT, PARAMETER, PEAK, ROUND_TRIPS, DEVICE_RUNS),
    ),
    Family.MEASURED_PIPELINE: (DEVICE, SERVER, UPLINK, RESULT),
    Family.HULL_TRAINING: (SERVER, UPLINK, GRADIENT, PARAMETER, ROUND_TRIPS, DEVICE_RUNS),
    Family.HULL_INFERENCE: (SERVER, UPLINK, RESULT, ROUND_TRIPS, DEVICE_RUNS),
    Family.FULL_TRAINING: (UPLINK, GRADIENT, PARAMETER, KEPT, ROUND_TRIPS, DEVICE_RUNS),
    Family.FULL_INFERENCE: (UPLINK, RESULT, PARAMETER, PEAK, ROUND_TRIPS, DEVICE_RUNS),
}
"""The quantities by which cuts are compared. The full families of FLOPs compare within equal FLOPs;
in ``MEASURED``, the server's column is compared after the device's has been added."""


@dataclass(frozen=True, slots=True, eq=False)
class CutTable:
    """Rows in ascending order of device FLOPs.

    ``quantities`` (rows, 12) float64, by ``frontier.COLUMNS``; ``on_device_bits`` (rows,
    ceil(n / 8)) uint8, a bit per node.
    """

    quantities: Matrix
    on_device_bits: NDArray[np.uint8]
    node_count: int

    def __len__(self) -> int:
        return len(self.quantities)

    def on_device(self, row: int) -> Mask:
        """(n,) The device nodes of a row."""
        bits = np.unpackbits(self.on_device_bits[row], count=self.node_count)
        return bits.astype(np.bool_)

    def masks(self) -> NDArray[np.bool_]:
        """(rows, n) The device nodes of all rows."""
        return np.unpackbits(self.on_device_bits, axis=1, count=self.node_count).astype(np.bool_)


def build_table(
    dag: CostedDag,
    family: Family,
    forced: ForcedSides | None = None,
    work: NodeWork | None = None,
    most_cuts: int = MOST_CUTS,
    most_comparisons: int = MOST_COMPARISONS,
) -> CutTable:
    """The table of a family, of the cuts that ``forced`` allows.

    Raises ``TooManyCutsError`` where it would take too much (see ``find_cuts``).
    """
    found = find_cuts(dag, _search(family), forced, work, most_cuts, most_comparisons)
    if family in (Family.HULL_TRAINING, Family.HULL_INFERENCE):
        vertices = hull_vertices(found.quantities[:, list(COMPARED[family])])
        found = FoundCuts(found.quantities[vertices], found.on_device[vertices])
    quantities = found.quantities
    if work is not None:
        quantities = _with_work_of_cuts(quantities, found.on_device, work)
    order = np.lexsort(quantities.T[::-1])
    on_device = found.on_device[order]
    return CutTable(
        quantities=quantities[order],
        on_device_bits=np.packbits(on_device, axis=1),
        node_count=dag.node_count,
    )


def quantities_row(
    dag: CostedDag, on_device: Mask, work: NodeWork | None = None
) -> NDArray[np.float64]:
    """(12,) The quantities of any cut, as a row of a table would hold them."""
    q = cut_of(dag, on_device, Mode.TRAINING, work).quantities
    row = np.zeros(len(COLUMNS))
    row[DEVICE], row[SERVER] = q.device_flops, q.server_flops
    row[UPLINK], row[GRADIENT], row[RESULT] = q.uplink_bytes, q.gradient_bytes, q.result_bytes
    row[PARAMETER], row[CROSSING] = q.device_parameter_bytes, q.crossing_tensors
    row[KEPT] = q.device_activation_bytes
    row[PEAK] = peak_activation_bytes(dag, on_device)
    row[ROUND_TRIPS] = 0.0 if on_device.all() else 1.0
    row[DEVICE_RUNS] = 1.0 if on_device.any() else 0.0
    return row


def rows_for_mode(table: CutTable, mode: Mode) -> Rows:
    """The rows of the ``SLOWER_DEVICE`` table that count in one mode.

    The table serves both modes, so it compares both forms of activations; where only one counts,
    some rows are dominated by others.
    """
    return nondominated(table.quantities[:, columns_of_mode(mode)])


def _with_work_of_cuts(quantities: Matrix, on_device: NDArray[np.bool_], work: NodeWork) -> Matrix:
    """Quantities with both columns of work as ``cut_of`` sums them, to the last digit.

    Unlike FLOPs, which are whole numbers, seconds leave something of their rounding behind where
    they are added and taken off again.
    """
    summed = quantities.copy()
    summed[:, DEVICE] = [work.device[mask].sum() for mask in on_device]
    summed[:, SERVER] = [work.server[~mask].sum() for mask in on_device]
    return summed


def _search(family: Family) -> Search:
    columns = list(COMPARED[family])
    # What is retained decides later peaks, so a partial cut is compared by it as well.
    carried = [*columns, RETAINED] if PEAK in columns else columns

    def compared(quantities: Matrix) -> Matrix:
        return _with_sum(quantities, family)[:, columns]

    def pareto(quantities: Matrix) -> Rows:
        return nondominated(_with_sum(quantities, family)[:, carried])

    def within_equal_flops(quantities: Matrix) -> Rows:
        return nondominated_within_groups(quantities[:, carried], quantities[:, DEVICE])

    def hull(quantities: Matrix) -> Rows:
        if len(quantities) > MANY:
            on_hull = np.flatnonzero(~off_hull(quantities[:, carried]))
            return on_hull[pareto(quantities[on_hull])]
        return pareto(quantities)

    if family in (Family.HULL_TRAINING, Family.HULL_INFERENCE):
        return Search(hull, _all_pairs, bounding=compared)
    if family in (Family.FULL_TRAINING, Family.FULL_INFERENCE):
        return Search(within_equal_flops, _pairs_of_equal_flops)
    return Search(pareto, _all_pairs, bounding=compared)


def _all_pairs(quantities: Matrix, kept: Rows) -> int:
    return len(quantities) * len(kept)


def _pairs_of_equal_flops(quantities: Matrix, _kept: Rows) -> int:
    _, sizes = np.unique(quantities[:, DEVICE], return_counts=True)
    return int(np.square(sizes).sum())


def _with_sum(quantities: Matrix, family: Family) -> Matrix:
    if family is not Family.MEASURED:
        return quantities
    summed = quantities.copy()
    summed[:, SERVER] += quantities[:, DEVICE]
    return summed
