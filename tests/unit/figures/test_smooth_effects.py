"""Smooth effects: the curves are what the terms add to the linear predictor, at the posterior's draws."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes

from bayesrun.figures import effects
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.figures.smooth_effects import has_smooths
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec

ROWS, CHAINS, LENGTH = 80, 2, 60
RNG = np.random.default_rng(12)
DATA = xr.Dataset(
    {
        "x": ("obs", RNG.uniform(0, 9, ROWS)),
        "z": ("obs", RNG.normal(size=ROWS)),
        "k": ("obs", np.arange(ROWS) % 4),
        "g": ("obs", np.array(list("ab") * 40, dtype=object)),
        "y": ("obs", RNG.normal(size=ROWS)),
    },
    {"obs": np.arange(ROWS)},
    {"dim": "obs"},
)


def subject(formula: Any, **draws: tuple[tuple[str, ...], tuple[int, ...]]) -> Subject:
    """Return a posterior with these variables, by dims and shapes."""
    spec = RegressionSpec.model_validate({"name": "m", "type": "regression", "formula": formula})
    labels = expansion_of(DATA, spec).columns.coords
    posterior = xr.Dataset(
        {n: (("chain", "draw", *dims), RNG.normal(size=(CHAINS, LENGTH, *shape))) for n, (dims, shape) in draws.items()}
    )
    posterior = posterior.assign_coords({d: labels[d] for d in posterior.dims if d in labels})
    idata = az.InferenceData(posterior=posterior, constant_data=DATA)
    return Subject(idata, pd.DataFrame(), {"name": "m", "type": "regression", "formula": formula, "family": "normal"})


def line(ax: Axes, number: int = 0) -> tuple[Any, Any]:
    drawn = [of for of in ax.lines if len(of.get_xdata()) > 3 and of.get_marker() == "None"][number]
    return np.asarray(drawn.get_xdata(), float), np.asarray(drawn.get_ydata(), float)


def test_a_smooth_is_drawn_by_level() -> None:
    shapes = {
        "s_x_by_g": (("s_x_by_g_level", "s_x_by_g_column"), (2, 1)),
        "weights_s_x_by_g": (("s_x_by_g_level", "s_x_by_g_basis"), (2, 8)),
    }
    this = subject("y ~ g + s(x, by = g) + (1 | k)", **shapes)
    (ax,) = effects.draw(this).axes
    spec = RegressionSpec.model_validate(dict(this.model))
    smooth = expansion_of(DATA, spec).terms["mu"][-1]
    for number in (0, 1):
        x, y = line(ax, number)
        means = this.idata.posterior.mean(("chain", "draw")).isel(s_x_by_g_level=number)
        wanted = smooth.basis.unpenalised(x[:, None]) @ means["s_x_by_g"].values  # type: ignore[attr-defined]
        wanted += smooth.basis.penalised(x[:, None]) @ means["weights_s_x_by_g"].values  # type: ignore[attr-defined]
        np.testing.assert_allclose(y, wanted, rtol=1e-8, atol=1e-10)


def test_processes_maps_and_monotonic_effects_have_a_panel_each() -> None:
    this = subject(
        {"mu": "y ~ hsgp(x, by = z, m = 6) + t2(x, z, k = 4) + mo(k) * g", "sigma": "~ s(z, k = 5)"},
        **{
            "weights_hsgp_x_by_z": (("hsgp_x_by_z_basis",), (6,)),
            "t2_x_z": (("t2_x_z_column",), (3,)),
            "weights_t2_x_z": (("t2_x_z_basis",), (12,)),
            "mo(k)": ((), ()),
            "mo(k):g": (("mo_k_g_level",), (1,)),
            "simo_mo_k": (("mo_k_step",), (3,)),
            "simo_mo_k_g": (("mo_k_g_level", "mo_k_step"), (1, 3)),
            "sigma_s_z": (("sigma_s_z_column",), (1,)),
            "weights_sigma_s_z": (("sigma_s_z_basis",), (3,)),
        },
    )
    axes = effects.draw(this).axes
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in axes]
    panels = [title for title in titles if title]
    assert panels == ["mu: mo(k)", "mu: hsgp(x, by = z, m = 6)", "mu: t2(x, z, k = 4)", "sigma: s(z, k = 5)"]
    assert axes[1].get_ylabel() == "coefficient of z"
    steps = [container for container in axes[0].containers]
    posterior = this.idata.posterior
    simplex, of_b = posterior["simo_mo_k"].cumsum("mo_k_step"), posterior["simo_mo_k_g"].cumsum("mo_k_step")
    first = (3 * posterior["mo(k)"] * simplex).mean(("chain", "draw")).values
    second = first + (3 * posterior["mo(k):g"] * of_b).sum("mo_k_g_level").mean(("chain", "draw")).values
    for container, wanted in zip(steps, (first, second), strict=True):
        np.testing.assert_allclose(np.asarray(container[0].get_ydata(), float), np.r_[0.0, wanted], rtol=1e-8)


def test_a_regression_without_smooths_has_none() -> None:
    model = {"name": "m", "type": "regression", "formula": "y ~ x + (1 | g)"}
    assert not has_smooths(RegressionSpec.model_validate(model))
    with pytest.raises(NotDrawable, match=r"computed from posterior\.nc"):
        effects.draw(subject("y ~ x + (1 | g)", Intercept=((), ())))
