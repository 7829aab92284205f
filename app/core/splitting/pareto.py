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
    one if and only if some prices w >= 0 that sum to 1 make w . (q - p) positive for every other
    row q: a linear programme that maximises the smallest of these margins. Rows whose margin is
    within rounding of zero lie on a face and are left out: at any prices another row is as cheap.
    """
    chosen = nondominated(costs)
    if len(chosen) > SMALL:
        chosen = chosen[hull_candidates(costs[chosen])]
    points = _scaled(costs[chosen])
    return chosen[[i for i in range(len(chosen)) if _is_vertex(points, i)]]


def hull_candidates(costs: Matrix) -> Rows:
    """Indices, ascending, of rows among which all of ``hull_vertices`` are; fast for many rows.

    Qhull's hull of the rows and of one far point along each axis from the cheapest row; what lies
    on a facet that faces the origin is a candidate. Its input is joggled by less than what prices
    can tell apart, so that rows that all lie in one plane are no special case.
    """
    points = _scaled(costs)
    width = points.shape[1]
    corner = points[int(points.sum(axis=1).argmin())]
    far = corner + FAR * np.eye(width)
    hull = ConvexHull(np.concatenate([points, far]), qhull_options="QJ Pp")
    facing = (hull.equations[:, :-1] <= FACING).all(axis=1)
    vertices = np.unique(hull.simplices[facing])
    return vertices[vertices < len(costs)].astype(np.intp)


def _scaled(costs: Matrix) -> Matrix:
    """Each column divided by its largest value: prices absorb the difference."""
    return np.asarray(costs / np.maximum(costs.max(axis=0, initial=0.0), 1.0))


FAR = 1e4
FACING = 1e-3
"""Largest component of the normal of a facet that counts as facing the origin; above zero, as the
far points are not at infinity."""
MARGIN = 1e-9


def _is_vertex(points: Matrix, i: int) -> bool:
    others = np.delete(points, i, axis=0) - points[i]
    if len(others) == 0:
        return True
    # Maximise m with m <= w . other for each other, w >= 0, sum(w) = 1.
    width = points.shape[1]
    objective = np.zeros(width + 1)
    objective[-1] = -1.0
    upper = np.concatenate([-others, np.ones((len(others), 1))], axis=1)
    equality = np.ones((1, width + 1))
    equality[0, -1] = 0.0
    bounds = [(0.0, None)] * width + [(None, 1.0)]
    found = linprog(
        objective,
        A_ub=upper,
        b_ub=np.zeros(len(others)),
        A_eq=equality,
        b_eq=[1.0],
        bounds=bounds,
        method="highs",
    )
    return found.fun is None or -found.fun > MARGIN


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
