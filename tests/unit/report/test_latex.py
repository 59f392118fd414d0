"""Models in LaTeX: formulas of papers, and every shipped model well formed, without a character that TeX lacks."""

from __future__ import annotations

import re

import pytest

from bayesrun.report.latex import as_latex, latex
from bayesrun.report.mathml import cases, fenced, fraction, number, subscript, summed, symbol, word
from bayesrun.report.notation import Notation
from tests.composing import parsed
from tests.contract.test_conf import MODELS_OF
from tests.unit.report.test_notation import written


def of(name: str) -> str:
    return as_latex(Notation(written(parsed(f"model={name}"))))


def test_a_hierarchy_reads_as_in_a_paper() -> None:
    assert of("eight_schools").splitlines() == [
        r"\begin{aligned}",
        r"{\mathrm{effect}}_{i} &\sim \mathrm{Normal} ( {\theta}_{i} , {\mathrm{stderr}}_{i} ) \\",
        r"{\mathrm{shrinkage}}_{i} &= \frac{1}{1 + {\left( \frac{\tau}{{\mathrm{stderr}}_{i}} \right)}^{2}} \\",
        r"{\theta}_{i} &\sim \mathrm{Normal} ( \mu , \tau ) \\",
        r"\mu &\sim \mathrm{Normal} ( 0 , 5 ) \\",
        r"\tau &\sim \mathrm{Half\text{-}Cauchy} ( 5 ) \\",
        r"&\text{where } i = 1, \ldots, 8\ (\text{school})",
        r"\end{aligned}",
    ]


@pytest.mark.parametrize(
    ("mathml", "shown"),
    [
        (symbol("early_rate")[0], r"\mathrm{early\_rate}"),
        (subscript(*symbol("mu_alpha")), r"{\mu}_{\alpha}"),
        (number(-2e-6), r"- 2 \times {10}^{-6}"),
        (fenced(fraction("<mn>1</mn>", "<mi>x</mi>")), r"\left( \frac{1}{x} \right)"),
        (summed("∑", "<mi>i</mi>", "<mi>x</mi>"), r"\sum_{i} x"),
        (cases([("<mn>1</mn>", "<mi>a</mi>")]), r"\begin{cases} 1 & a \end{cases}"),
        (word("100% & more"), r"\mathrm{100\%\ \&\ more}"),
    ],
)
def test_the_constructions_of_formulas(mathml: str, shown: str) -> None:
    assert latex(mathml) == shown


@pytest.mark.parametrize("name", MODELS_OF)
def test_a_shipped_model_is_well_formed(name: str) -> None:
    text = of(name)
    assert text.count("&") >= 2 and "None" not in text
    plain = re.sub(r"\\[{}]", "", text)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and text.count(r"\left") == text.count(r"\right")
    assert text.isascii(), set(re.findall(r"[^\x00-\x7f]", text))
