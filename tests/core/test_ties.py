"""Which of several cuts of the same value is the best one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from app.core.dag import CostedDag
from app.core.scenario import Mode
from app.core.splitting.cut_table import Family, build_table, rows_for_mode
from app.core.splitting.frontier import COLUMNS
from app.core.splitting.ties import TIE, columns_of_mode, least_row, least_rows
from tests.strategies import dags

Figures = NDArray[np.float64]


def tables() -> st.SearchStrategy[tuple[Figures, Figures]]:
    """Quantities of few values, so that rows equal each other, and values that tie but for their
    last digits."""
    count = st.shared(st.integers(1, 12), key="rows")
    quantities = count.flatmap(
        lambda n: hnp.arrays(np.float64, (n, len(COLUMNS)), elements=st.sampled_from([0.0, 1.0]))
    )
    values = count.flatmap(
        lambda n: hnp.arrays(
            np.float64,
            (n, 3),
            elements=st.sampled_from([1.0, 1.0 + 1e-15, 1.0 - 1e-15, 2.0, np.inf]),
        )
    )
    return st.tuples(quantities, values)


@given(tables(), st.sampled_from(Mode))
def test_the_least_of_those_that_tie(given_: tuple[Figures, Figures], mode: Mode) -> None:
    """The row has the least value but for rounding, and of all such rows the least quantities, in
    the order in which they decide; for many scenarios at once it is the one for each alone."""
    quantities, values = given_
    columns = columns_of_mode(mode)
    for scenario in range(values.shape[1]):
        row = least_row(values[:, scenario], quantities, mode)
        least = values[:, scenario].min()
        assert values[row, scenario] <= least * (1 + TIE)
        tied = np.flatnonzero(values[:, scenario] <= least * (1 + TIE))
        rows = [tuple(quantities[other, columns]) for other in tied]
        assert tuple(quantities[row, columns]) == min(rows)
        # Of equal rows, the first.
        assert row == tied[rows.index(min(rows))]
    together = least_rows(values, quantities, mode)
    alone = [least_row(values[:, scenario], quantities, mode) for scenario in range(3)]
    assert together.tolist() == alone


@given(dags(), st.sampled_from(Mode))
def test_a_row_that_does_not_count_in_a_mode_is_never_chosen(dag: CostedDag, mode: Mode) -> None:
    """Where all cuts of a table tie, the one that is chosen counts in the mode, so that a client
    which has only those rows chooses it too."""
    table = build_table(dag, Family.SLOWER_DEVICE)
    chosen = least_row(np.ones(len(table)), table.quantities, mode)
    assert chosen in rows_for_mode(table, mode)
