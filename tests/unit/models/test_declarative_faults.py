"""Wrong models in YAML: each gives one message that a user can act on, and none needs PyMC3."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.errors import Problem
from bayesrun.language.prior_checks import check_prior
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from bayesrun.schema import parse

GOOD = """
priors:
  mu: {dist: Normal, mu: 0, sigma: 5}
  tau: {dist: HalfCauchy, beta: 5}
  theta: {dist: Normal, mu: mu, sigma: tau, dims: [school]}
  s: {dist: HalfNormal, sigma: 1}
likelihood:
  y: {dist: Normal, mu: "theta[code]", sigma: s, observed: effect}
"""


def data() -> xr.Dataset:
    return xr.Dataset(
        {
            "effect": ("obs", np.arange(6.0)),
            "x": ("obs", np.linspace(0, 1, 6)),
            "gap": ("obs", np.array([1, np.nan, 3, 4, 5, 6.0])),
            "code": ("obs", np.array([0, 1, 2, 0, 1, 2])),
            "label": ("obs", np.array(list("abcabc"))),
            "n_half": ((), 3.0),
        },
        coords={"school": list("ABC")},
    )


def problems_of(text: str) -> list[Problem]:
    """Find the problems as the way of a run does: parse, priors, static check, check against the data."""
    raw = {"name": "m", "type": "declarative", **yaml.safe_load(text)}
    problems: list[Problem] = []
    spec = parse(DeclarativeSpec, raw, "model", problems)
    for name, prior in (raw.get("priors") or {}).items():
        problems += check_prior(f"model.priors.{name}", prior)
    if spec is not None:
        problems += static_check(spec)
    return problems or check(data(), spec)


def changed(**parts: str) -> str:
    """The good model with keys of its sections added or replaced, each as YAML."""
    model = yaml.safe_load(GOOD)
    for section, text in parts.items():
        model[section] = {**model.get(section, {}), **yaml.safe_load(text)}
    return yaml.safe_dump(model)


def test_the_good_model_is_good() -> None:
    assert problems_of(GOOD) == []


Y = "y: {dist: Normal, mu: '%s', sigma: s, observed: effect}"

# (model, key, words): the message must be at this key and hold these words
FAULTS: list[tuple[str, str, str]] = [
    ("priors: {}", "model.priors", "nothing to infer"),
    (GOOD + "likelihoods: {}", "model.likelihoods", "unknown key"),
    (changed(priors="mu: {dist: Normall, mu: 0}"), "model.priors.mu.dist", "unknown distribution"),
    (changed(priors="mu: {dist: Normal, mu: 0, sigma: -1}"), "model.priors.mu.sigma", "above 0"),
    (changed(priors="mu: {dist: Normal, mu: muu, sigma: 1}"), "model.priors.mu.mu", "unknown name 'muu'"),
    (changed(priors="mu: {dist: Normal, mu: mu, sigma: 1}"), "model.priors.mu", "defined by itself"),
    (
        changed(priors="{mu: {dist: Normal, mu: b, sigma: 1}, b: {dist: Normal, mu: 2 * mu, sigma: 1}}"),
        "model.priors.b",
        "b <- mu <- b",
    ),
    (
        changed(priors="mu: {dist: Normal, mu: d, sigma: 1}", deterministics="d: tau + theta[0]"),
        "model.priors.mu",
        "defined by each other",
    ),
    (changed(priors="effect: {dist: Flat}"), "model.priors.effect", "taken by the data"),
    (changed(priors="school: {dist: Flat}"), "model.priors.school", "taken by the data"),
    (changed(deterministics="mu: tau"), "model.deterministics.mu", "taken by model.priors.mu"),
    (changed(potentials="tau: mu"), "model.potentials.tau", "taken by model.priors.tau"),
    (changed(likelihood="tau: {dist: Flat, observed: x}"), "model.likelihood.tau", "taken by model.priors.tau"),
    (changed(likelihood="x: {dist: Flat, observed: effect}"), "model.likelihood.x", "taken by the data"),
    (changed(priors="a b: {dist: Flat}"), "model.priors.a b", "is not a valid name"),
    (changed(priors="draw: {dist: Flat}"), "model.priors.draw", "is not a valid name"),
    (changed(priors="a__b: {dist: Flat}"), "model.priors.a__b", "is not a valid name"),
    (
        changed(priors="{z: {dist: Normal, sigma: 1, parameterization: noncentered}, z_offset: {dist: Flat}}"),
        "model.priors.z_offset",
        "made by model.priors.z",
    ),
    (changed(priors="theta: {dist: Normal, mu: mu, sigma: tau, dims: [schol]}"), "model.priors.theta.dims", "schol"),
    (changed(priors="theta: {dist: Normal, mu: x, sigma: tau, dims: [school]}"), "model.priors.theta.mu", "(obs: 6)"),
    (changed(priors="theta: {dist: Normal, mu: [1, 2], sigma: 1, dims: [school]}"), "model.priors.theta.mu", "size 2"),
    (changed(priors="theta: {dist: Normal, sigma: 1, shape: 2}"), "model.likelihood.y.mu", "out of range"),
    (changed(priors="w: {dist: GaussianRandomWalk, sigma: 1}"), "model.priors.w", "needs dims or shape"),
    (changed(priors="c: {dist: MvNormal, mu: 0, cov: x}"), "model.priors.c.cov", "matrix"),
    (changed(likelihood=Y % "theta"), "model.likelihood.y.mu", "(school: 3), which does not fit dims (obs: 6)"),
    (changed(likelihood=Y % "theta + x"), "model.likelihood.y.mu", "dims (school) and (obs) clash"),
    (changed(likelihood=Y % "theta[x]"), "model.likelihood.y.mu", "whole numbers"),
    (changed(likelihood=Y % "theta[code + 1]"), "model.likelihood.y.mu", "out of range"),
    (changed(likelihood=Y % "label"), "model.likelihood.y.mu", "is not numeric"),
    (changed(likelihood=Y % "gap"), "model.likelihood.y", "predictor 'gap' has 1 missing"),
    (changed(likelihood=Y % "x.mean"), "model.likelihood.y.mu", "attribute"),
    (changed(likelihood=Y % "dot(x, theta)"), "model.likelihood.y.mu", "(obs) and (school)"),
    (changed(likelihood=Y % "theta[0"), "model.likelihood.y.mu", "not a valid expression"),
    (changed(likelihood="y: {dist: Normal, mu: mu, sigma: s}"), "model.likelihood.y.observed", "required"),
    (
        changed(likelihood="y: {dist: Normal, mu: mu, sigma: s, observed: [1]}"),
        "model.likelihood.y.observed",
        "name of",
    ),
    (changed(likelihood="y: {dist: Normal, mu: mu, sigma: s, observed: eff}"), "model.likelihood.y.observed", "'eff'"),
    (changed(likelihood="y: {dist: Normal, mu: mu, observed: effect}"), "model.likelihood.y", "needs sigma"),
    (
        changed(likelihood="y: {dist: Normal, mu: mu, sigma: s, observed: effect, initval: 1}"),
        "model.likelihood.y.initval",
        "does not apply",
    ),
    (
        changed(
            likelihood="y: {dist: Mixture, w: [0.5, 0.5], comp_dists: [{dist: Flat}, {dist: Flat}], observed: gap}"
        ),
        "model.likelihood.y",
        "can't be imputed",
    ),
    (changed(likelihood="y: 3"), "model.likelihood.y", "mapping"),
    (changed(deterministics="d: [1, 2]"), "model.deterministics.d.expr", "must be an expression"),
    (changed(deterministics="d: {dims: [school]}"), "model.deterministics.d.expr", "required"),
    (changed(deterministics="d: {expr: mu, dim: [school]}"), "model.deterministics.d.dim", "unknown key"),
    (changed(deterministics="d: {expr: mu, dims: [schol]}"), "model.deterministics.d.dims", "schol"),
    (changed(deterministics="d: {expr: x, dims: [school]}"), "model.deterministics.d.dims", "(obs: 6)"),
    (changed(deterministics="d: theta + x"), "model.deterministics.d", "clash"),
    (changed(deterministics="d: y"), "model.deterministics.d", "unknown name 'y'"),
    (changed(potentials="p: log(muu)"), "model.potentials.p", "unknown name 'muu'"),
    (changed(potentials="p: import os"), "model.potentials.p", "not a valid expression"),
]


@pytest.mark.parametrize(("text", "key", "words"), FAULTS, ids=[f"{k}: {w}" for _, k, w in FAULTS])
def test_fault(text: str, key: str, words: str) -> None:
    problems = problems_of(text)
    assert any(p.key == key and words in f"{p.message} {p.hint}" for p in problems), list(map(str, problems))


def test_faults_of_several_definitions_come_together() -> None:
    text = changed(priors="mu: {dist: Normal, mu: aa, sigma: 1}", deterministics="d: bb", potentials="p: cc")
    assert {p.key for p in problems_of(text)} == {"model.priors.mu.mu", "model.deterministics.d", "model.potentials.p"}


def test_what_follows_from_a_fault_is_not_reported_again() -> None:
    text = changed(priors="mu: {dist: Normal, mu: aa, sigma: 1}")
    assert [p.key for p in problems_of(text)] == ["model.priors.mu.mu"]


def test_the_check_against_data_does_not_import_pymc3() -> None:
    code = (
        "import runpy, sys\n"
        f"test = runpy.run_path({__file__!r})\n"
        "assert test['problems_of'](test['GOOD']) == []\n"
        "assert not {'pymc3', 'theano'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        (
            "{dist: OrderedLogistic, eta: mu, cutpoints: [-1, 0, 1, 2]}",
            "codes from 0 to 4, one for each of 5 categories",
        ),
        ("{dist: Categorical, p: [0.2, 0.2, 0.2, 0.2, 0.2]}", "codes from 0 to 4, one for each of 5 categories"),
        ("{dist: Binomial, n: 4, p: 0.5}", "counts from 0 to 4"),
        ("{dist: BetaBinomial, n: 'x * 0 + 4', alpha: 1, beta: tau}", "counts from 0 to 4"),
        ("{dist: DiscreteUniform, lower: 0, upper: 4}", "numbers from 0 to 4"),
    ],
)
def test_values_that_a_distribution_can_not_have_are_told_by_row(distribution, words):
    model = yaml.safe_load(changed(likelihood="{}"))
    body = {**yaml.safe_load(distribution), "observed": "effect"}
    model["likelihood"] = {"y": body}
    [problem] = problems_of(yaml.safe_dump(model))
    assert problem.key == "model.likelihood.y.observed"
    assert f"'effect' must be {words} (got 5.0 (obs 5))" in problem.message
    wider = yaml.safe_dump(body).replace("[-1, 0, 1, 2]", "[-1, 0, 1, 2, 3]").replace("n: 4", "n: 5")
    assert wider == yaml.safe_dump(body) or not problems_of(
        yaml.safe_dump({**model, "likelihood": {"y": yaml.safe_load(wider)}})
    )


def test_codes_that_count_from_1_are_told_how_to_count_from_0():
    model = yaml.safe_load(changed(likelihood="{}"))
    model["likelihood"] = {"y": {"dist": "OrderedLogistic", "eta": "mu", "cutpoints": [-1, 1], "observed": "three"}}
    rows = data().assign(three=("obs", [1, 2, 3, 1, 2, 3]))
    spec = parse(DeclarativeSpec, {"name": "m", "type": "declarative", **model}, "model", [])
    [problem] = check(rows, spec)
    assert "must be codes from 0 to 2" in problem.message
    assert "(got 3, 3 (obs 2, 5))" in problem.message
    assert problem.hint == "codes count from 0: data.derive: {three_0: 'three - 1'}"


WALK = """
name: m
type: declarative
priors:
  s: {dist: HalfNormal, sigma: 1}
  z: {dist: GaussianRandomWalk, sigma: s, dims: [ts]}
