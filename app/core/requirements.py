"""Which nodes run on the device only where others do: what makes a set of nodes a cut.

Nothing flows back from the server, so a node runs on the device only where the makers of what it
uses do. An uncuttable tensor (its size cannot be told before the model runs) never crosses, so its
maker runs on the device only where all its users do; a graph input exists on the device, so the
users of an uncuttable one run there in every cut. A set of nodes is the device's side of a cut if
and only if it meets these requirements.

A union of cuts is a cut, and so is what they have in common, as for sets that are closed under
predecessors alone. Nodes that require each other, be it by way of others, lie on one side in every
cut: they are tied.
"""

from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from app.core.csr import Csr, Index

Pairs = tuple[Index, Index]


@dataclass(frozen=True, eq=False)
class Requirements:
    """``pairs``: distinct (a, b) such that node b requires node a, as two arrays sorted by a.

    ``readers`` (n,): the nodes that use an uncuttable graph input. ``has_ties``: whether some
    nodes require each other.
    """

    pairs: Pairs
    readers: NDArray[np.bool_]
    has_ties: bool

    @classmethod
    def of(cls, edges: Pairs, uncuttable: Pairs, readers: NDArray[np.bool_]) -> "Requirements":
        """From the (maker, user) pairs of nodes, and those of them that an uncuttable tensor
        joins."""
        makers, users = uncuttable
        if len(makers) == 0:
            return cls(edges, readers, has_ties=False)
        pairs = distinct_pairs(
            np.concatenate([edges[0], users]), np.concatenate([edges[1], makers])
        )
        return cls(pairs, readers, has_ties=True)

    @property
    def node_count(self) -> int:
        return len(self.readers)

    @cached_property
    def required_by(self) -> Csr:
        """n rows: the nodes that require a node."""
        return rows_of_pairs(self.pairs, self.node_count)

    @cached_property
    def requires(self) -> Csr:
        """n rows: the nodes that a node requires."""
        return self.required_by.inverted(self.node_count)

    @cached_property
    def must_run_on_device(self) -> NDArray[np.bool_]:
        """(n,) What every cut has on the device: ``readers``, and all that these require."""
        return self.requires.reached_from(self.readers)

    def are_met_by(self, on_device: NDArray[np.bool_]) -> bool:
        """Whether a set of nodes is the device's side of a cut."""
        required, requiring = self.pairs
        lacks_one = on_device[requiring] & ~on_device[required]
        return not bool(lacks_one.any() or (self.must_run_on_device & ~on_device).any())

    def leave_a_choice(self) -> bool:
        """Whether there is a cut beside everything on the device; true of a DAG without nodes,
        from which nothing is taken. Without uncuttable graph inputs there always is: everything
        on the server."""
        return self.node_count == 0 or not bool(self.must_run_on_device.all())

    @cached_property
    def groups(self) -> Index:
        """(n,) For each node the number of its group, which is it and the nodes tied to it.

        Numbered so that no node requires one of a higher number but its own, hence no edge goes to
        a lower number. Complexity: linear.
        """
        if not self.has_ties:
            return np.arange(self.node_count, dtype=np.int32)
        rows = self.requires
        relation = csr_array(
            (np.ones(len(rows.indices)), rows.indices, rows.offsets),
            shape=(self.node_count, self.node_count),
        )
        count, labels = connected_components(relation, connection="strong")
        before: dict[int, set[int]] = {label: set() for label in range(count)}
        required, requiring = (labels[side].tolist() for side in self.pairs)
        for earlier, later in zip(required, requiring, strict=True):
            if earlier != later:
                before[later].add(earlier)
        number = np.empty(count, dtype=np.int32)
        number[list(TopologicalSorter(before).static_order())] = np.arange(count)
        return np.asarray(number[labels])


def distinct_pairs(first: Index, second: Index) -> Pairs:
    """Each pair once, sorted by its first member, then by its second."""
    pairs = np.unique(np.stack([first, second], axis=1).reshape(-1, 2), axis=0)
    return pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)


def rows_of_pairs(pairs: Pairs, count: int) -> Csr:
    """``count`` rows: the second members of the pairs of each first; ``pairs`` sorted by that."""
    first, second = pairs
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(first, minlength=count), out=offsets[1:])
    return Csr(offsets, second)
