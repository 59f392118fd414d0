"""How large the design of a formula will be, before it is made: a factor has a column per level, a product all pairs.

A label per row, or a product of a few factors, is otherwise a matrix that no machine holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bayesrun.errors import Problem
from bayesrun.language import formula_grammar as grammar
from bayesrun.lazy import pd

MAX_COLUMNS = 5_000
MAX_CELLS = 500_000_000
"""Numbers of a design: 4 GB."""


def size_problems(
    key: str, terms: Mapping[str, Sequence[tuple[str, bool]]], variables: Mapping[str, Any]
) -> list[Problem]:
    """Return the problems of a design that is too large.

    Parameters
    ----------
    key
        Config key of the formula.
    terms
        Term to the variables in it that may have a column per level, and whether numbers are labels there: `C(year)`.
    variables
        Name to array (row) of every variable.
    """
    rows = max((len(values) for values in variables.values()), default=0)
    levels = {
        pair: _levels(variables[pair[0]], pair[1]) for of in terms.values() for pair in of if pair[0] in variables
    }
    counts = {term: math.prod(levels.get(pair, 1) for pair in of) for term, of in terms.items()}
    count = sum(counts.values())
    if count <= MAX_COLUMNS and count * rows <= MAX_CELLS:
        return []
    most = max(counts, key=lambda term: counts[term])
    shown = grammar.shown(most)
    if count <= MAX_COLUMNS:
        message = f"needs {count:,} columns for {rows:,} rows: {count * rows:,} numbers (most allowed: {MAX_CELLS:,})"
        return [Problem(key, message, f"leave out terms; '{shown}' has the most columns, {counts[most]:,}")]
    message = f"term '{shown}' needs {counts[most]:,} columns; a formula may have {MAX_COLUMNS:,}"
    return [Problem(key, message, "write many levels as a group effect, (1 | group), or merge levels")]


def _levels(values: Any, forced: bool) -> int:
    """Count the levels of labels; numbers have one column, unless they are labels."""
    if isinstance(values, pd.Categorical):
        return len(values.categories)
    return int(pd.unique(values).size) if forced or values.dtype.kind in "OUS" else 1
