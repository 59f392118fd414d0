"""How terms of a formula are spelled: as the user wrote them, whatever `formulaic` makes of them."""

from __future__ import annotations

import re
from typing import Any

INTERCEPT = "Intercept"


def identity(term: Any) -> tuple[str, ...]:
    """Return what tells a term from others: its factors' expressions."""
    return tuple(factor.expr for factor in term.factors)


def of(terms: list[Any]) -> dict[tuple[str, ...], str]:
    """Name each term as the user spelled it, not as the parser prints it."""
    return {identity(t): INTERCEPT if t == "1" else ":".join(map(spelled, t.factors)) for t in terms}


def spelled(factor: Any) -> str:
    """Return a factor as the user wrote it; slashes as `÷`, which NetCDF takes in names."""
    token = factor.token
    text: str = factor.expr if token is None else token.source[token.source_start : token.source_end + 1].strip("{} ")
    return (text if bare(text) == bare(factor.expr) else str(factor.expr)).replace("/", "÷")


def bare(name: str) -> str:
    """Return a name without what may differ between spellings: spaces, and the kind of quotes."""
    return re.sub(r"\s+", "", name).replace('"', "'").replace("/", "÷")


def split(name: str) -> list[str]:
    """Split at the colons that stand outside of parentheses."""
    parts, depth = [""], 0
    for char in name:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts
