"""A second engine, of NumPy and SciPy alone, gives every shipped model the log density that PyMC3 gives it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import yaml
from pymc3.util import get_untransformed_name, is_transformed_name

from bayesrun.engines.pymc3.build import build
from bayesrun.language.declaration import Declaration, Likelihood, Potential, Random
from bayesrun.models.declarative import DeclarativeSpec
from bayesrun.models.declarative import build as declare_yaml
from bayesrun.pipeline import load_data
from tests.composing import parsed
from tests.conftest import ROOT
from tests.contract.numpy_engine.engine import log_densities
from tests.contract.test_language_docs import EXAMPLES, data_of
from tests.contract.test_language_docs import data as example_data

MODELS = sorted(
    str(path.relative_to(ROOT / "conf" / "model").with_suffix("")) for path in (ROOT / "conf" / "model").rglob("*.yaml")
)
COUNTS = ("data=mining_disasters", "data.drop_missing=rows")
VARIANTS = [
    ("model=switchpoint", "model.options.form=compound"),
    ("model=stochastic_volatility", "model.options.form=centered"),
    ("model=glm", "model.options.form=direct"),
    ("model=glm", "model.family=student"),
    ("model=glm", "model.options.link=log", "model.formula='exp(Y) ~ X1 + X2'"),
    ("model=glm_logistic", "model.options.link=probit"),
    ("model=glm_logistic", "model.options.link=cloglog"),
    ("model=glm", "model.family=poisson", "model.formula='disasters ~ bs(year, df=4)'", *COUNTS),
    ("model=glm", "model.family=poisson", "model.formula='disasters ~ year'", "data=mining_disasters"),
    ("model=glm", "model.family=negative_binomial", "model.formula='disasters ~ year'", *COUNTS),
    ("model=arbitrary_deterministic", "+data={name: o, source: inline, values: {b: [1, 1, 1]}}"),
]
POINTS = 3


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_model(model: str) -> None:
    _agrees(*_composed(f"model={model}"))


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_a_variant_of_a_shipped_model(overrides: tuple[str, ...]) -> None:
    _agrees(*_composed(*overrides))


@pytest.mark.parametrize("raw", EXAMPLES, ids=lambda raw: raw["name"])
def test_an_example_of_the_docs(raw: dict[str, Any]) -> None:
    _agrees(declare_yaml(data_of(raw), DeclarativeSpec.model_validate(raw)))


def test_truncation_mixtures_and_potentials() -> None:
    spec = yaml.safe_load("""
    name: m
    type: declarative
    priors:
      a: {dist: Normal, mu: 1, sigma: 3, lower: 0.5, upper: 9}
      b: {dist: Cauchy, alpha: 0, beta: 5, lower: 0}
      p: {dist: Beta, alpha: 2, beta: 2}
    potentials: {extra: "-a * b"}
    likelihood:
      county: {dist: Mixture, w: "stack(p, 1 - p)", observed: county,
               comp_dists: [{dist: Poisson, mu: a}, {dist: NegativeBinomial, mu: a + b, alpha: 2}]}
    """)
    _agrees(declare_yaml(example_data(), DeclarativeSpec.model_validate(spec)))


def test_the_engine_imports_neither_pymc3_nor_theano() -> None:
    code = "import sys, tests.contract.numpy_engine.engine; print({'pymc3', 'theano'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def _composed(*overrides: str) -> tuple[Declaration, ...]:
    """Declare a model, and the one that it reports as."""
    config = parsed(*overrides)
    declared = config.model_type.build(load_data(config)[0], config.model)
    return (declared,) if declared.reported is None else (declared, declared.reported)


def _agrees(*declarations: Declaration) -> None:
    rng = np.random.default_rng(11)
    for declared in declarations:
        model = build(declared)
        items = {item.name: item for item in declared.items if isinstance(item, Random | Likelihood | Potential)}
        variables = _variables(declared, model)
        evaluated = model.fn([*variables.values(), *(_term(model, name) for name in items)])
        for _ in range(POINTS):
            made = _finite(evaluated, model, rng)
            found = log_densities(declared, dict(zip(variables, made, strict=False)))
            assert list(found) == list(items)
            for item, wanted in zip(items.values(), made[len(variables) :], strict=True):
                own = _of_pymc3(item)
                exact = float(np.sum(wanted)) - own.offset
                assert found[item.name] == pytest.approx(exact, own.rel, own.rel), item.name


@dataclass(frozen=True)
class _Inexact:
    """What PyMC3 computes in single precision, whatever the precision of its parameters."""

    offset: float = 0.0
    rel: float = 1e-10


def _of_pymc3(item: Random | Likelihood | Potential) -> _Inexact:
    if isinstance(item, Potential):
        return _Inexact()
    scales = item.plan.inner.get("sd_dist", item.plan)
    if scales.family.name in ("HalfCauchy", "HalfStudentT"):  # log(2) in the constant of each scale
        count = 1 if scales is item.plan else int(item.plan.values["n"].known)
        return _Inexact(count * (float(np.float32(np.log(2))) - np.log(2)))
    # sqrt(2) in the cumulative distribution that it is divided by
    return _Inexact(rel=1e-7) if item.plan.truncated else _Inexact()


def _variables(declared: Declaration, model: pm.Model) -> dict[str, Any]:
    """Return the variables of a point on their own scale, missing values among them; whole factors for LKJ."""
    found = {v.name: v for v in model.unobserved_RVs if not is_transformed_name(v.name)}
    for item in declared.items:
        if isinstance(item, Random) and item.plan.family.name == "LKJCholeskyCov":
            size = int(item.plan.values["n"].known)
            found[item.name] = pm.expand_packed_triangular(size, found[item.name], lower=True)
    return found


def _term(model: pm.Model, name: str) -> Any:
    by_name = {get_untransformed_name(v.name) if is_transformed_name(v.name) else v.name: v for v in model.basic_RVs}
    if name in by_name:
        return by_name[name].logp_nojact
    return next(potential for potential in model.potentials if potential.name == name)


def _finite(evaluated: Any, model: pm.Model, rng: np.random.Generator) -> list[Any]:
    """Evaluate a point near the initial one where all terms are finite; whole numbers stay."""
    start = {v.name: np.asarray(v.tag.test_value) for v in model.free_RVs}
    for scale in (0.3, 0.03, 1e-4):
        near = {n: x + scale * rng.normal(size=x.shape) if x.dtype.kind == "f" else x for n, x in start.items()}
        made: list[Any] = evaluated(near)
        if all(np.isfinite(values).all() for values in made):
            return made
    raise AssertionError("no point near the initial one has a finite density")
