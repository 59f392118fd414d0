"""Every registered figure is drawn from a suitable posterior, and gives the reason when it can't be drawn."""

from __future__ import annotations

from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from bayesrun.diagnostics.predictive_accuracy import point_names
from bayesrun.figures.base import FIGURES, NotDrawable, Subject
from bayesrun.figures.drawing import draw_all
from bayesrun.figures.mixing import autocorrelation, draw_by_chain
from bayesrun.figures.predictive_calibration import leave_one_out, pareto_k, pit

OWN_TEST = {"effects", "shrinkage"}  # need a regression's design; see test_effects, test_shrinkage
OF_OUTCOME = {"ppc_calibration", "ppc_density", "ppc_ecdf", "ppc_grouped", "ppc_intervals", "ppc_residuals",
              "ppc_rootogram", "ppc_statistics"}  # fmt: skip  # see test_predictive_checks
GENERAL = ("trace", "trace_chains", "posterior", "rank", "energy", "ppc", "forest", "autocorrelation",
           "prior_posterior", "pareto_k", "loo_pit")  # fmt: skip


def _normal(n: int = 60) -> Subject:
    """A normal mean with known scale: draws, predictions and pointwise terms are exact."""
    rng = np.random.default_rng(1)
    y, x = rng.normal(2, 1, n), rng.normal(size=n)
    mu = rng.normal(y.mean(), 1 / np.sqrt(n), (4, 250))
    predicted = rng.normal(mu[..., None], 1, (4, 250, n))
    terms = -0.5 * (y - mu[..., None]) ** 2 - 0.5 * np.log(2 * np.pi)
    stats = {"diverging": np.zeros((4, 250), bool), "energy": rng.normal(size=(4, 250))}
    idata = az.from_dict(
        posterior={"mu": mu}, prior={"mu": rng.normal(0, 5, (1, 500))}, sample_stats=stats,
        posterior_predictive={"y": predicted}, log_likelihood={"y": terms}, observed_data={"y": y},
        constant_data={"x": x}, dims={"y": ["obs"], "x": ["obs"]}, coords={"obs": np.arange(n)},
    )  # fmt: skip
    return Subject(idata, az.summary(idata, round_to="none"), {"name": "normal", "type": "test", "options": {}})


@pytest.mark.parametrize("name", [*GENERAL, "scatter", "returns"])
def test_a_figure_is_drawn_and_saved(name: str, tmp_path: Path) -> None:
    done, reasons = draw_all([name], _normal(), tmp_path)
    assert reasons == {}
    picture = imread(done[0])
    assert picture.shape[1] == 1200
    assert picture[..., :3].std() > 0.02, "the picture is empty"


@pytest.mark.parametrize("name", ["volatility", "switchpoint", "imputed", "accident_rate"])
def test_a_figure_says_why_it_is_not_drawn(name: str, tmp_path: Path) -> None:
    done, reasons = draw_all([name], _normal(), tmp_path)
    assert done == []
    assert reasons[name]
    assert not list(tmp_path.iterdir())


def test_every_figure_is_tested() -> None:
    special = {"volatility", "switchpoint", "imputed", "accident_rate", "scatter", "returns"}
    assert set(FIGURES.names()) == {*GENERAL, *special, *OWN_TEST, *OF_OUTCOME}


def test_figures_of_a_switchpoint_and_of_a_volatility(
    switchpoint: Subject, volatility: Subject, tmp_path: Path
) -> None:
    done, reasons = draw_all(["switchpoint", "imputed", "accident_rate"], switchpoint, tmp_path)
    assert (len(done), reasons) == (3, {})
    done, reasons = draw_all(["volatility", "returns"], volatility, tmp_path)
    assert (len(done), reasons) == (2, {})


def test_pit_of_a_calibrated_model_is_uniform() -> None:
    values = np.sort(pit(_normal(200)))
    distance = np.max(np.abs(values - (np.arange(200) + 0.5) / 200))
    assert distance < 1.63 / np.sqrt(200)  # Kolmogorov-Smirnov at 1%


def test_pareto_k_is_that_of_arviz() -> None:
    subject = _normal()
    terms, k = pareto_k(subject)
    reff = min(1.0, float(subject.summary["ess_bulk"].mean()) / 1000)
    assert np.allclose(k, az.loo(subject.idata, pointwise=True, reff=reff).pareto_k)
    assert point_names(terms)[:2] == ["y[0]", "y[1]"]


def test_autocorrelation_of_a_known_process() -> None:
    rng, values = np.random.default_rng(3), np.zeros(200_000)
    noise = rng.normal(size=values.size)
    for i in range(1, values.size):
        values[i] = 0.6 * values[i - 1] + noise[i]
    # sd of an estimated autocorrelation is below 2 / sqrt(n) here
    assert np.allclose(autocorrelation(values, 5), 0.6 ** np.arange(6), atol=4 * 2 / np.sqrt(values.size))


def test_traces_of_one_draw_are_still_a_picture() -> None:
    idata = az.from_dict(posterior={"a": np.zeros((1, 1))})
    draw_by_chain(Subject(idata, pd.DataFrame({"r_hat": [np.nan]}, index=["a"]), {"name": "one"}))


def test_a_missing_group_is_a_reason() -> None:
    idata = az.from_dict(posterior={"a": np.zeros((2, 10))})
    with pytest.raises(NotDrawable, match="pointwise terms"):
        leave_one_out(Subject(idata, pd.DataFrame({"r_hat": [1.0]}, index=["a"]), {"name": "none"}))
