"""Draws and data as one ArviZ InferenceData, over named dims with labels (`posterior.nc`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes

if TYPE_CHECKING:
    import arviz as az
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Groups:
    """Arrays of each group by variable; sampled ones are (chain, draw, ...)."""

    posterior: Arrays
    sample_stats: Arrays = field(default_factory=dict)
    log_likelihood: Arrays = field(default_factory=dict)
    prior: Arrays = field(default_factory=dict)
    prior_predictive: Arrays = field(default_factory=dict)
    posterior_predictive: Arrays = field(default_factory=dict)


def inference_data(model: pm.Model, data: xr.Dataset | None, groups: Groups) -> az.InferenceData:
    """Put all groups together.

    Parameters
    ----------
    model
        The model: says which dims each variable has, and what is observed.
    data
        The prepared data; all its variables go into `constant_data`.
    groups
        What was drawn.

    Returns
    -------
    InferenceData
        `observed_data` holds each likelihood's data under the likelihood's name; gaps are NaN.
    """
    import arviz as az

    coords, dims = labels(model)
    if data is not None:
        coords = {**coords, **{str(d): data[d].values for d in data.dims if d in data.coords}}
    found = {name: dict(getattr(groups, name)) for name in Groups.__dataclass_fields__ if getattr(groups, name)}
    idata = az.from_dict(
        **found, observed_data=_observed(model), coords=coords, dims=dims, save_warmup=False, pred_dims=None
    )
    if data is not None and data.data_vars:
        idata.add_groups({"constant_data": _plain(data)})
    return idata


def add_records(idata: az.InferenceData, records: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]) -> None:
    """Add a sampler's records, `{name: (dims, values)}`, to `sample_stats`."""
    import xarray as xr

    if not records:
        return
    if "sample_stats" in idata.groups():
        idata.sample_stats = idata.sample_stats.assign(records)
    else:
        idata.add_groups({"sample_stats": xr.Dataset(records, coords={"chain": idata.posterior["chain"]})})


def labels(model: pm.Model) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the labels of each dim and the dims of each variable."""
    note = notes(model)
    coords = {name: list(values) for name, values in {**model.coords, **note.coords}.items()}
    dims = {name: list(d) for name, d in {**model.RV_dims, **note.dims}.items() if d}
    for variable in [*model.unobserved_RVs, *model.observed_RVs]:
        shape = variable.tag.test_value.shape
        if variable.name not in dims and shape:
            dims[variable.name] = [f"{variable.name}_dim_{i}" for i in range(len(shape))]
            coords.update({d: list(range(n)) for d, n in zip(dims[variable.name], shape, strict=True)})
    return coords, dims


def _observed(model: pm.Model) -> dict[str, NDArray[Any]]:
    import numpy as np

    observed = {}
    for variable in model.observed_RVs:
        values = np.array(variable.tag.test_value)
        gaps = notes(model).missing.get(variable.name)
        observed[variable.name] = values if gaps is None else np.where(gaps, np.nan, values)
    return observed


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Make attributes plain, so that the netCDF file can hold them."""
    plain = data.copy()
    plain.attrs = {key: str(value) for key, value in data.attrs.items()}
    return plain
