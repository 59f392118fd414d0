"""Remedies in error messages work: following one makes the model valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.engines.pymc3.build import build
from bayesrun.errors import UserError
from bayesrun.language.prior_checks import check_prior
from bayesrun.models import declarative, regression
from bayesrun.models.regression.regression_spec import RegressionSpec

ROWS = 12
DAYS = np.datetime64("2024-11-01", "ns") + np.cumsum(1 + np.arange(ROWS) % 2) * np.timedelta64(1, "D")
RNG = np.random.default_rng(4)
ODD = ("sd_g", "sd_of_g", "sigma", "sd", "cor")
DATA = xr.Dataset(
    {
        **{name: ("day", RNG.normal(size=ROWS)) for name in ("y", "x", "body mass", "class", *ODD)},
        "gap": ("day", np.where(np.arange(ROWS) % 2, 1.0, 2.0)),
        "hole": ("day", np.where(np.arange(ROWS) == 3, np.nan, 1.0 + np.arange(ROWS))),
        "k": ("day", np.arange(ROWS) % 3),
        "g": ("day", np.array(["a", "b"] * (ROWS // 2), dtype=object)),
    },
    coords={"day": DAYS, "store": ["u", "v"]},
).assign_attrs(dim="day")

OBSERVED = "likelihood: {o: {dist: Normal, mu: z, sigma: 1, observed: y}}"
WALK = "{priors: {z: {dist: GaussianRandomWalk, sigma: 1, %s}}, " + OBSERVED + "}"
AR = "{priors: {r: {dist: Normal, mu: 0, sigma: 1}}, likelihood: {o: {dist: AR, rho: r, sigma: 1, observed: y%s}}}"
PLAIN = "{priors: {a: {dist: Normal, mu: 0, sigma: 1}}, likelihood: {o: {%s}}}"

PRIOR = "{priors: {w: {dist: Normal, mu: 0, sigma: 1}, z: {%s}}, " + OBSERVED.replace("mu: z", "mu: w") + "}"


def _declarative(text: str) -> str:
    spec = declarative.DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    return _told(declarative, spec)


def _glm(formula: str) -> str:
    spec = RegressionSpec.model_validate({"name": "m", "type": "glm", "formula": formula})
    return _told(regression.MODEL, spec)


def _told(model: Any, spec: Any) -> str:
    given = spec.priors if model is declarative else {}
    try:
        problems = [p for name, prior in given.items() for p in check_prior(f"model.priors.{name}", prior)]
        problems = problems or model.static_check(spec) or model.check(DATA, spec)
        if not problems and model is declarative:
            build(model.build(DATA, spec))
    except UserError as error:
        problems = list(error.problems)
    return "\n".join(map(str, problems))


# (what reads it, what is wrong, the remedy as the message writes it, what is written then)
REMEDIES: list[tuple[Callable[[str], str], str, str, str]] = [
    (_declarative, WALK % "dims: [day]", "steps: days(day)", WALK % "dims: [day], steps: days(day)"),
    (_declarative, WALK % "dims: [day]", "steps: arange(n_day)", WALK % "dims: [day], steps: arange(n_day)"),
    (_declarative, AR % "", "steps: arange(n_day)", AR % ", steps: arange(n_day)"),
    (_declarative, AR % ", steps: days(day)", "steps: arange(n_day)", AR % ", steps: arange(n_day)"),
    (_declarative, WALK % "dims: [day], steps: gap", "steps: step[1:]", WALK % "dims: [day], steps: 'gap[1:]'"),
    (_declarative, WALK % "dims: [day], steps: day", "days(date)", WALK % "dims: [day], steps: days(day)"),
    (
        _declarative,
        (WALK % "dims: [day, store], steps: arange(n_day)").replace("mu: z", "mu: 'z[:, 0]'"),
        "write dims: [store, day]",
        (WALK % "dims: [store, day], steps: arange(n_day)").replace("mu: z", "mu: 'z[0]'"),
    ),
    (
        _declarative,
        PLAIN % "dist: Binomial, n: 3, logit_p: a, observed: k",
        "use 'p': sigmoid(...)",
        PLAIN % "dist: Binomial, n: 3, p: sigmoid(a), observed: k",
    ),
    (
        _declarative,
        PLAIN % "dist: Poisson, log_mu: a, observed: k",
        "use 'mu': exp(...)",
        PLAIN % "dist: Poisson, mu: exp(a), observed: k",
    ),
    (
        _declarative,
        PLAIN % "dist: Normal, mu: a * body mass, sigma: 1, observed: y",
        "in back-ticks: `body mass`",
        PLAIN % "dist: Normal, mu: a * `body mass`, sigma: 1, observed: y",
    ),
    (
        _declarative,
        PLAIN % "dist: Normal, mu: a * hole, sigma: 1, observed: y",
        "give it a likelihood: hole: {dist: ..., observed: hole}",
        (PLAIN % "dist: Normal, mu: a * hole, sigma: 1, observed: y").replace(
            "likelihood: {", "likelihood: {hole: {dist: Normal, mu: 0, sigma: 9, observed: hole}, "
        ),
    ),
    (
        _declarative,
        PLAIN % "dist: Normal, mu: a, sd: 1, observed: y",
        "use 'sigma'",
        PLAIN % "dist: Normal, mu: a, sigma: 1, observed: y",
    ),
    *(
        (_declarative, PRIOR % wrong, remedy, PRIOR % right)
        for wrong, remedy, right in [
            ("mu: 0, sigma: 1", "name a distribution, such as dist: Normal", "dist: Normal, mu: 0, sigma: 1"),
            ("dist: Normal, mu: 0", "add what is missing", "dist: Normal, mu: 0, sigma: 1"),
            ("dist: Beta, alpha: 2", "Beta needs", "dist: Beta, alpha: 2, beta: 3"),
            (
                "dist: Beta, alpha: 2, beta: 3, mu: 0.5, sigma: 0.1",
                "remove one of them",
                "dist: Beta, mu: 0.5, sigma: 0.1",
            ),
            (
                "dist: Normal, mu: 0, sigma: 1, dims: [store], shape: 2",
                "keep one of them",
                "dist: Normal, mu: 0, sigma: 1, shape: 2",
            ),
            (
                "dist: Normal, mu: 0, sigma: 1, shape: day",
                "use dims for named axes",
                "dist: Normal, mu: 0, sigma: 1, dims: [day]",
            ),
            (
                "dist: Normal, mu: 0, sigma: 1, dims: [shop]",
                "allowed: day, store",
                "dist: Normal, mu: 0, sigma: 1, dims: [store]",
            ),
            (
                "dist: Normal, mu: 0, sigma: 1, transform: ordered",
                "write shape: 2, or dims",
                "dist: Normal, mu: 0, sigma: 1, transform: ordered, shape: 2",
            ),
            ("dist: Dirichlet, a: [1, 1], transform: ordered", "remove transform", "dist: Dirichlet, a: [1, 1]"),
            ("dist: Poisson, mu: 1, transform: log", "remove it", "dist: Poisson, mu: 1"),
            (
                "dist: Poisson, mu: 1, parameterization: noncentered",
                "noncentered is possible for CAR, Cauchy",
                "dist: Cauchy, alpha: 0, beta: 1, parameterization: noncentered",
            ),
            ("dist: Normal, mu: 0, sigma: 1, parameterization: whitened", "remove it", "dist: Normal, mu: 0, sigma: 1"),
            (
                "dist: GaussianRandomWalk, sigma: 1",
                "write dims: [year] or shape: 10",
                "dist: GaussianRandomWalk, sigma: 1, shape: 10",
            ),
            (
                "dist: GaussianRandomWalk, sigma: 1, shape: [2, 5], parameterization: whitened",
                "use centered",
                "dist: GaussianRandomWalk, sigma: 1, shape: [2, 5], parameterization: centered",
            ),
            (
                "dist: Mixture, w: [1], comp_dists: {dist: Normal}",
                "write [{dist: ...}, ...]",
                "dist: Mixture, w: [0.5, 0.5], comp_dists: [{dist: Poisson, mu: 1}, {dist: Poisson, mu: 5}]",
            ),
            (
                "dist: Normal, mu: 0, sigma: 1, initval: w",
                "write a number or use data",
                "dist: Normal, mu: 0, sigma: 1, initval: 'x[0]'",
            ),
            ("dist: Normal, mu: '', sigma: 1", "write a number or a formula", "dist: Normal, mu: 0, sigma: 1"),
            (
                "dist: Normal, mu: day, sigma: 1, dims: [day]",
                "days(date)",
                "dist: Normal, mu: days(day), sigma: 1, dims: [day]",
            ),
        ]
    ),
    *(
        (
            _declarative,
            PLAIN % f"dist: Poisson, mu: exp(a), observed: k, {wrong}",
            remedy,
            PLAIN % f"dist: Poisson, mu: exp(a), observed: k, {right}",
        )
        for wrong, remedy, right in [
            ("upper: 9", "write truncated: {lower: , upper: }", "truncated: {lower: -1, upper: 9}"),
            ("weights: a", "give numbers or data", "weights: gap"),
            ("truncated: {up: 9}", "did you mean 'upper'", "truncated: {upper: 9}"),
            ("censored: {status: k, lower: 0}", "can't be given together", "censored: {lower: 0}"),
        ]
    ),
    (_glm, "y ~ body mass", "y ~ `a name with spaces`", "y ~ `body mass`"),
    (_glm, "y ~ Q('body mass')", "in back-ticks: `body mass`", "y ~ `body mass`"),
    (_glm, "y ~ class", "in back-ticks: `class`", "y ~ `class`"),
    (_glm, "y ~ x^9", "I(x**2)", "y ~ I(x**2)"),
    (_glm, "y ~ 2 * x", "I(2 * x)", "y ~ I(2 * x)"),
    (_glm, "y ~ day", "days(day)", "y ~ days(day)"),
    (_glm, "y ~ day", "trend(day)", "y ~ trend(day)"),
    (_glm, "y ~ day", "C(weekday(day))", "y ~ C(weekday(day))"),
    *(
        (_glm, f"y ~ {wrong}{group}", f"write {right}", f"y ~ {right}{group}")
        for group in ("", " + (1 | g)")
        for wrong, right in [
            ("cr(x, df=4)", "cr(x, df=4, constraints='center')"),
            ("cc(I(x + sd_of_g), df=3)", "cc(I(x + sd_of_g), df=3, constraints='center')"),
        ]
    ),
    (_glm, "y ~ x:(1 | g)", "y ~ x + (1 | g)", "y ~ x + (1 | g)"),
    (_glm, "y ~ I(g == 'z')", "allowed: a, b", "y ~ I(g == 'a')"),
    (_glm, "y ~ sd_g + (1 | g)", "rename the column by data.columns", "y ~ sd_of_g + (1 | g)"),
]


@pytest.mark.parametrize(("read", "wrong", "remedy", "right"), REMEDIES, ids=[f"{r[1]}: {r[2]}" for r in REMEDIES])
def test_what_an_error_tells_to_write_is_right(read: Callable[[str], str], wrong: str, remedy: str, right: str) -> None:
    told = read(wrong)
    assert remedy in told, told
    assert remedy not in read(right) and read(right) == ""


def test_columns_called_as_parts_of_a_regression_are_terms() -> None:
    assert _glm("y ~ sigma + sd + cor + (1 | g)") == ""


def test_a_dim_that_is_called_as_the_axes_of_draws_is_refused_and_the_remedy_works() -> None:
    text = PLAIN.replace("sigma: 1}}", "sigma: 1, dims: [DIM]}}") % "dist: Normal, mu: 'a[i]', sigma: 1, observed: y"
    for dim, right in (("draw", False), ("draw_label", True)):
        body = yaml.safe_load(text.replace("DIM", dim))
        spec = declarative.DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **body})
        rows = DATA[["y"]].assign(i=("day", np.arange(ROWS) % 2)).assign_coords({dim: ["a", "b"]})
        declared = declarative.build(rows.assign_attrs(dim="day"), spec)
        if right:
            assert build(declared)
            continue
        with pytest.raises(UserError, match=r"a dim can't be called 'draw'.*\n.*draw_label: draw"):
            build(declared)
