"""What users of R, lme4, brms and Bambi write: it works, or the message says what to write in its place."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayesrun.language.formulas import plain
from bayesrun.language.spellings import respelled
from bayesrun.models import regression
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec

ROWS = 48
RNG = np.random.default_rng(4)


def data() -> xr.Dataset:
    columns = {
        "y": RNG.normal(2, 1, size=ROWS),
        "x": RNG.uniform(1, 3, ROWS),
        "z": RNG.uniform(1, 3, ROWS),
        "w": RNG.uniform(1, 2, ROWS),
        "n": np.full(ROWS, 9),
        "k": RNG.integers(0, 9, ROWS),
        "c": RNG.integers(0, 2, ROWS),
        "f": np.tile([1, 2, 3, 4], ROWS // 4),
        "g": np.tile(list("abcd"), ROWS // 4),
        "h": np.repeat(list("uvw"), ROWS // 3),
        "x.1": RNG.normal(size=ROWS),
        "w.1": RNG.uniform(1, 2, ROWS),
        "n.1": np.full(ROWS, 9),
    }
    made = xr.Dataset({name: ("obs", values) for name, values in columns.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: str) -> RegressionSpec:
    family = "binomial" if formula.startswith(("cbind(k", "k |", "k/n")) else "normal"
    return RegressionSpec.model_validate({"name": "m", "type": "regression", "formula": formula, "family": family})


WORKS = (
    *("y ~ x + I(x^2)", "y ~ (x + z)^2", "y ~ poly(x, 2)", "y ~ poly(x, 2, raw=TRUE)", "y ~ stats::poly(x, 2)"),
    *("y ~ factor(f)", "y ~ as.factor(f)", "y ~ C(f)", "y ~ log1p(x)", "y ~ scale(x)", "y ~ x %in% g", "y ~ `x.1`"),
    *(
        "y ~ bs(x, df = 5)",
        "y ~ cr(x, df=3, constraints='center')",
        "y ~ cc(x, df=4, constraints='center')",
        "y ~ I(x > 2)",
        'y ~ C(g, Treatment("b"))',
        "y ~ x/g",
        "y ~ x*z*h",
    ),
    *("y ~ x - 1", "y ~ 0 + x", "y ~ x + 0", "y ~ 1", "log(y) ~ log(x)", "y ~ z + offset(log(x))"),
    *("y ~ (0 + x | g)", "y ~ (-1 + x | g)", "y ~ (x - 1 | g)", "y ~ (x | g + h)", "y ~ (1 | g/h)", "y ~ (1 | g:h)"),
    *(
        "y ~ (1 | gr(g))",
        "y ~ (x | gr(g, cor = FALSE))",
        "y ~ (x | gr(g, id = p, cor = F)) + (z | gr(g, cor = TRUE, id = 'q'))",
        "y ~ cs(x, df=4, constraints='center')",
        "y ~ (x | 2 | g) + (1 | h)",
        "y ~ bs(x, knots = c(1.5, 2))",
        "y ~ (1 | f)",
        "y ~ (x || g)",
        "y ~ ((1 | g))",
        "y ~ (1 | g) + (0 + x | g)",
        "y ~ (I(x^2) | g)",
    ),
    *("cbind(k, n - k) ~ x", "k | trials(n) ~ x", "k | resp_trials(n) ~ x + (1 | g)", "k | trials(9) ~ x"),
    *("y ~ x.1 * g + (x.1 | g)", "y ~ log(w.1) + s(x.1)", "k | trials(n.1) ~ offset(w.1)", "log(w.1) ~ x"),
    *("y | weights(w) ~ x", "y | resp_weights(w) ~ x", "y | cens(c) ~ x", "y | resp_cens(c) ~ x", "y | se(w) ~ x"),
)
# a formula, and what the message says to write, or what it says is wrong
ANSWERED = {
    "y ~ x | g": "(x | g)",
    "y ~ x^2 | g": "needs parentheses",
    "y ~ ns(x, 3)": "cr(x, df=3, ",
    "y ~ splines::ns(x, 3)": "cr(x, df=3, ",
    "y ~ ordered(f)": "C(f, Poly)",
    "y ~ as.numeric(f)": "the column itself",
    "y ~ ifelse(x > 2, 1, 0)": "I(x > 2)",
    "y ~ x > 2": "I(x > 2)",
    "y ~ interaction(g, h)": "g:h",
    'y ~ relevel(g, ref = "b")': 'C(g, Treatment("b"))',
    "y ~ scale(x, scale = FALSE)": "center(x)",
    "y ~ Q('x.1')": "`x.1`",
    "y ~ np.log(x)": "bare names",
    "y ~ data$x": "the name of the column alone",
    "y ~ .": "name the columns",
    "y ~ 0 + Intercept + x": "without being named",
    "y ~ x + # the slope": "contain a comment",
    "y ~ me(x, z)": "declarative model",
    "y ~ ar(f, gr = g)": "correlated residuals",
    "y ~ cse(x)": "categorical",
    "y ~ cs(x)": "cr(x, df=4",
    "y ~ z:cs(x) + (1 | g)": "cr(x, df=4",
    "y ~ (cs(1) | g)": "cr(x, df=4",
    "y ~ (mo(f) | g)": "(x | g)",
    "y ~ (1 | gr(g, by = h))": "write (0 + h || g)",
    "y ~ (x | gr(g, by = h))": "declarative model",
    "y ~ (1 | gr(g, dist = 'student'))": "declarative model",
    "y ~ (x | gr(g, cor = A))": "declarative model",
    "y ~ (mmc(x, z) | mm(g, h))": "(x | mm(a, b))",
    "y ~ mmc(x, z)": "several memberships",
    "y ~ (me(x, z) | g)": "measurement error",
    "y ~ ar(p = 1) + x": "correlated residuals",
    "y ~ log(x, 2)": "log2(x)",
    "y ~ log(x, base = 10)": "log10(x)",
    "y ~ inv_logit(x)": "data.derive",
    "y ~ x, family = poisson": "keys of their own",
    "y ~ x, sigma ~ z": "sigma: '~ z'",
    "y ~ x + lf(sigma ~ z)": "sigma: '~ z'",
    "bf(y ~ b * x, b ~ 1, nl = TRUE)": "declarative model",
    "y | cens(c) | weights(w) ~ x": "join additions by +",
    "cbind(y, z) ~ x + (1 | g)": "mvbind(y, z)",
    "y ~ (1 | factor(f))": "the column itself",
    "y ~ (x | a b | g)": "the id between two bars is a word or a number",
    "y ~ (1 | gr(g, cov = A))": "declarative model",
    "y ~ (1 | g * h)": "(1 | g) + (1 | h) + (1 | g:h)",
    "bf(y ~ x) + bf(z ~ w)": "responses: {y: y ~ x",
    "mvbind(y, z) ~ x + set_rescor(TRUE)": "options: {rescor: true}",
    "y ~ a * exp(b * x), a + b ~ 1, nl = TRUE": "declarative model",
    "censored(y, c) ~ x": "y | cens(status)",
    "truncated(y, lb=0) ~ x": "y | trunc(lb = 0",
    "weighted(y, w) ~ x": "y | weights(w)",
    "Surv(y, c) ~ x": "time | cens(c)",
    "c(k, n) ~ x": "cbind(a, b, c)",
    "y['a'] ~ x": "write y == 'a' ~ x",
    "g[b] ~ x": "write g == 'b' ~ x",
    "I(y / 2) ~ x": "y / 2 ~ x",
    "scale(y) ~ x": "zscore(y) ~ x",
    "y | weights(w, scale = TRUE) ~ x": "w / mean(w)",
    "y | mi(w) ~ x": "se(s, sigma = TRUE)",
    "y ~ contrasts(g)": "C(g, Sum)",
    "y ~ contr.sum(g)": "C(g, Sum)",
    "y ~ as.integer(f)": "the column itself",
    "y ~ monotonic(f)": "mo(x)",
    "y ~ re(g)": "(1 | g)",
    "y ~ s(g, bs = 're')": "(1 | g)",
    "y ~ s(x, g, bs = 'fs')": "s(x, by = g)",
    "y ~ s(x, bs = 'cc')": "cc(x, df=8",
    "y ~ rcs(x, 4)": "cr(x, df=4",
    "y ~ te(x, z)": "t2(x, z)",
    "y ~ (x | g * 2)": "a grouping names columns",
    "y ~ us(x | g)": "write (x | g)",
    "y ~ diag(x | g)": "write (x || g)",
    "y ~ (1 | g) * x": "a term of its own",
    "y ~ (1 | g) + (1 | g)": "twice",
    "y ~ (1 | g": "is not closed: '(1 | g'",
    "y ~ x + z)": "closes nothing: 'y ~ x + z)'",
    "y ~ (1 ∣ g)": "write | in its place",
    "y ~ x – z": "write - in its place",
    "y ∼ x": "write ~ in its place",
    "y ~ x × z": "write * in its place",
    "bf(y ~ x, sigma ~ z)": "sigma: '~ z'",
    "brm(y ~ x)": "formulas by parameter",
    "y <- x": "one '~'",
    "~ x": "both sides",
    "y ~": "both sides",
    "y | rate(n) ~ x": "offset(log(n))",
    "y | thres(3) ~ x": "data.levels",
    "y | subset(c) ~ x": "drop the rows",
    "y | wieghts(w) ~ x": "did you mean 'weights'",
    "k/n ~ x": "trials",
}


@pytest.mark.parametrize("formula", WORKS)
def test_spellings_of_others_work(formula: str) -> None:
    this = spec(formula)
    assert not regression.MODEL.static_check(this)
    assert not regression.MODEL.check(data(), this)


@pytest.mark.parametrize("formula", ANSWERED)
def test_the_others_are_answered(formula: str) -> None:
    this = spec(formula)
    problems = regression.MODEL.static_check(this) or regression.MODEL.check(data(), this)
    assert problems and all(problem.key == "model.formula" for problem in problems)
    assert ANSWERED[formula] in "\n".join(map(str, problems))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("w.1 ~ x.1:g + (x.1 | g)", "`w.1` ~ `x.1`:g + (`x.1` | g)"),
        ("y ~ I(x^2) + (I(x^2) | g)", "y ~ I(x**2) + (I(x**2) | g)"),
        ("y ~ (x | gr(g, cor=FALSE))", "y ~ (x || g)"),
        ("y ~ (x | gr(g, id = 'p', cor = TRUE))", "y ~ (x | p | g)"),
        ("y ~ C(g, contr.sum)", "y ~ C(g, Sum)"),
        ("y ~ (x | 2 | g)", "y ~ (x | g)"),
        ("y ~ as.factor(f) + (1 | gr(g))", "y ~ factor(f) + (1 | g)"),
        ("y ~ poly(x, 2, raw=TRUE) + (1 | g)", "y ~ poly(x, 2, raw=True) + (1 | g)"),
        ("y | resp_weights(w) ~ x + (1 | g)", "y | weights(w) ~ x + (1 | g)"),
    ],
)
def test_a_spelling_that_works_means_the_same(theirs: str, ours: str) -> None:
    rows = data()
    first, second = expansion_of(rows, spec(theirs)), expansion_of(rows, spec(ours))
    assert first.model == second.model and first.columns.identical(second.columns)


def test_a_factor_has_the_columns_of_a_category() -> None:
    rows = data()
    columns = [
        expansion_of(rows, spec(f"y ~ {call} + (1 | g)")).columns["design"].values for call in ("factor(f)", "C(f)")
    ]
    np.testing.assert_array_equal(*columns)


def test_texts_in_quotes_stay() -> None:
    assert respelled("""I(g == 'a^b') + x^2 + C(g, levels=["as.factor(b)"])""") == (
        """I(g == 'a^b') + x**2 + C(g, levels=["as.factor(b)"])"""
    )


def test_a_prior_may_name_a_term_as_r_spells_it() -> None:
    assert plain("I(x^2)") == plain("I(x ** 2)") and plain("as.factor(f)") == plain("factor(f)")
