"""The summary is ArviZ's table, unrounded."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest

from bayesrun.diagnostics.base import find_interval_columns
from bayesrun.diagnostics.summary import columns, summarise
from tests.unit.diagnostics.conftest import normal


@pytest.mark.parametrize("chains", [1, 2, 4])
def test_every_number_is_arvizs(chains: int) -> None:
    rng = np.random.default_rng(3)
    posterior = {
        "x": normal(chains),
        "theta": rng.gamma(2, 1, (chains, 1000, 2, 2)),
        "n": rng.poisson(3, (chains, 1000)),
        "slow": np.cumsum(rng.normal(size=(chains, 1000)), axis=1),
    }
    idata = az.from_dict(posterior=posterior, coords={"a": ["p", "q"]}, dims={"theta": ["a", "b"]})
    table, expected = summarise(idata), az.summary(idata, round_to="none", hdi_prob=0.94)
    assert list(table.columns) == columns(0.94)
    assert list(table.index) == list(expected.index)
    assert table.index.name == "name"
    others = [name for name in columns(0.94) if name != "mcse_sd"]  # ArviZ takes the draws for normal there
    pd.testing.assert_frame_equal(table[others], expected[others].astype(float), check_names=False, rtol=1e-6)
    np.testing.assert_allclose(table.loc["x", "mcse_sd"], expected.loc["x", "mcse_sd"], rtol=0.1)


@pytest.mark.parametrize("df", [3, 5, 30])
def test_the_error_of_an_sd_is_that_of_repeated_samples(df: int) -> None:
    draws = np.random.default_rng(8).standard_t(df, (4, 1000, 400))
    table = summarise(az.from_dict(posterior={"x": draws}))
    true = np.sqrt(df / (df - 2))
    # the sd of t(3) has no variance: its errors are judged by their ranks
    inside = (abs(table["sd"] - true) < 1.96 * table["mcse_sd"]).mean()
    assert inside > {3: 0.7, 5: 0.88, 30: 0.92}[df]
    normal_error = table["sd"] / np.sqrt(2 * 4000)
    assert np.median(table["mcse_sd"] / normal_error) > {3: 1.8, 5: 1.4, 30: 1.0}[df]


def test_the_error_of_an_sd_counts_dependent_draws_as_fewer() -> None:
    rng, rho = np.random.default_rng(4), 0.9
    noise, draws = rng.normal(size=(4, 1000, 200)), np.zeros((4, 1000, 200))
    draws[:, 0] = noise[:, 0]
    for t in range(1, 1000):
        draws[:, t] = rho * draws[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    table = summarise(az.from_dict(posterior={"x": draws}))
    # the autocorrelations of the squares are rho^(2 t): ESS = N (1 - rho^2) / (1 + rho^2)
    exact = 1 / np.sqrt(2 * 4000 * (1 - rho**2) / (1 + rho**2))
    assert np.median(table["mcse_sd"]) == pytest.approx(exact, rel=0.1)


def test_a_constant_has_no_standard_error_that_is_not_zero() -> None:
    table = summarise(az.from_dict(posterior={"c": np.full((4, 100), 3.0)}))
    assert table.loc["c", "mean"] == 3
    assert table.loc["c", "sd"] == 0


@pytest.mark.parametrize(("interval", "names"), [(0.94, ["hdi_3%", "hdi_97%"]), (0.89, ["hdi_5.5%", "hdi_94.5%"])])
def test_the_interval_and_its_columns_follow_the_setting(interval: float, names: list[str]) -> None:
    idata = az.from_dict(posterior={"x": normal()})
    table = summarise(idata, interval)
    expected = az.summary(idata, round_to="none", hdi_prob=interval)
    np.testing.assert_allclose(table[names], expected[names])
    assert find_interval_columns(table.columns) == tuple(names)


def test_imputed_values_come_last() -> None:
    shape = (4, 100)
    idata = az.from_dict(
        posterior={"y_missing": np.zeros((*shape, 2)), "beta": np.zeros(shape), "share_missing": np.zeros(shape)},
        coords={"obs_missing": [3, 7]},
        dims={"y_missing": ["obs_missing"]},
    )
    assert list(summarise(idata).index) == ["beta", "share_missing", "y_missing[3]", "y_missing[7]"]


def test_weights_of_smooths_come_after_their_sd() -> None:
    draws = np.random.default_rng(1).normal(size=(2, 50, 3))
    posterior = {"weights_s_x": draws, "sds_s_x": draws[:, :, 0], "weights_of": draws}
    dims = {"weights_s_x": ["s_x_basis"], "weights_of": ["part"]}
    names = list(summarise(az.from_dict(posterior=posterior, dims=dims)).index)
    assert names[0] == "sds_s_x" and names[-3:] == [f"weights_s_x[{k}]" for k in range(3)]


def test_effects_of_groups_come_after_what_they_vary_around() -> None:
    draws = np.random.default_rng(1).normal(size=(2, 50, 3, 1))
    posterior = {"r_g": draws, "sd_g": np.abs(draws[:, :, 0]), "Intercept": draws[:, :, 0, 0], "r_squared": draws}
    coords = {"g": ["a", "b", "c"], "g_effect": ["Intercept"]}
    dims = {"r_g": ["g", "g_effect"], "sd_g": ["g_effect"], "r_squared": ["g", "other"]}
    table = summarise(az.from_dict(posterior=posterior, coords={**coords, "other": [0]}, dims=dims))
    assert list(table.index)[-3:] == [f"r_g[{label}, Intercept]" for label in "abc"]
