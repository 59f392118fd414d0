"""The table of a posterior: one row per scalar, unrounded (`summary.csv`)."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics.base import INTERVAL, interval_columns
from bayesrun.diagnostics.numerics.convergence import statistics
from bayesrun.diagnostics.scalars import blocks, in_order, names_of


def columns(interval: float) -> list[str]:
    """Return the columns of the summary."""
    return ["mean", "sd", *interval_columns(interval), "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


def summarise(idata: az.InferenceData, interval: float = INTERVAL) -> pd.DataFrame:
    """Summarise every scalar of the posterior.

    The numbers are those of `az.summary`, computed for many scalars at once.

    Parameters
    ----------
    idata
        With group `posterior`.
    interval
        Probability inside the highest-density interval.

    Returns
    -------
    DataFrame
        Index `name` (labelled as by `az.summary`, whole days as `s[2008-05-02]`), imputed values last; columns as of
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
    # constant draws and draws that are not finite divide by zero on the way to their NaN
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [statistics(block, interval) for block in blocks(array)]
