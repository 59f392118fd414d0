"""Hidden Markov chains against sums over all paths of states, and messages for what can't be meant."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy import stats

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.errors import Problem, UserError
from bayesrun.language.declaration import Declaration, Likelihood, Random
from bayesrun.language.densities.named_densities import unnamed, written_density, written_families
from bayesrun.language.distributions import known_family
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.values import constant, node_of
from bayesrun.models.base import NewRows, Quantity
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from bayesrun.models.declarative.declarative_rows import at_rows, needs
from bayesrun.predict.forward import Forward

ROWS, SIZE = 5, 3
RNG = np.random.default_rng(2)
Y = RNG.normal(size=(2, ROWS))
COUNT = RNG.poisson(2.0, size=(2, ROWS))


def data() -> xr.Dataset:
    return xr.Dataset({"y": (("animal", "day"), Y), "n": (("animal", "day"), COUNT), "one": ("day", Y[0])})


TWO = """
dist: HiddenMarkov
transition: theta
initial: [0.2, 0.5, 0.3]
emission: [{dist: Normal, mu: mu, sigma: "0.5 + day * 0.1"}, {dist: Poisson, mu: exp(mu), observed: n}]
observed: y
"""
PRIORS = "{theta: {dist: Dirichlet, a: [1, 1, 1], shape: [3, 3]}, mu: {dist: Normal, mu: 0, sigma: 1, shape: 3}}"


def spec_of(likelihood: str = TWO, priors: str = PRIORS) -> DeclarativeSpec:
    parts = {"priors": yaml.safe_load(priors), "likelihood": {"o": yaml.safe_load(likelihood)}}
    return DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **parts})


def declared(likelihood: str = TWO, priors: str = PRIORS, rows: xr.Dataset | None = None) -> Declaration:
    spec, here = spec_of(likelihood, priors), data() if rows is None else rows
    assert static_check(spec) == []
    assert check(here, spec) == []
    return build(here, spec)


THETA = RNG.dirichlet([2, 2, 2], size=SIZE)
MU = np.array([-1.0, 0.3, 1.2])
INITIAL = np.array([0.2, 0.5, 0.3])


def paths(animal: int, y: Any = Y, count: Any = COUNT) -> dict[tuple[int, ...], float]:
    """Return the joint probability of the data with every path of states; a missing value has no part in it."""
    found = {}
    for path in product(range(SIZE), repeat=ROWS):
        chance = INITIAL[path[0]] * np.prod([THETA[a, b] for a, b in pairwise(path)])
        for t, state in enumerate(path):
            chance *= 1 if np.isnan(y[animal, t]) else stats.norm.pdf(y[animal, t], MU[state], 0.5 + 0.1 * t)
            chance *= 1 if np.isnan(count[animal, t]) else stats.poisson.pmf(count[animal, t], np.exp(MU[state]))
        found[path] = float(chance)
    return found


def terms(made: Declaration) -> Any:
    assert isinstance(made.items[-1], Likelihood)
    node = node_of(made.items[-1].plan.values["terms"])
    draws = {"theta": THETA[None], "mu": MU[None]}
    containers = {i.name: i.numbers for i in made.items if type(i).__name__ == "Container"}
    return evaluate_at_draws([node], draws.__getitem__, containers)[0][0]


def test_the_terms_add_up_to_the_sum_over_all_paths() -> None:
    found = terms(declared())
    assert found.shape == (2, ROWS)
    for animal in range(2):
        assert found[animal].sum() == pytest.approx(np.log(sum(paths(animal).values())), rel=1e-12)


def test_rows_without_a_value_are_summed_over_and_show_nothing() -> None:
    y, count = Y.copy(), COUNT.astype(float)
    y[0, [0, 2, 4]] = count[0, [2, 3]] = count[1] = np.nan
    made = declared(rows=xr.Dataset({"y": (("animal", "day"), y), "n": (("animal", "day"), count)}))
    found = terms(made)
    for animal in range(2):
        assert found[animal].sum() == pytest.approx(np.log(sum(paths(animal, y, count).values())), rel=1e-12)
    assert found[0, 2] == pytest.approx(0.0, abs=1e-12)
    item = made.items[-1]
    assert isinstance(item, Likelihood) and item.observed.absent is not None
    assert (item.observed.absent == np.isnan(y)).all()
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        model = pymc3_model(made)
        point = {**model.test_point, "mu": MU}
        theta = model["theta"].tag.test_value
        assert np.isfinite(float(model.fn(model["o"].logpt)(point)))
    assert theta.shape == (SIZE, SIZE)
    assert made.recover is not None
    draws = {"theta": np.broadcast_to(THETA, (1, 20_000, 3, 3)), "mu": np.broadcast_to(MU, (1, 20_000, 3))}
    drawn = made.recover(draws, np.random.default_rng(1))["o_state"][0, :, 0, 2]
    chances = paths(0, y, count)
    for state in range(SIZE):
        wanted = sum(p for path, p in chances.items() if path[2] == state) / sum(chances.values())
        assert abs(np.mean(drawn == state) - wanted) < 4.5 * np.sqrt(wanted / 20_000)


@pytest.mark.parametrize("steps", [(1, 1, 1), (2, 1, 3)])
def test_later_rows_go_on_from_the_last_state(steps: tuple[int, ...]) -> None:
    spec = spec_of(TWO.replace('"0.5 + day * 0.1"', "0.5"))
    here = data().drop_vars("n").assign(n=(("animal", "day"), COUNT))
    made, count = build(here.assign_coords(day=range(ROWS)), spec), 20_000
    days = ROWS - 1 + np.cumsum(steps)
    later = xr.Dataset(coords={"day": days, "animal": range(2)}).assign(other=("day", np.zeros(3)))
    quantities = {"theta": Quantity((None, None), (3, 3)), "mu": Quantity((None,), (3,))}
    quantities["o_state"] = Quantity(("animal", "day"), (2, ROWS))
    rows = NewRows(later, replace(made.design, rows="day"), quantities, {"o": ("animal", "day")})
    assert needs(rows, spec) == ()
    forecast = at_rows(rows, spec)
    states = np.broadcast_to(np.array([[2] * ROWS, [0] * ROWS]), (count, 2, ROWS))
    draws = {"theta": THETA[None].repeat(count, 0), "mu": MU[None].repeat(count, 0), "o_state": states}
    fresh = {item.name for item in forecast.items if isinstance(item, Random)}
    drawn = Forward(draws, np.random.default_rng(4), _no_engine, fresh, "day").run(forecast)["o"]
    assert drawn.expected is not None
    for animal, last in enumerate((2, 0)):
        pairs = np.zeros((SIZE, SIZE))
        one = np.linalg.matrix_power(THETA, steps[0])[last]
        pairs = one[:, None] * np.linalg.matrix_power(THETA, steps[1])
        first, second = drawn.drawn[:, animal, 0], drawn.drawn[:, animal, 1]
        assert abs(first.mean() - one @ MU) < 4.5 * first.std() / np.sqrt(count)
        product_of = MU @ pairs @ MU
        assert abs((first * second).mean() - product_of) < 4.5 * (first * second).std() / np.sqrt(count)
        third = pairs.sum(axis=0) @ np.linalg.matrix_power(THETA, steps[2])
        assert abs(drawn.expected[:, animal, 2].mean() - third @ MU) < 4.5 * MU.std() / np.sqrt(count)


def _no_engine(*_: Any) -> Any:
    raise AssertionError("NumPy draws all that is needed")


def test_density_and_gradient_in_the_engine() -> None:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        model = pymc3_model(declared())
        point = dict(model.test_point)
        value = model.fn(pm.math.sum(model["o"].logpt))
        slope = model.fn(theano.grad(model["o"].logpt, model["mu"]))(point)
        for k in range(SIZE):
            ends = [value({**point, "mu": point["mu"] + step * np.eye(SIZE)[k]}) for step in (1e-6, -1e-6)]
            assert slope[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_states_are_drawn_from_their_distribution_given_all_rows_and_the_path_is_the_most_probable() -> None:
    made, count = declared(), 20_000
    assert made.recover is not None
    draws = {"theta": np.broadcast_to(THETA, (1, count, 3, 3)), "mu": np.broadcast_to(MU, (1, count, 3))}
    found = made.recover(draws, np.random.default_rng(1))
    for animal in range(2):
        chances = paths(animal)
        total = sum(chances.values())
        best = max(chances, key=lambda path: chances[path])
        assert (found["o_path"][0, :, animal] == best).all()
        drawn = found["o_state"][0, :, animal]
        for first, second in product(range(SIZE), repeat=2):
            wanted = sum(p for path, p in chances.items() if path[1:3] == (first, second)) / total
            share = np.mean((drawn[:, 1] == first) & (drawn[:, 2] == second))
            assert abs(share - wanted) < 4.5 * np.sqrt(wanted / count) + 1e-9


def test_new_series_have_the_moments_of_the_chain() -> None:
    made, count = declared(), 20_000
    draws = {"theta": np.broadcast_to(THETA, (count, 3, 3)), "mu": np.broadcast_to(MU, (count, 3))}
    found = made.hidden[0].draw(draws, np.random.default_rng(3))["o"]
    chance = INITIAL
    for t in range(ROWS):
        mean = chance @ MU
        variance = chance @ (MU**2) - mean**2 + (0.5 + 0.1 * t) ** 2
        assert (np.abs(found[:, :, t].mean(axis=0) - mean) < 4.5 * np.sqrt(variance / count)).all()
        chance = chance @ THETA


def test_written_densities_are_those_of_scipy() -> None:
    half, counts = np.array([0.2, 0.5, 0.9]), np.array([1, 2, 5])
    expected: dict[str, tuple[Any, dict[str, Any], Any]] = {
        "Bernoulli": (np.array([0, 1]), {"p": 0.3}, stats.bernoulli(0.3).logpmf),
        "Beta": (half, {"mu": 0.4, "sigma": 0.2}, stats.beta(2.0, 3.0).logpdf),
        "BetaBinomial": (counts, {"alpha": 2.0, "beta": 3.0, "n": 7.0}, stats.betabinom(7, 2, 3).logpmf),
        "Binomial": (counts, {"n": 7.0, "p": 0.3}, stats.binom(7, 0.3).logpmf),
        "Categorical": (np.array([0, 2]), {"p": [0.2, 0.3, 0.5]}, lambda x: np.log([0.2, 0.5])),
        "Exponential": (half, {"lam": 2.0}, stats.expon(scale=0.5).logpdf),
        "Gamma": (half, {"mu": 2.0, "sigma": 1.0}, stats.gamma(4, scale=0.5).logpdf),
        "Geometric": (counts, {"p": 0.3}, stats.geom(0.3).logpmf),
        "Laplace": (half, {"mu": 0.4, "b": 2.0}, stats.laplace(0.4, 2).logpdf),
        "LogNormal": (half, {"mu": 0.4, "sigma": 2.0}, stats.lognorm(2, scale=np.exp(0.4)).logpdf),
        "NegativeBinomial": (counts, {"mu": 3.0, "alpha": 2.0}, stats.nbinom(2, 2 / 5).logpmf),
        "Normal": (half, {"tau": 4.0}, stats.norm(0, 0.5).logpdf),
        "Poisson": (counts, {"mu": 3.0}, stats.poisson(3).logpmf),
        "StudentT": (half, {"nu": 3.0, "mu": 1.0, "lam": 4.0}, stats.t(3, 1, 0.5).logpdf),
    }
    assert sorted(expected) == written_families()
    for name, (x, parameters, wanted) in expected.items():
        density = written_density(name)
        assert density is not None
        assert known_family(name).event == 0
        arrays = {key: np.asarray(value, dtype=float) for key, value in parameters.items()}
        assert density(constant(x), unnamed(arrays)).known == pytest.approx(wanted(x), rel=1e-12), name


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"transition": None}, "transition", "from each state"),
    ({"transition": [[0.5, 0.4], [0.5, 0.5]]}, "transition", "must sum to 1"),
    ({"transition": "mu"}, "transition", "square matrix"),
    ({"initial": [0.5, 0.5]}, "initial", "one probability for each of the 3 states"),
    ({"emission": None}, "emission", "what a state emits"),
    ({"emission": {"dist": "Norml"}}, "emission.dist", "unknown distribution"),
    ({"emission": {"dist": "Normal", "mu": "mu"}}, "emission", "Normal needs sigma"),
    ({"emission": {"dist": "MvNormal", "mu": "mu", "chol": "theta"}}, "emission.dist", "can't emit"),
    ({"emission": {"dist": "Normal", "mu": "mu + nothing", "sigma": 1}}, "emission.mu", "unknown name"),
    ({"emission": {"dist": "Normal", "mu": [1, 2], "sigma": 1}}, "emission.mu", "over the 3 states"),
    ({"weights": 2}, "weights", "no key 'weights'"),
    ({"observed": "nope"}, "observed", "no variable 'nope'"),
]


@pytest.mark.parametrize(("change", "key", "words"), FAULTS, ids=str)
def test_a_fault_is_a_message_at_its_key(change: dict[str, Any], key: str, words: str) -> None:
    body = {**yaml.safe_load(TWO), **change}
    parts = {"priors": yaml.safe_load(PRIORS), "likelihood": {"o": {k: v for k, v in body.items() if v is not None}}}
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **parts})
    found: list[Problem] = static_check(spec)
    if not found:
        try:
            found = check(data(), spec)
        except UserError as error:
            found = list(error.problems)
    assert [p for p in found if p.key == f"model.likelihood.o.{key}" and words in f"{p.message} {p.hint}"], found
