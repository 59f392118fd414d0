"""Formulas in the R language, such as `earnings ~ height * C(sex) + log(age)`.

The left side is an expression (`bayesrun.language.expressions`); this module reads the right side. Its text is checked
against a whitelist (`formula_grammar`) before `formulaic` may parse and evaluate it, so a formula can't run code.
A term is named by its text (`Intercept`, `height`, `C(sex)`, `height:C(sex)`), a lone column in back-ticks without
them; a term of several columns, such as a categorical one, has labels for them. `/` is written `÷` in names, because
NetCDF reads a slash as a path.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.language import formula_grammar as grammar
from bayesrun.language.formula_grammar import formula_functions
from bayesrun.language.formulaic_patches import register_materializer
from bayesrun.language.spellings import fault_elsewhere, respelled
from bayesrun.lazy import formulaic, pd

INTERCEPT = "Intercept"
MAX_COLUMNS = 5_000
MAX_CELLS = 500_000_000
"""Numbers of a design: 4 GB."""
_HINT = "write it as in R: y ~ x1 + x2, y ~ x * C(group), y ~ log(x) + poly(z, 2), y ~ `a name with spaces`"


@dataclass(frozen=True)
class Formula:
    """A checked formula.

    Parameters
    ----------
    text
        What the user wrote.
    key
        Config key that holds it, for messages.
    response
        The left side: an expression.
    terms
        Names of the terms of the right side, by degree, `Intercept` first.
    variables
        Data variables that the right side uses.
    categorical
        Those that need not be numeric: used bare, or within `C(...)`.
    used
        Term to the variables that it names.
    parsed
        The terms as `formulaic` holds them; their texts have symbols for names in back-ticks.
    """

    text: str
    key: str
    response: str
    terms: tuple[str, ...]
    variables: tuple[str, ...]
    categorical: frozenset[str]
    used: Mapping[str, tuple[str, ...]]
    parsed: Any

    def variables_of(self, term: str) -> tuple[str, ...]:
        """Return the variables that a term names."""
        return self.used.get(term, ())


@dataclass(frozen=True)
class DesignTerm:
    """The columns of one term: `start <= column < stop`, with labels when the term is a vector."""

    name: str
    start: int
    stop: int
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Design:
    """The right side of a formula, evaluated.

    Parameters
    ----------
    matrix
        Over (row, column).
    columns
        Names of the columns: `X1`, `C(g)[b]`.
    terms
        The columns of each term.
    spec
        State that `formulaic` keeps from the fitted rows (levels, knots, means).
    """

    matrix: NDArray[Any]
    columns: tuple[str, ...]
    terms: tuple[DesignTerm, ...]
    spec: Any

    def at(self, variables: Mapping[str, Any]) -> NDArray[Any]:
        """Evaluate the same columns for new rows: name to array (row) in, (row, column) out."""
        frame = _frame(self._with_factors(variables))
        return np.asarray(self.spec.get_model_matrix(frame, context=formula_functions(), drop_rows=set()), dtype=float)

    def _with_factors(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Make factors of columns that were bare factors in the fit: the labels of some are numbers."""
        found = dict(variables)
        for expr, (kind, state) in self.spec.encoder_state.items():
            name = grammar.column_named(expr) if expr.isidentifier() else None
            if name not in found or kind.value != "categorical" or isinstance(found[name], pd.Categorical):
                continue
            if np.asarray(found[name]).dtype.kind in "iufb":
                found[name] = pd.Categorical(found[name], categories=list(state["categories"]))
        return found


