"""Predictions for new rows: transformed as in the fit, exact means, and rejected when impossible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from scipy import special

from bayesrun.data.base import SOURCES
from bayesrun.data.design import learn
from bayesrun.data.roles import settle
from bayesrun.data.section import PredictSpec
from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import hdi_of_sorted
from bayesrun.errors import UserError
from bayesrun.models import declarative
from bayesrun.models.base import ModelType
from bayesrun.models.regression import glm_type as glm
from bayesrun.predict import new_rows
from bayesrun.predict.fitted_model import FittedModel, fitted_model, read_design, write_design
from bayesrun.predict.forward import Forecast
from bayesrun.predict.new_rows import PreparedRows, forecasts, prepare_rows
from bayesrun.predict.tables import prediction_table, write_predictions
from bayesrun.run_folder import RunFolder

RNG = np.random.default_rng(1)
X = RNG.normal(180, 10, size=30)
GROUP = np.array(list("abc") * 10, dtype=object)
DRAWS = 2000
HIERARCHY = """
name: m
type: declarative
priors:
  mu_a: {dist: Normal, mu: 0, sigma: 5}
  tau: {dist: HalfNormal, sigma: 5}
  a: {dist: Normal, mu: mu_a, sigma: tau, dims: [g] FORM}
  b: {dist: Normal, mu: 0, sigma: 1}
