"""The scalars of a posterior: their names (`theta[A]`, `s[2008-05-02]`), draws, and table (`summary.csv`)."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrun.diagnostics.base import INTERVAL, interval_columns
from bayesrun.diagnostics.numerics.convergence import statistics
from bayesrun.large_draws import row_parts

if TYPE_CHECKING:
    import arviz as az
    import xarray as xr

SAMPLE = ("chain", "draw")

# 0.5 MB of float64: a block and its intermediate results fit in the CPU cache
_NUMBERS = 2**16


def in_order(posterior: xr.Dataset) -> list[str]:
    """Return the names of the variables in the posterior.

    Effects of groups and weights of smooths come after all others, imputed values last.
    """

    def place(name: str) -> tuple[bool, bool]:
        return _is_imputed(posterior[name], name), _is_of_groups(posterior, name) or _is_of_smooth(posterior, name)

    return sorted(map(str, posterior.data_vars), key=place)


def _is_of_groups(posterior: xr.Dataset, name: str) -> bool:
    """Return whether a variable holds the effects `r_GROUPING` of a regression, over groups and effects."""
    effects = f"{name.removeprefix('r_')}_effect"
    return name.startswith("r_") and len(posterior[name].dims) == 4 and posterior[name].dims[-1] == effects


def _is_of_smooth(posterior: xr.Dataset, name: str) -> bool:
    """Return whether a variable holds the weights of the basis of a smooth, `weights_SMOOTH`."""
    return name.startswith("weights_") and posterior[name].dims[-1] == f"{name.removeprefix('weights_')}_basis"


def _is_imputed(array: xr.DataArray, name: str) -> bool:
    return name.endswith("_missing") and any(str(dim).endswith("_missing") for dim in array.dims)


def names_of(array: xr.DataArray, name: str) -> list[str]:
    """Name every scalar of a variable as in `az.summary`, but print dates without a time of midnight.

    Parameters
    ----------
    array
        With dims `chain` and `draw` and any others; a dim without coordinates is labelled 0, 1, ...
    name
        Name of the variable.

    Returns
    -------
    list of str
        One name per scalar, the last dim fastest.
    """
    dims = [dim for dim in array.dims if dim not in SAMPLE]
    if not dims:
        return [name]
    labels = itertools.product(*(label_texts(array[dim].values) for dim in dims))
    return [f"{name}[{', '.join(parts)}]" for parts in labels]


def names_at(array: xr.DataArray, name: str, places: NDArray[np.int64]) -> list[str]:
    """Name some scalars of a variable, by their places in `names_of`, without naming all."""
    dims = [dim for dim in array.dims if dim not in SAMPLE]
    if not dims:
        return [name] * len(places)
    at = np.unravel_index(places, [array.sizes[dim] for dim in dims])
    labels = [label_texts(array[dim].values, own) for dim, own in zip(dims, at, strict=True)]
    return [f"{name}[{', '.join(parts)}]" for parts in zip(*labels, strict=True)]


def label_texts(values: NDArray[Any], places: NDArray[np.int64] | None = None) -> list[str]:
    """Format labels as text, or those at some places; dates become `2008-05-02` if all labels are at midnight."""
    if values.dtype.kind == "M":
        days = values.astype("datetime64[D]")
        values = days if ((days == values) | np.isnat(values)).all() else values
    return [str(value) for value in (values if places is None else values[places])]


def blocks(array: xr.DataArray, numbers: int = _NUMBERS) -> Iterator[NDArray[np.float64]]:
    """Yield the draws of a variable in blocks of scalars, so that no statistic needs a second copy of the variable.

    Parameters
    ----------
    array
        With dims `chain` and `draw` and any others.
    numbers
        Approximate size of a block, in numbers; a block holds at least one scalar.

    Yields
    ------
    array
        Contiguous float64 over scalar, chain, draw; the scalars in the order of `names_of`.
    """
    _keep_freed_memory()
    step = max(1, numbers // max(1, math.prod(array.sizes[dim] for dim in SAMPLE)))
    for flat in row_parts(array.transpose(*SAMPLE, ...), step):
        for start in range(0, flat.shape[2], step):
            yield np.ascontiguousarray(np.moveaxis(flat[:, :, start : start + step], 2, 0), dtype=np.float64)


def _keep_freed_memory() -> None:
    """Let the C library reuse freed memory for the next block, which takes a third less time than a new system call.

    glibc raises its mmap threshold (128 kB) to the size of the largest array freed so far, up to 32 MB.
    """
    np.empty(2**21)


def columns(interval: float) -> list[str]:
    """Return the columns of the summary."""
    return ["mean", "sd", *interval_columns(interval), "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


def summarise(idata: az.InferenceData, interval: float = INTERVAL) -> pd.DataFrame:
    """Summarise every scalar of the posterior.

    The numbers agree with `az.summary`, computed for many scalars at once.

    Parameters
    ----------
    idata
        With group `posterior`.
    interval
        Probability inside the highest-density interval.

    Returns
    -------
    DataFrame
        Index `name` (labelled as by `az.summary`, whole days as `s[2008-05-02]`), imputed values last; columns as in
        `columns`. R-hat of one chain is NaN, and so are ESS, R-hat and MCSE of fewer than four draws or of draws with
        NaN.
    """
    names: list[str] = []
    rows: list[NDArray[np.float64]] = [np.empty((0, len(columns(interval))))]
    for name in in_order(idata.posterior):
        names += names_of(idata.posterior[name], name)
        rows += _rows(idata.posterior[name], interval)
    return pd.DataFrame(np.concatenate(rows), index=pd.Index(names, name="name"), columns=columns(interval))


def _rows(array: xr.DataArray, interval: float) -> list[NDArray[np.float64]]:
    # constant and non-finite draws cause divisions by zero before they give NaN
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [statistics(block, interval) for block in blocks(array)]