@lru_cache(maxsize=64)
def parse(text: str, key: str) -> Formula:
    """Check a formula and name its terms; nothing is evaluated. A run asks for the same ones again and again.

    Raises
    ------
    UserError
        With everything in it that is not allowed.
    """
    hidden = grammar.with_symbols(text)
    if fault := fault_elsewhere(hidden):
        raise fail(key, f"{fault[0]}, in '{text}'", fault[1])
    if len(text) > grammar.MAX_LENGTH or hidden.count("~") != 1:
        raise fail(key, f"a formula has one '~' and at most {grammar.MAX_LENGTH} characters (got {text!r})", _HINT)
    response, right = (side.strip() for side in hidden.split("~"))
    right = respelled(right)
    if not response or not right:
        raise fail(key, f"a formula needs both sides of '~' (got {text!r})", _HINT)
    try:
        tokens = _tokens(right, key, text)
        faults = list(dict.fromkeys(_token_faults(tokens)))
        if faults:
            raise UserError([Problem(key, f"{fault}, in '{text}'", _HINT) for fault in faults])
        terms = _terms(right, key, text)
        own = _bare(response.partition("|")[0])
        if any(_bare(factor.expr) == own for term in terms for factor in term.factors):
            raise fail(key, f"the response predicts itself, in '{text}'", "leave it out on the right of '~'")
        return _named(grammar.quoted(text), key, grammar.quoted(response), tokens, terms)
    except UserError as error:
        shown = grammar.shown
        raise UserError([replace(p, message=shown(p.message), hint=shown(p.hint)) for p in error.problems]) from None


def design(formula: Formula, variables: Mapping[str, Any]) -> Design:
    """Evaluate the right side of a formula.

    Parameters
    ----------
    formula
        A checked formula.
    variables
        Name to array (row) of every variable it uses, without missing values.

    Raises
    ------
    UserError
        When it can't be evaluated on these data, or its values are not finite.
    """
    check(_size_problems(formula.key, _factors_of(formula), variables))
    spelled = _spellings(formula.parsed, formula.response)
    try:
        with _quiet():
            made = formulaic.SimpleFormula(formula.parsed, _ordering="degree").get_model_matrix(
                _frame(variables),
                context=formula_functions(),
                na_action="ignore",
                output="pandas",
                materializer=register_materializer(),
            )
    except Exception as error:  # any exception that NumPy, pandas or formulaic raises on unsuitable data
        reason = grammar.shown(_first_line(error))
        raise fail(formula.key, f"'{formula.text}' can't be computed from the data: {reason}") from error
    terms = tuple(_columns_of(made.model_spec, spelled))
    columns = tuple(n for t in terms for n in ([t.name] if t.labels is None else [f"{t.name}[{x}]" for x in t.labels]))
    return _checked(formula, Design(_matrix(made), columns, terms, made.model_spec))


def _factors_of(formula: Formula) -> dict[str, list[tuple[str, bool]]]:
    """Return the factors of each term that may have a column per level, and whether they are labels in any case."""
    parts = {str(term): [f.expr for f in term.factors] for term in formula.parsed}
    named = {term: [(categorical_in(expr), not expr.isidentifier()) for expr in of] for term, of in parts.items()}
    return {term: [(name, forced) for name, forced in of if name is not None] for term, of in named.items()}


