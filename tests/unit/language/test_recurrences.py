"""Recurrences: their values against plain loops, exact gradients, new series, and messages for what can't be meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats

from bayesrun.data.design import FittedDesign
from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import Problem, UserError
from bayesrun.language.declaration import Container, Declaration, Deterministic, ModelDesign, Random
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.recurrence_draws import simulation_of
from bayesrun.language.values import node_of
from bayesrun.models.base import NewRows, Quantity
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from bayesrun.models.declarative.declarative_rows import at_rows, needs
from bayesrun.predict.fitted_model import fitted_model
from bayesrun.predict.forward import Forward
from tests.contract.numpy_engine.engine import log_densities
from tests.contract.test_language_docs import EXAMPLES

ROWS, DOGS = 40, 3
RNG = np.random.default_rng(5)
Y = RNG.normal(size=ROWS)
SHOCK = RNG.integers(0, 2, size=(DOGS, ROWS))


def data() -> xr.Dataset:
    return xr.Dataset(
        {
            "y": ("obs", Y),
            "x": ("obs", np.linspace(-1, 1, ROWS)),
            "gap": ("obs", np.where(np.arange(ROWS) == 4, np.nan, Y)),
            "shock": (("dog", "trial"), SHOCK),
            "outcome": (("dog", "trial"), SHOCK + 0.5),
            "weight": ("dog", np.arange(1.0, DOGS + 1)),
        },
        coords={"dog": list("abc")},
    )


def spec_of(recurrence: str, likelihood: str, priors: str = "a: {dist: Normal, mu: 0, sigma: 1}") -> DeclarativeSpec:
    parts = {"recurrence": recurrence, "likelihood": likelihood, "priors": f"{{{priors}}}"}
    raw = {"name": "m", "type": "declarative", **{key: yaml.safe_load(text) for key, text in parts.items()}}
    return DeclarativeSpec.model_validate(raw)


def declared(recurrence: str, likelihood: str, priors: str = "a: {dist: Normal, mu: 0, sigma: 1}") -> Declaration:
    spec = spec_of(recurrence, likelihood, priors)
    assert static_check(spec) == []
    assert check(data(), spec) == []
    return build(data(), spec)


def values_of(declaration: Declaration, parameter: str, **draws: Any) -> Any:
    """Return a parameter of the likelihood at one draw."""
    node = node_of(declaration.items[-1].plan.values[parameter])  # type: ignore[union-attr]
    made = {n: np.asarray(v, float)[None] for n, v in draws.items()}
    containers = {i.name: i.numbers for i in declaration.items if type(i).__name__ == "Container"}
    return evaluate_at_draws([node], made.__getitem__, containers)[0][0]


NORMAL = "{o: {dist: Normal, mu: fit, sigma: 1, observed: y}}"
TWO = "a: {dist: Normal, mu: 0, sigma: 1}, b: {dist: Normal, mu: 0, sigma: 1, shape: 2}"


def test_lags_of_data_and_states_with_values_before_the_first_row() -> None:
    made = declared(
        """
        over: obs
        state: {y: [0.5, a], err: 0}
        step: {err: y - fit, fit: "a + b[0] * y[t-1] + b[1] * y[t-2] + 0.3 * err[t - 1]"}
        """,
        NORMAL,
        TWO,
    )
    found, (a, b) = values_of(made, "mu", a=0.2, b=[0.6, -0.3]), (0.2, (0.6, -0.3))
    before, error, expected = [0.5, a, *Y], 0.0, []
    for t in range(ROWS):
        expected.append(a + b[0] * before[t + 1] + b[1] * before[t] + 0.3 * error)
        error = Y[t] - expected[-1]
    assert found == pytest.approx(np.array(expected), rel=1e-13)


def test_values_at_the_first_rows_take_the_place_of_the_step() -> None:
    made = declared(
        "{over: obs, first: {fit: [7, a]}, step: {fit: 'fit[t-1] + a * fit[t-2] + log(y[t-1] ** 2)'}}", NORMAL
    )
    expected = [7.0, 0.5]
    for t in range(2, ROWS):
        expected.append(expected[t - 1] + 0.5 * expected[t - 2] + np.log(Y[t - 1] ** 2))
    assert values_of(made, "mu", a=0.5) == pytest.approx(np.array(expected), rel=1e-13)


DOGS_STEP = """
over: trial
first: {avoided: 0}
step: {avoided: "avoided[t-1] + 1 - shock[t-1]", p: "sigmoid(a * weight - b[1] * avoided)"}
"""
BERNOULLI = "{o: {dist: Bernoulli, p: p, observed: shock}}"


def test_several_series_with_parameters_of_their_own() -> None:
    found = values_of(declared(DOGS_STEP, BERNOULLI, TWO), "p", a=0.4, b=[0.0, 0.7])
    avoided = np.concatenate([np.zeros((DOGS, 1)), np.cumsum(1 - SHOCK, axis=1)[:, :-1]], axis=1)
    expected = 1 / (1 + np.exp(-(0.4 * np.arange(1, DOGS + 1)[:, None] - 0.7 * avoided)))
    assert found == pytest.approx(expected, rel=1e-13)


def test_the_kalman_filter_of_the_docs_is_the_exact_gaussian_density() -> None:
    raw = next(one for one in EXAMPLES if one["name"] == "local_level")
    made = build(data()[["y"]], DeclarativeSpec.model_validate(raw))
    known = {"start": 0.4, "drift_sd": 0.7, "noise_sd": 0.5}
    found = log_densities(made, known)["y_obs"]
    steps = np.minimum(np.arange(1, ROWS + 1)[:, None], np.arange(1, ROWS + 1))
    exact = stats.multivariate_normal(np.full(ROWS, 0.4), 0.49 * steps + 0.25 * np.eye(ROWS))
    assert found == pytest.approx(exact.logpdf(Y), rel=1e-11)


# ------------------------------------------------------------ new series


def simulated(declaration: Declaration, seed: int = 1, count: int = 20_000, **known: Any) -> Any:
    simulation = simulation_of(declaration)
    assert simulation is not None
    draws = {name: np.broadcast_to(np.asarray(v, float), (count, *np.shape(v))) for name, v in known.items()}
    return simulation.draw(draws, np.random.default_rng(seed))["o"]


def test_new_series_of_an_autoregression_have_its_moments() -> None:
    step = "{over: obs, state: {y: 2}, step: {fit: '1 + a * y[t-1]'}}"
    found = simulated(declared(step, "{o: {dist: Normal, mu: fit + x, sigma: 0.5, observed: y}}"), a=0.8)
    mean, variance, x = 2.0, 0.0, np.linspace(-1, 1, ROWS)
    for t in range(ROWS):
        mean, variance = 1 + 0.8 * mean + x[t], 0.64 * variance + 0.25
        error = np.sqrt(variance / len(found))
        assert abs(found[:, t].mean() - mean) < 4.5 * error
        assert abs(found[:, t].var() / variance - 1) < 4.5 * np.sqrt(2 / len(found))


def test_new_series_of_a_moving_average_depend_on_drawn_errors() -> None:
    step = "{over: obs, state: {err: 0}, step: {fit: 'a * err[t-1]', err: y - fit}}"
    found = simulated(declared(step, NORMAL), a=0.7)
    assert abs(np.mean(found[:, 20] * found[:, 21]) - 0.7) < 4.5 * 1.8 / np.sqrt(len(found))
    assert abs(np.mean(found[:, 20] * found[:, 22])) < 4.5 * 1.5 / np.sqrt(len(found))


def test_new_series_of_several_dogs_follow_their_own_shocks() -> None:
    made = declared(DOGS_STEP, BERNOULLI, TWO)
    found = simulated(made, a=0.4, b=[0.0, 2.0], count=4_000)
    assert found.shape == (4_000, DOGS, ROWS)
    assert set(np.unique(found)) == {0, 1}
    rng, avoided = np.random.default_rng(2), np.zeros((4_000, DOGS))
    plain = np.empty(found.shape)
    for t in range(ROWS):
        plain[..., t] = rng.uniform(size=avoided.shape) < 1 / (
            1 + np.exp(-(0.4 * np.arange(1, DOGS + 1) - 2 * avoided))
        )
        avoided += 1 - plain[..., t]
    for ours, theirs in ((found[..., 1], plain[..., 1]), (found.sum(axis=2), plain.sum(axis=2))):
        error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / len(found))
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4.5 * error + 1e-12).all()


def test_a_model_that_explains_data_by_themselves_is_refused_before_anything_is_sampled() -> None:
    own = spec_of("{over: obs, step: {fit: 'a * y'}}", NORMAL)
    with pytest.raises(UserError, match="'o' depends on its own value at the same row"):
        build(data(), own)
    two = "{o: {dist: Normal, mu: fit, sigma: 1, observed: y}, q: {dist: Normal, mu: other, sigma: 1, observed: x}}"
    each = spec_of("{over: obs, step: {fit: 'a * x', other: 'a * y'}}", two)
    with pytest.raises(UserError, match="depend on each other's values at the same row"):
        build(data(), each)
    one = "{o: {dist: Normal, mu: fit, sigma: 1, observed: y}, q: {dist: Normal, mu: 0, sigma: 1, observed: x}}"
    build(data(), spec_of("{over: obs, step: {fit: 'a * x'}}", one))


def test_what_does_not_depend_on_drawn_data_is_not_simulated() -> None:
    assert simulation_of(declared("{over: obs, state: {fit: 0}, step: {fit: 'a + fit[t-1]'}}", NORMAL)) is None


# ------------------------------------------------------------ messages

FAULTS: list[tuple[str, str, str]] = [
    ("{step: {fit: a}}", "over", "dim along which it runs"),
    ("{over: week, step: {fit: a}}", "over", "unknown dim 'week'"),
    ("{over: obs}", "step", "what is computed at each row"),
    ("{over: obs, step: {fit: a}, keeps: [fit]}", "keeps", "unknown key"),
    ("{over: obs, step: {fit: a}, keep: [fitt]}", "keep[0]", "no 'fitt'"),
    ("{over: obs, step: {fit: 'a + * 2'}}", "step.fit", "not a valid expression"),
    ("{over: obs, step: {fit: 'a * fit[t-1]'}}", "step.fit", "'fit' has no value 1 rows before"),
    ("{over: obs, first: {fit: 1}, step: {fit: 'a * fit[t-3]'}}", "step.fit", "no value 2 rows before"),
    ("{over: obs, state: {y: [1]}, step: {fit: 'a * y[t-2]'}}", "step.fit", "'y' has no value 2 rows before"),
    ("{over: obs, state: {y: 1}, step: {fit: 'a * y[t+1]'}}", "step.fit", "backwards"),
    ("{over: obs, state: {yy: 1}, step: {fit: a + y}}", "state.yy", "no expression uses"),
    ("{over: obs, first: {fitt: 1}, step: {fit: a}}", "first.fitt", "no 'fitt'"),
    ("{over: obs, step: {fit: a + fit}}", "step.fit", "write fit[t-1]"),
    ("{over: obs, step: {fit: a + err, err: y - fit}}", "step", "defined by each other at the same row"),
    ("{over: obs, state: {fit: 0}, step: {fit: 'sum(fit[t-1]) + a'}}", "step.fit", "needs all rows"),
    ("{over: obs, state: {fit: 0}, step: {fit: 'gammaln(fit[t-1]) + a'}}", "step.fit", "functions that can"),
    ("{over: obs, state: {fit: 0}, step: {fit: 'b[fit[t-1]] + a'}}", "step.fit", "counted from the current one"),
    ("{over: obs, step: {fit: a + unknown}}", "step.fit", "unknown name 'unknown'"),
    ("{over: obs, step: {fit: a + b}}", "step.fit", "index it, as in phi[0]"),
    ("{over: obs, step: {fit: a + x * weight}}", "step.fit", "clash"),
    ("{over: obs, state: {fit: x}, step: {fit: 'fit[t-1] + a'}}", "state.fit", "is over 'obs'"),
    ("{over: obs, step: {fit: a + gap}}", "", "missing values, but each row of a recurrence"),
    ("{over: obs, step: {y: a}}", "step.y", "taken by the data"),
    ("{over: obs, step: {a: x}}", "step.a", "is taken by"),
    ("{over: obs, step: {fit: a}, steps: 'cumsum(1 + (x > 0))'}", "steps", "counts rows"),
]


@pytest.mark.parametrize(("text", "key", "words"), FAULTS)
def test_a_fault_is_one_message_at_its_key(text: str, key: str, words: str) -> None:
    spec = spec_of(text, NORMAL, TWO)
    found: list[Problem] = static_check(spec)
    if not found:
        try:
            found = check(data(), spec)
        except UserError as error:
            found = list(error.problems)
    assert any(p.key == f"model.recurrence{'.' if key else ''}{key}" or (key == "step" and key in p.key) for p in found)
    assert any(words in f"{p.message} {p.hint}" for p in found), found


def test_rows_with_dates_must_be_in_order_and_equally_spaced() -> None:
    days = np.datetime64("2024-01-01", "ns") + np.array([0, 1, 2, 4]) * np.timedelta64(1, "D")
    for order, steps, words in (
        ([0, 2, 1, 3], "", "not in the order of 'day'"),
        ([0, 1, 2, 3], "", "1 to 2 days apart"),
        ([0, 1, 2, 3], ", steps: arange(n_day)", ""),
    ):
        here = xr.Dataset({"y": ("day", np.arange(4.0))}, coords={"day": days[order]})
        spec = spec_of(f"{{over: day, state: {{y: 0}}, step: {{fit: 'a * y[t-1]'}}{steps}}}", NORMAL)
        found = check(here, spec)
        assert [words in p.message for p in found] == ([True] if words else [])


# ------------------------------------------------------------ missing values

ARMA = "{over: obs, state: {y: 1, err: 0}, step: {fit: 'a * y[t-1] + 0.5 * err[t-1]', err: y - fit}, keep: [err]}"


@pytest.mark.parametrize("name", ["o", "y"])
def test_missing_values_of_a_series_are_parameters_with_the_density_of_the_series(name: str) -> None:
    y = Y[:6].copy()
    y[[0, 3, 4]] = np.nan
    likelihood = f"{{{name}: {{dist: Normal, mu: fit, sigma: 0.7, observed: y}}}}"
    spec, here = spec_of(ARMA, likelihood), xr.Dataset({"y": ("obs", y)})
    assert static_check(spec) == []
    assert check(here, spec) == []
    made = build(here, spec)
    missing = np.array([0.3, -0.4, 1.1])
    with building():
        model = pymc3_model(made)
        found = float(model.logp({"a": 0.6, f"{name}_missing": missing}))
    whole, before, err, wanted = y.copy(), 1.0, 0.0, stats.norm.logpdf(0.6)
    whole[[0, 3, 4]] = missing
    for value in whole:
        fit = 0.6 * before + 0.5 * err
        wanted += stats.norm.logpdf(value, fit, 0.7)
        before, err = value, value - fit
    assert found == pytest.approx(wanted, rel=1e-9)
    simulation = simulation_of(made)
    assert simulation is not None
    assert simulation.draw({"a": np.full(3, 0.6)}, np.random.default_rng(1))[name].shape == (3, 6)


@pytest.mark.parametrize(
    ("likelihood", "words"),
    [
        ("{dist: Poisson, mu: exp(fit), observed: n}", "those that are whole numbers can't be sampled"),
        ("{dist: Normal, mu: fit, sigma: 1, observed: n, weights: 2}", "can't be sampled with weights"),
        ("{dist: Normal, mu: fit, sigma: 1, lower: 0, observed: n}", "can't be sampled with limits"),
    ],
)
def test_missing_values_that_cannot_be_sampled_are_refused(likelihood: str, words: str) -> None:
    here = xr.Dataset({"n": ("obs", [1.0, np.nan, 3.0])})
    spec = spec_of("{over: obs, state: {n: 0}, step: {fit: 'a * n[t-1]'}}", f"{{n: {likelihood}}}")
    assert any(words in problem.message for problem in check(here, spec))


# ------------------------------------------------------------ later rows


def forecast(spec: DeclarativeSpec, here: xr.Dataset, later: xr.Dataset, count: int, **draws: Any) -> Any:
    """Return the forecast of the likelihood `o` at later rows; the run's own ends are computed from its draws."""
    made = build(here, spec)
    design = FittedDesign("obs", {}, {}, {}, {}, {}, {}, {}, xr.Dataset())
    fitted = fitted_model(made, design, None, None)
    known = {n: np.broadcast_to(np.asarray(v, float), (count, *np.shape(v))) for n, v in draws.items()}
    ends = {i.name: i for i in made.items if isinstance(i, Deterministic)}
    for name, item in ends.items():
        containers = {i.name: i.numbers for i in made.items if isinstance(i, Container)}
        found = evaluate_at_draws([node_of(item.value)], known.__getitem__, containers)[0]
        known[name] = np.broadcast_to(found, (count, *found.shape[1:]))
    rows = NewRows(later, replace(made.design, rows="obs"), fitted.quantities, fitted.likelihoods)
    assert needs(rows, spec) == ()
    declaration = at_rows(rows, spec)
    fresh = {item.name for item in declaration.items if isinstance(item, Random)}
    return Forward(known, np.random.default_rng(6), _no_engine, fresh, "obs").run(declaration)["o"]


