"""The table of distributions against PyMC3's own signatures."""

from __future__ import annotations

import inspect

import pymc3 as pm
import pytest
from pymc3.distributions.distribution import Continuous, Discrete, Distribution

from bayesrun.language.distributions import FAMILIES, LEFT_OUT, family

# names that are ours to give, old names of others, and what needs Python objects
NOT_PARAMETERS = {
    *("self", "name", "args", "kwargs", "shape", "dims", "observed", "testval", "initval", "transform", "dtype"),
    *("sd", "Sigma", "comp_shape", "evds", "compute_corr", "store_in_trace"),
}
DEPRECATED = {("LKJCorr", "p")}
OURS = {"steps"}  # parameters that the language adds
ABSTRACT = {"Distribution", "Continuous", "Discrete", "NoDistribution", "TensorType", "Bound"}

OF_PYMC3 = sorted(name for name, known in FAMILIES.items() if not (known.declared or known.composed))


def public() -> set[str]:
    found = {n for n in dir(pm.distributions) if inspect.isclass(getattr(pm.distributions, n))}
    laws = {n for n in found if issubclass(getattr(pm.distributions, n), Distribution)}
    return (laws | {"LKJCholeskyCov", "WishartBartlett"}) - ABSTRACT - set(LEFT_OUT)


def signature(name: str) -> dict[str, inspect.Parameter]:
    made = getattr(pm, name)
    return dict(inspect.signature(made.__init__ if inspect.isclass(made) else made).parameters)


def test_every_public_distribution_is_in_the_table() -> None:
    assert set(OF_PYMC3) == public()


def test_no_declared_distribution_hides_one_of_pymc3s() -> None:
    assert not (set(FAMILIES) - set(OF_PYMC3)) & public()


@pytest.mark.parametrize("name", OF_PYMC3)
def test_parameters_are_pymc3s(name: str) -> None:
    known = family(name)
    assert known is not None
    theirs = {p for p in signature(name) if p not in NOT_PARAMETERS and (name, p) not in DEPRECATED}
    if name == "MvStudentTRandomWalk":  # hands the rest on to the Gaussian one
        theirs |= set(signature("MvGaussianRandomWalk")) - NOT_PARAMETERS
    assert set(known.parameters) - OURS == theirs


@pytest.mark.parametrize("name", OF_PYMC3)
def test_what_pymc3_requires_is_required(name: str) -> None:
    known = family(name)
    assert known is not None
    required = {n for group in known.required for alternative in group for n in alternative}
    for parameter in signature(name).values():
        if parameter.name in known.parameters and parameter.default is inspect.Parameter.empty:
            assert parameter.name in required, parameter.name


@pytest.mark.parametrize("name", OF_PYMC3)
def test_what_has_a_default_is_optional(name: str) -> None:
    known = family(name)
    assert known is not None
    required = {n for group in known.required for alternative in group for n in alternative}
    for parameter in signature(name).values():
        given = parameter.default not in (inspect.Parameter.empty, None)
        if parameter.name in known.parameters and given:
            assert parameter.name not in required, parameter.name


@pytest.mark.parametrize("name", OF_PYMC3)
def test_discrete_is_pymc3s_discrete(name: str) -> None:
    made = getattr(pm, name)
    known = family(name)
    assert known is not None
    if inspect.isclass(made) and issubclass(made, (Continuous, Discrete)):
        assert known.discrete == issubclass(made, Discrete)
