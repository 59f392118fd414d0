"""Pointwise terms of all likelihoods side by side, imputed points left out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import arviz as az
    import xarray as xr


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
    terms = xr.concat(parts, dim="point")
    gaps = terms.isnull().all(["chain", "draw"]).values
    return terms.isel(point=~gaps).transpose("chain", "draw", "point"), int(gaps.sum())


def _stack(array: xr.DataArray, name: str) -> xr.DataArray:
    import xarray as xr

    dims = [str(d) for d in array.dims if d not in ("chain", "draw")]
    if not dims:
        return array.expand_dims(point=[name])
    points = labelled(array, name)
    flat = array.transpose("chain", "draw", *dims).values.reshape(array.sizes["chain"], array.sizes["draw"], -1)
    coords = {"chain": array["chain"].values, "draw": array["draw"].values, "point": points}
    return xr.DataArray(flat, dims=("chain", "draw", "point"), coords=coords)


def labelled(array: xr.DataArray, name: str) -> list[str]:
    """Label every element of a variable, draws aside, in their order: `NAME[LABEL]`, `NAME[LABEL, LABEL]`."""
    labels = [array[d].values for d in array.dims if d not in ("chain", "draw")]
    places = itertools.product(*(map(str, values) for values in labels))
    return [f"{name}[{', '.join(place)}]" for place in places]
