"""Working responses: scores are derivatives of log probabilities, and the reliability of groups follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import fsolve
from scipy.special import expit, ndtr, ndtri

from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.working_responses import of_levels, slope_of_link

CUMULATIVE: dict[str, Callable[[Any], Any]] = {
    "OrderedLogistic": expit,
    "OrderedProbit": ndtr,
    "OrderedCloglog": lambda x: -np.expm1(-np.exp(x)),
}
SHARES = np.array([0.2, 0.5, 0.3])
CODES = np.repeat([0.0, 1.0, 2.0], (SHARES * 10_000).astype(int))


def probabilities(distribution: str, cutpoints: Any, eta: float) -> Any:
    if distribution == "AdjacentLogistic":
        weights = np.exp(np.r_[0.0, np.cumsum(eta - cutpoints)])
        return weights / weights.sum()
    if distribution == "SequentialLogistic":
        stops = expit(cutpoints - eta)
        return np.r_[stops, 1.0] * np.r_[1.0, np.cumprod(1 - stops)]
    return np.diff(np.r_[0.0, CUMULATIVE[distribution](cutpoints - eta), 1.0])


def thresholds(distribution: str) -> Any:
    """Return the thresholds that give the shares, by bisection of each in turn."""
    return fsolve(lambda c: probabilities(distribution, c, 0.0)[:-1] - SHARES[:-1], [-1.0, 0.5], xtol=1e-12)


@pytest.mark.parametrize("distribution", [*CUMULATIVE, "SequentialLogistic", "AdjacentLogistic"])
def test_scores_of_levels_are_derivatives_of_their_log_probabilities(distribution: str) -> None:
    cutpoints, step = thresholds(distribution), 1e-5
    sides = [np.log(probabilities(distribution, cutpoints, eta)) for eta in (step, -step)]
    score = (sides[0] - sides[1]) / (2 * step)
    found, information = of_levels(CODES, 3, distribution)
    assert information[0] == pytest.approx(SHARES @ score**2, rel=1e-3)
    np.testing.assert_allclose(found[[0, 5000, 9999]] * information[0], score, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("link", "function"),
    [
        ("probit", ndtri),
        ("cloglog", lambda m: np.log(-np.log1p(-m))),
        ("inverse", lambda m: 1 / m),
        ("sqrt", np.sqrt),
        ("softplus", lambda m: np.log(np.expm1(m))),
        ("tan_half", lambda m: np.tan(m / 2)),
    ],
)
def test_slopes_are_those_of_the_links(link: str, function: Callable[[Any], Any]) -> None:
    wanted = (function(0.3 + 1e-6) - function(0.3 - 1e-6)) / 2e-6
    assert slope_of_link(0.3, link) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("family", ["cumulative", "sequential", "adjacent", "categorical", "beta"])
@pytest.mark.parametrize(("groups", "sd", "form"), [(20, 2.0, "centered"), (200, 0.2, "noncentered")])
def test_effects_on_levels_and_shares_are_centred_where_rows_determine_them(
    family: str, groups: int, sd: float, form: str
) -> None:
    """Of 1,000 rows and groups of 50 and of 5: t / (t + v) with v of about 4 / rows is 0.98, and 0.05."""
    rng = np.random.default_rng(5)
    code = np.arange(1000) % groups
    eta = rng.normal(0, sd, groups)[code]
    noise = rng.logistic(size=1000)
    y: Any = (eta + noise > -1).astype(int) + (eta + noise > 1)
    if family == "beta":
        y = rng.beta(4 * expit(eta), 4 * (1 - expit(eta))).clip(1e-4, 1 - 1e-4)
    rows = xr.Dataset({"y": ("obs", y), "g": ("obs", code)}, {"obs": np.arange(1000)}, {"dim": "obs"})
    spec = RegressionSpec.model_validate(
        {"name": "m", "type": "regression", "formula": "y ~ 1 + (1 | g)", "family": family}
    )
    expansion = expansion_of(rows, spec)
    effects = [prior for name, prior in expansion.model["priors"].items() if name.startswith("r_")]
    told = [float(re.search(r"reliability ([\d.]+)", note)[1]) for note in expansion.notes]  # type: ignore[index]
    # beside cutpoints, intercepts of groups are never centred
    beside = family in ("cumulative", "sequential", "adjacent")
    assert effects[-1]["parameterization"] == ("noncentered" if beside else form)
    assert all(("beside cutpoints" in note) is beside for note in expansion.notes)
    assert told[-1] > 0.8 if form == "centered" else told[-1] < 0.4
