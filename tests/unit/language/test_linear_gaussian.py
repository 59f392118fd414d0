"""Structural time series against the joint normal distribution of all rows, and messages for what can't be meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy import linalg, stats

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.errors import Problem, UserError
from bayesrun.language.declaration import Container, Declaration, Likelihood
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check

RNG = np.random.default_rng(4)
TIMES = np.array([0.0, 1.0, 3.0, 4.0, 5.0, 9.0, 10.0, 11.0, 12.0, 13.0])
Y = RNG.normal(size=(2, 10))
Y[0, 3] = Y[1, 0] = np.nan
X = RNG.normal(size=10)
DATA = xr.Dataset(
    {"y": (("store", "row"), Y), "one": ("row", Y[0]), "x": ("row", X), "t": ("row", TIMES), "late": ("row", TIMES / 2)}
)
PRIORS = """
s0: {dist: HalfNormal, sigma: 1, dims: [store]}
s1: {dist: HalfNormal, sigma: 1}
s2: {dist: HalfNormal, sigma: 1, dims: [store]}
rho: {dist: Uniform, lower: -1, upper: 1}
two: {dist: Normal, mu: 0, sigma: 0.3, shape: 2}
b: {dist: Normal, mu: 0, sigma: 1}
m0: {dist: Normal, mu: 0, sigma: 1}
"""
POINT: dict[str, Any] = {
    "s0": np.array([0.7, 0.9]),
    "s1": np.array(0.5),
    "s2": np.array([0.4, 0.2]),
    "rho": np.array(0.6),
    "two": np.array([0.5, -0.3]),
    "b": np.array(0.6),
    "m0": np.array(0.2),
}
EVERYTHING = """
dist: LinearGaussian
level: {sd: s1, init: {dist: Normal, mu: m0, sigma: 2}}
trend: {sd: s2, init: {dist: Normal, sigma: s1}}
seasonal: {period: 4, sd: 0.3, init: {dist: Normal, sigma: s1}}
ar: {rho: two, sd: s2, init: {dist: Normal, sigma: 1}}
mu: b * x
sigma: s0
steps: t
observed: y
"""
MODELS: dict[str, str] = {
    "everything": EVERYTHING,
    "level in steps of any length": "{dist: LinearGaussian, level: {sd: s1, init: m0}, sigma: s0, steps: late, "
    "observed: y}",
    "level whose noise differs by row": "{dist: LinearGaussian, level: {sd: exp(b * x), init: {dist: Normal, mu: m0, "
    "sigma: 9}}, sigma: exp(x), observed: y}",
    "stationary autoregression": "{dist: LinearGaussian, ar: {rho: rho, sd: s1}, sigma: s0, steps: t, observed: y}",
    "seasonal": "{dist: LinearGaussian, seasonal: {period: 3, sd: s2, init: {dist: Normal, sigma: 2}}, sigma: s1, "
    "observed: y}",
    "no noise": "{dist: LinearGaussian, level: {sd: s1, init: {dist: Normal, mu: m0, sigma: 1}}, "
    "ar: {rho: rho, sd: s2}, sigma: 0, observed: y}",
}


def spec_of(likelihood: str, priors: str = PRIORS) -> DeclarativeSpec:
    parts = {"priors": yaml.safe_load(priors), "likelihood": {"o": yaml.safe_load(likelihood)}}
    return DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **parts})


def declared(likelihood: str, data: xr.Dataset = DATA) -> Declaration:
    spec = spec_of(likelihood)
    assert static_check(spec) == []
    assert check(data, spec) == []
    return build(data, spec)


def terms_of(made: Declaration, point: Mapping[str, Any] = POINT) -> Any:
    known = {**{i.name: i.numbers for i in made.items if isinstance(i, Container)}, **point}
    item = next(i for i in made.items if isinstance(i, Likelihood))
    return evaluate(node_of(item.plan.values["terms"]), known.__getitem__)


class Joint:
    """The joint normal distribution of all components and observations of a store, written without a filter."""

    def __init__(self, model: str, store: int) -> None:
        p = {n: float(v[store]) if n in ("s0", "s2") else v for n, v in POINT.items()}
        s0, s1, s2, m0 = p["s0"], p["s1"], p["s2"], p["m0"]
        move, start, mean, width, self.shown, mu = self._parts(model, p, s0, s1, s2, m0)
        count, steps = len(TIMES), np.ones(14)
        self.places = TIMES.astype(int)
        noise = np.full(count, s1 if model == "seasonal" else 0.0 if model == "no noise" else s0)
        if model.startswith("level in steps"):
            self.places, steps = np.arange(count), np.concatenate([[1.0], np.diff(TIMES / 2)])
        if model in ("seasonal", "no noise") or model.startswith("level whose"):
            self.places = np.arange(count)
        widths = [np.atleast_1d(width(row)) for row in range(14)]
        noise = np.exp(X) if model.startswith("level whose") else noise
        total = int(self.places[-1]) + 1
        size = len(mean)
        self.mean = np.zeros((total, size))
        self.cov = np.zeros((total, size, total, size))
        self.mean[0], self.cov[0, :, 0, :] = mean, start
        for t in range(1, total):
            self.mean[t] = move @ self.mean[t - 1]
            for other in range(t):
                self.cov[t, :, other, :] = move @ self.cov[t - 1, :, other, :]
                self.cov[other, :, t, :] = self.cov[t, :, other, :].T
            self.cov[t, :, t, :] = move @ self.cov[t - 1, :, t - 1, :] @ move.T + steps[t] * np.diag(widths[t] ** 2)
        z = np.zeros(size)
        z[self.shown] = 1.0
        self.y_mean = (self.mean @ z)[self.places] + mu
        self.y_cov = np.einsum("aibj,i,j->ab", self.cov, z, z)[np.ix_(self.places, self.places)] + np.diag(noise**2)
        self.cross = np.einsum("aibj,j->aib", self.cov, z)[:, :, self.places]
        self.seen = ~np.isnan(Y[store])
        self.y = Y[store]

    @staticmethod
    def _parts(model: str, p: Any, s0: float, s1: float, s2: float, m0: Any) -> Any:
        zero = np.zeros(len(TIMES))
        if model.startswith("level"):
            start = 81.0 if model.startswith("level whose") else 0.0
            changes = np.append(np.exp(p["b"] * X), np.zeros(4))
            return (
                np.eye(1), np.array([[start]]), np.array([m0]),
                (lambda t: changes[t]) if start else (lambda t: s1), [0], zero,
            )  # fmt: skip
        alike = lambda n: (np.eye(n) - 1 / (n + 1)) * (n + 1) / n  # noqa: E731  # sum to 0 with the effect left out
        if model == "seasonal":
            move = np.array([[-1.0, -1.0], [1.0, 0.0]])
            return move, 4.0 * alike(2), np.zeros(2), lambda t: [s2, 0], [0], zero
        if model == "stationary autoregression":
            rho = float(p["rho"])
            return np.array([[rho]]), np.array([[s1**2 / (1 - rho**2)]]), np.zeros(1), lambda t: s1, [0], zero
        if model == "no noise":
            rho = float(p["rho"])
            start = np.diag([1.0, s2**2 / (1 - rho**2)])
            return np.diag([1.0, rho]), start, np.array([m0, 0.0]), lambda t: [s1, s2], [0, 1], zero
        seasonal = np.array([[-1.0, -1, -1], [1, 0, 0], [0, 1, 0]])
        move = linalg.block_diag([[1.0, 1.0], [0.0, 1.0]], seasonal, [list(p["two"]), [1.0, 0.0]])
        start = linalg.block_diag(np.diag([4.0, s1**2]), s1**2 * alike(3), np.eye(2))
        mean = np.array([m0, 0, 0, 0, 0, 0, 0], dtype=float)
        return move, start, mean, lambda t: [s1, s2, 0.3, 0, 0, s2, 0], [0, 2, 5], float(p["b"]) * X

    def terms(self) -> Any:
        """Return the density of each row given those before: differences of joint densities."""
        found, used, before = np.zeros(len(self.y)), list[int](), 0.0
        for row in np.flatnonzero(self.seen):
            used.append(int(row))
            whole = stats.multivariate_normal(self.y_mean[used], self.y_cov[np.ix_(used, used)], allow_singular=True)
            now = float(whole.logpdf(self.y[used]))
            found[row], before = now - before, now
        return found

    def given_all(self) -> Any:
        """Return the mean and the covariance (step, state, step, state) of the states given all observations."""
        use = np.flatnonzero(self.seen)
        gain = self.cross[:, :, use] @ np.linalg.inv(self.y_cov[np.ix_(use, use)])
        mean = self.mean + gain @ (self.y - self.y_mean)[use]
        return mean, self.cov - np.einsum("aik,bjk->aibj", gain, self.cross[:, :, use])


@pytest.mark.parametrize("model", MODELS)
def test_terms_are_those_of_the_joint_normal_distribution(model: str) -> None:
    found = terms_of(declared(MODELS[model]))
    assert found.shape == Y.shape
    for store in range(2):
        assert found[store] == pytest.approx(Joint(model, store).terms(), abs=1e-10)


def test_the_filter_stays_exact_where_the_start_is_hardly_known() -> None:
    data = xr.Dataset({"y": ("row", np.array([3.0, 4.0, 2.5]))})
    model = "{dist: LinearGaussian, level: {sd: 0.1, init: {dist: Normal, sigma: 1.0e7}}, sigma: 1, observed: y}"
    spec = spec_of(model, "a: {dist: Normal, mu: 0, sigma: 1}")
    found = terms_of(build(data, spec), {})
    # with a flat start the second row is Normal(3, 1 + 0.01 + 1), up to 1e-14
    assert found[1] == pytest.approx(stats.norm(3.0, np.sqrt(2.01)).logpdf(4.0), abs=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_of_every_parameter_is_that_of_the_engine_and_of_finite_differences(model: str) -> None:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        made = pymc3_model(declared(MODELS[model]))
        density = made.logp_dlogp_function(made.free_RVs)
        density.set_extra_values({})
        at = density.dict_to_array(made.test_point) + 0.1
        value, slope = density(at)
        ends = [[density(at + step * unit)[0] for step in (1e-5, -1e-5)] for unit in np.eye(len(at))]
    assert np.isfinite(value)
    assert slope == pytest.approx([(up - down) / 2e-5 for up, down in ends], rel=1e-5, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "names"),
    [("everything", ("m0", "s1_log__", "b", "two")), ("level whose noise differs by row", ("m0", "b"))],
)
def test_what_is_compiled_is_what_numpy_computes(model: str, names: tuple[str, ...]) -> None:
    made = pymc3_model(declared(MODELS[model]))
    slopes = [theano.grad(pm.math.sum(made["o"].logp_elemwiset), made[name]) for name in names]
    point = {n: v + 0.1 for n, v in made.test_point.items()}
    found = [made.fn([made["o"].logp_elemwiset, *slopes])(point)]
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        found += [made.fn([made["o"].logp_elemwiset, *slopes])(point)]
    for compiled, computed in zip(*found, strict=True):
        assert compiled == pytest.approx(computed, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("everything", {"level": 0, "trend": 1, "seasonal": 2, "ar": 5}),
        ("level in steps of any length", {"level": 0}),
        ("stationary autoregression", {"ar": 0}),
    ],
)
def test_components_are_drawn_from_their_distribution_given_all_rows(model: str, names: dict[str, int]) -> None:
    made, count = declared(MODELS[model]), 20_000
    assert made.recover is not None
    draws = {n: np.broadcast_to(v, (1, count, *v.shape)) for n, v in POINT.items()}
    found = made.recover(draws, np.random.default_rng(2))
    for store in range(2):
        joint = Joint(model, store)
        mean, cov = joint.given_all()
        for name, state in names.items():
            drawn = found[f"o_{name}"][0, :, store]
            wanted, width = mean[joint.places, state], cov[:, state, :, state][np.ix_(joint.places, joint.places)]
            error = np.sqrt(np.maximum(np.diag(width), 0) / count)
            assert (np.abs(drawn.mean(axis=0) - wanted) < 4.5 * error + 1e-9).all(), name
            scale = np.sqrt(np.outer(np.diag(width), np.diag(width)))
            assert (np.abs(np.cov(drawn.T) - width) < 6 * scale * np.sqrt(2 / count) + 1e-9).all(), name
        end = found["o_end"][0, :, store]
        assert (np.abs(end.mean(axis=0) - mean[-1]) < 4.5 * end.std(axis=0) / np.sqrt(count) + 1e-9).all()


def test_new_series_have_the_moments_of_the_model() -> None:
    made, count = declared(EVERYTHING), 20_000
    draws = {n: np.broadcast_to(v, (count, *v.shape)) for n, v in POINT.items()}
    found = made.hidden[0].draw(draws, np.random.default_rng(3))["o"]
    for store in range(2):
        joint = Joint("everything", store)
        error = np.sqrt(np.diag(joint.y_cov) / count)
        assert (np.abs(found[:, store].mean(axis=0) - joint.y_mean) < 4.5 * error).all()
        assert (np.abs(found[:, store].var(axis=0) / np.diag(joint.y_cov) - 1) < 6 * np.sqrt(2 / count)).all()


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"level": None, "trend": None, "seasonal": None, "ar": None}, "level", "has no component"),
    ({"level": None}, "level", "slope of a level"),
    ({"level": 2}, "level", "must be {sd: ..., init: ...}"),
    ({"level": {"sd": "s1"}}, "level.init", "at the first row"),
    ({"level": {"sd": -1, "init": 0}}, "level.sd", "0 or above"),
    ({"level": {"sigma": 1, "sd": 1, "init": 0}}, "level.sigma", "here sd"),
    ({"level": {"init": 0}}, "level.sd", "is required"),
    ({"level": {"sd": 1, "init": {"dist": "Cauchy", "alpha": 0, "beta": 1}}}, "level.init", "dist: Normal"),
    ({"seasonal": {"period": 0, "sd": 1, "init": {"dist": "Normal", "sigma": 1}}}, "seasonal.period", "from 2 to 60"),
    ({"seasonal": {"period": -4, "sd": 1, "init": {"dist": "Normal", "sigma": 1}}}, "seasonal.period", "from 2 to 60"),
    ({"seasonal": {"period": 4, "sd": 1, "init": {"dist": "Normal", "mu": 2, "sigma": 1}}}, "seasonal.init.mu", "be 0"),
    ({"ar": {"sd": 1}}, "ar.rho", "coefficients of the rows before"),
    ({"ar": {"rho": "two", "sd": 1}}, "ar.init", "no simple distribution"),
    ({"sigma": None}, "sigma", "is required"),
    ({"season": {"period": 4}}, "season", "did you mean 'seasonal'"),
    ({"weights": 2}, "weights", "no key 'weights'"),
    ({"mu": "nothing"}, "mu", "unknown name"),
    ({"steps": "late"}, "steps", "whole numbers of steps"),
    ({"steps": "-t"}, "steps", "times must increase"),
    ({"steps": "t - t"}, "steps", "times must increase"),
    ({"observed": "nope"}, "observed", "no variable 'nope'"),
]


@pytest.mark.parametrize(("change", "key", "words"), FAULTS, ids=str)
def test_a_fault_is_a_message_at_its_key(change: dict[str, Any], key: str, words: str) -> None:
    body = {n: v for n, v in {**yaml.safe_load(EVERYTHING), **change}.items() if v is not None}
    spec = spec_of(yaml.safe_dump(body))
    found: list[Problem] = static_check(spec)
    if not found:
        try:
            found = check(DATA, spec)
        except UserError as error:
            found = list(error.problems)
    assert [p for p in found if p.key == f"model.likelihood.o.{key}" and words in f"{p.message} {p.hint}"], found


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([2001, 2000, 2002], "not in the order of 'year'"),
        ([2000, 2000, 2001], "0 to 1 apart"),
        ([2000, 2001, 2005], "write steps: year"),
    ],
)
def test_rows_are_in_the_order_of_time_and_equally_spaced(labels: list[int], words: str) -> None:
    data = xr.Dataset({"y": ("year", [1.0, 2.0, 3.0])}, coords={"year": labels})
    model = "{dist: LinearGaussian, level: {sd: m0, init: 0}, sigma: 1, observed: y}"
    (problem,) = check(data, spec_of(model, "m0: {dist: HalfNormal, sigma: 1}"))
    assert words in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [("everything", "s1", -0.5), ("seasonal", "s1", -0.5), ("stationary autoregression", "rho", 1.2)],
)
def test_a_negative_sd_and_an_autoregression_without_stationary_distribution_have_no_density(
    model: str, name: str, value: float
) -> None:
    total = terms_of(declared(MODELS[model]), {**POINT, name: np.array(value)}).sum()
    assert total == -np.inf


@pytest.mark.parametrize(
    "series",
    [
        "dist: LinearGaussian, level: {sd: s, init: 0}, sigma: 1",
        "dist: HiddenMarkov, transition: [[0.9, 0.1], [0.2, 0.8]], emission: {dist: Normal, mu: [0, s], sigma: 1}",
    ],
)
def test_hidden_states_beside_a_variable_that_is_summed_out_are_refused(series: str) -> None:
    priors = "{s: {dist: HalfNormal, sigma: 1}, c: {dist: Marginal, of: {dist: DiscreteUniform, lower: 1, upper: 9}}}"
    spec = spec_of(f"{{{series}, observed: one}}", priors)
    other = {"dist": "Normal", "mu": "where(row < c, 0, s)", "sigma": 1, "observed": "x"}
    spec = spec.model_copy(update={"likelihood": {**spec.likelihood, "other": other}})
    (problem,) = static_check(spec)
    assert problem.key == "model.likelihood.o.dist" and "can't be summed out beside 'c'" in problem.message
