"""The parser: what it lets through, and that nothing else gets out of it than its own error."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrun.errors import UserError
from bayesrun.language.grammar import SIGNATURES, parse, signatures

ALLOWED = (
    *(ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Subscript, ast.Slice),
    *(ast.Tuple, ast.keyword, ast.Load, ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)
FORBIDDEN = (ast.MatMult, ast.BitXor, ast.BitAnd, ast.BitOr, ast.LShift, ast.RShift, ast.Invert, ast.In, ast.Is)

REFUSED = [
    *("", "   ", "a.b", "().__class__", "x.__dict__", "__import__('os')", "eval('1')", "f(1)", "'text'"),
    *("[1, 2]", "{1: 2}", "{1}", "[a for a in b]", "(a for a in b)", "lambda: 1", "a if b else c", "f'{a}'", "b'x'"),
    *("a := 1", "a; b", "a = 1", "import os", "exp(*a)", "exp(**a)", "exp(x=1)", "a @ b", "a ^ b", "a | b", "~a"),
    *("a << 2", "a in b", "a is b", "...", "None", "a[None]", "a[...]", "1j", "1e999", "9" * 400, "exp()", "exp(1, 2)"),
    *("where(1, 2)", "exp(1)(2)", "exp.real(1)", "a__b", "__a", "sum(x, 1 + 1)", "sum(x, 'a')", "x[1](2)", "(1, 2)"),
    *("\x00", "a\x00b", "(" * 300, "-" * 300 + "1", "not " * 300 + "1", "2" + "**2" * 2000, "[" * 5000, "a" * 5000),
    *(
        "a + " * 900 + "a",
        "x[" * 100 + "0" + "]" * 100,
        "await a",
        "yield a",
        "print(1)",
        "open('f')",
        "a..b",
        "\ud800",
    ),
]


def names_in(text: str) -> frozenset[str]:
    return parse(text, "k").names


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "model.priors.a.mu")
    assert {p.key for p in caught.value.problems} == {"model.priors.a.mu"}
    assert all(p.message for p in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("exp", {"exp"}),  # a function's name may be that of a variable; it is not called here
        ("alpha[county, 1:n_x] + beta", {"alpha", "county", "n_x", "beta"}),
        ("sum(x, school)", {"x"}),
        ("sum(x, dim=school)", {"x"}),
        ("zeros((n_a, 2)) + ones(3)", {"n_a"}),
        ("a < b <= c and not d or e != 1", {"a", "b", "c", "d", "e"}),
        ("-x ** 2 // 3 % 4", {"x"}),
        ("stack(a, b, c, d)", {"a", "b", "c", "d"}),
        ("σ * y", {"σ", "y"}),
        ("1e-3\n + x", {"x"}),
    ],
)
def test_names(text: str, names: set[str]) -> None:
    assert names_in(text) == names


@pytest.mark.parametrize(
    ("text", "marked"),
    [("alpha + muu.x * 2", "muu.x"), ("exp(a) + lg(b)", "lg"), ("a + (b ^ c)", "b ^ c"), ("σσ + é.x", "é.x")],
)
def test_the_mark_is_under_the_fault(text: str, marked: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "k")
    message, shown, mark = caught.value.problems[0].message.split("\n")
    assert shown[mark.index("^") : mark.rindex("^") + 1] == marked
    assert message


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(UserError) as caught:
        parse("a.b + foo(c) + 'x'", "k")
    assert len(caught.value.problems) == 3


def test_a_mark_in_a_long_expression_is_shown() -> None:
    with pytest.raises(UserError) as caught:
        parse("a + " * 60 + "b.c", "k")
    _, shown, mark = caught.value.problems[0].message.split("\n")
    assert shown[mark.index("^") : mark.rindex("^") + 1] == "b.c"
    assert len(shown) < 120


TOKENS = [
    *("a", "b", "x", "1", "2.5", "1e400", "(", ")", "[", "]", ",", ":", "+", "-", "*", "/", "**", "//", "%", "<", "=="),
    *(
        "and",
        "or",
        "not",
        "if",
        "else",
        "for",
        "in",
        "lambda",
        ".",
        "__class__",
        "'s'",
        "@",
        "~",
        "=",
        ":=",
        "\\",
        "\t",
    ),
    *("{", "}", "...", "await", "#", "é", "\u202e", "0x", "1_0", ";", "!", "?", "$", *SIGNATURES),
]
PIECES = st.lists(st.sampled_from(TOKENS), max_size=25)
TEXTS = st.one_of(st.text(max_size=60), PIECES.map(" ".join), PIECES.map("".join))


@settings(max_examples=600, deadline=None)
@given(TEXTS)
def test_any_text_parses_or_is_refused_with_our_error(text: str) -> None:
    try:
        expression = parse(text, "k")
    except UserError:
        return
    nodes = list(ast.walk(expression.tree))
    assert all(isinstance(node, ALLOWED) for node in nodes)
    assert not any(isinstance(node, FORBIDDEN) for node in nodes)
    assert not any("__" in node.id for node in nodes if isinstance(node, ast.Name))
    assert all(n.func.id in SIGNATURES for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    assert all(isinstance(n.func, ast.Name) for n in nodes if isinstance(n, ast.Call))


def test_the_functions_are_those_of_the_design_and_of_regressions_links() -> None:
    wanted = """exp log log1p expm1 sqrt abs sign sin cos tan atan tanh sigmoid logit probit erf gammaln softmax dot sum
    prod mean std var min max median cumsum cumprod where switch clip minimum maximum stack concatenate zscore diff
    lag arange zeros ones outer transpose logsumexp days year month weekday day_of_year trend
    cholesky identity distance log10 cov quantile cummax one_hot"""
    assert {f.partition("(")[0] for f in signatures()} == set(wanted.split())
