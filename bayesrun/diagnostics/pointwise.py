"""Pointwise log likelihoods of all likelihoods side by side, without imputed points, and leave-one-out on them."""

from __future__ import annotations

from collections.abc import Iterator

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics.numerics.psis import Loo, leave_one_out
from bayesrun.diagnostics.scalars import SAMPLE, blocks, names_of

Floats = NDArray[np.float64]


def observed_terms(idata: az.InferenceData) -> tuple[xr.DataArray, int] | None:
    """Stack the pointwise log likelihood of every likelihood over dim `point`.

    Parameters
    ----------
    idata
        With group `log_likelihood`; terms of imputed points are NaN.

    Returns
    -------
    terms : DataArray
        Over chain, draw, point; coordinate `point` holds `NAME[LABEL]`.
    left_out : int
        Number of imputed points, which are not among the terms. The result is None when there are no terms at all.
    """
    group = idata.get("log_likelihood")
    if group is None or not group.data_vars:
        return None
    parts = [_stack(array, str(name)) for name, array in group.data_vars.items()]
    terms = parts[0] if len(parts) == 1 else xr.concat(parts, dim="point")
    imputed = terms.isnull().all(SAMPLE).values
    observed = terms.isel(point=~imputed) if imputed.any() else terms
    return observed.transpose(*SAMPLE, "point"), int(imputed.sum())


def by_point(terms: xr.DataArray) -> Iterator[Floats]:
    """Yield blocks of terms over point, draw (all chains together)."""
    for block in blocks(terms):
        yield block.reshape(len(block), -1)


def relative_efficiency(terms: xr.DataArray, summary: pd.DataFrame) -> float:
    """Return the mean bulk ESS of the posterior's scalars (`summary.csv`) divided by the number of draws, at most 1."""
    draws = terms.sizes["chain"] * terms.sizes["draw"]
    ess = float(summary.loc[summary["sd"] > 0, "ess_bulk"].mean())
    return min(1.0, ess / draws) if ess == ess else 1.0


def loo_of(terms: xr.DataArray, summary: pd.DataFrame) -> Loo:
    """Leave out each observed point in turn.

    Parameters
    ----------
    terms
        Pointwise log likelihood over chain, draw, point.
    summary
        The table of `summary.csv`, whose ESS gives the relative efficiency of the draws.
    """
    return leave_one_out(by_point(terms), relative_efficiency(terms, summary))


def _stack(array: xr.DataArray, name: str) -> xr.DataArray:
    dims = [str(d) for d in array.dims if d not in SAMPLE]
    if not dims:
        return array.expand_dims(point=[name])
    flat = array.transpose(*SAMPLE, *dims).values.reshape(array.sizes["chain"], array.sizes["draw"], -1)
    coords = {"chain": array["chain"].values, "draw": array["draw"].values, "point": names_of(array, name)}
    return xr.DataArray(flat, dims=(*SAMPLE, "point"), coords=coords)
