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
from bayesrun.models import declarative, regression
from bayesrun.models.regression.regression_spec import RegressionSpec

ROWS = 12
DAYS = np.datetime64("2024-11-01", "ns") + np.cumsum(1 + np.arange(ROWS) % 2) * np.timedelta64(1, "D")
RNG = np.random.default_rng(4)
DATA = xr.Dataset(
    {
        **{name: ("day", RNG.normal(size=ROWS)) for name in ("y", "x", "body mass", "class")},
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


def _declarative(text: str) -> str:
    spec = declarative.DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    return _told(declarative, spec)


def _glm(formula: str) -> str:
    spec = RegressionSpec.model_validate({"name": "m", "type": "glm", "formula": formula})
    return _told(regression.MODEL, spec)


def _told(model: Any, spec: Any) -> str:
    try:
        problems = model.static_check(spec) or model.check(DATA, spec)
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
    (_glm, "y ~ body mass", "y ~ `a name with blanks`", "y ~ `body mass`"),
    (_glm, "y ~ Q('body mass')", "in back-ticks: `body mass`", "y ~ `body mass`"),
    (_glm, "y ~ class", "in back-ticks: `class`", "y ~ `class`"),
    (_glm, "y ~ x^9", "I(x**2)", "y ~ I(x**2)"),
    (_glm, "y ~ 2 * x", "I(2 * x)", "y ~ I(2 * x)"),
    (_glm, "y ~ day", "days(day)", "y ~ days(day)"),
    (_glm, "y ~ day", "trend(day)", "y ~ trend(day)"),
    (_glm, "y ~ day", "C(weekday(day))", "y ~ C(weekday(day))"),
    (_glm, "y ~ x:(1 | g)", "y ~ x + (1 | g)", "y ~ x + (1 | g)"),
    (_glm, "y ~ I(g == 'z')", "allowed: a, b", "y ~ I(g == 'a')"),
]


@pytest.mark.parametrize(("read", "wrong", "remedy", "right"), REMEDIES, ids=[f"{r[1]}: {r[2]}" for r in REMEDIES])
def test_what_an_error_tells_to_write_is_right(read: Callable[[str], str], wrong: str, remedy: str, right: str) -> None:
    told = read(wrong)
    assert remedy in told, told
    assert remedy not in read(right) and read(right) == ""


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
