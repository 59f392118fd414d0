"""What scalars and points are called: `theta[A]`, `x[a, 2]`, `s[2008-05-02]`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

SAMPLE = ("chain", "draw")


def names_of(array: xr.DataArray, name: str) -> list[str]:
    """Name every scalar of a variable, as `az.summary` does, but whole days without their midnight.

    Parameters
    ----------
    array
        With dims `chain` and `draw` and any others; a dim without coordinates counts 0, 1, ...
    name
        What the variable is called.

    Returns
    -------
    list of str
        One name a scalar, the last dim fastest.
    """
    dims = [dim for dim in array.dims if dim not in SAMPLE]
    if not dims:
        return [name]
    places = itertools.product(*(texts(array[dim].values) for dim in dims))
    return [f"{name}[{', '.join(place)}]" for place in places]


def texts(values: NDArray[Any]) -> list[str]:
    """Print labels; dates are printed as `2008-05-02` when all of them are whole days."""
    import numpy as np

    if values.dtype.kind == "M":
        days = values.astype("datetime64[D]")
        values = days if ((days == values) | np.isnat(values)).all() else values
    return [str(value) for value in values]
