"""Differential equations: derivatives, the solver against SciPy and in C, gradients, predictions, errors by key."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy.integrate import RK45, solve_ivp
from scipy.stats import norm

from bayesrun.data.design import FittedDesign
from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.ode_solver import _IN_C, Solve
from bayesrun.engines.pymc3.predictive import draw_prior
from bayesrun.engines.pymc3.theano_setup import compiling
from bayesrun.errors import UserError
from bayesrun.language.declaration import Declaration
from bayesrun.language.derivatives import DIFFERENTIABLE, derivative
from bayesrun.language.differential_equations import A, C, E, OdeSystem, P, Solution
from bayesrun.language.expressions import value_of
from bayesrun.language.grammar import parse
from bayesrun.language.operations import Call, Variable, evaluate, in_order
from bayesrun.language.scope import Scope
from bayesrun.language.values import node_of, variable
from bayesrun.models import declarative
from bayesrun.models.base import NewRows
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from bayesrun.predict.fitted_model import fitted_model
from bayesrun.predict.forward import Forward
from tests.contract.numpy_engine.engine import log_densities

TIMES = np.array([3.0, 0.0, 1.0, 7.5, 3.0, 12.0])
DATA = xr.Dataset(
    {"time": ("obs", TIMES), "y": ("obs", np.linspace(1, 2, 6)), "dose": ((), 2.5), "k": ("site", [0.3, 0.4])},
    coords={"obs": np.arange(6)},
)
TEXT = """
priors:
  a: {dist: HalfNormal, sigma: 1}
  b: {dist: HalfNormal, sigma: 1}
  c: {dist: HalfNormal, sigma: 1, shape: 2}
deterministics:
  z:
    ode:
      state: {u: 1 + a, v: 0.5}
      rhs: {u: "(a - b * v) * u + dose * exp(-t)", v: "c[0] * u * v / (1 + u) - c[1] * v"}
      times: time
likelihood:
  y: {dist: Normal, mu: u + v, sigma: 0.5, observed: y}
