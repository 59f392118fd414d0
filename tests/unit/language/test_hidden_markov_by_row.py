"""Hidden Markov chains whose transitions and emissions depend on a row's predictors, one series or a panel.

Expected values come from a forward algorithm of its own, with matrices written out, and from sums over all paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats
from scipy.optimize import approx_fprime
from scipy.special import expit, logsumexp, softmax

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.errors import UserError
from bayesrun.language.declaration import Declaration, Random
from bayesrun.models.base import NewRows, Quantity
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from bayesrun.models.declarative.declarative_rows import at_rows, needs
from bayesrun.predict.forward import Forward
from bayesrun.samplers.initial_points import settle_start
from tests.contract.numpy_engine.engine import log_densities

import_pymc3()
DAYS = 5
RNG = np.random.default_rng(6)
Y = RNG.normal(size=(3, DAYS))
RAIN = RNG.normal(size=(3, DAYS))
U = RNG.normal(size=(DAYS, 2))
AGE = np.array([-0.5, 0.2, 1.0])


def data() -> xr.Dataset:
    return xr.Dataset(
        {
            "y": (("animal", "day"), Y),
            "one": ("day", Y[0]),
            "rain": (("animal", "day"), RAIN),
            "u": (("day", "input"), U),
            "age": ("animal", AGE),
        }
    )


@dataclass(frozen=True)
class Case:
    """A model, a point, and the transition (series, day, from, to) and means (series, day, state) at it."""

    text: str
    point: dict[str, Any]
    transition: Any
    means: Any
    observed: Any


A, B, M = RNG.normal(size=(2, 2)), RNG.normal(size=(2, 2)), np.array([-1.0, 0.8])
W, V = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
C = np.array([0.4, -1.1])
CASES = {
    "logits_of_each_transition": Case(
        """
coords: {from: [a, b], to: [a, b]}
priors:
  A: {dist: Normal, mu: 0, sigma: 1, dims: [from, to]}
  B: {dist: Normal, mu: 0, sigma: 1, dims: [from, to]}
  M: {dist: Normal, mu: 0, sigma: 1, dims: [to]}
likelihood:
  o:
    dist: HiddenMarkov
    transition: "softmax(A + B * rain, to)"
    emission: {dist: Normal, mu: M, sigma: 1}
    observed: y
""",
        {"A": A, "B": B, "M": M},
        softmax(A + B * RAIN[:, :, None, None], axis=-1),
        np.broadcast_to(M, (3, DAYS, 2)),
        Y,
    ),
    "input_output": Case(
        """
coords: {state: [a, b, c]}
priors:
  W: {dist: Normal, mu: 0, sigma: 1, dims: [input, state]}
  V: {dist: Normal, mu: 0, sigma: 1, dims: [input, state]}
likelihood:
  o:
    dist: HiddenMarkov
    transition: "softmax(dot(u, W), state)"
    emission: {dist: Normal, mu: "dot(u, V)", sigma: 1}
    observed: one
""",
        {"W": W, "V": V},
        np.broadcast_to(softmax(U @ W, axis=-1)[None, :, None, :], (1, DAYS, 3, 3)),
        (U @ V)[None],
        Y[:1],
    ),
    "by_series": Case(
        """
priors:
  C: {dist: Normal, mu: 0, sigma: 1, shape: 2}
  M: {dist: Normal, mu: 0, sigma: 1, shape: 2}
deterministics:
  stay: {expr: "sigmoid(C[0] + C[1] * age)", dims: [animal]}
likelihood:
  o:
    dist: HiddenMarkov
    transition: stack(stack(stay, 0.3), stack(1 - stay, 0.7))
    emission: {dist: Normal, mu: "stack(M[0], M[1] + 0.5 * rain)", sigma: 1}
    observed: y
