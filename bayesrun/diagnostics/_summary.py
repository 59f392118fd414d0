"""The table of a posterior: one row a scalar, unrounded (`summary.csv`)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import arviz as az
    import pandas as pd

COLUMNS = ["mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


def summarise(idata: az.InferenceData) -> pd.DataFrame:
    """Summarise every scalar of the posterior.

    Parameters
    ----------
    idata
        With group `posterior`.

    Returns
    -------
    DataFrame
        Index `name` (labelled as `az.summary` does), columns `COLUMNS`; R-hat of one chain is NaN.
    """
    import arviz as az

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = az.summary(idata, round_to="none", hdi_prob=0.94)
    table.index.name = "name"
    return table.reindex(columns=COLUMNS).astype(float)
