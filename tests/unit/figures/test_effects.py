"""Effects: the line is the posterior mean of the model's mean at each value, the other predictors held."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesrun.figures import effects
from bayesrun.figures.base import NotDrawable, Subject

ROWS, CHAINS, LENGTH = 60, 2, 250
RNG = np.random.default_rng(11)
DATA = xr.Dataset(
    {
        "x": ("obs", RNG.normal(5, 2, size=ROWS)),
        "g": ("obs", np.array(list("aab") * 20, dtype=object)),
        "y": ("obs", RNG.integers(0, 2, size=ROWS)),
    },
    coords={"obs": np.arange(ROWS)},
)
MODEL = {"name": "mine", "type": "glm", "formula": "y ~ x + g", "family": "binomial", "options": {"link": None}}


def _subject(model: dict[str, Any] = MODEL, **coefficients: Any) -> Subject:
    given = {
        "Intercept": RNG.normal(-2, 0.1, size=(CHAINS, LENGTH)),
        "x": RNG.normal(0.4, 0.02, size=(CHAINS, LENGTH)),
        "g": RNG.normal(1.0, 0.1, size=(CHAINS, LENGTH, 1)),
        **coefficients,
    }
    idata = az.from_dict(posterior={n: v for n, v in given.items() if v is not None})
    idata.add_groups({"constant_data": DATA})
    return Subject(idata, pd.DataFrame(), model)


def _logistic(eta: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-eta))


def test_the_line_is_the_mean_of_the_predicted_mean() -> None:
    subject = _subject()
    figure = effects.draw(subject)
    by_x, by_g = figure.axes
    (line,) = [line for line in by_x.lines if line.get_label() == "predicted mean"]
    posterior = subject.idata.posterior
    at = np.asarray(line.get_xdata())
    # the commonest level is a, the reference
    eta = posterior["Intercept"].values[..., None] + posterior["x"].values[..., None] * at
    np.testing.assert_allclose(line.get_ydata(), _logistic(eta).mean(axis=(0, 1)), rtol=1e-9)
    assert at.min() == DATA.x.min() and at.max() == DATA.x.max()
    eta = posterior["Intercept"].values + posterior["x"].values * float(DATA.x.mean())
    levels = [_logistic(eta).mean(), _logistic(eta + posterior["g"].values[..., 0]).mean()]
    drawn = [line for line in by_g.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    np.testing.assert_allclose(drawn[-1].get_ydata(), levels, rtol=1e-9)


def test_axes_are_labelled_with_what_they_show() -> None:
    by_x, by_g = effects.draw(_subject()).axes
    assert (by_x.get_xlabel(), by_g.get_xlabel()) == ("x", "g")
    assert by_x.get_ylabel() == "probability of y"
    assert [label.get_text() for label in by_g.get_xticklabels()] == ["a", "b"]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (_subject({**MODEL, "type": "switchpoint"}), "models of type glm"),
        (_subject({**MODEL, "formula": "y ~ 1"}), "no predictor"),
        (_subject({**MODEL, "formula": "y ~ x + z"}), "can't be computed"),
        (_subject(g=None), "does not hold g"),
    ],
)
def test_what_can_not_be_drawn_says_why(subject: Subject, reason: str) -> None:
    with pytest.raises(NotDrawable, match=reason):
        effects.draw(subject)
