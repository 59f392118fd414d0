"""What `posterior.nc` can't hold, found before sampling: it is written once in memory, with one draw of zeros."""

from __future__ import annotations

from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore

from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem
from bayesrun.predict.predictive_groups import Groups, inference_data
from bayesrun.report.store import storable

_ROWS = 2

_known_to_fit: set[Any] = set()
"""Data and shapes that were rehearsed in this process: the jobs of a sweep share them."""


def what_can_not_be_stored(model: CompiledModel, data: xr.Dataset | None, digest: str | None) -> list[Problem]:
    """Return what `posterior.nc` can't hold of a model and its data.

    Parameters
    ----------
    model
        The compiled model, which gives names, shapes, dims and labels.
    data
        The prepared data. Of its rows the first ones are written, whose names, types and attributes are those of all.
    digest
        Digest of the data.

    Returns
    -------
    list of Problem
        One for each variable that can't be written.
    """
    shown = model.reported
    key = (digest, tuple(shown.variables.items()), tuple(shown.likelihoods.items()))
    if key in _known_to_fit:
        return []
    groups = Groups(
        posterior={n: np.zeros((1, 1, *shape)) for n, shape in shown.variables.items() if n not in model.helpers},
        posterior_predictive={n: np.zeros((1, 1, *shape)) for n, shape in shown.likelihoods.items()},
    )
    idata = inference_data(shown, data, groups)
    problems = [problem for group in idata.groups() for problem in _of_group(idata[group], group)]
    if not problems:
        _known_to_fit.add(key)
    return problems


def _of_group(dataset: xr.Dataset, group: str) -> list[Problem]:
    few = dataset.isel({dim: slice(_ROWS) for dim in dataset.dims}) if group == "constant_data" else dataset
    whole = _why_not(few)
    if whole is None:
        return []
    alone = {str(name): _why_not(few[[name]]) for name in few.data_vars}
    reasons = {name: why for name, why in alone.items() if why} or {group: whole}
    key = "data.columns" if group == "constant_data" else "model"
    hint = "leave it out: data.columns lists what is read" if group == "constant_data" else ""
    return [Problem(key, f"posterior.nc can't hold '{name}' ({group}): {why}", hint) for name, why in reasons.items()]


def _why_not(dataset: xr.Dataset) -> str | None:
    """Return why NetCDF can't hold a dataset; None if it can."""
    store: Any = NetCDF4DataStore(netCDF4.Dataset("rehearsal", "w", diskless=True))  # type: ignore[no-untyped-call]
    try:
        storable(dataset, tell=False).dump_to_store(store)
    except Exception as error:  # NetCDF's library and xarray raise of all kinds
        return f"{type(error).__name__}: {error}"
    finally:
        store.close()
    return None
