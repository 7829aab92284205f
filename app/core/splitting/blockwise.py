"""The block-wise algorithm: the minimum s-t cut on the DAG with its blocks as single vertices.

A block that cannot hold a cut is one vertex, and so is a run of blocks with no cut between them
that can be best. Put exactly: nodes that lie on the same side in every row of a cut table are one
group. The cuts by whole groups are cuts of the DAG, and every row of the table is among them (no
row parts tied nodes, so these are in one group); so the least value over the groups is no less than
the optimum over the DAG and no more than that over the rows, which is the optimum wherever the
table serves. (The block abstraction is the idea of arXiv 2507.01041; this criterion and its proof
are Kerf's.)
"""

import numpy as np

from app.core.blocks import Block
from app.core.csr import Index
from app.core.splitting.cut_table import CutTable


def groups_of(table: CutTable) -> Index:
    """(n,) For each node, its group, numbered so that no edge goes to a lower number.

    If v uses a tensor of u, each row that has v on the device has u there. So groups are numbered
    by falling number of rows that have them on the device; two that have equally many differ in
    which, and then no edge joins them.
    """
    membership = table.masks()
    if membership.shape[1] == 0:
        return np.zeros(0, dtype=np.int32)
    patterns, group = np.unique(np.packbits(membership, axis=0), axis=1, return_inverse=True)
    first_node = np.full(patterns.shape[1], membership.shape[1])
    np.minimum.at(first_node, group.ravel(), np.arange(membership.shape[1]))
    rows_on_device = membership[:, first_node].sum(axis=0)
    number = np.empty(len(first_node), dtype=np.int32)
    number[np.lexsort((first_node, -rows_on_device))] = np.arange(len(first_node))
    return np.asarray(number[group.ravel()])


def can_hold_a_cut(table: CutTable, blocks: tuple[Block, ...]) -> list[bool]:
    """For each block, whether some row of the table has a part of it on either side."""
    membership = table.masks()
    answers = []
    for block in blocks:
        on_device = membership[:, block.start : block.stop].sum(axis=1)
        answers.append(bool(((on_device > 0) & (on_device < block.stop - block.start)).any()))
    return answers
