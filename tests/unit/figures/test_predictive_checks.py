"""Which form a posterior predictive check has for which outcome, and the numbers that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from bayesrun.figures.base import FIGURES, NotDrawable, Subject
from bayesrun.figures.observations import predicted
from bayesrun.figures.predictive_checks import draw_ppc, ecdf, rootogram, statistics
from bayesrun.figures.predictive_rows import draw_grouped, means_by_level, residuals
from bayesrun.figures.reliability_panels import reliability_curves
from bayesrun.figures.used_columns import predictors_of

N = 120
LEVELS = ["poor", "fair", "good"]


def _subject(kind: str) -> Subject:
    """Predictions from known parameters: every kind of outcome is calibrated."""
    rng = np.random.default_rng(7)
    x, g = rng.normal(size=N), np.array(list("abc"))[np.arange(N) % 3]
    chance = 1 / (1 + np.exp(-2 * x))
    draw = {
        "bernoulli": lambda size: rng.random(size) < chance,
        "poisson": lambda size: rng.poisson(np.exp(1 + 0.3 * x), size),
        "cumulative": lambda size: (rng.logistic(2 * x, size=size)[..., None] > [-1.0, 1.0]).sum(axis=-1),
        "categorical": lambda size: (rng.logistic(2 * x, size=size)[..., None] > [-1.0, 1.0]).sum(axis=-1),
        "normal": lambda size: rng.normal(x, 1, size),
        "lognormal": lambda size: np.exp(rng.normal(x, 1, size)),
    }[kind]
    idata = az.from_dict(
        posterior={"b": rng.normal(size=(2, 300))},
        posterior_predictive={"y_obs": np.asarray(draw((2, 300, N)), float)},
        observed_data={"y_obs": np.asarray(draw((N,)), float)},
        constant_data={"x": x, "g": g, "y": np.zeros(N)},
        dims={name: ["obs"] for name in ("y_obs", "x", "g", "y")},
        coords={"obs": np.arange(N)},
    )
    idata.constant_data["y"].attrs["levels"] = LEVELS
    model = {"name": kind, "type": "regression", "formula": "y ~ x + (1|g)", "family": kind}
    return Subject(idata, az.summary(idata), model)


def _labels(figure: Canvas) -> list[tuple[str, str]]:
    return [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]


CALIBRATION = "observed frequency"


@pytest.mark.parametrize(
    ("family", "kind", "labels"),
    [
        ("bernoulli", "binary", [("predicted probability of y", CALIBRATION)]),
        ("poisson", "count", [("y", "observations (square-root scale)")]),
        ("normal", "continuous", [("y", "density")]),
        ("lognormal", "positive", [("y", "density of the logarithm")]),
        ("cumulative", "ordinal", [("y", "proportion of observations"),
            ("predicted probability of y ≥ fair", CALIBRATION), ("predicted probability of y ≥ good", CALIBRATION)]),
        ("categorical", "categorical", [("y", "proportion of observations"),
            *((f"predicted probability of y = {level}", CALIBRATION) for level in LEVELS)]),
    ],
)  # fmt: skip
def test_each_outcome_has_the_check_that_suits_it(family: str, kind: str, labels: list[tuple[str, str]]) -> None:
    subject = _subject(family)
    assert [one.kind for one in predicted(subject, 50)] == [kind]
    found = _labels(draw_ppc(subject))
    assert [(x.split(" (")[0], y) for x, y in found] == labels


def test_levels_of_a_declared_model_are_told_by_its_distribution() -> None:
    subject = _subject("poisson")
    for dist, kind in (("OrderedLogistic", "ordinal"), ("Categorical", "categorical"), ("Poisson", "count")):
        model = {"type": "declarative", "likelihood": {"y_obs": {"dist": dist, "observed": "y"}}}
        (one,) = predicted(Subject(subject.idata, pd.DataFrame(), model), 50)
        assert one.kind == kind


@pytest.mark.parametrize("name", [name for name in FIGURES.names() if name.startswith("ppc_")])
@pytest.mark.parametrize("family", ["bernoulli", "poisson", "cumulative", "categorical", "normal", "lognormal"])
def test_every_kind_of_check_draws_every_outcome_or_says_why_not(name: str, family: str) -> None:
    subject = _subject(family)
    try:
        figure = FIGURES.load(name, "model.figures").draw(subject)
    except NotDrawable as reason:
        assert name in ("ppc_calibration", "ppc_rootogram", "ppc_intervals", "ppc_residuals", "ppc_grouped"), reason
        return
    figure.canvas.draw()
    assert figure.axes and all(ax.get_xlabel() for ax in figure.axes)


def test_calibrated_events_are_inside_their_band() -> None:
    subject = _subject("bernoulli")
    (one,) = predicted(subject, 50)
    curve = reliability_curves(one, subject)["y"]
    assert curve.rows.sum() == N
    assert np.mean((curve.calibrated >= curve.lower) & (curve.calibrated <= curve.upper)) > 0.8


def test_a_row_s_own_outcome_does_not_predict_it() -> None:
    """Draws that fit each row's own outcome: leave-one-out weights bring back what the other rows say of it."""
    rng = np.random.default_rng(8)
    own, draws = (rng.random(80) < 0.5).astype(float), 4_000
    prior = rng.beta(2, 2, (draws, 80))  # independent rows: without its own outcome, a row is as likely 0 as 1
    density = np.where(own == 1, prior, 1 - prior)
    kept = np.stack([rng.choice(draws, draws, p=density[:, i] / density[:, i].sum()) for i in range(80)], axis=1)
    chance = np.take_along_axis(prior, kept, axis=0)
    events = (rng.random(chance.shape) < chance).astype(float)
    terms = np.log(np.where(own == 1, chance, 1 - chance))
    groups: dict[str, Any] = {"posterior_predictive": {"y": events[None]}, "observed_data": {"y": own}}
    with_terms = az.from_dict(**groups, log_likelihood={"y": terms[None]})
    fitted, left_out = (
        reliability_curves(predicted(s, 50)[0], s)["y"]
        for s in (Subject(az.from_dict(**groups), pd.DataFrame(), {}), Subject(with_terms, pd.DataFrame(), {}))
    )
    assert np.average(np.abs(fitted.predicted - 0.5), weights=fitted.rows) == pytest.approx(0.1, abs=0.01)
    assert np.average(np.abs(left_out.predicted - 0.5), weights=left_out.rows) < 0.03