deterministics: {line: "a[gi] + b * (x - mean(x))"}
likelihood: {out: {dist: Normal, mu: 'line REST', sigma: 0.5, observed: y}}
"""


def _declarative(text: str = HIERARCHY, form: str = "", rest: str = "") -> declarative.DeclarativeSpec:
    return declarative.DeclarativeSpec.model_validate(yaml.safe_load(text.replace("FORM", form).replace("REST", rest)))


def _fit(kind: ModelType, spec: Any, formula: str | None = None) -> FittedModel:
    section = SOURCES.load("inline", "data.source").spec.model_validate(
        {"name": "fit", "source": "inline", "factors": {"gi": "g"}, "values": {"y": [0]}}
    )
    raw = xr.Dataset({"y": ("obs", X * 0.5), "x": ("obs", X), "g": ("obs", GROUP)}, {"obs": np.arange(30)})
    raw = raw.drop_vars("g").assign(h=("obs", GROUP)) if formula else raw
    section = section.model_copy(update={"factors": {}}) if formula else section
    data, design = learn(raw, section, {})
    return fitted_model(kind.build(data, spec), design, "0", formula)


def _rows(kind: ModelType, spec: Any, fitted: FittedModel, levels: str = "error", **values: Any) -> PreparedRows:
    section = SOURCES.load("inline", "data.source").spec.model_validate(
        {"name": "new", "source": "inline", "values": values}
    )
    return prepare_rows(kind, spec, fitted, PredictSpec(data=section, new_levels=levels), Path())


def _no_engine(*arguments: Any) -> Any:
    raise AssertionError(f"NumPy has what is asked for: {arguments[0]}")


def _table(rows: PreparedRows, fitted: FittedModel, **draws: Any) -> pd.DataFrame:
    shaped = {name: np.reshape(values, (2, DRAWS // 2, *np.shape(values)[1:])) for name, values in draws.items()}
    ((part, found),) = forecasts(rows, fitted, shaped, 3, _no_engine)
    assert part.stop == rows.data.sizes["obs"]
    return prediction_table(found, 0.9, rows.levels)


def _draws() -> dict[str, Any]:
    return {
        "mu_a": RNG.normal(2.0, 0.1, DRAWS),
        "tau": np.full(DRAWS, 1.5),
        "a": np.array([1.0, 2.0, 3.0]) + 0.1 * RNG.normal(size=(DRAWS, 3)),
        "b": RNG.normal(0.5, 0.001, DRAWS),
        "line": np.full((DRAWS, 30), -99.0),  # of the fitted rows: must not be used
    }


def _agrees(got: Any, mean: Any, sd: Any) -> None:
    assert np.all(np.abs(got["mean"] - mean) < 4.5 * sd / np.sqrt(DRAWS))
    np.testing.assert_allclose(got["sd"], sd, rtol=0.1)


def test_means_and_observations_are_those_of_the_new_rows() -> None:
    spec = _declarative()
    fitted = _fit(declarative.MODEL, spec)
    table = _table(_rows(declarative.MODEL, spec, fitted, x=[200.0, 210.0], g=["c", "a"]), fitted, **_draws())
    expected = np.array([3.0, 1.0]) + 0.5 * (np.array([200.0, 210.0]) - X.mean())
    observed, mean = table[table["kind"] == "observation"], table[table["kind"] == "mu"]
    spread = np.sqrt(0.01 + (0.001 * (np.array([200.0, 210.0]) - X.mean())) ** 2)
    _agrees(observed, expected, np.sqrt(spread**2 + 0.25))
    _agrees(mean, expected, spread)
    assert list(table.columns)[:7] == ["kind", "variable", "obs", "mean", "sd", "hdi_5%", "hdi_95%"]
    assert np.all((table["hdi_5%"] < table["q50%"]) & (table["q50%"] < table["hdi_95%"]))


@pytest.mark.parametrize("form", ["", ", parameterization: noncentered"])
def test_effects_of_new_groups_are_drawn_from_their_distribution(form: str) -> None:
    spec = _declarative(form=form)
    fitted = _fit(declarative.MODEL, spec)
    rows = _rows(declarative.MODEL, spec, fitted, "population", x=[X.mean()] * 3, g=["new", "b", "new"])
    table = _table(rows, fitted, **_draws())
    mean = table[table["kind"] == "mu"]
    _agrees(mean.iloc[[0, 2]], 2.0, np.sqrt(1.5**2 + 0.01))
    _agrees(mean.iloc[[1]], 2.0, 0.1)
    assert mean["q95%"].iloc[0] == mean["q95%"].iloc[2]  # both rows are of one group


def test_what_puts_all_groups_together_allows_no_new_ones() -> None:
    spec = _declarative(rest="- mean(a)")
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError, match="'out' of known groups would change"):
        _rows(declarative.MODEL, spec, fitted, "population", x=[1.0], g=["new"])


def test_unseen_levels_missing_values_and_missing_columns_are_named() -> None:
    spec = _declarative()
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError, match=r"not fitted to 'zzz' of 'g' \(obs 1\)"):
        _rows(declarative.MODEL, spec, fitted, x=[1.0, 2.0], g=["a", "zzz"])
    with pytest.raises(UserError, match="'x' has 1 missing of 2 values: obs 1"):
        _rows(declarative.MODEL, spec, fitted, x=[1.0, None], g=["a", "b"])
    with pytest.raises(UserError, match="'x' is not in data set 'new'"):
        _rows(declarative.MODEL, spec, fitted, g=["a", "b"])


@pytest.mark.parametrize(
    ("prior", "reason"),
    [
        ("w: {dist: AR1, k: 0.5, tau_e: 1, dims: [obs]}", "'w' (AR1) is a random variable over"),
        ("w: {dist: Normal, sigma: 1, dims: [obs]}", "new_levels=population draws them anew"),
    ],
)
def test_what_is_random_over_the_rows_is_refused(prior: str, reason: str) -> None:
    likelihood = "{out: {dist: Normal, mu: w, sigma: 1, observed: y}}"
    text = f"{{name: m, type: declarative, priors: {{{prior}}}, likelihood: {likelihood}}}"
    spec = _declarative(text)
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError) as caught:
        _rows(declarative.MODEL, spec, fitted, x=[1.0])
    assert reason in str(caught.value)


def test_a_reduction_of_random_values_over_the_rows_is_refused_or_taken_from_the_draws() -> None:
    text = HIERARCHY.replace("observed: y", "observed: y}, two: {dist: Normal, mu: 'm', sigma: 1, observed: x")
    spec = _declarative(text.replace('(x - mean(x))"', '(x - mean(x))", m: "mean(line)"'))
    fitted = _fit(declarative.MODEL, spec)
    rows = _rows(declarative.MODEL, spec, fitted, x=[200.0], g=["a"])
    table = _table(rows, fitted, **_draws(), m=np.full(DRAWS, 7.0))
    assert table[(table["kind"] == "mu") & (table["variable"] == "two")]["mean"].tolist() == [7.0]
    inside = _declarative(rest="- mean(line)")
    fitted = _fit(declarative.MODEL, inside)
    with pytest.raises(UserError, match="combines values of all rows of the fit"):
        _rows(declarative.MODEL, inside, fitted, x=[200.0], g=["a"])


def test_a_finished_run_predicts_as_the_fit_did(tmp_path: Path) -> None:
    text = "y ~ poly(standardize(x), 2) + bs(x, df=5) + C(h, Sum)"
    spec = glm.GlmSpec(name="m", type="glm", formula=text)
    fitted = _fit(glm.MODEL, spec, text)
    write_design(fitted, RunFolder(tmp_path))
    again = read_design(tmp_path, text)
    names = [name for name in fitted.quantities if name != "sigma"]
    draws = {n: RNG.normal(size=(DRAWS, *fitted.quantities[n].shape)) for n in names} | {"sigma": np.ones(DRAWS)}
    tables = [
        _table(_rows(glm.MODEL, spec, one, x=[185.0, 170.0], h=["c", "b"]), one, **draws) for one in (fitted, again)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_many_rows_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _declarative()
    fitted = _fit(declarative.MODEL, spec)
    values = {"x": [200.0, 190.0, 180.0, 170.0, 160.0], "g": ["new", "a", "b", "new", "c"]}
    rows = _rows(declarative.MODEL, spec, fitted, "population", **values)
    draws = {name: np.reshape(v, (2, DRAWS // 2, *np.shape(v)[1:])) for name, v in _draws().items()}
    ((_, whole),) = forecasts(rows, fitted, draws, 3, _no_engine)
    monkeypatch.setattr(new_rows, "AT_ONCE", 2 * DRAWS)
    blocks = list(forecasts(rows, fitted, draws, 3, _no_engine))
    assert [(part.start, part.stop) for part, _ in blocks] == [(0, 2), (2, 4), (4, 5)]
    expected = np.concatenate([found["out"].expected for _, found in blocks], axis=1)  # new groups: the same effects
    np.testing.assert_array_equal(expected, whole["out"].expected)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1003])
@pytest.mark.parametrize("prob", [0.3, 0.5, 0.94, 0.999])
def test_statistics_are_those_of_sorted_draws(count: int, prob: float) -> None:
    """The draws are sorted in part, where the interval and the quantiles are."""
    rng = np.random.default_rng(count)
    drawn = np.column_stack([rng.normal(size=count), rng.poisson(2.0, size=count), np.zeros(count)]).astype(float)
    table = prediction_table({"y": Forecast(drawn, None, ("obs",), {"obs": [0, 1, 2]})}, prob)
    ordered = np.sort(drawn, axis=0).T
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        np.testing.assert_allclose(table[f"q{100 * share:g}%"], np.quantile(drawn, share, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(table[list(interval_columns(prob))].to_numpy().T, hdi_of_sorted(ordered, prob))


def test_rows_that_depend_on_others_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _declarative(rest="+ cumsum(x)")
    fitted = _fit(declarative.MODEL, spec)
    rows = _rows(declarative.MODEL, spec, fitted, x=[1.0, 2.0, 3.0], g=["a", "b", "c"])
    draws = {name: np.reshape(v, (2, DRAWS // 2, *np.shape(v)[1:])) for name, v in _draws().items()}
    monkeypatch.setattr(new_rows, "AT_ONCE", 1)
    assert len(list(forecasts(rows, fitted, draws, 3, _no_engine))) == 1


def test_one_draw_for_all_rows_is_refused() -> None:
    text = """{name: m, type: declarative,
    priors: {b: {dist: HalfNormal, sigma: 1}, r: {dist: Beta, alpha: 2, beta: 2}},
    likelihood: {out: {dist: GARCH11, omega: b, alpha_1: 0.1 * r, beta_1: 0.8, initial_vol: 1, observed: y}}}"""
    spec = _declarative(text)
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError, match="'out' is one GARCH11 of all rows"):
        _rows(declarative.MODEL, spec, fitted, x=[1.0])


def test_rows_without_a_number_and_negative_codes_are_refused() -> None:
    spec = _declarative(rest="+ log(x)")
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError, match=r"'mu' of 'out' is not a number \(obs 1\)"):
        _rows(declarative.MODEL, spec, fitted, x=[1.0, -1.0], g=["a", "b"])
    spec = _declarative(rest="+ a[gi - 1]")
    fitted = _fit(declarative.MODEL, spec)
    with pytest.raises(UserError, match="index -1 of a new row is not a code"):
        _rows(declarative.MODEL, spec, fitted, x=[1.0, 1.0], g=["a", "b"])


ORDINAL = """
type: declarative
name: survey
priors:
  b: {dist: Normal, mu: 0, sigma: 2}
  cut: {dist: Normal, mu: 0, sigma: 3, shape: 2, transform: ordered, initval: [-1, 1]}
