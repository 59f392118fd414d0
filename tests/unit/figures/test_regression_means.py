"""Effects of regressions beyond GLMs: average predictions with groups, several parameters and several responses."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit

from bayesrun.figures import effects
from bayesrun.figures import style as look
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec

RNG = np.random.default_rng(6)
ROWS, CHAINS, LENGTH = 40, 2, 30
GROUP = np.array(list("abcd") * 10, dtype=object)
CODE = np.unique(GROUP, return_inverse=True)[1]
X, N = RNG.normal(2, 1, ROWS), RNG.integers(3, 9, ROWS)
EFFECTS = np.array([-1.0, 0.0, 0.5, 2.0])
COLUMNS = {
    **{"x": X, "g": GROUP, "n": N, "s": RNG.binomial(N, 0.4), "k": RNG.poisson(2.0, ROWS)},
    **{"y": RNG.normal(size=ROWS), "z": RNG.normal(size=ROWS), "level": np.array([1, 2] * 20)},
}


def subject(formula: Any, family: str = "normal", **draws: Any) -> Subject:
    """Return a posterior of known values; `r_NAME` are effects of groups."""
    data = xr.Dataset({name: ("obs", of) for name, of in COLUMNS.items()}, {"obs": np.arange(ROWS)}, {"dim": "obs"})
    model = {"name": "m", "type": "regression", "formula": formula, "family": family}
    labels = expansion_of(data, RegressionSpec.model_validate(model)).columns.coords
    given = {}
    for name, value in draws.items():
        dims = ("g", f"{name[2:]}_effect") if name.startswith("r_") else ("response_pair",) if np.ndim(value) else ()
        given[name] = (("chain", "draw", *dims), np.broadcast_to(value, (CHAINS, LENGTH, *np.shape(value))))
    posterior = xr.Dataset(given)
    posterior = posterior.assign_coords({d: labels[d] for d in posterior.dims if d in labels})
    return Subject(az.InferenceData(posterior=posterior, constant_data=data), pd.DataFrame(), model)


def curve(ax: Any) -> tuple[Any, Any]:
    line = max((of for of in ax.lines if of.get_color() == look.VERMILLION), key=lambda of: len(of.get_xdata()))
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_groups_keep_their_effects_and_shares_are_of_the_trials() -> None:
    this = subject("s | trials(n) ~ x + (1 | g)", "binomial", Intercept=-0.5, x=0.3, r_g=EFFECTS[:, None], sd_g=1.0)
    (ax,) = effects.draw(this).axes
    at, heights = curve(ax)
    assert at.min() == X.min() and at.max() == X.max() and ax.get_ylabel() == "proportion of s"
    wanted = expit(-0.5 + 0.3 * at[:, None] + EFFECTS[CODE]).mean(axis=1)
    np.testing.assert_allclose(heights, wanted, rtol=1e-10)


def test_the_mean_has_the_zeros_of_its_family_and_partial_residuals_lie_around_it() -> None:
    formula = {"mu": "k ~ x + offset(log(n)) + (1 | g)", "zi": "~ x"}
    values = {"Intercept": 0.1, "x": 0.2, "zi_Intercept": -1.0, "zi_x": 0.4, "r_g": EFFECTS[:, None], "sd_g": 1.0}
    (ax,) = effects.draw(subject(formula, "zero_inflated_poisson", **values)).axes
    at, heights = curve(ax)

    def mean(x: Any) -> Any:
        return (1 - expit(-1.0 + 0.4 * x)) * N * np.exp(0.1 + 0.2 * x + EFFECTS[CODE])

    np.testing.assert_allclose(heights, mean(at[:, None]).mean(axis=1), rtol=1e-10)
    (points,) = [line for line in ax.lines if line.get_color() == look.GREY]
    np.testing.assert_allclose(points.get_ydata(), COLUMNS["k"] / mean(X) * np.interp(X, at, heights), rtol=1e-6)


def test_each_response_has_its_panels() -> None:
    formula = {"responses": {"y": "y ~ x", "z": "z ~ x + (1 | g)"}}
    values = {"y_Intercept": 1.0, "y_x": 0.5, "z_Intercept": 0.0, "z_x": -1.0, "r_z_g": EFFECTS[:, None], "sd_z_g": 1.0}
    this = subject(formula, **values, y_sigma=1.0, z_sigma=2.0, rescor=np.array([0.3]))
    first, second = effects.draw(this).axes
    assert [first.get_ylabel(), second.get_ylabel()] == ["mean of y", "mean of z"]
    at, heights = curve(first)
    np.testing.assert_allclose(heights, 1 + 0.5 * at, rtol=1e-10)
    at, heights = curve(second)
    np.testing.assert_allclose(heights, -at + EFFECTS[CODE].mean(), rtol=1e-10)


def test_levels_have_no_mean_and_a_formula_of_groups_alone_no_predictor() -> None:
    with pytest.raises(NotDrawable, match="levels, which have no mean"):
        effects.draw(subject("level ~ x + (1 | g)", "cumulative", x=1.0))
    with pytest.raises(NotDrawable, match="no predictor"):
        effects.draw(subject("y ~ 1 + (1 | g)", Intercept=1.0, r_g=EFFECTS[:, None], sd_g=1.0, sigma=1.0))
