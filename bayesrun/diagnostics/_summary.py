"""The table of a posterior: one row a scalar, unrounded (`summary.csv`)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bayesrun.diagnostics._blocks import blocks
from bayesrun.diagnostics._labels import names_of

if TYPE_CHECKING:
    import arviz as az
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

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
        Index `name` (labelled as `az.summary` does, whole days as `s[2008-05-02]`), columns `COLUMNS`; R-hat of one
        chain is NaN, and so are ESS, R-hat and standard errors of fewer than four draws or of draws with NaN.
    """
    import numpy as np
    import pandas as pd

    names: list[str] = []
    rows: list[NDArray[np.float64]] = [np.empty((0, len(COLUMNS)))]
    for name, array in idata.posterior.data_vars.items():
        names += names_of(array, str(name))
        rows += _rows(array)
    return pd.DataFrame(np.concatenate(rows), index=pd.Index(names, name="name"), columns=COLUMNS)


def _rows(array: xr.DataArray) -> list[NDArray[np.float64]]:
    import numpy as np

    from bayesrun.diagnostics._statistics import statistics

    # what never changes, or is not finite, divides by zero on the way to its NaN
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [statistics(block) for block in blocks(array)]
