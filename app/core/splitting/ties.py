"""Which of several cuts of the same value is the best one.

Cuts tie where they differ only in what an objective does not charge for, or by accident. Sums that
are taken in another order, or by another routine for matrices of another size, differ in their last
digits, so the least of them alone would name one of such cuts at random, and another one elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

from app.core.scenario import Mode
from app.core.splitting.frontier import (
    CROSSING,
    DEVICE,
    DEVICE_RUNS,
    GRADIENT,
    KEPT,
    PARAMETER,
    PEAK,
    RESULT,
    ROUND_TRIPS,
    UPLINK,
)
from app.core.splitting.pareto import Matrix
from app.core.splitting.pricing import Costs

TIE = 1e-12
"""Values that differ by less than this share are equal but for rounding."""
FEW = 32
"""Up to here a loop takes less time than the calls of numpy."""


def columns_of_mode(mode: Mode) -> list[int]:
    """The quantities that count in a mode, in the order in which they decide between equals."""
    activations = KEPT if mode is Mode.TRAINING else PEAK
    runs = (ROUND_TRIPS, DEVICE_RUNS)
    return [DEVICE, UPLINK, GRADIENT, RESULT, PARAMETER, activations, CROSSING, *runs]


def least_row(values: Costs, quantities: Matrix, mode: Mode) -> int:
    """The row of least value; of those that tie, the least by ``columns_of_mode``.

    That is never a row that another one dominates in the mode, but for one that equals it.
    ``values``: (k,), inf for a row that is not allowed; ``quantities``: (k, 12).
    """
    if len(values) <= FEW:
        few = values.tolist()
        most = min(few) * (1 + TIE)
        tied = [row for row, value in enumerate(few) if value <= most]
    else:
        tied = np.flatnonzero(values <= values.min() * (1 + TIE)).tolist()
    if len(tied) > 1:
        columns = quantities[tied][:, columns_of_mode(mode)]
        return int(tied[np.lexsort(columns.T[::-1])[0]])
    return int(tied[0])


def least_rows(values: Costs, quantities: Matrix, mode: Mode) -> NDArray[np.intp]:
    """(s,) The same for each of s scenarios; ``values``: (k, s)."""
    order = np.lexsort(quantities[:, columns_of_mode(mode)].T[::-1])
    is_tied = values <= values.min(axis=0) * (1 + TIE)
    return np.asarray(order[is_tied[order].argmax(axis=0)])
