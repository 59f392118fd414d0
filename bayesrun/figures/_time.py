"""What figures over time share: the labels of a row dim as numbers or dates, and the series of a likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesrun.figures._arrays import Array
from bayesrun.figures._scalars import group_of
from bayesrun.figures.base import NotDrawable, Subject

if TYPE_CHECKING:
    import xarray as xr


def series_of(subject: Subject, name: str | None = None) -> xr.DataArray:
    """Return the observed series: the likelihood called `name`, or the only one over a single dim.

    Raises
    ------
    NotDrawable
        When there is no such series.
    """
    observed = group_of(subject, "observed_data")
    found = [v for n, v in observed.data_vars.items() if v.ndim == 1 and name in (None, n)]
    if not found:
        raise NotDrawable(f"no observed series{f' {name}' if name else ''} over one dim")
    return found[0]


def times(series: xr.DataArray) -> Array:
    """Return the labels along a series' dim, dates as datetime64; 0, 1, ... where labels are no numbers."""
    labels = np.asarray(series[series.dims[0]].values)
    return labels if labels.dtype.kind in "iufM" else np.arange(len(labels))


def posterior_of(subject: Subject, name: str) -> xr.DataArray:
    """Return a posterior variable.

    Raises
    ------
    NotDrawable
        When the posterior has none of that name.
    """
    posterior = group_of(subject, "posterior")
    if name not in posterior:
        raise NotDrawable(f"the posterior has no variable '{name}'")
    return posterior[name]
