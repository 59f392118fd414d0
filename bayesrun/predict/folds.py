"""Which rows each fit of a cross-validation leaves out, and which of them it predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import pd

Codes = NDArray[np.int64]

_BINS = 10
"""Quantile bins of a numeric column by which folds are stratified."""


@dataclass(frozen=True)
class HeldOut:
    """One fit.

    Parameters
    ----------
    left_out, predicted
        Over row.
    likelihood
        The only likelihood whose rows are left out and predicted; None for all.
    weight
        What the rows that are left out still weigh, below 1.
    """

    left_out: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    likelihood: str | None = None
    weight: float = 0.0

    def weights(self) -> NDArray[np.float64]:
        """Return the weight of each row (row,)."""
        return np.where(self.left_out, self.weight, 1.0)


def random_folds(rows: int, k: int, seed: int) -> Codes:
    """Return the fold of each row (row,): folds of equal size, up to one row."""
    return _dealt(np.random.default_rng([seed, 6]).permutation(rows), k)


def stratified_folds(column: NDArray[Any], k: int, seed: int) -> Codes:
    """Return the fold of each row, (row,): all folds have the same mix of labels, or of low and high numbers."""
    if column.dtype.kind in "iuf" and len(np.unique(column)) > _BINS:
        levels = pd.qcut(column, _BINS, labels=False, duplicates="drop")
    else:
        levels, _ = pd.factorize(pd.Series(column))
    shuffled = np.random.default_rng([seed, 6]).permutation(len(column))
    return _dealt(shuffled[np.argsort(np.asarray(levels)[shuffled], kind="stable")], k)


def grouped_folds(column: NDArray[Any], k: int, seed: int) -> Codes:
    """Return the fold of each row, (row,): all rows of a group are in one fold; folds are of similar size."""
    codes, labels = pd.factorize(pd.Series(column))
    sizes = np.bincount(codes)
    if k >= len(labels):
        return np.asarray(codes, dtype=np.int64)
    fold, filled = np.zeros(len(labels), dtype=np.int64), np.zeros(k)
    shuffled = np.random.default_rng([seed, 6]).permutation(len(labels))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold[group] = int(np.argmin(filled))
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[codes])


def future_blocks(order: NDArray[Any], k: int, first: float) -> Codes:
    """Return the block of each row, (row,): consecutive in time, with the rows of one time in one block.

    Parameters
    ----------
    order
        Time of each row.
    k
        Number of blocks that are predicted.
    first
        Share of the times that are never left out; their rows have block -1.
    """
    times, place = np.unique(order, return_inverse=True)
    known = int(np.ceil(first * len(times)))
    blocks = np.full(len(times), -1, dtype=np.int64)
    for number, part in enumerate(np.array_split(np.arange(known, len(times)), k)):
        blocks[part] = number
    return np.asarray(blocks[place])


def held_out(folds: Codes, future: bool) -> Iterator[HeldOut]:
    """Yield each fit: without one fold; with `future` without a block and all that is later, predicting the block."""
    for number in range(int(folds.max()) + 1):
        yield HeldOut(folds >= number if future else folds == number, folds == number)


def _dealt(order: NDArray[Any], k: int) -> Codes:
    folds = np.empty(len(order), dtype=np.int64)
    folds[order] = np.arange(len(order)) % k
    return folds
