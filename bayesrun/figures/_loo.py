"""Leave-one-out weights of a saved posterior, for the figures that show them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bayesrun.diagnostics._pointwise import observed_terms
from bayesrun.figures._arrays import Array
from bayesrun.figures.base import NotDrawable, Subject

if TYPE_CHECKING:
    import xarray as xr

POINTS = 1500  # observations that are smoothed; more are thinned


def terms_of(subject: Subject) -> xr.DataArray:
    """Pointwise log likelihood of all that was observed, (chain, draw, point).

    Raises
    ------
    NotDrawable
        When no likelihood has such terms.
    """
    found = observed_terms(subject.idata)
    if found is None or not found[0].sizes["point"]:
        raise NotDrawable("no likelihood has pointwise terms")
    return found[0]


def leave_one_out(subject: Subject) -> tuple[xr.DataArray, Array]:
    """Smooth the importance weights of leaving out each observation, of at most 1,500 evenly chosen ones.

    Returns
    -------
    terms : DataArray
        Pointwise log likelihood, (chain, draw, point).
    log_weights : ndarray
        Normalised, (sample, point).
    """
    import arviz as az

    terms = terms_of(subject)
    terms = terms.isel(point=slice(None, None, -(-terms.sizes["point"] // POINTS)))
    ratios = -terms.stack(sample=("chain", "draw")).transpose("point", "sample").values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights, _ = az.psislw(np.asarray(ratios, float))
    return terms, np.asarray(weights).T