""",
        {"C": C, "M": M},
        np.stack([np.broadcast_to(np.array([[s, 1 - s], [0.3, 0.7]]), (DAYS, 2, 2)) for s in expit(C[0] + C[1] * AGE)]),
        np.stack([np.full((3, DAYS), M[0]), M[1] + 0.5 * RAIN], axis=-1),
        Y,
    ),
}


def declared(case: Case, **changes: Any) -> Declaration:
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(case.text)})
    rows = data().assign(**changes)
    assert static_check(spec) == []
    assert check(rows, spec) == []
    return build(rows, spec)


def forward(case: Case) -> float:
    """Return the log likelihood of all series: matrices times vectors, in logarithms."""
    total = 0.0
    for series, y in enumerate(case.observed):
        states = case.means.shape[-1]
        logs = np.full(states, -np.log(states)) + stats.norm.logpdf(y[0], case.means[series, 0], 1)
        for t in range(1, DAYS):
            into = logsumexp(logs[:, None] + np.log(case.transition[series, t]), axis=0)
            logs = into + stats.norm.logpdf(y[t], case.means[series, t], 1)
        total += logsumexp(logs)
    return float(total)


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_that_of_another_forward_algorithm(name: str) -> None:
    case = CASES[name]
    assert log_densities(declared(case), case.point)["o"] == pytest.approx(forward(case), rel=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    with building():
        model = PyMC3Model(pymc3_model(declared(CASES[name])))
    density = model.log_density()
    point = np.concatenate([np.ravel(CASES[name].point[block.name]) for block in model.blocks])
    gradient = density.evaluate(point)[1].copy()
    slope = approx_fprime(point, lambda p: density.evaluate(p)[0], 1e-7)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_states_are_drawn_from_their_distribution_given_all_rows(name: str) -> None:
    case, count = CASES[name], 20_000
    made = declared(case)
    assert made.recover is not None
    point = {**case.point, "stay": expit(C[0] + C[1] * AGE)}
    draws = {n: np.broadcast_to(v, (1, count, *np.shape(v))) for n, v in point.items()}
    found = made.recover(draws, np.random.default_rng(1))
    states = found["o_state"].reshape(count, len(case.observed), DAYS)
    best = found["o_path"].reshape(count, len(case.observed), DAYS)
    for series, y in enumerate(case.observed):
        chances: dict[tuple[int, ...], float] = {}
        for path in product(range(case.means.shape[-1]), repeat=DAYS):
            chance = np.prod([stats.norm.pdf(y[t], case.means[series, t, k], 1) for t, k in enumerate(path)])
            for t in range(1, DAYS):
                chance *= case.transition[series, t, path[t - 1], path[t]]
            chances[path] = float(chance)
        total = sum(chances.values())
        top = max(chances, key=lambda path: chances[path])
        assert (best[:, series] == top).all()
        share = np.mean((states[:, series] == top).all(axis=-1))
        assert abs(share - chances[top] / total) < 4.5 * np.sqrt(chances[top] / total / count)


def test_later_rows_follow_from_their_own_predictors() -> None:
    case, count = CASES["logits_of_each_transition"], 20_000
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(case.text)})
    here = data().drop_vars(["u", "one", "age"]).assign_coords(day=range(DAYS), animal=range(3))
    made = build(here, spec)
    rain = np.array([[2.0, -1.0], [0.0, 0.5], [-3.0, 1.0]])
    later = xr.Dataset({"rain": (("animal", "day"), rain)}, coords={"day": [DAYS, DAYS + 1], "animal": range(3)})
    quantities = {n: Quantity(("from", "to"), (2, 2)) for n in "AB"} | {"M": Quantity(("to",), (2,))}
    quantities["o_state"] = Quantity(("animal", "day"), (3, DAYS))
    rows = NewRows(later, replace(made.design, rows="day"), quantities, {"o": ("animal", "day")})
    assert [role.variable for role in needs(rows, spec)] == ["rain"]
    forecast = at_rows(rows, spec)
    last = np.array([0, 1, 1])
    states = np.broadcast_to(last[:, None], (count, 3, DAYS))
    draws = {n: np.repeat(v[None], count, 0) for n, v in case.point.items()} | {"o_state": states}
    fresh = {item.name for item in forecast.items if isinstance(item, Random)}
    drawn = Forward(draws, np.random.default_rng(4), _no_engine, fresh, "day").run(forecast)["o"]
    for animal in range(3):
        into = [softmax(A + B * rain[animal, t], axis=-1) for t in range(2)]
        first = into[0][last[animal]]
        for t, shares in enumerate((first, first @ into[1])):
            values = drawn.drawn[:, animal, t]
            assert abs(values.mean() - shares @ M) < 4.5 * values.std() / np.sqrt(count)


def _no_engine(*_: Any) -> Any:
    raise AssertionError("NumPy draws all that is needed")


def test_rows_that_do_not_sum_to_1_are_refused_before_sampling() -> None:
    """The stack that makes columns of what should be rows is easily written."""
    text = CASES["by_series"].text.replace(
        "stack(stack(stay, 0.3), stack(1 - stay, 0.7))", "stack(stack(stay, 1 - stay), stack(0.3, 0.7))"
    )
    made = declared(replace(CASES["by_series"], text=text))
    with building():
        model = PyMC3Model(pymc3_model(made))
    with pytest.raises(UserError) as caught:
        settle_start(model, 1, chosen=False)
    (problem,) = caught.value.problems
    assert problem.key == "model.likelihood.o.transition"
    assert "do not sum to 1" in problem.message
    settle_start(PyMC3Model(pymc3_model(declared(CASES["by_series"]))), 1, chosen=False)


def test_a_vector_that_no_row_changes_is_refused() -> None:
    text = CASES["by_series"].text.replace("stack(stack(stay, 0.3), stack(1 - stay, 0.7))", "softmax(M)")
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    with pytest.raises(UserError, match="must be a square matrix"):
        build(data(), spec)