"""
POINT = {"a": 0.6, "b": 0.4, "c": np.array([0.5, 0.3])}


def _rates(t: float, z: Any) -> list[Any]:
    u, v = z
    return [(0.6 - 0.4 * v) * u + 2.5 * np.exp(-t), 0.5 * u * v / (1 + u) - 0.3 * v]


def spec_of(text: str) -> DeclarativeSpec:
    return DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})


def declared(text: str = TEXT) -> Declaration:
    spec = spec_of(text)
    assert [*static_check(spec), *check(DATA, spec)] == []
    return declarative.build(DATA, spec)


def call_of(made: Declaration) -> Call:
    item = next(item for item in made.items if getattr(item, "name", "") == "z")
    return next(p for p in in_order(node_of(item.value)) if isinstance(p, Call) and p.operation == "ode")  # type: ignore[union-attr]


def system_of(made: Declaration) -> OdeSystem:
    found = call_of(made).settings[0]
    assert isinstance(found, OdeSystem)
    return found


def inputs_of(made: Declaration) -> list[Any]:
    known = {**POINT, "dose": np.array(2.5)}
    return [evaluate(node, known.__getitem__) for node in call_of(made).inputs]


def built(text: str = TEXT) -> pm.Model:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pymc3_model(declared(text))


# ---------------------------------------------------------------- derivatives

SLOPES = [
    *("x + 2 * y", "x - y", "x * y", "x / y", "x ** 3", "x ** y", "2 ** x", "-x", "+x", "exp(x * y)", "log(x)"),
    *("log1p(x)", "expm1(x)", "sqrt(x)", "sin(x * y)", "cos(x)", "tan(x)", "atan(x)", "tanh(x)", "sigmoid(x * y)"),
    *(
        "logit(x / 3)",
        "erf(x)",
        "abs(x - y)",
        "sign(x) * x",
        "where(x > y, x ** 2, y)",
        "minimum(x, y)",
        "maximum(x, y)",
    ),
    *("clip(x, 0.1, y)", "clip(x, y, 3)", "x % y", "(x > y) * x", "(x < 1 and not y > 2 or x >= 3) * x", "x // y + x"),
    *("(x <= y) * x + (x == y) + (x != y)", "(x ** 2) ** y"),
]


@pytest.mark.parametrize("text", SLOPES)
def test_a_derivative_is_the_slope_of_its_expression(text: str) -> None:
    scope = Scope().extended({name: variable(name, (), ()) for name in "xy"})
    node = node_of(value_of(parse(text, "k"), scope))
    for x, y in ((0.7, 1.3), (1.9, 0.6)):
        known = {"x": np.array(x), "y": np.array(y)}
        for name in "xy":
            step = {**known, name: known[name] + 1e-6}, {**known, name: known[name] - 1e-6}
            slope = (evaluate(node, step[0].__getitem__) - evaluate(node, step[1].__getitem__)) / 2e-6
            found = derivative(node, name)
            own = 0.0 if found is None else evaluate(found, known.__getitem__)
            assert own == pytest.approx(slope, rel=1e-6, abs=1e-8), (name, x, y)


def test_every_operation_with_a_derivative_has_c_code() -> None:
    assert set(_IN_C) == set(DIFFERENTIABLE)


def test_derivatives_leave_zeros_and_ones_out() -> None:
    x = Variable("x")
    assert derivative(Call("multiply", (Variable("y"), x)), "z") is None
    assert derivative(Call("multiply", (Variable("y"), x)), "x") is not x
    found = derivative(Call("add", (x, Variable("y"))), "x")
    assert found is not None and not isinstance(found, Call)


# ---------------------------------------------------------------- the solver


def test_the_method_is_that_of_scipy() -> None:
    a = np.array([[*row[:5], *[0.0] * (5 - len(row[:5]))] for row in A[:6]])
    np.testing.assert_allclose(a, RK45.A, rtol=1e-15)
    np.testing.assert_allclose(A[6], RK45.B, rtol=1e-15)
    np.testing.assert_allclose(C[:6], RK45.C, rtol=1e-15)
    np.testing.assert_allclose(E, RK45.E, rtol=1e-15)
    np.testing.assert_allclose(P, RK45.P, rtol=1e-15)


def test_a_solution_is_that_of_the_system_at_times_in_any_order() -> None:
    made = declared()
    exact = solve_ivp(_rates, (0, 12), [1.6, 0.5], "DOP853", np.unique(TIMES), rtol=1e-12, atol=1e-12).y.T
    found = Solution(system_of(made)).at(inputs_of(made))
    np.testing.assert_allclose(found, exact[np.unique(TIMES, return_inverse=True)[1]], rtol=1e-5)
    same = solve_ivp(_rates, (0, 12), [1.6, 0.5], "RK45", np.unique(TIMES), rtol=1e-7, atol=1e-9).y.T
    np.testing.assert_allclose(found, same[np.unique(TIMES, return_inverse=True)[1]], rtol=1e-7)


def test_many_solutions_at_once_are_those_of_one_at_a_time() -> None:
    made = declared()
    solver, one = Solution(system_of(made)), inputs_of(made)
    several = [np.array([x, 1.2 * x, 0.7 * x]) for x in one]
    together = solver.at(several)
    for i in range(3):
        np.testing.assert_allclose(together[i], solver.at([x[i] for x in several]), rtol=1e-5)


def test_a_solution_that_has_no_end_or_takes_many_steps_leaves_the_others() -> None:
    solver, one = Solution(system_of(made := declared())), inputs_of(made)
    quick = [np.array(x) for x in one]
    stiff = [np.array(x * 3000.0) if i == len(one) - 1 else np.array(x) for i, x in enumerate(one)]
    infinite = [np.array(np.inf) for _ in one]
    together = solver.at([np.array([a, b, c]) for a, b, c in zip(quick, stiff, infinite, strict=True)])
    np.testing.assert_allclose(together[0], solver.at(quick), rtol=1e-7)
    np.testing.assert_allclose(together[1], solver.at(stiff), rtol=1e-7)
    assert np.isnan(together[2]).any()


def test_prior_draws_that_take_many_steps_are_solved() -> None:
    text = TEXT.replace("(a - b * v) * u + dose * exp(-t)", "-2000 * a * (u - cos(t))")
    draws = draw_prior(built(text), 12, 3, {})
    assert draws["z"].shape == (12, 6, 2) and np.isfinite(draws["z"]).all()


def test_c_agrees_with_numpy() -> None:
    made = declared()
    given = [theano.tensor.dscalar() for _ in call_of(made).inputs]
    with compiling(), theano.config.change_flags(compute_test_value="off"):
        function = theano.function(given, Solve(system_of(made))(*given))
    for factor in (1.0, 0.3, 2.0):
        inputs = [np.asarray(x * factor) for x in inputs_of(made)]
        for ours, theirs in zip(function(*inputs), Solution(system_of(made)).with_slopes(inputs), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert np.isnan(function(*[np.asarray(np.inf) for _ in given])[0]).any()


def test_the_density_is_that_of_the_model_and_its_gradient_that_of_finite_differences() -> None:
    mean = solve_ivp(_rates, (0, 12), [1.6, 0.5], "DOP853", np.unique(TIMES), rtol=1e-12, atol=1e-12).y.sum(axis=0)
    expected = norm.logpdf(DATA["y"].values, mean[np.unique(TIMES, return_inverse=True)[1]], 0.5).sum()
    assert log_densities(declared(), POINT)["y"] == pytest.approx(expected, rel=1e-5)
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        function = built().logp_dlogp_function()
        function.set_extra_values({})
        point = np.array([-0.5, -0.9, -0.7, -1.2])
        _, gradient = function(point)
        for i, own in enumerate(gradient):
            step = np.where(np.arange(4) == i, 1e-4, 0.0)
            slope = (function(point + step)[0] - function(point - step)[0]) / 2e-4
            assert own == pytest.approx(slope, rel=1e-4), i


def test_predictions_at_other_times_solve_the_system_again() -> None:
    spec, made = spec_of(TEXT), declared()
    later = xr.Dataset({"time": ("obs", [1.0, 20.0]), "dose": ((), 2.5)}, coords={"obs": [0, 1]})
    fitted = fitted_model(made, FittedDesign("obs", {}, {}, {}, {}, {}, {}, {}, xr.Dataset()), None, None)
    there = declarative.MODEL.at_rows(NewRows(later, fitted.model, fitted.quantities, fitted.likelihoods), spec)
    draws = {n: np.stack([np.asarray(v)] * 3) for n, v in POINT.items()}
    forward = Forward({**draws, "z": np.zeros((3, 6, 2))}, np.random.default_rng(1), None, (), "obs")  # type: ignore[arg-type]
    found = forward.run(there)["y"].expected
    exact = solve_ivp(_rates, (0, 20), [1.6, 0.5], "DOP853", [1.0, 20.0], rtol=1e-12, atol=1e-12).y.sum(axis=0)
    assert found is not None
    np.testing.assert_allclose(found, np.tile(exact, (3, 1)), rtol=1e-5)


# ---------------------------------------------------------------- errors

STIFF = TEXT.replace("(a - b * v) * u + dose * exp(-t)", "-1e7 * (u - cos(t))").replace(
    "times: time", "times: time\n      solver: {max_steps: 2000}"
)


def test_a_stiff_system_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="it is stiff") as caught:
        built(STIFF)
    (problem,) = caught.value.problems
    assert problem.key == "model.deterministics.z.ode"
    assert "max_steps" in problem.hint


def test_a_solution_that_becomes_infinite_is_refused_with_the_place() -> None:
    with pytest.raises(UserError, match=r"gave up at 0.*may be infinite"):
        built(TEXT.replace("(a - b * v) * u + dose * exp(-t)", "5 * u ** 2"))


WRONG = [
    ("rhs: {u", "rhs: {w", "model.deterministics.z.ode.rhs.u: is missing: 'u' is a state"),
    ("state: {u", "states: {u", "model.deterministics.z.ode.states: ode has no key 'states'"),
    ("times: time", "", "model.deterministics.z.ode.times: is required but missing"),
    ("times: time", "times: time\n      solver: {rtol: 0}", "model.deterministics.z.ode.solver.rtol: must be a number"),
    (
        "times: time",
        "times: time\n      solver: {tol: 1}",
        "model.deterministics.z.ode.solver.tol: the solver has no",
    ),
    ("times: time", "times: time\n      t0: 5", "model.deterministics.z.ode.times: must not be before t0 = 5 (got 0)"),
    ("times: time", "times: a", "model.deterministics.z.ode.times: must not depend on a random variable"),
    ("c[0] * u", "c * u", "model.deterministics.z.ode.rhs.v: must be a single number"),
    ("c[0] * u", "gammaln(u)", "model.deterministics.z.ode.rhs.v: can't have 'gammaln' of a state"),
    ("c[0] * u", "nosuch * u", "model.deterministics.z.ode.rhs.v: unknown name 'nosuch'"),
    ("u: 1 + a", "u: k", "model.deterministics.z.ode.state.u: must be a single number (it is over site)"),
    ("state: {u: 1 + a", "state: {u: u", "'z' is defined by itself"),
    ("  a: {dist", "  u: {dist: HalfNormal, sigma: 1}\n  a: {dist", "model.priors.u: the name 'u' is made by"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_what_is_wrong_is_told_by_its_key(old: str, new: str, message: str) -> None:
    assert old in TEXT
    spec = spec_of(TEXT.replace(old, new, 1))
    found = "\n".join(f"{p.key}: {p.message}" for p in static_check(spec) or check(DATA, spec))
    assert message in found
