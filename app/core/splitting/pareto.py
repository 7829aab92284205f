"""Which rows of a matrix of costs can be best: the non-dominated ones, and the lower hull's."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]

SMALL = 48
"""Up to here one comparison of all pairs is faster than anything cleverer."""
CHUNK = 256


def nondominated(costs: Matrix) -> Rows:
    """Indices, ascending, of the rows that no other row dominates.

    A row dominates another if it is nowhere larger and somewhere smaller; of equal rows the first
    stays. ``costs``: (k, c). Complexity: O(k * front * c), vectorised.
    """
    if len(costs) <= 1:
        return np.arange(len(costs))
    if len(costs) <= SMALL:
        return np.flatnonzero(~_dominated_among(costs))
    # In lexicographic order no row is dominated by a later one, but for equal rows, which keep
    # their order. So each chunk is compared with the front before it, and within itself.
    order = np.lexsort((np.arange(len(costs)), *costs.T[::-1]))
    front = np.empty((0, costs.shape[1]))
    kept: list[Rows] = []
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        chunk = chunk[~_dominated_by(costs[chunk], front)]
        chunk = chunk[~_dominated_among(costs[chunk])]
        kept.append(chunk)
        front = np.concatenate([front, costs[chunk]])
    return np.sort(np.concatenate(kept))


def nondominated_within_groups(costs: Matrix, groups: NDArray[np.float64]) -> Rows:
    """Indices, ascending, of the rows that no other row of the same group dominates.

    ``groups``: (k,) any numbers; equal ones are a group. Complexity: O(k * c * largest group).
    """
    # Within a group in lexicographic order, only an earlier row can dominate a later one.
    order = np.lexsort((np.arange(len(costs)), *costs.T[::-1], groups))
    ordered_costs, ordered_groups = costs[order], groups[order]
    dominated = np.zeros(len(order), dtype=np.bool_)
    earlier = np.arange(len(order) - 1)
    for distance in range(1, len(order)):
        earlier = earlier[earlier < len(order) - distance]
        earlier = earlier[ordered_groups[earlier] == ordered_groups[earlier + distance]]
        if len(earlier) == 0:
            break
        later = earlier + distance
        no_larger = (ordered_costs[earlier] <= ordered_costs[later]).all(axis=1)
        dominated[later[no_larger]] = True
    return np.sort(order[~dominated])


def hull_vertices(costs: Matrix) -> Rows:
    """Indices, ascending, of the rows that alone are cheapest for some non-negative prices.

    These are the vertices of the convex hull of the rows plus the non-negative orthant. A row p is
    none of them if and only if a mixture (a convex combination) of other rows is <= p; at any
    prices one of the rows of the mixture is then as cheap. That is decided by a linear programme
    for each row that ``off_hull`` leaves.
    """
    chosen = nondominated(costs)
    chosen = chosen[~off_hull(costs[chosen])]
    points = costs[chosen]
    alive = np.ones(len(points), dtype=np.bool_)
    for i in range(len(points)):
        alive[i] = False
        alive[i] = not _is_mixture(points[alive], points[i])
    return chosen[alive]


TOLERANCE = 1e-9
"""A mixture may exceed a row by this share of the row's own cost, in each quantity, so that what is
lost is at most this share of the cost at any prices."""


def _is_mixture(others: Matrix, row: NDArray[np.float64]) -> bool:
    """Whether a mixture of others is <= row, each quantity measured in units of the row's own."""
    # Where the row has none of a quantity, only rows without it can be in the mixture.
    others = others[(others[:, row == 0] == 0).all(axis=1)]
    ratios = others[:, row > 0] / row[row > 0]
    if len(ratios) == 0 or ratios.shape[1] == 0:
        return len(ratios) > 0
    # Minimise s with weights @ ratios <= 1 + s, weights >= 0, sum(weights) = 1.
    count, width = ratios.shape
    found = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.concatenate([ratios.T, -np.ones((width, 1))], axis=1),
        b_ub=np.ones(width),
        A_eq=np.append(np.ones(count), 0.0)[None, :],
        b_eq=[1.0],
        bounds=[(0.0, None)] * count + [(-1.0, None)],
        method="highs",
    )
    if found.x is None:
        return False
    # The solver's word is not taken: the mixture itself is looked at.
    weights = np.where(found.x[:-1] > TOLERANCE, found.x[:-1], 0.0)
    mixture = (weights / weights.sum()) @ ratios
    return bool((mixture <= 1 + TOLERANCE).all())