def _no_engine(*_: Any) -> Any:
    raise AssertionError("NumPy draws all that is needed")


LATER = xr.Dataset(coords={"obs": np.arange(8, 11)}).assign(other=("obs", np.zeros(3)))
COUNT = 20_000


def series(gap: bool = False) -> xr.Dataset:
    y = np.round(Y[:8], 2)
    return xr.Dataset({"y": ("obs", np.where(np.arange(8) == 7, np.nan, y) if gap else y)}, {"obs": np.arange(8)})


def compare(found: Any, mean: Any, covariance: Any) -> None:
    """Compare normal forecasts with their exact mean and covariance."""
    drawn = found.drawn
    assert (np.abs(drawn.mean(axis=0) - mean) < 4.5 * np.sqrt(np.diag(covariance) / len(drawn))).all()
    centred = drawn - mean
    products = centred[:, :, None] * centred[:, None, :]
    assert (np.abs(products.mean(axis=0) - covariance) < 4.5 * products.std(axis=0) / np.sqrt(len(drawn))).all()
    assert (np.abs(found.expected.mean(axis=0) - mean) < 4.5 * np.sqrt(np.diag(covariance) / len(drawn))).all()


def moving(weights: Any, scale: Any) -> Any:
    """Return the covariance of sums of independent shocks with these weights, the latest first."""
    matrix = np.array([[weights[i - j] if j <= i else 0.0 for j in range(3)] for i in range(3)])
    return matrix @ np.diag(np.broadcast_to(scale, 3) ** 2) @ matrix.T