def _size_problems(
    key: str, terms: Mapping[str, Sequence[tuple[str, bool]]], variables: Mapping[str, Any]
) -> list[Problem]:
    """Return the problems of a design that is too large: a factor has a column per level, a product all pairs.

    A label per row, or a product of a few factors, would be a matrix that no machine holds.

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
        pair: _level_count(variables[pair[0]], pair[1]) for of in terms.values() for pair in of if pair[0] in variables
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


def _level_count(values: Any, forced: bool) -> int:
    """Count the levels of labels; numbers have one column, unless they are labels."""
    if isinstance(values, pd.Categorical):
        return len(values.categories)
    return int(pd.unique(values).size) if forced or values.dtype.kind in "OUS" else 1


def plain(name: str) -> frozenset[str]:
    """Normalize a term's name: spaces, kind of quotes and the order of an interaction do not matter.

    Back-ticks do, if they tell a column from what a model has of the same name: `` `sigma` `` and `sigma`.
    """
    quoted = re.fullmatch(r"\s*`(\w+)`\s*", name)
    if quoted and quoted[1] in {INTERCEPT, *grammar.RESERVED}:
        return frozenset({f"`{quoted[1]}`"})
    return frozenset(_bare(part) for part in split_interaction(name))


def _tokens(right: str, key: str, text: str) -> list[Any]:
    groups = re.search(r"(?<!\w)\([^()|]*\|[^()]*\)", right)
    if groups:
        raise fail(key, f"'{groups[0]}' is not allowed there, in '{text}'", grammar.REMEDIES["groups"])
    if re.search(r"[\\`\[\]|]", re.sub(r"\([^()]*\)", "", right)):
        message = f"'{text}' contains a character that is not allowed in a formula (\\ [ ] | or a single back-tick)"
        raise fail(key, message, _HINT)
    try:
        return list(formulaic.parser.DefaultFormulaParser(include_intercept=False).get_tokens(right))
    except Exception as error:
        raise fail(key, f"'{text}' can't be read: {_first_line(error)}", _HINT) from error


def _token_faults(tokens: list[Any]) -> Iterator[str]:
    before = ""
    for token in tokens:
        kind, body = token.kind.value, token.token
        if kind == "operator":
            yield from filter(None, [grammar.operator_fault(body)])
        elif kind == "name":
            yield from filter(None, [grammar.name_fault(body)])
        elif kind == "python":
            yield from grammar.factor_faults(body)
        elif kind == "value":
            yield from _value_faults(body, before)
        before = body
    if sum(t.token in ("*", "/") for t in tokens if t.kind.value == "operator") > grammar.MAX_CROSSINGS:
        yield f"more than {grammar.MAX_CROSSINGS} '*' between factors"


def _value_faults(value: str, before: str) -> Iterator[str]:
    if before in ("**", "^"):
        if value not in ("1", "2", "3", "4"):
            yield f"'{before}{value}': the power of a sum must be 1, 2, 3 or 4; for x squared write I(x**2)"
    elif value not in ("0", "1"):
        yield f"{value} can't be a term: only 0 (no intercept) and 1 (intercept) can. Scale with I(2 * x)"


def _terms(right: str, key: str, text: str) -> list[Any]:
    try:
        parsed = formulaic.Formula(right)
    except Exception as error:
        raise fail(key, f"'{text}' can't be read: {_first_line(error)}", _HINT) from error
    terms = list(parsed) if type(parsed).__name__ == "SimpleFormula" else []
    if not terms:
        raise fail(key, f"the right side of '{text}' has no term", _HINT)
    return terms


def _named(text: str, key: str, response: str, tokens: list[Any], terms: list[Any]) -> Formula:
    spelled = _spellings(terms, response)
    factors = {factor.expr for term in terms for factor in term.factors}
    names = {t.token: grammar.names_in(t.token) for t in tokens if t.kind.value in ("name", "python")}
    used = {expr: found for expr, found in names.items() if expr in factors}
    variables = dict.fromkeys(n for found in used.values() for n in found)
    numeric = {
        n
        for expr, found in used.items()
        if not _may_be_categorical(expr)
        for n in found
        if n not in grammar.texts_in(expr)
    }
    of_terms = {
        spelled[_identity(term)]: tuple(dict.fromkeys(n for f in term.factors for n in used.get(f.expr, ())))
        for term in terms
    }
    return Formula(
        text,
        key,
        response,
        tuple(spelled[_identity(term)] for term in terms),
        tuple(variables),
        frozenset(variables) - numeric,
        of_terms,
        terms,
    )


def _may_be_categorical(expr: str) -> bool:
    return categorical_in(expr) is not None


def categorical_in(expr: str) -> str | None:
    """Return the variable that a factor uses unchanged, bare or within `C(...)`; None if the factor transforms it."""
    found = re.match(r"(?:C|factor)\(\s*(\w+)\s*[,)]", expr)
    name = expr if expr.isidentifier() else found[1] if found else None
    return None if name is None else grammar.column_named(name)


def _columns_of(spec: Any, spelled: Mapping[tuple[str, ...], str]) -> Iterator[DesignTerm]:
    start = 0
    for structure in spec.structure:
        name, names = spelled[_identity(structure.term)], list(structure.columns)
        single = len(names) == 1 and "[" not in names[0].replace(str(structure.term), "")
        labels = None if single else tuple(_label(column, structure.term) for column in names)
        yield DesignTerm(name, start, start + len(names), labels)
        start += len(names)


def _label(column: str, term: Any) -> str:
    """Extract the labels from a column's name: `a[T.x]:b:c[y]` of the term `a:b:c` gives `x:y`."""
    pattern = ":".join(rf"{re.escape(f.expr)}(?:\[(?:T\.|S\.|H\.|D\.)?(.*?)\])?" for f in term.factors)
    found = re.fullmatch(pattern, column)
    return ":".join(filter(None, found.groups())) if found else column


