"""MathML: symbols by their names, numbers, and the few constructions that formulas of models need.

Everything here returns text whose content is escaped, so that a name from a file can't become markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from types import MappingProxyType

GREEK = MappingProxyType(
    {
        **dict(zip(("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"), "αβγδεζηθ", strict=True)),
        **dict(zip(("iota", "kappa", "lambda", "mu", "nu", "xi", "omicron", "pi", "rho"), "ικλμνξοπρ", strict=True)),
        **dict(zip(("sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"), "στυφχψω", strict=True)),
        **dict(zip(("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma"), "ΓΔΘΛΞΠΣ", strict=True)),
        **dict(zip(("Upsilon", "Phi", "Psi", "Omega", "lam"), "ΥΦΨΩλ", strict=True)),
    }
)
_NUMBERED = re.compile(r"([A-Za-z]+?)(\d+)")
_HEADS = ("sd", "cor", "chol")  # names of several letters that take the rest of a name as their subscript
MINUS = "−"


def word(text: str) -> str:
    """Return an upright name: of a distribution, a function, a column."""
    return f'<mi mathvariant="normal">{escape(text)}</mi>'


def text(words: str) -> str:
    """Return words inside a formula."""
    return f"<mtext>{escape(words).replace(' ', chr(160))}</mtext>"


def operator(sign: str, space: bool = True) -> str:
    """Return an operator between two parts; without space between indices."""
    how = 'form="infix"' if space else 'lspace="0" rspace="0" stretchy="false"'
    return f"<mo {how}>{escape(sign)}</mo>"


def number(value: float) -> str:
    """Return a number as it is set: `−0.5`, `2 × 10⁻⁶`."""
    shown = f"{value:.10g}"
    digits, _, exponent = shown.partition("e")
    sign, digits = ("−", digits[1:]) if digits.startswith("-") else ("", digits)
    if digits in ("inf", "nan"):
        parts = f"<mi>{'∞' if digits == 'inf' else 'NaN'}</mi>"
    elif exponent:
        power = f"<msup><mn>10</mn><mn>{str(int(exponent)).replace('-', MINUS)}</mn></msup>"
        parts = power if digits == "1" else f"<mn>{digits}</mn><mo>×</mo>{power}"
    else:
        parts = f"<mn>{digits}</mn>"
    return f'<mrow><mo form="prefix" rspace="0">{sign}</mo>{parts}</mrow>' if sign else parts


def row(*parts: str) -> str:
    """Return parts beside each other, as one."""
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def one(parts: str) -> str:
    """Return several elements as one, as scripts and fractions need it."""
    return f"<mrow>{parts}</mrow>"


def fenced(*parts: str, left: str = "(", right: str = ")") -> str:
    """Return parts between parentheses or other fences, which grow around fractions alone."""
    grows = "true" if any(tall in part for part in parts for tall in ("<mfrac", "<mtable", "<munder")) else "false"
    fences = [f'<mo fence="true" stretchy="{grows}">{fence}</mo>' for fence in (left, right)]
    return row(fences[0], *parts, fences[1])


def listed(parts: Sequence[str]) -> str:
    """Return parts with commas between them."""
    return '<mo separator="true">,</mo>'.join(parts)


def subscript(base: str, *below: str) -> str:
    """Return a symbol with subscripts, separated by commas."""
    kept = [part for part in below if part]
    between = '<mo lspace="0" rspace="0.1em">,</mo>'
    return f"<msub>{base}{one(between.join(kept))}</msub>" if kept else base


def superscript(base: str, above: str) -> str:
    """Return a power."""
    return f"<msup>{base}{above}</msup>"


def fraction(above: str, below: str) -> str:
    """Return a fraction."""
    return f"<mfrac>{above}{below}</mfrac>"


def root(of: str) -> str:
    """Return a square root."""
    return f"<msqrt>{of}</msqrt>"


def over(base: str, accent: str) -> str:
    """Return a symbol with an accent: a mean has a bar."""
    return f'<mover accent="true">{base}<mo stretchy="true">{accent}</mo></mover>'


def summed(sign: str, below: str, of: str) -> str:
    """Return a sum or product over an index."""
    large = f'<mo largeop="true">{sign}</mo>'
    return row(f"<munder>{large}{below}</munder>" if below else large, of)


def cases(pairs: Sequence[tuple[str, str]]) -> str:
    """Return values by condition; the style sheet draws the brace, which needs a mathematical font otherwise."""
    lines = "".join(f"<mtr><mtd>{value}</mtd><mtd>{condition}</mtd></mtr>" for value, condition in pairs)
    return f'<mtable class="cases">{lines}</mtable>'


def symbol(name: str) -> tuple[str, str]:
    """Return a variable's symbol and its own subscript, empty if it has none.

    `mu_alpha` is mu with the subscript alpha, `X1` is X with the subscript 1, and `early_rate` is set as it is.
    """
    if name in GREEK:
        return f"<mi>{GREEK[name]}</mi>", ""
    head, _, rest = name.partition("_")
    if rest and (head in GREEK or len(head) == 1 or head in _HEADS):
        base, below = symbol(head)
        return base, _subscripts(below, rest)
    numbered = _NUMBERED.fullmatch(name)
    if numbered and (numbered[1] in GREEK or len(numbered[1]) == 1):
        return symbol(numbered[1])[0], f"<mn>{numbered[2]}</mn>"
    return (f"<mi>{escape(name)}</mi>" if len(name) == 1 else word(name)), ""


def _subscripts(own: str, rest: str) -> str:
    base, below = symbol(rest)
    named = subscript(base, below)
    return row(own, "<mo>,</mo>", named) if own else named


def spoken(name: str) -> str:
    """Return a name as it is read aloud: `mu_alpha` is "mu alpha"."""
    return name.replace("_", " ").strip() or name