@pytest.mark.parametrize("gap", [False, True])
def test_later_rows_of_an_arma_go_on_from_the_last_values_and_errors(gap: bool) -> None:
    here, a, last = series(gap), 0.6, {"o_missing": [0.4]} if gap else {}
    found = forecast(spec_of(ARMA, NORMAL), here, LATER, COUNT, a=a, **last)
    y = np.where(np.isnan(here["y"].values), 0.4, here["y"].values)
    before, err = 1.0, 0.0
    for value in y:
        before, err = value, value - (a * before + 0.5 * err)
    first = a * before + 0.5 * err
    psi = [1.0, a + 0.5, a * (a + 0.5)]
    compare(found, np.array([first, a * first, a**2 * first]), moving(psi, 1.0))


@pytest.mark.parametrize("gap", [False, True])
def test_later_rows_of_an_autoregression_follow_its_coefficients(gap: bool) -> None:
    here, rho, last = series(gap), np.array([0.3, 0.5, -0.2]), {"o_missing": [0.4]} if gap else {}
    likelihood = "{o: {dist: AR, rho: rho, sigma: 0.5, constant: true, observed: y}}"
    spec = spec_of("{}", likelihood, "rho: {dist: Normal, mu: 0, sigma: 1, shape: 3}")
    found = forecast(spec, here, LATER, COUNT, rho=rho, **last)
    values = list(np.where(np.isnan(here["y"].values), 0.4, here["y"].values))
    for _ in range(3):
        values.append(0.3 + 0.5 * values[-1] - 0.2 * values[-2])
    compare(found, np.array(values[-3:]), moving([1.0, 0.5, 0.5**2 - 0.2], 0.5))
    one = spec_of("{}", "{o: {dist: AR1, k: a, tau_e: 4, observed: y}}")
    compare(
        forecast(one, here, LATER, COUNT, a=0.5, **last),
        np.array([0.5, 0.25, 0.125]) * values[7],
        moving([1, 0.5, 0.25], 0.5),
    )


