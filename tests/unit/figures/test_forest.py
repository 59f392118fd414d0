"""Variables in the same unit share an axis, with a line at zero."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from bayesrun.figures import forest
from bayesrun.figures.base import Subject

RNG = np.random.default_rng(7)


def _axes(model: dict[str, Any], **centres: float | list[float]) -> list[Axes]:
    draws = {n: np.asarray(c) + RNG.normal(size=(2, 200, *np.shape(c))) for n, c in centres.items()}
    return forest.draw(Subject(az.from_dict(posterior=draws), pd.DataFrame(), {"name": "m", **model})).axes


def _names(axes: list[Axes]) -> list[list[str]]:
    return [[label.get_text() for label in ax.get_yticklabels()] for ax in axes]


def test_location_and_scale_share_the_axis_of_what_they_describe() -> None:
    priors = {
        "mu": {"dist": "Normal", "mu": 0, "sigma": 5},
        "tau": {"dist": "HalfCauchy", "beta": 5},
        "theta": {"dist": "Normal", "mu": "mu", "sigma": "tau"},
        "rate": {"dist": "Exponential", "lam": 3},
    }
    axes = _axes({"type": "declarative", "priors": priors}, mu=4.0, tau=3.0, theta=[4.0, 5.0], rate=1.0)
    assert _names(axes) == [["mu", "tau", "theta[0]", "theta[1]"], ["rate"]]


def test_equal_priors_share_an_axis_but_a_coefficient_has_its_own() -> None:
    prior = {"dist": "Exponential", "lam": 1}
    assert len(_axes({"type": "switchpoint", "priors": {"early": prior, "late": prior}}, early=2.0, late=1.0)) == 1
    glm = {"type": "glm", "formula": "y ~ x + z", "priors": {"x": prior, "z": prior}}
    assert len(_axes(glm, Intercept=1.0, x=2.0, z=3.0)) == 3


def test_an_interval_that_could_not_be_read_gets_its_own_axis() -> None:
    prior = {"dist": "Normal", "mu": 0, "sigma": 1e4}
    assert len(_axes({"priors": {"a": prior, "b": prior}}, a=0.0, b=9e3)) == 2


@pytest.mark.parametrize(("centre", "expected"), [(3.0, True), (-4.0, True), (1890.0, False)])
def test_zero_is_marked_unless_it_is_far_away(centre: float, expected: bool) -> None:
    (ax,) = _axes({}, a=centre)
    assert any(np.all(np.asarray(line.get_xdata()) == 0) for line in ax.lines) == expected


def test_a_regression_with_group_effects_has_axes_by_unit() -> None:
    """The intercept, effects on it and `sigma` are in the unit of the response; a slope is not."""
    model = {"type": "regression", "family": "normal", "formula": "y ~ x + (1 | town)"}
    axes = _axes(model, Intercept=3.0, x=0.0, r_town=[1.0, 2.0], sigma=1.0)
    assert _names(axes) == [["Intercept", "r_town[0]", "r_town[1]", "sigma"], ["x"]]


@pytest.mark.parametrize(
    ("formula", "terms", "panels"),
    [
        ("y ~ x * t", ["x", "t", "x:t"], [["Intercept", "t"], ["x", "x:t"]]),  # t is 0 or 1
        ("y ~ x * g", ["x", "g", "x:g"], [["Intercept", "g"], ["x", "x:g"]]),  # g has labels
        ("y ~ x * z", ["x", "z", "x:z"], [["Intercept"], ["x"], ["z"], ["x:z"]]),
        ("y ~ center(x) + x:t + z", ["center(x)", "x:t", "z"], [["Intercept"], ["center(x)", "x:t"], ["z"]]),
        ("y ~ standardize(x) + log(z) + C(k)", ["standardize(x)", "log(z)", "C(k)"],
         [["Intercept", "standardize(x)", "C(k)"], ["log(z)"]]),
    ],
)  # fmt: skip
def test_coefficients_per_unit_of_one_predictor_share_an_axis(
    formula: str, terms: list[str], panels: list[list[str]]
) -> None:
    rows = {
        "x": RNG.normal(size=6),
        "z": RNG.random(6),
        "t": np.tile([0, 1], 3),
        "k": np.arange(6),
        "g": list("uvuvuv"),
    }
    draws = {name: RNG.normal(size=(2, 200)) for name in ("Intercept", *terms)}
    idata = az.from_dict(posterior=draws, constant_data={name: np.asarray(values) for name, values in rows.items()})
    model = {"name": "m", "type": "glm", "family": "poisson", "formula": formula}
    assert _names(forest.draw(Subject(idata, pd.DataFrame(), model)).axes) == panels


def test_slopes_and_their_differences_between_groups_share_an_axis() -> None:
    draws = {n: RNG.normal(size=(2, 200)) for n in ("Intercept", "x")} | {"r_town": RNG.normal(size=(2, 200, 2, 2))}
    coords = {"town_effect": ["Intercept", "x"], "town": ["u", "v"]}
    idata = az.from_dict(posterior=draws, dims={"r_town": ["town", "town_effect"]}, coords=coords)
    model = {"name": "m", "type": "regression", "family": "poisson", "formula": "y ~ x + (x | town)"}
    axes = forest.draw(Subject(idata, pd.DataFrame(), model)).axes
    assert _names(axes) == [[n, *(f"r_town[{town}, {n}]" for town in "uv")] for n in ("Intercept", "x")]


def test_group_effects_share_an_axis_effect_by_effect() -> None:
    """Intercepts of groups are in the unit of the response, slopes per unit of x."""
    draws = {"sd_town": 1 + RNG.random((2, 200, 2)), "r_town": RNG.normal(size=(2, 200, 2, 2))}
    dims = {"sd_town": ["town_effect"], "r_town": ["town", "town_effect"]}
    idata = az.from_dict(posterior=draws, dims=dims, coords={"town_effect": ["Intercept", "x"], "town": ["u", "v"]})
    model = {"name": "m", "type": "regression", "family": "normal", "formula": "y ~ x + (x | town)"}
    axes = forest.draw(Subject(idata, pd.DataFrame(), model)).axes
    assert _names(axes) == [
        ["sd_town[Intercept]", "r_town[u, Intercept]", "r_town[v, Intercept]"],
        ["sd_town[x]", "r_town[u, x]", "r_town[v, x]"],
    ]