likelihood:
  out: {dist: OrderedLogistic, eta: "b * x", cutpoints: cut, observed: sat}
"""


def test_an_ordinal_outcome_has_a_probability_per_level_in_their_order(tmp_path: Path) -> None:
    section = SOURCES.load("inline", "data.source").spec.model_validate(
        {"name": "fit", "source": "inline", "levels": {"sat": ["Low", "Mid", "High"]}, "values": {"y": [0]}}
    )
    labels = np.array(["Mid", "High", "Low"] * 10, dtype=object)
    raw = xr.Dataset({"x": ("obs", X), "sat": ("obs", labels, {"levels": ["Low", "Mid", "High"]})})
    data, design = learn(raw.assign_coords(obs=np.arange(30)), section, {})
    spec = _declarative(ORDINAL)
    data, _ = settle(data, declarative.MODEL.roles(spec), None)
    fitted = fitted_model(declarative.MODEL.build(data, spec), design, "0", None)
    rows = _rows(declarative.MODEL, spec, fitted, x=[0.5, -1.0], g=["p", "q"])
    b, cut = RNG.normal(1.0, 0.2, DRAWS), np.sort(RNG.normal([-1.0, 1.0], 0.1, (DRAWS, 2)))
    table = _table(rows, fitted, b=b, cut=cut)
    assert set(table["kind"]) == {"observation", "probability"}
    assert list(table.columns)[:5] == ["kind", "variable", "obs", "level", "mean"]
    shares = table[table["kind"] == "probability"]
    assert shares["level"].tolist() == ["Low", "Mid", "High"] * 2
    below = special.expit(cut[:, None] - b[:, None, None] * np.array([[0.5], [-1.0]]))
    ends = np.zeros((DRAWS, 2, 1))
    exact = np.diff(np.concatenate([ends, below, ends + 1], axis=-1)).mean(axis=0)
    np.testing.assert_allclose(shares["mean"], exact.ravel(), rtol=1e-10)
    draws = {"b": b.reshape(2, -1), "cut": cut.reshape(2, -1, 2)}
    predict, folder = PredictSpec(group_by=["g"]), RunFolder.claim(tmp_path / "run")
    write_predictions(predict, 0.9, 3, rows, fitted, draws, NoEngine(), folder)
    groups = pd.read_csv(folder.path / "predictions_by_group.csv")
    assert groups.loc[groups["kind"] == "probability", "level"].tolist() == ["Low", "Mid", "High"] * 2


class NoEngine:
    """Draws nothing."""

    draw = staticmethod(_no_engine)


SLOPES = """
type: declarative
name: slopes
priors:
  mu: {dist: Normal, mu: 0, sigma: 5, shape: 2}
  chol: {dist: LKJCholeskyCov, n: 2, eta: 2, sd_dist: {dist: HalfNormal, sigma: 1}}
  PRIOR