def off_hull(costs: Matrix) -> NDArray[np.bool_]:
    """(k,) Rows that are certainly no vertex of the lower hull, found fast where rows are many.

    Qhull's facets of the rows, and of one far point along each axis, propose mixtures: where the
    ray from the origin through a row p passes a facet before p, p is a multiple >= 1 of a mixture
    of the facet's corners, plus amounts >= 0 along the axes for its far points. Each proposal is
    checked by its own numbers, so Qhull's rounding decides what is found, not what is true.
    """
    off = np.zeros(len(costs), dtype=np.bool_)
    varies = costs.min(axis=0, initial=np.inf) < costs.max(axis=0, initial=-np.inf)
    width = int(varies.sum())
    if len(costs) <= SMALL or width < 2:
        return off
    scale = costs[:, varies].max(axis=0)
    points = costs[:, varies] / scale
    corner = points[int(points.sum(axis=1).argmin())]
    hull = ConvexHull(np.concatenate([points, corner + FAR * np.eye(width)]), qhull_options="QJ Pp")
    facing = (hull.equations[:, :-1] <= FACING).all(axis=1)
    for facet in hull.simplices[facing]:
        off[_behind(points, facet, off)] = True
    return off


FAR = 1e4
FACING = 1e-3
"""Largest component of the normal of a facet that counts as facing the origin; above zero, as the
far points are not at infinity."""
ROUNDING = 1e-12


def _behind(points: Matrix, facet: NDArray[np.int32], off: NDArray[np.bool_]) -> Rows:
    """Rows (not yet off) that a mixture of a facet's corners is no larger than."""
    width = points.shape[1]
    is_corner = facet < len(points)
    axes = np.eye(width)[facet[~is_corner] - len(points)]
    corners = np.concatenate([points[facet[is_corner]], axes])
    rows = np.flatnonzero(~off)
    rows = rows[~np.isin(rows, facet)]
    if not is_corner.any() or len(rows) == 0 or np.linalg.matrix_rank(corners) < width:
        return rows[:0]
    weights = np.maximum(np.linalg.solve(corners.T, points[rows].T).T, 0.0)
    mixed = weights[:, : int(is_corner.sum())]
    total = mixed.sum(axis=1)
    enough = total >= 1.0 - ROUNDING
    rows, mixed, total = rows[enough], mixed[enough], total[enough]
    mixture = (mixed / total[:, None]) @ points[facet[is_corner]]
    return np.asarray(rows[(mixture <= points[rows] * (1 + ROUNDING)).all(axis=1)])


def _dominated_among(costs: Matrix) -> NDArray[np.bool_]:
    """(k,) Which rows another row dominates, or equals from an earlier place."""
    no_larger = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)
    equal = no_larger & no_larger.T
    earlier = np.tri(len(costs), k=-1, dtype=np.bool_).T
    worse = (no_larger & ~equal) | (equal & earlier)
    return np.asarray(worse.any(axis=0))


def _dominated_by(costs: Matrix, front: Matrix) -> NDArray[np.bool_]:
    """(k,) Which rows some row of the front dominates or equals."""
    dominated = np.zeros(len(costs), dtype=np.bool_)
    for start in range(0, len(front), CHUNK):
        part = front[start : start + CHUNK]
        open_rows = np.flatnonzero(~dominated)
        hits = np.asarray((part[None, :, :] <= costs[open_rows, None, :]).all(axis=2)).any(axis=1)
        dominated[open_rows[hits]] = True
    return dominated
