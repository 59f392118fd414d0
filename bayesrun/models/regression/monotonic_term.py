"""`mo(x)`: a monotonic effect of an ordered factor, or of whole numbers (Bürkner and Charpentier 2020).

    eta += b D (zeta_1 + ... + zeta_x),     zeta ~ Dirichlet

Of an `x` from 0 to D, `zeta` is the share of each step in the whole difference `b D` between the last level and the
first, and `b` the mean difference between neighbouring levels (doi:10.1111/bmsp.12195). In an interaction, `mo(x):z`,
each column of `z` has a coefficient and a simplex of its own, as in brms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.base import Role
from bayesrun.data.factors import LABELS, as_levels, codes_of, formula_column, row_column, value_key
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.formula_grammar import quoted
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design, parse
from bayesrun.language.formulas import DesignTerm as Columns
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.language.unicode_names import identifier_of
from bayesrun.language.values import variable
from bayesrun.lazy import xr
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.group_terms import joined, summands
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.smooth_calls import SmoothCall, read_call
from bayesrun.models.regression.term_priors import numbers_of, own_prior_of, prior_in, prior_of

Array = NDArray[Any]
_CALL = re.compile(r"(?<![\w.])mo\s*\(")
_HINT = "write mo(x), mo(x):z or mo(x) * z"
_MAX_LEVELS = 100


def without_monotonic(right: str, key: str) -> tuple[str, list[MonotonicTerm]]:
    """Take monotonic effects and their interactions out of the right side of a formula.

    As `without_smooths` does, but the other effects of `mo(x) * z` are left, and there is one term for each column,
    with all its interactions.
    """
    kept, others, calls = list[tuple[str, str]](), dict[str, list[str]](), dict[str, SmoothCall]()
    for sign, part in summands(right):
        if not _CALL.search(part):
            kept.append((sign, part))
            continue
        if sign == "-":
            raise fail(key, f"'- {quoted(part)}' removes a monotonic effect", "leave the term out")
        call, among, crossed = _read(part, key)
        calls[call.name] = call
        found = others.setdefault(call.name, [])
        sizes = range(len(among) + 1) if crossed else [len(among)]
        names = [":".join(chosen) or "1" for size in sizes for chosen in combinations(among, size)]
        found += [name for name in names if name not in found]
        kept += [("+", name) for name in names if crossed and name != "1"]
    return joined(kept), [_term(call, others[name], key) for name, call in calls.items()]


def _read(part: str, key: str) -> tuple[SmoothCall, list[str], bool]:
    """Return the call, the factors that it interacts with, and whether all lower interactions are meant."""
    factors, signs = _factors(part)
    own = [factor for factor in factors if _CALL.match(factor)]
    calls = sum(_CALL.search(factor) is not None for factor in factors)
    if len(own) != 1 or calls != 1 or len(set(signs)) > 1 or not own[0].endswith(")"):
        several = "; an interaction of two monotonic effects is not supported" if len(own) > 1 else ""
        if part.startswith("(") and "|" in part:
            several = "; for slopes that vary between groups the column itself, (x | g), or numbers of its levels"
        raise fail(key, f"'{quoted(part)}' can't be read", f"{_HINT}{several}")
    call = read_call(own[0], key)
    if len(call.inputs) != 1:
        raise call.fault("mo takes one column", "mo(x) + mo(z) for two")
    return call, [factor for factor in factors if factor != own[0]], "*" in signs


def _factors(part: str) -> tuple[list[str], list[str]]:
    """Split at `:` and `*` outside parentheses."""
    factors, signs, depth = [""], list[str](), 0
    for char in part:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char in ":*" and depth == 0:
            factors.append("")
            signs.append(char)
        else:
            factors[-1] += char
    return [factor.strip() for factor in factors], signs


def _term(call: SmoothCall, others: Sequence[str], key: str) -> MonotonicTerm:
    first = "" if "1" in others else "0 + "
    text = " + ".join(name for name in others if name != "1") or "1"
    try:
        return MonotonicTerm(call, parse(f"_ ~ {first}{text}", key))
    except UserError as error:
        problem = error.problems[0]
        raise fail(key, f"what {call.text} interacts with can't be read: {problem.message}", problem.hint) from error


@dataclass(frozen=True)
class MonotonicTerm:
    """All effects of `mo(x)`.

    Parameters
    ----------
    call
        The call.
    formula
        What it is multiplied by: its intercept stands for `mo(x)` itself, `z` for `mo(x):z`.
    """

    call: SmoothCall
    formula: Formula

    @property
    def column(self) -> str:
        """The ordered column."""
        return self.call.inputs[0]

    def label(self, other: str) -> str:
        """Return the name of an effect: `mo(x)`, `mo(x):z`."""
        return self.call.short if other == INTERCEPT else f"{self.call.short}:{other}"

    def name(self, other: str) -> str:
        """Return the name of an effect in expressions: `mo_x`, `mo_x_z`."""
        return self.call.name if other == INTERCEPT else identifier_of(f"{self.call.name}_{other}")

    def roles(self) -> tuple[Role, ...]:
        """Return the ordered column, and those of what it interacts with."""
        formula = self.formula
        others = tuple(
            Role(n, "predictor", "any" if n in formula.categorical else "number_or_date", formula.key)
            for n in formula.variables
        )
        return (Role(self.column, "predictor", "any", self.call.key), *others)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of its coefficients, and those of its simplexes below `simo`."""
        names = [name for other in self.formula.terms for name in self.names(other, prefix)]
        return (*names, *(f"simo.{name}" for name in names))

    def names(self, other: str, prefix: str) -> tuple[str, ...]:
        """Return the names that an effect may have in `model.priors`."""
        return (f"{prefix}{self.label(other)}", f"{prefix}{self.name(other)}")

    def summands(self) -> tuple[str, ...]:
        """Return what it adds to the linear predictor, as a statement has it."""
        return tuple(f"coefficient({self.label(o)!r}) * column({self.label(o)!r})" for o in self.formula.terms)

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of its coefficients and simplexes."""
        for other in self.formula.terms:
            label, name = f"{prefix}{self.label(other)}", f"{prefix}{self.name(other)}"
            own = distribution_in(prior_of(priors, self.names(other, ""), prefix)[1])
            yield Statement("prior", label, (), own, left=f"coefficient({label!r})")
            steps = distribution_in(prior_in("simo", priors, self.names(other, prefix))[1])
            yield Statement("prior", f"simo_{name}", (f"mo_{self.column}_step",), steps)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedMonotonic, xr.Dataset]:
        """Store the levels, and the columns of what it interacts with."""
        check(column_problems(rows.data, self.formula, rows.dim))
        levels = self._levels(rows)
        columns = {n: formula_column(rows.data, n, n in self.formula.categorical) for n in self.formula.variables}
        made = design(self.formula, columns or {rows.dim: rows.data[rows.dim].values})
        fitted = FittedMonotonic(self, levels, replace(made, matrix=made.matrix[:0].copy()), (), setting.prefix)
        codes = fitted.codes(rows)
        sds = np.std(codes[:, None] * made.matrix, axis=0)
        flat = [self.label(str(name)) for name, sd in zip(made.columns, sds, strict=True) if not sd > 0]
        if flat:
            raise fail(self.call.key, f"'{flat[0]}' is the same in all rows", "leave it out")
        fitted = replace(fitted, sds=tuple(sds.tolist()))
        return fitted, fitted.as_columns(codes, made.matrix, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedMonotonic:
        """Rebuild it from the output of `plain`."""
        made = restored_design(content["design"], self.formula)
        return FittedMonotonic(self, tuple(content["levels"]), made, tuple(content["sds"]), setting.prefix)

    def _levels(self, rows: Rows) -> tuple[Any, ...]:
        """Return the levels in their order.

        Raises
        ------
        UserError
            For a column without an order.
        """
        call, column = self.call, _ordered(rows, self.column)
        if column.dims != (rows.dim,):
            raise call.fault(f"'{self.column}' must be over the rows, one value each", "mo takes a column")
        given = column.attrs.get("levels")
        if given is not None:
            levels = tuple(as_levels(np.atleast_1d(given).tolist()))
        elif column.dtype.kind in "OUS":
            hint = f"give it in data.levels.{self.column}, from the lowest to the highest"
            raise call.fault(f"the labels of '{self.column}' have no order", hint)
        else:
            values = column.values.astype(float) if column.dtype.kind in "iufb" else np.array([0.5])
            if not np.isfinite(values).all() or (values != np.round(values)).any():
                hint = "a smooth of any numbers is s(x)"
                raise call.fault(f"'{self.column}' must be whole numbers, or labels with an order", hint)
            levels = tuple(range(int(values.min()), int(values.max()) + 1))
        if not 2 <= len(levels) <= _MAX_LEVELS:
            hint = "it needs two levels or more" if len(levels) < 2 else "a smooth of many values is s(x)"
            raise call.fault(f"'{self.column}' has {len(levels)} levels (2 to {_MAX_LEVELS} are allowed)", hint)
        return levels


@dataclass(frozen=True)
class FittedMonotonic:
    """Monotonic effects with the levels of the fit.

    Parameters
    ----------
    term
        The term as written.
    levels
        The levels in their order.
    design
        The columns of what it is multiplied by.
    sds
        Sds over the fitted rows of the products of codes and columns.
    prefix
        Prefix of its variables' names.
    """

    term: MonotonicTerm
    levels: tuple[Any, ...]
    design: Design
    sds: tuple[float, ...]
    prefix: str

    @property
    def step_dim(self) -> str:
        """Dim of the steps between levels; all parameters share it."""
        return f"{self.term.call.name}_step"

    @property
    def steps(self) -> tuple[str, ...]:
        """Labels of the steps."""
        return tuple(f"{value_key(a)}|{value_key(b)}" for a, b in pairwise(self.levels))

    def name(self, columns: Columns) -> str:
        """Return the name of an effect in expressions."""
        return f"{self.prefix}{self.term.name(columns.name)}"

    def plain(self) -> Mapping[str, Any]:
        """Return the levels, the state of the columns, and the scales of the priors."""
        levels = [level.item() if hasattr(level, "item") else level for level in self.levels]
        return {"levels": levels, "design": plain_design(self.design), "sds": list(self.sds)}

    def codes(self, rows: Rows) -> Array:
        """Return the level of each row as codes from 0.

        Raises
        ------
        UserError
            For levels that the fit has not seen.
        """
        column = _ordered(rows, self.term.column)
        codes = codes_of(column.values, self.levels)[0]
        if (codes < 0).any():
            label = next(iter(column.values[codes < 0]))
            where = places(rows.data[rows.dim].copy(data=codes < 0))
            message = f"'{self.term.call.text}' has no level {value_key(label)} ({where})"
            hint = (
                f"{did_you_mean(value_key(label), map(value_key, self.levels))}; levels in data.levels can be predicted"
            )
            raise UserError([Problem(f"{rows.key}.{self.term.column}", message, hint)])
        return codes

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the columns of other rows."""
        matrix = columns_at(self.term.formula, self.design, rows.data, rows.dim)
        return self.as_columns(self.codes(rows), matrix, rows)

    def as_columns(self, codes: Array, matrix: Array, rows: Rows) -> xr.Dataset:
        """Return which steps a row has reached, and the columns that these are multiplied by."""
        reached = (codes[:, None] > np.arange(len(self.steps))).astype(float)
        variables: dict[str, Any] = {f"{self.term.call.name}_reached": ((rows.dim, self.step_dim), reached)}
        coords: dict[str, Any] = {self.step_dim: list(self.steps)}
        for columns in self.design.terms:
            name, of = self.name(columns), matrix[:, columns.start : columns.stop]
            if columns.labels is not None:
                coords[f"{name}_level"] = list(columns.labels)
                variables[f"{name}_design"] = ((rows.dim, f"{name}_level"), of)
            elif columns.name != INTERCEPT:
                variables[f"{name}_design"] = (rows.dim, of[:, 0])
        return xr.Dataset(variables, coords=coords)

    def curve(self, columns: xr.Dataset, posterior: xr.Dataset) -> xr.DataArray:
        """Return what it adds to the linear predictor of rows with these columns, over (chain, draw, row)."""
        reached = columns[f"{self.term.call.name}_reached"]
        total: Any = 0.0
        for term in self.design.terms:
            name, label = self.name(term), f"{self.prefix}{self.term.label(term.name)}"
            level = f"{name}_level"
            slope = (
                posterior[label] if term.labels is None else posterior[label].rename({posterior[label].dims[-1]: level})
            )
            share = posterior[f"simo_{name}"] if len(self.steps) > 1 else 1.0
            part = slope * len(self.steps) * (reached * share).sum(self.step_dim)
            part = part * columns[f"{name}_design"] if f"{name}_design" in columns else part
            total = total + (part if term.labels is None else part.sum(level))
        return xr.DataArray(total)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: its levels are those of the fit."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare coefficients and simplexes."""
        priors: dict[str, Any] = {}
        named: dict[str, Any] = {}
        parts = []
        for columns in self.design.terms:
            name, label = self.name(columns), f"{self.prefix}{self.term.label(columns.name)}"
            level = [] if columns.labels is None else [f"{name}_level"]
            scales = setting.spread / np.array(self.sds[columns.start : columns.stop])
            key, given = own_prior_of(setting.priors, self.term.names(columns.name, ""), self.prefix)
            own = numbers_of(given, f"model.priors.{key}", scales if level else scales[0], setting.data)
            priors[name] = {**own, "dims": level} if level else own
            named[label] = {"expr": f"1 * {name}", "dims": level} if level else name
            if len(self.steps) > 1:
                priors[f"simo_{name}"] = {**self._simplex(columns, setting), "dims": [*level, self.step_dim]}
                curve = f"{len(self.steps)} * dot({self.term.call.name}_reached, simo_{name})"
            else:
                curve = f"{self.term.call.name}_reached[:, 0]"
            parts.append(self._product(name, curve, columns))
        helpers = frozenset(self.name(columns) for columns in self.design.terms)
        return Part(" + ".join(parts), priors, named, helpers=helpers, notes=self._note())

    def _product(self, name: str, curve: str, columns: Columns) -> str:
        if columns.name == INTERCEPT:
            return f"{name} * {curve}"
        if columns.labels is None:
            return f"{name} * {name}_design * {curve}"
        if len(self.steps) == 1:
            return f"{curve} * dot({name}_design, {name})"
        return f"sum({name} * {name}_design * {curve}, {name}_level)"

    def _simplex(self, columns: Columns, setting: Setting) -> Mapping[str, Any]:
        """Return the prior of a simplex, with one number for each step."""
        key, given = prior_in("simo", setting.priors, self.term.names(columns.name, self.prefix))
        found, size = numbers_of(given, key, np.asarray(1.0), setting.data), len(self.steps)
        a = found.get("a", 1.0)
        if isinstance(a, list) and len(a) != size:
            message = f"{self.term.label(columns.name)} has {size} steps (got {len(a)} numbers)"
            raise fail(f"{key}.a", message, f"give one number for all, or for each of {', '.join(self.steps)}")
        return {**found, "a": a if isinstance(a, list) else [a] * size}

    def _note(self) -> tuple[str, ...]:
        if all(isinstance(level, int | np.integer) for level in self.levels):
            return ()
        order = " < ".join(map(value_key, self.levels))
        return (f"{self.term.call.short} is monotonic in the order {order}",)

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return the coefficients of the posterior."""
        found = []
        for columns in self.design.terms:
            name, label = self.name(columns), f"{self.prefix}{self.term.label(columns.name)}"
            dims = () if columns.labels is None else (f"{name}_level",)
            shape = () if columns.labels is None else (len(columns.labels),)
            found.append(Deterministic(name, variable(label, dims, shape), dims))
        return tuple(found)


def _ordered(rows: Rows, name: str) -> xr.DataArray:
    """Return a column as labels, even if the name is that of a factor's codes."""
    of = rows.data[name].attrs.get(LABELS) if name in rows.data.data_vars else None
    return row_column(rows.data, str(of) if of is not None else name)
