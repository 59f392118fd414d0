"""Errors in priors, found without PyMC3: a table of faults with their keys and messages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrun.language.distributions import distributions
from bayesrun.language.prior_checks import check_prior

KEY = "model.priors.a"

RIGHT: list[dict[str, Any]] = [
    {"dist": "Normal", "mu": 0, "sigma": 1},
    {"dist": "Normal", "sigma": "tau * 2", "dims": ["school"]},
    {"dist": "Normal", "mu": [0, "b"], "tau": 1e-3, "shape": 2, "initval": [0, 1], "transform": "ordered"},
    {"dist": "Normal", "mu": 0, "sigma": "1e-3", "lower": None},
    {"dist": "Normal", "mu": "m", "sigma": 1, "parameterization": "noncentered"},
    {"dist": "GaussianRandomWalk", "sigma": 1, "dims": "date", "parameterization": "whitened"},
    {"dist": "Wald", "mu": 1},
    {"dist": "Cauchy", "alpha": 0, "beta": 5, "lower": 0},
    {"dist": "TruncatedNormal", "mu": 0, "sigma": 1, "lower": 0, "upper": float("inf")},
    {"dist": "LKJCholeskyCov", "n": 2, "eta": 1, "sd_dist": {"dist": "HalfNormal", "sigma": 1}},
    {"dist": "Mixture", "w": [0.5, 0.5], "comp_dists": [{"dist": "Flat"}, {"dist": "Poisson", "mu": "x"}]},
    {"dist": "AR", "rho": [0.1, 0.2], "sigma": 1, "constant": True, "init": {"dist": "Normal", "mu": 0, "sigma": 1}},
    {"dist": "KroneckerNormal", "mu": 0, "covs": [[[1, 0], [0, 1]], [[2]]], "shape": 2},
]

# (prior, key below the prior, words in the message or the hint)
WRONG: list[tuple[Any, str, str]] = [
    (3, "", "must be a prior"),
    ({}, ".dist", "required but missing"),
    ({"dist": "normal", "mu": 0, "sigma": 1}, ".dist", "did you mean 'Normal'?"),
    ({"dist": "Normall"}, ".dist", "did you mean 'Normal'?"),
    ({"dist": "DensityDist"}, ".dist", "needs Python"),
    ({"dist": ["Normal"]}, ".dist", "unknown distribution"),
    ({"dist": "Normal", "mu": 0}, "", "needs sigma or tau"),
    ({"dist": "Normal", "mu": 0, "sigma": 1, "tau": 1}, "", "takes sigma or tau, not"),
    ({"dist": "Normal", "mu": 0, "sd": 1}, ".sd", "use 'sigma'"),
    ({"dist": "Binomial", "n": 3, "logit_p": "a"}, ".logit_p", "use 'p': sigmoid(...)"),
    ({"dist": "Poisson", "log_mu": "a"}, ".log_mu", "use 'mu': exp(...)"),
    ({"dist": "Normal", "mu": 0, "sigma": 1, "sigmaa": 1}, ".sigmaa", "did you mean 'sigma'?"),
    ({"dist": "Gamma", "alpha": 2}, "", "needs alpha and beta or mu and sigma (got alpha only)"),
    ({"dist": "Gamma", "alpha": 2, "sigma": 1}, "", "not alpha with sigma"),
    ({"dist": "Beta", "alpha": 1, "beta": 1, "mu": 0.5}, "", "not"),
    ({"dist": "Normal", "mu": 0, "sigma": -1}, ".sigma", "must be above 0 (got -1)"),
    ({"dist": "Normal", "mu": 0, "sigma": "-1"}, ".sigma", "must be above 0 (got -1)"),
    ({"dist": "Normal", "mu": 0, "sigma": 0}, ".sigma", "must be above 0"),
    ({"dist": "Normal", "mu": float("nan"), "sigma": 1}, ".mu", "finite"),
    ({"dist": "Normal", "mu": float("inf"), "sigma": 1}, ".mu", "finite"),
    ({"dist": "Normal", "mu": True, "sigma": 1}, ".mu", "number, a list or an expression"),
    ({"dist": "Normal", "mu": {"a": 1}, "sigma": 1}, ".mu", "number, a list or an expression"),
    ({"dist": "Normal", "mu": [], "sigma": 1}, ".mu", "empty"),
    ({"dist": "Normal", "mu": [[1, 2], [3]], "sigma": 1}, ".mu", "ragged"),
    ({"dist": "Normal", "mu": [1, [2]], "sigma": 1}, ".mu", "ragged"),
    ({"dist": "Normal", "mu": 0, "sigma": [1, -2]}, ".sigma[1]", "above 0"),
    ({"dist": "Normal", "mu": "a +", "sigma": 1}, ".mu", "not a valid expression"),
    ({"dist": "Normal", "mu": "a.b", "sigma": 1}, ".mu", "attribute"),
    ({"dist": "Normal", "mu": "expp(a)", "sigma": 1}, ".mu", "did you mean 'exp'?"),
    ({"dist": "Beta", "mu": 1.5, "sigma": 0.1}, ".mu", "between 0 and 1"),
    ({"dist": "Binomial", "n": 2.5, "p": 0.5}, ".n", "whole number"),
    ({"dist": "Dirichlet", "a": [1, 0]}, ".a[1]", "above 0"),
    ({"dist": "Categorical", "p": [0.5, 0.6]}, ".p", "sum to 1"),
    ({"dist": "Uniform", "lower": 2, "upper": 1}, ".upper", "above lower"),
    ({"dist": "AR", "rho": 0.5, "sigma": 1, "constant": "yes"}, ".constant", "true or false"),
    ({"dist": "AR", "rho": 0.5, "sigma": 1, "init": {"dist": "Normall"}}, ".init.dist", "did you mean 'Normal'?"),
    ({"dist": "Mixture", "w": [1.0], "comp_dists": [{"dist": "Flat"}]}, ".comp_dists", "two or more"),
    ({"dist": "Mixture", "w": [0.5, 0.5], "comp_dists": {"dist": "Flat"}}, ".comp_dists", "two or more"),
    ({"dist": "LKJCholeskyCov", "n": 0, "eta": 1, "sd_dist": {"dist": "Flat"}}, ".n", "1 or above"),
    ({"dist": "Flat", "dims": [1]}, ".dims", "list of dim names"),
    ({"dist": "Flat", "dims": ["a", "a"]}, ".dims", "twice"),
    ({"dist": "Flat", "dims": ["a"], "shape": 2}, ".shape", "can't be given together"),
    ({"dist": "Flat", "shape": 0}, ".shape", "above 0"),
    ({"dist": "Flat", "shape": "two"}, ".shape", "whole number"),
    ({"dist": "Flat", "initval": "a."}, ".initval", "not a valid expression"),
    ({"dist": "Flat", "transform": "sorted"}, ".transform", "did you mean 'ordered'?"),
    ({"dist": "Poisson", "mu": 1, "transform": "log"}, ".transform", "discrete"),
    (
        {"dist": "Gamma", "alpha": 1, "beta": 1, "parameterization": "noncentered"},
        ".parameterization",
        "location-scale",
    ),
    ({"dist": "Normal", "sigma": 1, "parameterization": "whitened"}, ".parameterization", "GaussianRandomWalk only"),
    ({"dist": "Normal", "sigma": 1, "parameterization": "centred"}, ".parameterization", "did you mean 'centered'?"),
    (
        {"dist": "Normal", "sigma": 1, "parameterization": "noncentered", "transform": "ordered"},
        ".parameterization",
        "can't be combined with transform",
    ),
    ({"dist": "Flat", "observed": "y"}, ".observed", "no parameter 'observed'"),
]


@pytest.mark.parametrize("prior", RIGHT, ids=str)
def test_right(prior: dict[str, Any]) -> None:
    assert check_prior(KEY, prior) == []


@pytest.mark.parametrize(("prior", "below", "words"), WRONG, ids=str)
def test_wrong(prior: Any, below: str, words: str) -> None:
    problems = check_prior(KEY, prior)
    assert any(p.key == KEY + below and words in f"{p.message} {p.hint}" for p in problems), problems


def test_all_faults_at_once() -> None:
    prior = {"dist": "Gamma", "alpha": -1, "betta": 2, "shape": -1, "transform": "x"}
    assert {p.key.removeprefix(KEY) for p in check_prior(KEY, prior)} == {
        *("", ".alpha", ".betta", ".shape", ".transform"),
    }


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["dist", "mu", "sigma", "shape", "dims", "initval", "transform", "w", "comp_dists", "lower"]),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(max_size=5),
                st.sampled_from(distributions()),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
)
def test_nothing_in_a_prior_breaks_the_check(prior: dict[str, Any]) -> None:
    assert all(p.key.startswith(KEY) for p in check_prior(KEY, prior))


def test_the_check_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from bayesrun.language.prior_checks import check_prior\n"
        "from bayesrun.language.grammar import parse\n"
        "from bayesrun.models.declarative import MODEL\n"
        "check_prior('k', {'dist': 'Normal', 'mu': 'a', 'sigma': 1}); parse('exp(a)', 'k')\n"
        "MODEL.static_check(MODEL.spec(name='m', type='declarative', priors={'a': {'dist': 'Flat'}}))\n"
        "heavy = {'scipy', 'pandas', 'xarray', 'pymc3', 'theano'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
