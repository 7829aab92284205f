"""Compressed sparse rows: a ragged list of integer lists as two flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Csr:
    """Row ``i`` is ``indices[offsets[i]:offsets[i + 1]]``.

    Shapes: ``offsets`` (rows + 1,), ``indices`` (entries,), both int32.
    """

    offsets: Index
    indices: Index

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "Csr":
        """Pack one list of integers per row."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int32, count=len(rows))
        offsets = np.zeros(len(rows) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        flat = (value for row in rows for value in row)
        return cls(offsets, np.fromiter(flat, dtype=np.int32, count=int(offsets[-1])))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> Index:
        """The entries of row ``i`` (a view)."""
        return self.indices[self.offsets[i] : self.offsets[i + 1]]

    def to_lists(self) -> list[list[int]]:
        """One Python list per row: what a loop in Python reads fastest."""
        flat, offsets = self.indices.tolist(), self.offsets.tolist()
        return [flat[a:b] for a, b in pairwise(offsets)]

    def row_of_entry(self) -> Index:
        """For each entry, the row that it belongs to; shape (entries,)."""
        rows = np.arange(len(self), dtype=np.int32)
        return np.repeat(rows, np.diff(self.offsets))

    def any_per_row(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """For each row, whether any of its entries is flagged; shape (rows,)."""
        hits = np.zeros(len(self), dtype=np.bool_)
        hits[self.row_of_entry()[flags[self.indices]]] = True
        return hits

    def reached_from(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows are flagged, or named by an entry of one that is reached; shape (rows,).

        Entries are rows themselves here. Complexity: linear in the entries of what is reached.
        """
        reached = flags.copy()
        open_rows: list[int] = np.flatnonzero(flags).tolist()
        while open_rows:
            entries = self.row(open_rows.pop())
            fresh = entries[~reached[entries]]
            reached[fresh] = True
            open_rows += fresh.tolist()
        return reached

    def inverted(self, columns: int) -> "Csr":
        """The transposed relation: row ``c`` lists the rows that hold ``c``, ascending."""
        order = np.argsort(self.indices, kind="stable")
        offsets = np.zeros(columns + 1, dtype=np.int32)
        np.cumsum(np.bincount(self.indices, minlength=columns), out=offsets[1:])
        return Csr(offsets, self.row_of_entry()[order])
