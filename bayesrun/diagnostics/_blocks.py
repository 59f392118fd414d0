"""Draws of a large variable, a block of scalars at a time, so that no statistic needs a second copy of the variable."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bayesrun.diagnostics._labels import SAMPLE

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

# half a MB of float64: a block and what is made of it stay in the processor's cache
_NUMBERS = 2**16


def blocks(array: xr.DataArray, numbers: int = _NUMBERS) -> Iterator[NDArray[np.float64]]:
    """Yield contiguous float64 copies of some scalars' draws.

    Parameters
    ----------
    array
        With dims `chain` and `draw` and any others.
    numbers
        About how many numbers a block holds; at the least one scalar.

    Yields
    ------
    array
        Over scalar, chain, draw; the scalars in the order of `names_of`.
    """
    import numpy as np

    _keep_freed_memory()
    values = array.transpose(*SAMPLE, ...).values
    chains, draws, *shape = values.shape
    scalars = math.prod(shape)
    flat = values.reshape(chains, draws, scalars)
    step = max(1, numbers // max(1, chains * draws))
    for start in range(0, scalars, step):
        yield np.ascontiguousarray(np.moveaxis(flat[:, :, start : start + step], 2, 0), dtype=np.float64)


def _keep_freed_memory() -> None:
    """Let the C library keep what blocks free for the next block, which is a third quicker than asking the system.

    glibc raises its limit for that (of 128 kB) to the size of the largest array up to 32 MB that was ever freed.
    """
    import numpy as np

    np.empty(2**21)
