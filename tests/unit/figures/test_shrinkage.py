"""Shrinkage: the estimates of groups by themselves are those of their own rows, and arrows lead to the pooled ones."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logit

from bayesrun.figures import shrinkage
from bayesrun.figures import style as look
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.figures.shrinkage import shrunk_effects
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec

RNG = np.random.default_rng(3)
ROWS, CHAINS, LENGTH = 60, 2, 40
GROUP = np.array(list("abcdef") * 10, dtype=object)
CODE = np.unique(GROUP, return_inverse=True)[1]
IN = [np.flatnonzero(np.equal(CODE, j)) for j in range(6)]
X, N = RNG.normal(2, 1, ROWS), RNG.integers(3, 9, ROWS)
BINARY = np.where(CODE == 5, 1, RNG.integers(0, 2, ROWS))
Y = 1 + 0.5 * X + RNG.normal(size=6)[CODE] + RNG.normal(size=ROWS)
COUNTS = RNG.poisson(2.0 + CODE)


def subject(formula: Any, family: str = "normal", rows: Any = slice(None), **draws: Any) -> Subject:
    """Return a posterior in which coefficients are known, and effects are drawn."""
    columns = {"x": X, "g": GROUP, "n": N, "y": Y, "b": BINARY, "k": COUNTS}
    data = xr.Dataset({name: ("obs", of) for name, of in columns.items()}, {"obs": np.arange(ROWS)}, {"dim": "obs"})
    data = data.isel(obs=rows)
    model = {"name": "m", "type": "regression", "formula": formula, "family": family}
    labels = expansion_of(data, RegressionSpec.model_validate(model)).columns.coords
    given = {}
    for name, value in draws.items():
        value = np.asarray(value, float)
        dims = {0: (), 1: ("g_effect" if name.startswith("sd") else "g_pair",), 2: ("g", "g_effect")}[value.ndim]
        noise = RNG.normal(size=(CHAINS, LENGTH, *value.shape)) * (0.2 if value.ndim else 0.0)
        noise -= noise.mean(axis=(0, 1))
        given[name] = (("chain", "draw", *dims), value + noise)
    posterior = xr.Dataset(given)
    posterior = posterior.assign_coords({d: labels[d] for d in posterior.dims if d in labels})
    return Subject(az.InferenceData(posterior=posterior, constant_data=data), pd.DataFrame(), model)


def test_the_estimate_of_a_group_is_the_mean_of_its_residuals() -> None:
    effects = np.linspace(-1, 1, 6)[:, None]
    (one,) = shrunk_effects(subject("y ~ x + (1 | g)", Intercept=1.0, x=0.5, r_g=effects))
    wanted = [np.mean((Y - 1 - 0.5 * X)[IN[j]]) for j in range(6)]
    np.testing.assert_allclose(one.alone, wanted, rtol=1e-8)
    np.testing.assert_allclose(one.pooled, effects[:, 0], atol=1e-10)
    assert one.labels == tuple("abcdef") and one.rows.tolist() == [10] * 6 and one.title == "g: Intercept"


def test_slopes_are_least_squares_in_the_rows_of_each_group() -> None:
    this = subject("y ~ x + (x | g)", Intercept=1.0, x=0.5, r_g=np.zeros((6, 2)), sd_g=[1, 1], cor_g=[0.0])
    level, slope = shrunk_effects(this)
    for j in range(6):
        design = np.c_[np.ones(10), X[IN[j]]]
        found = np.linalg.lstsq(design, (Y - 1 - 0.5 * X)[IN[j]], rcond=None)[0]
        np.testing.assert_allclose([level.alone[j], slope.alone[j]], found, rtol=1e-6)


def test_shares_counts_and_their_links_and_estimates_without_an_end() -> None:
    (one,) = shrunk_effects(subject("b ~ 1 + (1 | g)", "bernoulli", Intercept=0.3, r_g=np.zeros((6, 1))))
    shares = np.array([BINARY[IN[j]].mean() for j in range(6)])
    np.testing.assert_allclose(one.alone[:5], logit(shares[:5]) - 0.3, rtol=1e-6)
    assert np.isposinf(one.alone[5]) and "logit" in one.scale
    formula = "k ~ x + offset(log(n)) + (1 | g)"
    (one,) = shrunk_effects(subject(formula, "poisson", Intercept=0.1, x=0.2, r_g=np.zeros((6, 1))))
    exposure = N * np.exp(0.1 + 0.2 * X)
    wanted = [np.log(COUNTS[IN[j]].sum() / exposure[IN[j]].sum()) for j in range(6)]
    np.testing.assert_allclose(one.alone, wanted, rtol=1e-6)


def test_a_group_whose_rows_do_not_determine_its_effects_has_no_estimate() -> None:
    kept = np.flatnonzero((CODE != 2) | (np.arange(ROWS) < 6))  # one row of the third group
    coefficients = {"Intercept": 1.0, "x": 0.5, "r_g": np.zeros((6, 2)), "sd_g": [1, 1], "cor_g": [0.0]}
    found = shrunk_effects(subject("y ~ x + (x | g)", rows=kept, **coefficients))
    assert all(np.flatnonzero(np.isnan(one.alone)).tolist() == [2] for one in found)
    figure = shrinkage.draw(subject("y ~ x + (x | g)", rows=kept, **coefficients))
    assert "no separate estimate for 1 of 6 groups" in figure.axes[0].get_title()


def test_lines_are_in_the_order_of_the_estimates_with_the_mean_and_the_own_estimate_of_each_group() -> None:
    effects = np.linspace(-0.4, 0.4, 6)[:, None]
    this = subject("b ~ 1 + (1 | g)", "bernoulli", Intercept=0.3, r_g=effects)
    (one,), (ax,) = shrunk_effects(this), shrinkage.draw(this).axes
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels[-1] == "f" and sorted(labels) == list("abcdef")
    order = np.argsort(one.alone)
    dots = [line for line in ax.lines if line.get_marker() == "o" and line.get_markerfacecolor() == look.BLUE]
    np.testing.assert_allclose([line.get_xdata()[0] for line in dots], one.pooled[order])
    assert sum(line.get_marker() == ">" for line in ax.lines) >= 1  # without an end


@pytest.mark.parametrize(
    ("formula", "family", "told"),
    [
        ("y ~ x", "normal", "the formula has no group effects"),
        ("k ~ x + (1 | g)", "zero_inflated_poisson", "not defined for family zero_inflated_poisson"),
        ({"mu": "y ~ x", "sigma": "~ (1 | g)"}, "normal", "no group effects on a mean"),
    ],
)
def test_why_it_is_not_drawn(formula: Any, family: str, told: str) -> None:
    with pytest.raises(NotDrawable, match=told):
        shrinkage.draw(subject(formula, family))
