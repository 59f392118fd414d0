"""Paths of hidden states that go on after the last row of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def state_path(last: Any, uniform: Any, *rest: Any) -> NDArray[np.int64]:
    """Return the states at later rows.

    Parameters
    ----------
    last
        The state at the row before the first (*series).
    uniform
        Numbers from 0 to 1 (*series, row), which decide the draw.
    rest
        The probabilities from each state to each state, row by row of the matrix, each of which broadcasts to the shape
        of `uniform`; then the number of states, and the length of the step into each row.

    Returns
    -------
    ndarray
        Over (*series, row).
    """
    *cells, size, lengths = rest
    shape = np.shape(uniform)
    whole = np.stack([np.broadcast_to(cell, shape) for cell in cells], axis=-1).reshape(*shape, size, size)
    found = np.empty(shape, dtype=np.int64)
    state = np.asarray(np.round(last), dtype=np.int64)
    for row, length in enumerate(lengths):
        of_row = whole[..., row, :, :]
        if length > 1:
            of_row = np.linalg.matrix_power(of_row, int(length))
        to = np.take_along_axis(of_row, state[..., None, None], axis=-2)[..., 0, :]
        below = np.cumsum(to, axis=-1) <= np.asarray(uniform)[..., row, None]
        state = np.minimum(below.sum(axis=-1), size - 1)
        found[..., row] = state
    return found