@pytest.mark.parametrize("latent", [False, True])
def test_later_rows_of_a_random_walk_spread_with_the_time(latent: bool) -> None:
    walk = "dist: GaussianRandomWalk, mu: 0.1, sigma: a, steps: obs"
    later = LATER.assign_coords(obs=[9, 10, 14])
    steps = np.array([2.0, 1.0, 4.0])
    wide = np.minimum.outer(np.cumsum(steps), np.cumsum(steps)) * 0.25
    if not latent:
        spec = spec_of("{}", f"{{o: {{{walk}, observed: y}}}}", "a: {dist: HalfNormal, sigma: 1}")
        found = forecast(spec, series(), later, COUNT, a=0.5)
        compare(found, series()["y"].values[-1] + 0.1 * np.cumsum(steps), wide)
        return
    priors = f"a: {{dist: HalfNormal, sigma: 1}}, s: {{{walk}, dims: [obs], parameterization: noncentered}}"
    spec = spec_of("{}", "{o: {dist: Normal, mu: s, sigma: 0.3, observed: y}}", priors)
    made = build(series(), spec)
    rows = NewRows(
        later,
        replace(made.design, rows="obs"),
        {"a": Quantity((), ()), "s": Quantity(("obs",), (8,))},
        {"o": ("obs",)},
    )
    declaration = at_rows(rows, spec)
    fresh = {item.name for item in declaration.items if isinstance(item, Random)}
    draws = {"a": np.full(COUNT, 0.5), "s": np.broadcast_to(np.arange(8.0), (COUNT, 8))}
    found = Forward(draws, np.random.default_rng(6), _no_engine, fresh, "obs").run(declaration)["o"]
    compare(found, 7 + 0.1 * np.cumsum(steps), wide + 0.09 * np.eye(3))


