"""Effects: the line is the posterior mean of the model's mean at each value, the other predictors held."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bayesrun.figures import effects
from bayesrun.figures import style as look
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


def _curve(ax: Axes) -> Line2D:
    return max(
        (line for line in ax.lines if line.get_color() == look.VERMILLION), key=lambda line: len(line.get_xdata())
    )


def test_the_curve_is_the_predicted_mean_averaged_over_the_rows() -> None:
    subject = _subject()
    by_x, by_g = effects.draw(subject).axes
    posterior = {name: values.values[..., None] for name, values in subject.idata.posterior.items()}
    x, is_b = DATA.x.values, (DATA.g.values == "b").astype(float)
    line = _curve(by_x)
    at = np.asarray(line.get_xdata(), float)
    assert at.min() == x.min() and at.max() == x.max()
    for place in (0, len(at) // 2):
        eta = posterior["Intercept"] + posterior["x"] * at[place] + posterior["g"][..., 0, :] * is_b
        # 400 of the 500 draws are used
        np.testing.assert_allclose(line.get_ydata()[place], _logistic(eta).mean(), rtol=0.01)
    heights = _curve(by_g).get_ydata()
    for place, shift in enumerate((0.0, posterior["g"][..., 0, :])):
        expected = _logistic(posterior["Intercept"] + posterior["x"] * x + shift).mean()
        np.testing.assert_allclose(heights[place], expected, rtol=0.01)


def _regression(link: str, family: str, formula: str, **columns: np.ndarray) -> Subject:
    """Draws close to the given coefficients, of data without noise."""
    rows = len(next(iter(columns.values())))
    data = xr.Dataset({name: ("obs", values) for name, values in columns.items()}, coords={"obs": np.arange(rows)})
    terms = {"Intercept": 1.0, "x": 0.5, "z": -2.0, "x:z": 0.25}
    used = ["Intercept", *[t for t in ("x", "z", "x:z") if t in formula.replace("x * z", "x + z + x:z")]]
    idata = az.from_dict(posterior={name: RNG.normal(terms[name], 1e-6, (2, 50)) for name in used})
    idata.add_groups({"constant_data": data})
    model = {"name": "m", "type": "glm", "formula": formula, "family": family, "options": {"link": link}}
    return Subject(idata, pd.DataFrame(), model)


def _points(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if line.get_alpha() == 0.45]


@pytest.mark.parametrize(("link", "family"), [("identity", "normal"), ("log", "poisson")])
def test_partial_residuals_lie_on_the_curve_without_noise(link: str, family: str) -> None:
    x, z = RNG.normal(2, 1, 80), RNG.normal(0, 0.3, 80)
    eta = 1 + 0.5 * x - 2 * z
    y = eta if link == "identity" else np.exp(eta)
    by_x, _ = effects.draw(_regression(link, family, "y ~ x + z", x=x, z=z, y=y)).axes
    (points,) = _points(by_x)
    curve = _curve(by_x)
    np.testing.assert_allclose(points.get_ydata(), np.interp(x, curve.get_xdata(), curve.get_ydata()), rtol=1e-3)


def test_an_interaction_is_drawn_by_the_values_of_the_other_predictor() -> None:
    x, z = RNG.normal(2, 1, 80), RNG.normal(0, 0.3, 80)
    y = 1 + 0.5 * x - 2 * z + 0.25 * x * z
    by_x, _ = effects.draw(_regression("identity", "normal", "y ~ x * z", x=x, z=z, y=y)).axes
    labels = [text.get_text() for text in by_x.get_legend().get_texts()]
    quantiles = np.quantile(z, [0.1, 0.5, 0.9])
    assert labels == [f"z = {value:.3g}" for value in quantiles]
    slopes = [np.ptp(line.get_ydata()) / np.ptp(line.get_xdata()) for line in by_x.lines if line.get_marker() == "None"]
    np.testing.assert_allclose(slopes, 0.5 + 0.25 * quantiles, rtol=1e-4)


def test_levels_are_in_the_order_of_the_data() -> None:
    subject = _subject()
    subject.idata.constant_data = DATA.assign(g=DATA.g.assign_attrs(levels=["b", "a"]))
    by_g = effects.draw(subject).axes[1]
    assert [text.get_text() for text in by_g.get_xticklabels()] == ["b", "a"]
    means = dict(zip("ba", np.asarray(_curve(by_g).get_ydata(), float), strict=True))
    assert means["a"] > means["b"]  # the first level is the reference, and the coefficient 1 that of the other


def test_the_interval_follows_the_setting() -> None:
    widths = []
    for prob in (0.5, 0.94):
        subject = _subject()
        figure = effects.draw(Subject(subject.idata, subject.summary, subject.model, prob))
        assert f"{100 * prob:g}% HDI of the mean" in [text.get_text() for text in figure.legends[0].get_texts()]
        (band,) = figure.axes[0].collections
        widths.append(np.ptp(band.get_paths()[0].vertices[:, 1]))
    assert widths[0] < widths[1]


def test_axes_are_labelled_with_what_they_show() -> None:
    by_x, by_g = effects.draw(_subject()).axes
    assert (by_x.get_xlabel(), by_g.get_xlabel()) == ("x", "g")
    assert by_x.get_ylabel() == "probability of y"
    assert [label.get_text() for label in by_g.get_xticklabels()] == ["a", "b"]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (_subject({**MODEL, "type": "switchpoint"}), "effects need a regression"),
        (_subject({**MODEL, "type": "regression", "formula": "y ~ x + (1 | kind)"}), "can't be computed"),
        (_subject({**MODEL, "formula": "y ~ 1"}), "no predictor"),
        (_subject({**MODEL, "formula": "y ~ x + z"}), "can't be computed"),
        (_subject(g=None), "does not hold g"),
    ],
)
def test_what_can_not_be_drawn_says_why(subject: Subject, reason: str) -> None:
    with pytest.raises(NotDrawable, match=reason):
        effects.draw(subject)


def test_labels_that_are_numbers_have_a_mean_each() -> None:
    """`data.levels: {g: [3, 1]}` makes a factor of a column of numbers, whose labels are no quantities."""
    data = DATA.assign(g=("obs", np.tile([3, 3, 1], 20), {"levels": [3, 1]}), y=("obs", RNG.normal(size=ROWS)))
    subject = _subject({**MODEL, "formula": "y ~ g", "family": "normal"}, x=None)
    subject.idata.constant_data = data
    (ax,) = effects.draw(subject).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "1"]
    p = subject.idata.posterior
    means = [float(p.Intercept.mean()), float(p.Intercept.mean() + p.g.mean())]
    marks = next(line for line in ax.lines if line.get_color() == look.VERMILLION and line.get_marker() == "o")
    np.testing.assert_allclose(marks.get_ydata(), means, atol=0.01)