likelihood:
  y: {dist: Normal, mu: z, sigma: 1, observed: effect}
"""


# (days of the rows, what the prior adds, words of the fault and its remedy; nothing where it is right)
WALKS = [
    ([1, 2, 3], {}, "", ""),
    ([3, 1, 2], {}, "not in the order of 'ts'", "sort the rows of the file by ts"),
    ([1, 2, 5], {}, "1 to 3 days apart by 'ts'", "write steps: days(ts) for a variance in proportion"),
    ([1, 2, 5], {}, "1 to 3 days apart by 'ts'", "steps: arange(n_ts) counts each row as one step"),
    ([1, 2, 5], {"steps": "days(ts)"}, "", ""),
    ([1, 2, 5], {"steps": "days(ts)", "parameterization": "whitened"}, "", ""),
    ([1, 2, 5], {"steps": "days(ts)", "parameterization": "noncentered"}, "", ""),
    ([1, 2, 5], {"steps": "arange(n_ts)"}, "", ""),
    ([1, 2, 5], {"steps": "diff(ts)"}, "", ""),
    ([1, 2, 5], {"steps": "ts"}, "contains dates", "use days(date)"),
    ([1, 2, 5], {"steps": "effect"}, "times must increase", "step[1:]"),
    ([1, 2, 5], {"steps": "s"}, "must be known beforehand", ""),
    ([1, 2, 5], {"dims": ["ts", "g"]}, "it goes along 'g', but 'ts' holds dates", "write dims: [g, ts]"),
    ([1, 2, 5], {"dist": "AR", "rho": 0.5}, "1 to 3 days apart", "add a row for each time that is left out"),
    ([1, 2, 5], {"dist": "AR", "rho": 0.5, "steps": "days(ts)"}, "AR needs equal steps", "steps: arange(n_ts)"),
    ([1, 2, 5], {"dist": "AR", "rho": 0.5, "steps": "arange(n_ts)"}, "", ""),
    ([1, 2, 3], {"dist": "AR", "rho": 0.5, "dims": ["g", "ts"]}, "AR is a single series", "one of them for each"),
]


@pytest.mark.parametrize(("days", "own", "message", "hint"), WALKS)
def test_a_series_over_dates_knows_them(days: list[int], own: dict[str, Any], message: str, hint: str) -> None:
    dates = np.array([f"2024-11-0{day}" for day in days], dtype="datetime64[ns]")
    series = xr.Dataset({"effect": ("ts", [0.0, 3.0, 1.0])}, coords={"ts": dates, "g": ["a", "b"]})
    model = yaml.safe_load(WALK)
    model["priors"]["z"] |= own
    if len(own.get("dims", [])) > 1:
        model["likelihood"]["y"]["mu"] = "s"
    spec = parse(DeclarativeSpec, model, "model", [])
    found = check(series, spec)
    assert bool(found) == bool(message), found
    assert all(message in problem.message and hint in problem.hint for problem in found), found
    assert all(problem.key.startswith("model.priors.z") for problem in found)