likelihood:
  out: {dist: Normal, mu: "mu[0] + u[0, gi] + (mu[1] + u[1, gi]) * x", sigma: 0.5, observed: y}
"""


@pytest.mark.parametrize(
    "prior",
    [
        'z: {dist: Normal, mu: 0, sigma: 1, shape: [2, 3]}\ndeterministics:\n  u: "dot(chol, z)"',
        "w: {dist: MvNormal, mu: [0, 0], chol: chol, shape: [3, 2]}\ndeterministics:\n  u: transpose(w)",
    ],
    ids=["noncentered", "centered"],
)
def test_correlated_effects_of_new_groups_have_their_covariance(prior: str) -> None:
    spec = _declarative(SLOPES.replace("PRIOR", prior))
    fitted = _fit(declarative.MODEL, spec)
    at = np.array([0.0, 1.0, 3.0, 2.0])
    rows = _rows(declarative.MODEL, spec, fitted, "population", x=at.tolist(), g=["new", "new", "other", "b"])
    factor = np.array([[1.5, 0.0], [-0.8, 0.6]])
    known = np.array([[0.3, -0.1], [0.5, 0.7], [1.0, 2.0]])  # group by effect
    draws = {
        "mu": np.tile([1.0, 2.0], (DRAWS, 1)),
        "chol": np.tile(factor[np.tril_indices(2)], (DRAWS, 1)),
        "z": np.tile(np.linalg.solve(factor, known.T), (DRAWS, 1, 1)),
        "w": np.tile(known, (DRAWS, 1, 1)),
        "u": np.tile(known.T, (DRAWS, 1, 1)),
    }
    shaped = {name: values.reshape(2, DRAWS // 2, *values.shape[1:]) for name, values in draws.items()}
    ((_, found),) = forecasts(rows, fitted, shaped, 3, _no_engine)
    expected = found["out"].expected
    assert expected is not None
    np.testing.assert_allclose(expected[:, 3], 1.0 + 0.5 + (2.0 + 0.7) * 2.0, rtol=1e-12)  # a known group's own
    design = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
    covariance = sum(part @ factor @ factor.T @ part.T for part in design)
    new = expected[:, :3]
    assert np.all(np.abs(new.mean(axis=0) - (1.0 + 2.0 * at[:3])) < 4.5 * np.sqrt(np.diag(covariance) / DRAWS))
    error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / DRAWS)
    assert np.all(np.abs(np.cov(new.T) - covariance) < 4.5 * error)


COVARIATE = """
type: declarative
name: counties
priors:
  g: {dist: Normal, mu: 0, sigma: 5, shape: 2}
  tau: {dist: HalfNormal, sigma: 5}
  a: {dist: Normal, mu: "g[0] + g[1] * u", sigma: tau, dims: [label]}