def test_rootogram_counts_every_value_and_pools_the_last() -> None:
    subject = _subject("poisson")
    (one,) = predicted(subject, 100)
    at, own, drawn = rootogram(one)
    assert own.sum() == N and (drawn.sum(axis=1) == N).all()
    assert own[2] == np.sum(one.values == at[2]) and drawn[5, 3] == np.sum(one.draws[5] == at[3])
    subject.idata.observed_data["y_obs"][0] = 900.0
    at, own, drawn = rootogram(predicted(subject, 100)[0])
    assert len(at) == 60 and own[-1] == 1 and own.sum() == N


def test_statistics_are_those_of_the_data() -> None:
    (one,) = predicted(_subject("poisson"), 100)
    found = statistics(one)
    assert set(found) == {"mean", "sd", "min", "max", "share of zeros"}
    assert found["sd"][0] == pytest.approx(np.std(one.values))
    assert found["share of zeros"][1][7] == np.mean(one.draws[7] == 0)
    (levels,) = predicted(_subject("cumulative"), 100)
    assert statistics(levels)["share of good"][0] == np.mean(levels.values == 2)


def test_residuals_of_predicted_data_are_standard() -> None:
    (one,) = predicted(_subject("normal"), 600)
    _, own, drawn = residuals(one)
    assert np.allclose(drawn.mean(axis=0), 0) and np.allclose(drawn.std(axis=0), 1)
    assert abs(own.mean()) < 4 / np.sqrt(N)


def test_means_by_level_are_those_of_the_rows_of_the_level() -> None:
    subject = _subject("normal")
    (one,) = predicted(subject, 100)
    (level,) = [p for p in predictors_of(subject, subject.idata.observed_data["y_obs"]) if p.levels is not None]
    names, own, drawn = means_by_level(one, level)
    assert names == ["a", "b", "c"]
    assert own[1] == pytest.approx(one.values[1::3].mean()) and drawn[4, 2] == pytest.approx(one.draws[4, 2::3].mean())
    assert _labels(draw_grouped(subject)) == [("g", "mean of y")]


def test_ecdf_is_the_share_up_to_a_value() -> None:
    assert ecdf(np.array([3.0, 1.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.5, 3.0])).tolist() == [0.0, 0.5, 0.75, 1.0]


def test_missing_observations_keep_their_rows_apart(tmp_path: Path) -> None:
    subject = _subject("normal")
    subject.idata.observed_data["y_obs"][::4] = np.nan
    (one,) = predicted(subject, 100)
    assert one.rows.tolist() == [row for row in range(N) if row % 4]
    draw_grouped(subject)
