"""`posterior.nc`: what is kept, compressed, large draws as float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import arviz as az
import numpy as np
import xarray as xr

from bayesrun.run_folder import RunFolder

if TYPE_CHECKING:
    from numpy.typing import NDArray


def save(
    idata: az.InferenceData,
    folder: RunFolder,
    variables: Sequence[str] | None,
    exclude: Sequence[str],
    groups: Sequence[str],
    float32_above: int,
    compression: int,
) -> None:
    """Write the InferenceData.

    Parameters
    ----------
    idata
        All groups.
    folder
        The run folder.
    variables
        Posterior variables to keep; null = all.
    exclude
        Variables to leave out of every group.
    groups
        Groups to keep beside `posterior`.
    float32_above
        Variables with more numbers than this are stored as float32.
    compression
        zlib level; 0 = none.
    """
    kept = {}
    for group in ("posterior", *groups):
        if group in idata.groups():
            chosen = _chosen(idata[group], variables if group == "posterior" else None, exclude)
            kept[group] = _small(chosen, float32_above)
    result = az.InferenceData(**kept)
    folder.write("posterior.nc", lambda path: _to_netcdf(result, str(path), compression))


def _chosen(dataset: xr.Dataset, variables: Sequence[str] | None, exclude: Sequence[str]) -> xr.Dataset:
    names = [n for n in dataset.data_vars if n not in exclude and (variables is None or n in variables)]
    return dataset[names]


def _small(dataset: xr.Dataset, above: int) -> xr.Dataset:
    return dataset.assign(
        {n: array.astype("float32") for n, array in dataset.data_vars.items() if _large(array, above)}
    )


def _large(array: xr.DataArray, above: int) -> bool:
    return array.size > above and array.dtype == "float64"


def as_stored(array: xr.DataArray, above: int) -> NDArray[Any]:
    """Return draws as they are read again from `posterior.nc`: large ones have lost digits."""
    return np.asarray(array.values.astype("float32") if _large(array, above) else array.values)


def _to_netcdf(idata: az.InferenceData, path: str, compression: int) -> None:
    mode = "w"
    for group in idata.groups():
        dataset = idata[group]
        encoding: dict[Any, Any] = {
            name: {"zlib": True, "complevel": compression, "shuffle": True}
            for name, array in dataset.data_vars.items()
            if compression and array.size > 100 and array.dtype.kind in "fiu"
        }
        dataset.to_netcdf(path, mode=mode, group=group, engine="netcdf4", encoding=encoding)
        mode = "a"