def _frame(variables: Mapping[str, Any]) -> Any:
    ordered = {name: pd.Series(values) for name, values in variables.items() if isinstance(values, pd.Categorical)}
    arrays = {name: np.asarray(values) for name, values in variables.items() if name not in ordered}
    ready = {n: pd.Series(a.astype(object) if a.dtype.kind in "US" else a, copy=False) for n, a in arrays.items()}
    columns = {grammar.symbol(name): column for name, column in {**ready, **ordered}.items()}
    return pd.DataFrame(columns, copy=False)


def _matrix(made: Any) -> NDArray[Any]:
    """Move a frame's columns into one matrix; each is freed once copied, so the design is never in memory twice."""
    frame = made.__wrapped__
    frame.columns = range(frame.shape[1])
    # column-major: products with a tall matrix are then two to three times as fast
    matrix = np.empty(frame.shape, order="F")
    for column in range(matrix.shape[1]):
        matrix[:, column] = frame.pop(column)
    return matrix


def _checked(formula: Formula, made: Design) -> Design:
    problems = [
        Problem(formula.key, f"term '{t.name}' has no column: its factor has a single level", "leave it out")
        for t in made.terms
        if t.start == t.stop
    ]
    sums = made.matrix.sum(axis=0)  # not finite when any of its numbers is not
    for column in np.flatnonzero(~np.isfinite(sums)):
        bad = int(np.count_nonzero(~np.isfinite(made.matrix[:, column])))
        message = f"'{made.columns[column]}' is not finite in {bad} of {len(made.matrix)} rows"
        problems.append(Problem(formula.key, message, "correct the data, drop the rows, or use another transform"))
    if problems:
        raise UserError(problems)
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress NumPy's warnings; non-finite values are reported by column instead."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _identity(term: Any) -> tuple[str, ...]:
    """Identify a term by its factors' expressions."""
    return tuple(factor.expr for factor in term.factors)


def _spellings(terms: list[Any], response: str) -> dict[tuple[str, ...], str]:
    """Name each term as the user spelled it, not as the parser prints it.

    A column keeps its back-ticks, or gets them, where its name is that of another term (`a:b`, `Intercept`), of the
    response's likelihood, or of a variable that models have (`grammar.RESERVED`).
    """
    taken = {*grammar.RESERVED, f"{grammar.shown(response).strip('` ')}_obs"}
    parts = {_identity(t): [INTERCEPT] if t == "1" else list(map(_spelled, t.factors)) for t in terms}
    names = {identity: ":".join(map(grammar.shown, of)) for identity, of in parts.items()}
    for identity, name in list(names.items()):
        if name in taken or (list(names.values()).count(name) > 1 and identity != ("1",)):
            names[identity] = ":".join(map(_in_back_ticks, parts[identity]))
    return {identity: name.replace("/", "÷") for identity, name in names.items()}


def _in_back_ticks(part: str) -> str:
    return f"`{grammar.column_named(part)}`" if part.isidentifier() else grammar.shown(part)


def _spelled(factor: Any) -> str:
    """Return a factor as the user wrote it, with slashes as `÷`, which NetCDF allows in names."""
    token = factor.token
    text: str = factor.expr if token is None else token.source[token.source_start : token.source_end + 1].strip("{} ")
    return text if _bare(text) == _bare(factor.expr) else str(factor.expr)


def _bare(name: str) -> str:
    """Normalize the spelling of a name: without spaces and back-ticks, with one kind of quotes."""
    return re.sub(r"[\s`]+", "", respelled(name)).replace('"', "'").replace("/", "÷")


def split_interaction(name: str) -> list[str]:
    """Split the name of a term at colons outside parentheses."""
    parts, depth = [""], 0
    for char in name:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts
