"""The centred form is the tutorial's density; the whitened one is the same up to its Jacobian."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pymc3 as pm
import pytest
import scipy.stats as st
import theano
import xarray as xr

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.build import metadata
from bayesrun.language.random_walks import fast_length
from bayesrun.models import stochastic_volatility as model_type
from tests.contract.numpy_engine.engine import log_densities

DAYS = 12  # a length of which the walk is not continued
RETURNS = np.random.default_rng(4).standard_t(5, size=DAYS) * 0.02
PRIORS = {
    "nu": {"dist": "Exponential", "lam": 0.1, "initval": 5},
    "sigma": {"dist": "Exponential", "lam": 2, "initval": 0.1},
}


def built(data: Any, spec: Any) -> pm.Model:
    return pymc3_model(model_type.build(data, spec))


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


def _data(returns: Any = RETURNS) -> xr.Dataset:
    dates = pd.date_range("2008-05-02", periods=len(returns), freq="B")
    return xr.Dataset({"returns": ("date", returns)}, coords={"date": dates})


def _spec(form: str, steps: str = "rows") -> model_type.StochasticVolatilitySpec:
    return model_type.StochasticVolatilitySpec(
        name="mine", type="stochastic_volatility", priors=PRIORS, options={"form": form, "steps": steps}
    )


def _tutorial() -> pm.Model:
    with pm.Model() as model:
        nu = pm.Exponential("nu", 1 / 10.0, testval=5.0)
        sigma = pm.Exponential("sigma", 2.0, testval=0.1)
        s = pm.GaussianRandomWalk("s", sigma=sigma, shape=DAYS)
        volatility = pm.Deterministic("volatility_process", pm.math.exp(-2 * s) ** 0.5)
        pm.StudentT("r", nu=nu, sigma=volatility, observed=RETURNS)
    return model


def test_the_centred_form_is_the_tutorials() -> None:
    ours, theirs = built(_data(), _spec("centered")), _tutorial()
    densities = ours.fastfn(ours.logpt), theirs.fastfn(theirs.logpt)
    rng = np.random.default_rng(1)
    for _ in range(10):
        point = {n: rng.normal(size=np.shape(v)) for n, v in theirs.test_point.items()}
        assert densities[0](point) == pytest.approx(float(densities[1](point)), rel=1e-12)
    assert {n: np.shape(v) for n, v in ours.test_point.items()} == {
        n: np.shape(v) for n, v in theirs.test_point.items()
    }


def test_the_whitened_form_is_the_same_density_up_to_its_jacobian() -> None:
    assert fast_length(DAYS) == DAYS
    white, centred = (
        built(_data(), _spec("whitened")),
        built(_data(), _spec("centered")),
    )
    density, plain = white.fastfn(white.logpt), centred.fastfn(centred.logpt)
    walk = theano.function(white.free_RVs, white["s"], on_unused_input="ignore")
    eigenvalues = 2 - 2 * np.cos(np.pi * np.arange(DAYS) / DAYS)
    rng, differences = np.random.default_rng(1), []
    for _ in range(20):
        point = {v.name: rng.normal(size=v.tag.test_value.shape) for v in white.free_RVs}
        sigma = np.exp(point["sigma_log__"])
        log_jacobian = -0.5 * np.log(eigenvalues / sigma**2 + model_type.INFORMATION).sum()
        there = {n: point[n] for n in ("nu_log__", "sigma_log__")} | {
            "s": walk(*(point[v.name] for v in white.free_RVs))
        }
        differences.append(density(point) - plain(there) - log_jacobian)
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)


def test_the_whitened_form_starts_at_the_returns_own_scale_and_hides_its_helpers() -> None:
    model = built(_data(), _spec("whitened"))
    assert metadata(model).helpers == {"s_level", "s_waves"}
    volatility = model.fastfn([model["volatility_process"]])(model.test_point)[0]
    np.testing.assert_allclose(volatility, RETURNS.std(), rtol=1e-6)
    reported = metadata(model).reported
    assert reported is not None and {v.name for v in reported.unobserved_RVs} >= {"nu", "sigma", "s"}


def test_returns_lie_in_a_data_container_over_real_dates() -> None:
    model = built(_data(), _spec("whitened"))
    np.testing.assert_array_equal(model["returns"].get_value(), RETURNS)
    assert model.RV_dims["volatility_process"] == model.RV_dims["r"] == ("date",)
    assert np.issubdtype(np.asarray(model.coords["date"]).dtype, np.datetime64)


def test_gaps_are_imputed_by_date() -> None:
    returns = RETURNS.copy()
    returns[3] = np.nan
    model = built(_data(returns), _spec("whitened"))
    assert model["r_missing"].tag.test_value.shape == (1,)
    assert list(metadata(model).coords["date_missing"]) == [_data().date.values[3]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_data(np.zeros(DAYS)), "all values of 'returns' are 0"),
        (_data().isel(date=slice(0, 2)), "at least 3"),
        (_data().isel(date=slice(None, None, -1)), "in the order of time"),
    ],
)
def test_faults_of_the_data_are_named(data: xr.Dataset, message: str) -> None:
    assert message in "\n".join(map(str, model_type.check(data, _spec("whitened"))))


def test_steps_by_dates_have_variances_in_proportion_to_the_days_between() -> None:
    """Over weekends three days pass; both forms have the density of such a walk."""
    centered = log_densities(
        model_type.build(_data(), _spec("centered", "dates")), {"nu": 5.0, "sigma": 0.3, "s": RETURNS * 50}
    )
    days = np.diff(pd.date_range("2008-05-02", periods=DAYS, freq="B")).astype("timedelta64[D]").astype(float)
    assert set(days) == {1.0, 3.0}
    expected = st.norm.logpdf(np.diff(RETURNS * 50), 0, 0.3 * np.sqrt(days)).sum()
    assert centered["s"] == pytest.approx(expected, rel=1e-10)
    model = built(_data(), _spec("whitened", "dates"))
    walk, rng = model.fastfn(model["s"]), np.random.default_rng(2)
    whitened, plain = model.fastfn(model.logpt), metadata(model).reported
    assert plain is not None
    density, differences = plain.fastfn(plain.logpt), list[float]()
    differences_of = np.diff(np.eye(DAYS), axis=0)
    eigenvalues = np.linalg.eigvalsh(differences_of.T @ np.diag(1 / days) @ differences_of)
    for _ in range(4):
        point = {v.name: rng.normal(size=v.tag.test_value.shape) for v in model.free_RVs}
        there = {"nu_log__": point["nu_log__"], "sigma_log__": point["sigma_log__"], "s": walk(point)}
        jacobian = -0.5 * np.log(eigenvalues / np.exp(2 * point["sigma_log__"]) + model_type.INFORMATION).sum()
        differences.append(float(whitened(point)) - float(density(there)) - jacobian)
    np.testing.assert_allclose(differences, differences[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("order", "steps", "part"),
    [
        ([2, 0, 1, *range(3, DAYS)], "rows", "must be in the order of time, but 'day' is not"),
        ([0, 0, *range(1, DAYS - 1)], "dates", "do not have one date each"),
    ],
)
def test_dates_that_do_not_label_the_rows_count_as_well(order: list[int], steps: str, part: str) -> None:
    days = pd.date_range("2008-05-02", periods=DAYS)[order]
    data = xr.Dataset({"returns": ("obs", RETURNS), "day": ("obs", days)}, coords={"obs": range(DAYS)})
    assert part in " ".join(problem.message for problem in model_type.check(data, _spec("whitened", steps)))
