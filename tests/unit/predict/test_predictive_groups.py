"""Draws as an InferenceData: named dims with data labels, missing values as NaN, records beside the statistics."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
import xarray as xr

from bayesrun.engines.pymc3.build import build, metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.language.declaration import Draft, observed_values
from bayesrun.language.functions import reduce_axis
from bayesrun.language.priors import declare
from bayesrun.predict.predictive_groups import Groups, Wanted, add_records, collect, inference_data
from bayesrun.samplers.base import Sampled


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    counts = ("year", [2.0, np.nan, 3.0, np.nan])
    return xr.Dataset({"y": counts}, coords={"year": [1850, 1851, 1860, 1861]}, attrs={"rows": 4, "odd": None})


@pytest.fixture(scope="module")
def model(data: xr.Dataset) -> pm.Model:
    draft = Draft(data, {"group": ["A", "B"]})
    rate = declare(draft, "rate", {"dist": "Gamma", "alpha": 2.0, "beta": 1.0, "dims": ["group"]}, "model.priors.rate")
    declare(draft, "loose", {"dist": "Normal", "mu": 0.0, "sigma": 1.0, "shape": 3}, "model.priors.loose")
    draft.observe("y", "Poisson", {"mu": reduce_axis("sum", rate)}, observed_values(data["y"]))
    return build(draft.declaration())


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "rate": rng.gamma(2, 1, (2, 5, 2)),
        "loose": rng.normal(size=(2, 5, 3)),
        "y_missing": rng.poisson(3, (2, 5, 2)),
    }


def test_dims_and_labels_are_those_of_the_data(model: pm.Model, data: xr.Dataset, draws: dict[str, np.ndarray]) -> None:
    posterior = inference_data(PyMC3Model(model), data, Groups(draws)).posterior
    assert posterior["rate"].dims == ("chain", "draw", "group")
    assert list(posterior["group"].values) == ["A", "B"]
    assert posterior["y_missing"].dims == ("chain", "draw", "year_missing")
    assert list(posterior["year_missing"].values) == [1851, 1861]
    assert list(posterior["loose_dim_0"].values) == [0, 1, 2]
    np.testing.assert_array_equal(posterior["rate"], draws["rate"])


def test_labels_of_every_dim(model: pm.Model) -> None:
    coords, dims = PyMC3Model(model).labels()
    assert dims["rate"] == ["group"]
    assert coords["year"] == [1850, 1851, 1860, 1861]


def test_observed_data_has_gaps_where_values_are_imputed(
    model: pm.Model, data: xr.Dataset, draws: dict[str, np.ndarray]
) -> None:
    idata = inference_data(PyMC3Model(model), data, Groups(draws))
    np.testing.assert_array_equal(idata.observed_data["y"].values, [2, np.nan, 3, np.nan])
    np.testing.assert_array_equal(idata.constant_data["y"], data["y"])


def test_all_groups_of_the_design_are_there_and_can_be_saved(
    model: pm.Model, data: xr.Dataset, draws: dict[str, np.ndarray], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    sampled = Sampled(draws, {"lp": np.zeros((2, 5))}, {}, 0.0, 0.0, records={"elbo": (("iteration",), np.arange(7.0))})
    idata, missing = collect(PyMC3Model(model), data, sampled, 1, Wanted(10, True, 10**9, 10**9))
    expected = {
        "posterior", "sample_stats", "log_likelihood", "observed_data", "constant_data", "prior", "prior_predictive",
        "posterior_predictive",
    }  # fmt: skip
    assert expected <= set(idata.groups())
    assert not missing
    assert set(idata.sample_stats) == {"lp", "log_prior", "elbo"}
    assert idata.sample_stats["elbo"].sizes == {"iteration": 7}
    idata.to_netcdf(str(tmp_path / "posterior.nc"))


def test_records_without_statistics_make_the_group(model: pm.Model, draws: dict[str, np.ndarray]) -> None:
    idata = inference_data(PyMC3Model(model), None, Groups(draws))
    add_records(idata, {"moved": (("chain",), np.array([0.5, 0.6]))})
    assert idata.sample_stats["moved"].dims == ("chain",)
    assert "constant_data" not in idata.groups()


def test_helpers_are_left_out_and_what_was_summed_out_is_drawn(draws: dict[str, np.ndarray]) -> None:
    with building(), pm.Model() as model:
        pm.Normal("x", 0.0, 1.0)
        pm.Normal("x_offset", 0.0, 1.0)
    metadata(model).helpers.add("x_offset")
    metadata(model).recover = lambda draws, rng: {"drawn": draws["x"] + rng.normal(size=draws["x"].shape)}
    x = np.zeros((2, 400))
    sampled = Sampled({"x": x, "x_offset": x}, {}, {}, 0.0, 0.0)
    one, again = (collect(PyMC3Model(model), None, sampled, 1, Wanted())[0].posterior for _ in range(2))
    assert set(one.data_vars) == {"x", "drawn"}
    np.testing.assert_array_equal(one["drawn"], again["drawn"])
    assert abs(float(one["drawn"].mean())) < 4 / np.sqrt(800)
