"""The table of a posterior: one row per scalar, unrounded (`summary.csv`)."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics.numerics.convergence import statistics
from bayesrun.diagnostics.scalars import blocks, names_of

INTERVAL = 0.94
COLUMNS = ["mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


def summarise(idata: az.InferenceData) -> pd.DataFrame:
    """Summarise every scalar of the posterior.

    The numbers are those of `az.summary` (hdi_prob 0.94), computed for many scalars at once.

    Parameters
    ----------
    idata
        With group `posterior`.

    Returns
    -------
    DataFrame
        Index `name` (labelled as by `az.summary`, whole days as `s[2008-05-02]`), columns `COLUMNS`. R-hat of one chain
        is NaN, and so are ESS, R-hat and MCSE of fewer than four draws or of draws with NaN.
    """
    names: list[str] = []
    rows: list[NDArray[np.float64]] = [np.empty((0, len(COLUMNS)))]
    for name, array in idata.posterior.data_vars.items():
        names += names_of(array, str(name))
        rows += _rows(array)
    return pd.DataFrame(np.concatenate(rows), index=pd.Index(names, name="name"), columns=COLUMNS)


def _rows(array: xr.DataArray) -> list[NDArray[np.float64]]:
    # constant draws and draws that are not finite divide by zero on the way to their NaN
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [statistics(block, INTERVAL) for block in blocks(array)]