def test_a_recurrence_of_parameters_alone_goes_on() -> None:
    step = "{over: obs, first: {level: a}, step: {level: '0.5 * level[t-1] + 1'}}"
    spec = spec_of(step, "{o: {dist: Normal, mu: level, sigma: 1, observed: y}}")
    found = forecast(spec, series(), LATER, 4_000, a=10.0)
    level = 10.0
    for _ in range(7):
        level = 0.5 * level + 1
    later = [0.5 * level + 1, 0.25 * level + 1.5, 0.125 * level + 1.75]
    assert found.expected == pytest.approx(np.broadcast_to(later, (4_000, 3)))


@pytest.mark.parametrize(
    ("days", "words"), [([9, 10], "rows are left out"), ([6, 7], "must come after those of the fit")]
)
def test_later_rows_that_do_not_follow_are_refused(days: list[int], words: str) -> None:
    later = xr.Dataset(coords={"obs": days}).assign(other=("obs", np.zeros(len(days))))
    with pytest.raises(UserError, match=words):
        forecast(spec_of(ARMA, NORMAL), series(), later, 10, a=0.5)


def test_rows_of_another_dim_are_refused_with_the_reason() -> None:
    step = "{over: trial, first: {avoided: 0}, step: {avoided: 'avoided[t-1] + 1 - shock[t-1]'}}"
    spec = spec_of(step, "{o: {dist: Bernoulli, logit_p: a * avoided, observed: shock}}")
    rows = NewRows(data(), ModelDesign(rows="dog"), {"a": Quantity((), ())}, {"o": ("dog", "trial")})
    with pytest.raises(UserError, match="later rows of it can be predicted, but these are rows of 'dog'"):
        needs(rows, spec)
