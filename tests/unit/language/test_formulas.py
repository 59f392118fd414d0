"""Formulas name their terms, give the columns that R gives, and run nobody's code."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrun.errors import UserError
from bayesrun.language import formula_grammar as grammar
from bayesrun.language.formula_grammar import formula_functions as functions
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import design, parse, plain

ROWS = 24
RNG = np.random.default_rng(3)
DATA = {
    "y": RNG.normal(size=ROWS),
    "x": RNG.normal(size=ROWS),
    "z": RNG.uniform(1, 3, size=ROWS),
    "g": np.array(list("abcd") * 6),
    "h": np.array(["on", "off", "off"] * 8),
}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("y ~ 1", ["Intercept"]),
        ("y ~ x + z", ["Intercept", "x", "z"]),
        ("y ~ 0 + g", ["g"]),
        ("y ~ x - 1", ["x"]),
        ("y ~ x * C(g)", ["Intercept", "x", "C(g)", "x:C(g)"]),
        ("y ~ (x + z + g)**2 - x:z", ["Intercept", "x", "z", "g", "x:g", "z:g"]),
        ("y ~ log(z) + I( x**2 )", ["Intercept", "log(z)", "I( x**2 )"]),
        ("y ~ I(x/z)", ["Intercept", "I(x÷z)"]),
        ("log(y) ~ poly(x, 2)", ["Intercept", "poly(x, 2)"]),
    ],
)
def test_terms_bear_the_names_that_the_user_wrote(text: str, terms: list[str]) -> None:
    assert list(parse(text, "model.formula").terms) == terms


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("y ~ g", ["Intercept", "g[b]", "g[c]", "g[d]"]),
        ("y ~ 0 + g", ["g[a]", "g[b]", "g[c]", "g[d]"]),
        ("y ~ x:h", ["Intercept", "x:h[off]", "x:h[on]"]),
        ("y ~ g * h", ["Intercept", "g[b]", "g[c]", "g[d]", "h[on]", "g:h[b:on]", "g:h[c:on]", "g:h[d:on]"]),
        ("y ~ C(g, Treatment('c'))", [
            "Intercept", "C(g, Treatment('c'))[a]", "C(g, Treatment('c'))[b]", "C(g, Treatment('c'))[d]"]),
        ("y ~ poly(x, 2)", ["Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]"]),
    ],
)  # fmt: skip
def test_columns_are_labelled_by_levels(text: str, columns: list[str]) -> None:
    made = design(parse(text, "model.formula"), DATA)
    assert list(made.columns) == columns
    assert np.linalg.matrix_rank(made.matrix) == len(columns)


def test_columns_hold_what_the_terms_say() -> None:
    made = design(parse("y ~ x + I(x**2) + log(z) + x:h + standardize(z)", "model.formula"), DATA)
    x, z = DATA["x"], DATA["z"]
    expected = {
        "Intercept": np.ones(ROWS),
        "x": x,
        "I(x**2)": x**2,
        "log(z)": np.log(z),
        "standardize(z)": (z - z.mean()) / z.std(ddof=1),
        "x:h[on]": x * (DATA["h"] == "on"),
    }
    for name, column in expected.items():
        np.testing.assert_allclose(made.matrix[:, made.columns.index(name)], column, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("text", ["y ~ x * g + poly(x, 3)", "y ~ bs(z, df=5) + center(x)", "y ~ I(x - mean(x)) + C(h)"])
def test_new_rows_get_the_columns_of_the_fitted_ones(text: str) -> None:
    made = design(parse(text, "model.formula"), DATA)
    some = [1, 7, 8]
    np.testing.assert_allclose(made.at({k: v[some] for k, v in DATA.items()}), made.matrix[some], atol=1e-12)


@pytest.mark.parametrize("text", ["y ~ x %in% g", "y ~ g / x", "y ~ x^1 + z"])
def test_other_operators_of_r_are_read(text: str) -> None:
    assert design(parse(text, "model.formula"), DATA).matrix.shape[0] == ROWS


REFUSED = [
    ("y ~ __import__('os').system('true')", "can't be read"),
    ("y ~ x.__class__", "dot"),
    ("y ~ np.log(x)", "bare names"),
    ("y ~ {__import__('os')}", "unknown function"),
    ("y ~ I((lambda: 1)())", "can't be called"),
    ("y ~ I([x for x in y])", "not allowed"),
    ("y ~ log(x, out=z)", "no argument 'out'"),
    ("y ~ C(g, levels=['a\"] or 1'])", "plain number or text"),
    ("y ~ C(g, _context=1)", "no argument '_context'"),
    ("y ~ C(g, Treatment(open('x')))", "plain number or text"),
    ("y ~ I('a' * 999999999)", "not allowed"),
    ("y ~ I(9**9**9)", "exponent"),
    ("y ~ I(x**9**9)", "exponent"),
    ("y ~ I(2**3)", "write the number"),
    ("y ~ poly(x, 10000)", "plain number"),
    ("y ~ Q('body mass')", "in back-ticks: `body mass`"),
    ("y ~ x + logg(z)", "did you mean 'log'"),
    ("y ~ x[0]", "character"),
    ("y ~ `x", "a single back-tick"),
    ("y ~ ``", "a single back-tick"),
    ("y ~ class", "in back-ticks: `class`"),
    ("y ~ Sepal.Length()", "can't be called"),
    ("y ~ x + (1|g)", r"'\(1\|g\)' is not allowed there"),
    ("y ~ cbind(a, b)", "model.options.trials"),
    ("y ~ foo(`a b`)", "unknown function 'foo'"),
    ("y ~ log(`a b`, `c d`)", "log takes one variable"),
    ("y ~ `a b`.strip()", "can't be called|can't be read"),
    ("y ~ .", "operator"),
    ("y ~ 2 * x", "2 can't be a term"),
    ("y ~ (x + z)**9", "power of a sum"),
    ("y ~ x + (z > 2)", "'>' is not an operator"),
    ("y ~ offset(log(z))", "model.options.offset"),
    ("y ~ x + log", "'log' is a function"),
    ("y ~ x z", "can't be read"),
    ("y ~ (x", "is not closed"),
    ("y ~ x ~ z", "one '~'"),
    ("y x", "one '~'"),
    ("~ x", "both sides"),
    ("y ~ 0", "no term"),
    ("y ~ __x", "can't be a variable"),
    ("y ~ I(1 < x < 2)", "two things at a time"),
    ("y ~ lambda", "can't be a variable"),
    ("y ~ x" + " + x" * 1000, "at most"),
]


QUOTED = [
    ("y ~ `body mass` + x", ["body mass", "x"]),
    ("y ~ log(`body mass`) + C(`Sample Site`)", ["log(`body mass`)", "C(`Sample Site`)"]),
    ("`km/h` ~ `a~b` + `a+b` + `it's`", ["a~b", "a+b", "it's"]),
    ("y ~ `km/h` * `x[1]`", ["km÷h", "x[1]", "km÷h:x[1]"]),
    ("y ~ `a:b` + a:b", ["`a:b`", "a:b"]),
    ("y ~ `Intercept` + `class`", ["`Intercept`", "class"]),
    ("y ~ sigma + `nu` + y_obs + x:sigma", ["`sigma`", "`nu`", "`y_obs`", "x:sigma"]),
    ("y ~ chain + draw", ["`chain`", "`draw`"]),
    ("y ~ `x`", ["x"]),
]


@pytest.mark.parametrize(("text", "terms"), QUOTED)
def test_columns_of_any_name_are_written_in_back_ticks(text: str, terms: list[str]) -> None:
    formula = parse(text, "model.formula")
    assert [t for t in formula.terms if t != "Intercept"] == terms
    data = {name: RNG.normal(size=ROWS) for name in formula.variables} | {"Sample Site": DATA["g"]}
    data = {name: np.abs(values) if "log" in text and name == "body mass" else values for name, values in data.items()}
    made = design(formula, {name: data[name] for name in formula.variables})
    restored = restored_design(plain_design(made), formula)
    for name in formula.variables:
        column = next((c for c in (f"`{name}`", name) if c in made.columns), None)
        if column:
            np.testing.assert_array_equal(made.matrix[:, made.columns.index(column)], data[name])
    some = {name: data[name][3:5] for name in formula.variables}
    np.testing.assert_allclose(restored.at(some), made.matrix[3:5])


def test_a_prior_names_a_quoted_term_with_or_without_back_ticks() -> None:
    assert plain("`body mass`") == plain("body mass")
    assert plain("log(`body mass`):x") == plain("x:log(body mass)")


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_not_on_the_whitelist_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(text, "model.formula")
    assert {problem.key for problem in caught.value.problems} == {"model.formula"}


@pytest.mark.parametrize("text", ["y ~ x + y", "y ~ x * y", "log(`a b`) ~ log( `a b` )", "y | weights(w) ~ y"])
def test_a_response_is_no_predictor_of_itself(text: str) -> None:
    with pytest.raises(UserError, match="the response predicts itself"):
        parse(text, "model.formula")
    assert parse("y - x ~ x", "model.formula").terms == ("Intercept", "x")  # a change, given the value before


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(UserError) as caught:
        parse("y ~ foo(x) + bar(z) + 2*x", "model.formula")
    assert len(caught.value.problems) == 3


@given(st.text(alphabet="xyg~+-*:()[]{}'\"`._,=<>1290 logC%^|\\", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_and_never_evaluated(text: str) -> None:
    """What parses holds only whitelisted calls, and everything else ends as a message."""
    try:
        formula = parse(text, "model.formula")
    except UserError:
        return
    for term in formula.parsed:
        for factor in term.factors:
            for node in ast.walk(ast.parse(factor.expr, mode="eval")):
                assert not isinstance(node, ast.Attribute | ast.Lambda | ast.Subscript)
                if isinstance(node, ast.Call):
                    assert isinstance(node.func, ast.Name) and node.func.id in grammar.FUNCTIONS


def test_every_whitelisted_function_exists_and_no_other() -> None:
    assert functions().keys() == grammar.FUNCTIONS.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ log(x)", "'log.x.' is not finite in"),
        ("y ~ x + g * one", "single level"),
        ("y ~ x + nothere", "nothere"),
        ("y ~ log(g)", "can't be computed"),
    ],
)
def test_what_the_data_cannot_bear_is_said(text: str, message: str) -> None:
    data = {**DATA, "one": np.array(["same"] * ROWS)}
    with pytest.raises(UserError, match=message):
        design(parse(text, "model.formula"), data)


@pytest.mark.parametrize(("one", "other"), [("a:b", "b:a"), ("I(x**2)", "I( x ** 2 )"), ('C(g, "a")', "C(g,'a')")])
def test_a_prior_may_spell_a_term_otherwise(one: str, other: str) -> None:
    assert plain(one) == plain(other)
    assert plain(one) != plain("x")
