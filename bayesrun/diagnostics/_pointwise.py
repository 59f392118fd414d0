"""Pointwise terms of all likelihoods side by side, imputed points left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bayesrun.diagnostics._blocks import blocks
from bayesrun.diagnostics._labels import names_of

if TYPE_CHECKING:
    import arviz as az
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

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
        Number of imputed points that are not in it. None when there are no terms at all.
    """
    import xarray as xr

    group = idata.get("log_likelihood")
    if group is None or not group.data_vars:
        return None
    parts = [_stack(array, str(name)) for name, array in group.data_vars.items()]
    terms = parts[0] if len(parts) == 1 else xr.concat(parts, dim="point")
    gaps = terms.isnull().all(["chain", "draw"]).values
    observed = terms.isel(point=~gaps) if gaps.any() else terms
    return observed.transpose("chain", "draw", "point"), int(gaps.sum())


def by_point(terms: xr.DataArray) -> Iterator[Floats]:
    """Yield blocks of terms over point, draw of all chains."""
    for block in blocks(terms):
        yield block.reshape(len(block), -1)


def log_mean_exp(terms: Floats) -> Floats:
    """Return log(mean(exp(terms))) over draws: each point's log predictive density (terms over point, draw)."""
    import numpy as np

    largest = terms.max(axis=1)
    density: Floats = largest + np.log(np.exp(terms - largest[:, None]).mean(axis=1))
    return density


def labelled(array: xr.DataArray, name: str) -> list[str]:
    """Label every element of a variable, draws aside, in their order: `NAME[LABEL]`, `NAME[LABEL, LABEL]`."""
    return names_of(array, name)


def _stack(array: xr.DataArray, name: str) -> xr.DataArray:
    import xarray as xr

    dims = [str(d) for d in array.dims if d not in ("chain", "draw")]
    if not dims:
        return array.expand_dims(point=[name])
    flat = array.transpose("chain", "draw", *dims).values.reshape(array.sizes["chain"], array.sizes["draw"], -1)
    coords = {"chain": array["chain"].values, "draw": array["draw"].values, "point": labelled(array, name)}
    return xr.DataArray(flat, dims=("chain", "draw", "point"), coords=coords)