likelihood:
  out: {dist: Normal, mu: "a[gi]", sigma: 0.5, observed: y}
"""


def test_a_covariate_of_the_groups_is_asked_for_and_used_for_new_ones() -> None:
    section = SOURCES.load("inline", "data.source").spec.model_validate(
        {"name": "fit", "source": "inline", "factors": {"gi": "label"}, "values": {"y": [0]}}
    )
    raw = xr.Dataset({"y": ("obs", X), "label": ("obs", GROUP)}, {"obs": np.arange(30)})
    data, design = learn(raw, section, {})
    u = xr.DataArray([0.1, 0.2, 0.3], dims=["label"])
    data, design = data.assign(u=u), replace(design, fixed=design.fixed.assign(u=u))
    spec = _declarative(COVARIATE)
    fitted = fitted_model(declarative.MODEL.build(data, spec), design, "0", None)
    with pytest.raises(UserError, match="'u' has one value per 'label', and none for what is new: new"):
        _rows(declarative.MODEL, spec, fitted, "population", label=["new", "b"])
    rows = _rows(declarative.MODEL, spec, fitted, "population", label=["new", "b", "new"], u=[2.0, 0.2, 2.0])
    draws = {
        "g": np.tile([1.0, 3.0], (DRAWS, 1)),
        "tau": np.full(DRAWS, 0.7),
        "a": np.tile([1.0, 5.0, 2.0], (DRAWS, 1)),
    }
    mean = _table(rows, fitted, **draws).query("kind == 'mu'")
    _agrees(mean.iloc[[0, 2]], 1.0 + 3.0 * 2.0, 0.7)
    assert mean["mean"].iloc[1] == 5.0
