"""`cs(x)`: effects that differ between the thresholds of an ordered response (Bürkner and Vuorre 2019).

    eta_k = eta + x b_k

at threshold k, so that the likelihood has the thresholds `c_k - x b_k` in each row (doi:10.1177/2515245918823199). In
sequential and adjacent-category families these may have any order; in a cumulative one they could cross, and
probabilities would be negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.data.factors import formula_column
from bayesrun.errors import UserError, check, fail
from bayesrun.language.formula_grammar import quoted
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design, parse
from bayesrun.language.formulas import DesignTerm as Columns
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.language.unicode_names import identifier_of
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import reach
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.group_terms import joined, summands
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import numbers_of, own_prior_of, prior_of

if TYPE_CHECKING:
    from bayesrun.language.declaration import Deterministic

_CALL = re.compile(r"cse?\s*\((.*)\)", re.DOTALL)
_HINT = "write cs(x), or cs(x + z) for several"


def without_categories(right: str, key: str) -> tuple[str, list[CategoryTerm]]:
    """Take category-specific effects out of the right side of a formula, as `without_smooths` does.

    There is no term, or one with all of them.
    """
    kept, inside = list[tuple[str, str]](), list[str]()
    for sign, part in summands(right):
        found = _CALL.fullmatch(part)
        if found is None or "," in found[1]:  # cs(x, df=4) is a spline
            kept.append((sign, part))
            continue
        if sign == "-":
            raise fail(key, f"'- {quoted(part)}' removes category-specific effects", "leave the term out")
        inside.append(found[1].strip())
    if not inside:
        return right, []
    try:
        formula = parse(f"_ ~ {' + '.join(inside)}", key)
    except UserError as error:
        problem = error.problems[0]
        raise fail(key, f"what cs(...) holds can't be read: {problem.message}", problem.hint) from error
    if not [name for name in formula.terms if name != INTERCEPT]:
        raise fail(key, f"'cs({quoted(inside[0])})' has no column: the thresholds are its intercepts", _HINT)
    return joined(kept), [CategoryTerm(formula)]


@dataclass(frozen=True)
class CategoryTerm:
    """All effects in `cs(...)`.

    Parameters
    ----------
    formula
        Their columns, beside an intercept that the thresholds replace.
    """

    formula: Formula

    @property
    def effects(self) -> list[str]:
        """Names of the terms that have effects."""
        return [name for name in self.formula.terms if name != INTERCEPT]

    def roles(self) -> tuple[Role, ...]:
        """Return the columns; those used as labels may have any type."""
        formula = self.formula
        return tuple(
            Role(n, "predictor", "any" if n in formula.categorical else "number_or_date", formula.key)
            for n in formula.variables
        )

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the effects: `cs(x)` or `cs_x`."""
        return tuple(name for effect in self.effects for name in names_of(effect, prefix))

    def summands(self) -> tuple[str, ...]:
        """Return what they add to the linear predictor at threshold k, as a statement has it."""
        return tuple(f"coefficient({f'cs({e})'!r}, 'k') * column({e!r})" for e in self.effects)

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of the effects."""
        for effect in self.effects:
            own = distribution_in(prior_of(priors, names_of(effect, ""), prefix)[1])
            yield Statement("prior", f"{prefix}cs({effect})", (), own, left=f"coefficient({f'cs({effect})'!r}, 'k')")

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedCategories, xr.Dataset]:
        """Compute the columns, and store their levels, knots and means."""
        check(column_problems(rows.data, self.formula, rows.dim))
        columns = {n: formula_column(rows.data, n, n in self.formula.categorical) for n in self.formula.variables}
        made = design(self.formula, columns)
        without_rows = replace(made, matrix=made.matrix[:0].copy())
        fitted = FittedCategories(self, without_rows, tuple(reach(made.matrix)[0].tolist()), setting.prefix)
        return fitted, fitted.as_columns(made.matrix, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedCategories:
        """Rebuild it from the output of `plain`."""
        made = restored_design(content["design"], self.formula)
        return FittedCategories(self, made, tuple(content["by_spread"]), setting.prefix)


@dataclass(frozen=True)
class FittedCategories:
    """Category-specific effects with the state of their columns.

    Parameters
    ----------
    term
        The term as written.
    design
        The columns, without rows.
    by_spread
        Natural range of the coefficient of each column (`blocked_algebra.reach`).
    prefix
        Prefix of its variables' names.
    """

    term: CategoryTerm
    design: Design
    by_spread: Sequence[float]
    prefix: str

    @property
    def terms(self) -> list[Columns]:
        """The terms that have effects."""
        return [term for term in self.design.terms if term.name != INTERCEPT]

    def plain(self) -> Mapping[str, Any]:
        """Return the state of the columns, and the scales of the priors."""
        return {"design": plain_design(self.design), "by_spread": list(self.by_spread)}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the columns of other rows."""
        return self.as_columns(columns_at(self.term.formula, self.design, rows.data, rows.dim), rows)

    def as_columns(self, matrix: NDArray[Any], rows: Rows) -> xr.Dataset:
        """Return the columns of each effect, with the labels of a factor's levels."""
        variables: dict[str, Any] = {}
        coords: dict[str, Any] = {}
        for term in self.terms:
            name, of = names_of(term.name, self.prefix)[1], matrix[:, term.start : term.stop]
            if term.labels is None:
                variables[f"{name}_design"] = (rows.dim, of[:, 0])
            else:
                coords[f"{name}_level"] = list(term.labels)
                variables[f"{name}_design"] = ((rows.dim, f"{name}_level"), of)
        return xr.Dataset(variables, coords=coords)

    def matrix(self, columns: xr.Dataset) -> NDArray[Any]:
        """Return all columns (row, column) as one matrix."""
        parts = [columns[f"{names_of(term.name, self.prefix)[1]}_design"].values for term in self.terms]
        return np.column_stack(parts)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: its levels are those of the fit."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare the effects, each with a value at every threshold."""
        priors: dict[str, Any] = {}
        parts = []
        for term in self.terms:
            name = names_of(term.name, self.prefix)[1]
            level = [] if term.labels is None else [f"{name}_level"]
            scales = setting.spread * np.array(self.by_spread[term.start : term.stop])
            key, given = own_prior_of(setting.priors, names_of(term.name, ""), self.prefix)
            own = numbers_of(given, f"model.priors.{key}", scales if level else scales[0], setting.data)
            # a number for each level is the same at all thresholds
            own = {k: [[v] for v in of] if isinstance(of, list) and level else of for k, of in own.items()}
            priors[name] = {**own, "dims": [*level, f"{self.prefix}cutpoint"]}
            parts.append(f"{'dot' if level else 'outer'}({name}_design, {name})")
        return Part("", priors, by_threshold=" + ".join(parts))

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return nothing: its variables are all reported."""
        return ()


def names_of(effect: str, prefix: str) -> tuple[str, str]:
    """Return the names of an effect: as it is written, and as a variable."""
    return f"{prefix}cs({effect})", identifier_of(f"{prefix}cs_{effect}")
