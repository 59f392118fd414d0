r"""A model's formulas in LaTeX, made from their MathML: for papers, slides, and cells of notebooks.

    from IPython.display import Math
    Math(run.latex)

It needs no package beside amsmath.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from bayesrun.report.mathml import GREEK
from bayesrun.report.notation import Notation

_NAMES = {symbol: name for name, symbol in GREEK.items() if name != "lam"}
_OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        **{"∼": r"\sim", "·": r"\cdot", "×": r"\times", "−": "-", "÷": r"\div", "≤": r"\le", "≥": r"\ge", "≠": r"\ne"},
        **{"∑": r"\sum", "∏": r"\prod", "∞": r"\infty", "|": r"\vert ", "+=": r"\mathrel{+}=", "%": r"\bmod"},
        **{"\u2062": r"\,", "\u2061": "", "½": r"\tfrac{1}{2}", "⌊": r"\lfloor", "⌋": r"\rfloor", "…": r"\ldots"},
        **{"∧": r"\wedge", "∨": r"\vee", "¬": r"\neg", "{": r"\{", "}": r"\}", "⊤": r"\top", "′": r"\prime"},
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def as_latex(notation: Notation) -> str:
    """Return a model as an `aligned` environment, a line per formula, and a last one for its indices."""
    lines = [f"{latex(one.left)} &{latex(one.relation)} {' '.join(map(latex, one.right))}" for one in notation.formulas]
    indices = []
    for index in notation.indices:
        of = f"\\ (\\text{{{_escaped(index.dim)}}})" if index.dim else ""
        values = r"1" if index.size == 1 else rf"1, \ldots, {index.size}"
        indices.append(f"{latex(f'<mi>{index.letter}</mi>')} = {values}{of}")
    if indices:
        between = r",\; "
        lines.append(rf"&\text{{where }} {between.join(indices)}")
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def latex(mathml: str) -> str:
    """Return MathML of `bayesrun.report.mathml` in LaTeX."""
    root = ElementTree.fromstring(f"<mrow>{mathml}</mrow>")
    return re.sub(r"  +", " ", _set(root)).strip()


def _set(element: Element) -> str:
    made = _MAKERS.get(element.tag)
    return made(element) if made else _row(element)


def _row(element: Element) -> str:
    parts = [_set(each) for each in element]
    ends = [each.get("fence") == each.get("stretchy") == "true" for each in element]
    if len(parts) > 2 and ends[0] and ends[-1]:  # fences that grow
        parts[0], parts[-1] = rf"\left{parts[0]}", rf"\right{parts[-1]}"
    return " ".join(parts)


def _text(element: Element) -> str:
    return (element.text or "").replace("\xa0", " ")


def _name(element: Element) -> str:
    text = _text(element)
    if text in _NAMES:
        return "o" if _NAMES[text] == "omicron" else f"\\{_NAMES[text]}"
    if text in _OPERATORS:
        return _OPERATORS[text]
    if len(text) == 1 and text.isascii():
        return text if text.isalpha() and element.get("mathvariant") is None else rf"\mathrm{{{_escaped(text)}}}"
    found = re.fullmatch(r"(.+?)([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    if found:
        return rf"\mathrm{{{_escaped(found[1])}}}^{{{found[2].translate(_SUPERSCRIPTS)}}}"
    return rf"\mathrm{{{_escaped(text)}}}".replace("-", r"\text{-}")  # a hyphen, not a minus


def _operator(element: Element) -> str:
    return _OPERATORS.get(_text(element), _text(element))


def _scripts(marks: str) -> Callable[[Element], str]:
    def made(element: Element) -> str:
        base, *others = map(_set, element)
        return f"{{{base}}}" + "".join(f"{mark}{{{each}}}" for mark, each in zip(marks, others, strict=True))

    return made


def _fraction(element: Element) -> str:
    above, below = map(_set, element)
    return rf"\frac{{{above}}}{{{below}}}"


def _accent(element: Element) -> str:
    return rf"\overline{{{_set(element[0])}}}"


def _sum(element: Element) -> str:
    sign, below = map(_set, element)
    return rf"{sign}_{{{below}}}"


def _table(element: Element) -> str:
    rows = [" & ".join(_row(cell) for cell in line) for line in element]
    return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"


def _escaped(text: str) -> str:
    """Return text as it is set between the braces of `mathrm` and `text`."""
    return "".join(_ESCAPES.get(c, f"\\{c}" if c in "#$%&_{}" else r"\ " if c == " " else c) for c in text)


_MAKERS: Mapping[str, Callable[[Element], str]] = MappingProxyType(
    {
        "mi": _name,
        "mn": lambda element: _text(element).replace("−", "-"),
        "mo": _operator,
        "mtext": lambda element: rf"\text{{{_text(element)}}}",
        "mspace": lambda element: r"\,",
        "msub": _scripts("_"),
        "msup": _scripts("^"),
        "msubsup": _scripts("_^"),
        "mfrac": _fraction,
        "msqrt": lambda element: rf"\sqrt{{{_row(element)}}}",
        "mover": _accent,
        "munder": _sum,
        "mtable": _table,
    }
)
