"""The grammar of formulas: every factor is checked against a whitelist before anything is evaluated.

Operators of a formula (`+ - * : / ** %in%`) only combine factors. A factor is a name or a piece of Python syntax such
as `log(x)`; its syntax tree may hold names, numbers, arithmetic, comparisons and calls of the functions below.

A column whose name is not a valid identifier is written in back-ticks, but for names with dots, `Sepal.Length`.
Internally it is encoded as an identifier (`symbol`), which is decoded in all output of this folder (`shown`).

`formula_functions` has what the functions compute; those of a whole column keep what they learned from the fitted rows.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesrun.errors import did_you_mean
from bayesrun.language.calendar_dates import part_of_days
from bayesrun.language.spellings import CATEGORY_SPECIFIC, FUNCTIONS_ELSEWHERE, LOGARITHMS, operator_elsewhere
from bayesrun.language.unicode_names import is_read_as_another, with_back_ticks
from bayesrun.lazy import formulaic

MAX_LENGTH = 2_000
MAX_EXPONENT = 64
MAX_COLUMNS = 100
MAX_CROSSINGS = 12


@dataclass(frozen=True)
class FormulaFunction:
    """A function that formulas may call.

    Parameters
    ----------
    keywords
        Names of its arguments after the first.
    """

    keywords: tuple[str, ...] = ()


_POINTWISE = ("I", "log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "abs", "sign", "sin", "cos", "tanh")
_STATISTICS = ("mean", "median", "std", "min", "max")
_IN_UNITS = ("knots", "lower_bound", "upper_bound")
_SPLINE = ("df", *_IN_UNITS)
DATE_PARTS = ("days", "year", "month", "weekday", "day_of_year")
CONTRASTS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
FUNCTIONS: Mapping[str, FormulaFunction] = {
    **{name: FormulaFunction() for name in (*_POINTWISE, *_STATISTICS, "center", "scale", "standardize", "zscore")},
    **{name: FormulaFunction() for name in (*DATE_PARTS, "trend")},
    "C": FormulaFunction(("contrasts", "levels")),
    "factor": FormulaFunction(("contrasts", "levels")),
    "poly": FormulaFunction(("degree", "raw")),
    "bs": FormulaFunction((*_SPLINE, "degree", "include_intercept")),
    "cr": FormulaFunction((*_SPLINE, "constraints")),
    "cs": FormulaFunction((*_SPLINE, "constraints")),
    "cc": FormulaFunction((*_SPLINE, "constraints")),
    **{name: FormulaFunction(("reference",) if name == "Treatment" else ()) for name in CONTRASTS},
}

_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.FloorDiv, ast.Pow, ast.UAdd, ast.USub, ast.BitAnd, ast.BitOr),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)
_PLAIN = (*_OPERATORS, ast.Expression, ast.BinOp, ast.UnaryOp, ast.Load)
_TEXT = re.compile(r"[^'\"\\`{}\n]*")
_COMBINE = re.compile(r"[-+*/:^]+|in")
# a name in back-ticks; a text; a name with dots, as R's columns have them, that is not called
_NAMED = re.compile(
    r"""`(?P<ticks>[^`]*)`|'[^'\n]*'|"[^"\n]*"|(?<![\w.])(?P<dots>(?!contr\.)[^\W\d_]\w*(?:\.+\w+)+)(?![\w.]|\s*\()"""
)
# a rare letter that is valid in identifiers and unchanged by Unicode normalization
_MARK = "\ua78c"
_SYMBOL = re.compile(f"{_MARK}([0-9a-f]+){_MARK}")
RESERVED = frozenset(
    {
        *("chain", "draw"),  # the axes of draws
        *("sigma", "nu", "alpha", "phi", "lam", "kappa", "zi", "hu", "zoi", "coi", "cutpoints"),
        *("sd", "cor", "sds", "sdgp", "lscale", "simo"),  # sections of priors
        *("design", "default", "coefficients", "coefficients_whitened", "likelihood", "term_scale"),
    }
)
"""Names that a regression gives to variables of its own: a column with one of them keeps its back-ticks as a term."""
REMEDIES = {
    "groups": "a group term must be a term of its own: y ~ x + (1 | g); or a declarative model (docs/language.md)",
    "counts": "successes and trials go on the left, y | trials(n) ~ x, or in model.options.trials",
}
"""Hints for parts of R's formulas that are not supported."""


def with_symbols(text: str) -> str:
    """Replace names in back-ticks, and names with dots, by symbols; plain names lose their back-ticks."""

    def replaced(found: re.Match[str]) -> str:
        dots = found["dots"] or ""
        name = found["ticks"] or ("" if "__" in dots else dots)
        return symbol(name) if name else found[0]

    return _NAMED.sub(replaced, with_back_ticks(text))


def symbol(name: str) -> str:
    """Return the internal form of a column's name: the name itself if it is plain, otherwise an encoded identifier."""
    plain = name_fault(name) is None and not is_read_as_another(name)
    return name if plain else _MARK + name.encode(errors="surrogatepass").hex() + _MARK


def column_named(symbol: str) -> str:
    """Return the column that an internal name refers to."""
    return _SYMBOL.sub(lambda found: _spelled(found[1]), symbol)


def shown(text: str) -> str:
    """Replace symbols in a text by column names, in back-ticks unless the name is the whole text."""
    if _SYMBOL.fullmatch(text):
        return column_named(text)
    return quoted(text)


def quoted(text: str) -> str:
    """Replace symbols in a text by column names in back-ticks."""
    return _SYMBOL.sub(lambda found: f"`{_spelled(found[1])}`", text)


def _spelled(digits: str) -> str:
    try:
        return bytes.fromhex(digits).decode(errors="surrogatepass")
    except ValueError:  # written by hand
        return digits


def operator_fault(operator: str) -> str | None:
    """Return what is wrong with an operator between factors; None if it is allowed."""
    if _COMBINE.fullmatch(operator):
        return None
    remedy = operator_elsewhere(operator)
    return f"'{operator}' is not an operator of a formula; {remedy or 'allowed: + - * : / ** %in%'}"


def name_fault(name: str) -> str | None:
    """Return what is wrong with the name of a variable; None if it is allowed."""
    if name in FUNCTIONS and name not in (*DATE_PARTS, "trend"):  # `year` is allowed as the name of a column
        return f"'{name}' is a function, not a variable; write a column of this name in back-ticks: `{name}`"
    plain = name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")
    if plain and name != "Intercept":  # formulaic's name for the constant
        return None
    if name == "Intercept":
        return (
            "'Intercept' can't be a variable; the intercept is included without being named, y ~ x, as a coefficient of"
            " columns that are not centred; write a column of this name in back-ticks: `Intercept`"
        )
    if "." in name:
        return (
            f"'{name}' contains a dot; functions are called by their bare names, such columns in back-ticks: `{name}`"
        )
    return f"'{name}' can't be a variable in a formula; write a column of this name in back-ticks: `{name}`"


def factor_faults(code: str) -> Iterator[str]:
    """Yield everything that is wrong with one factor (`log(x)`); nothing if it may be evaluated."""
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        yield f"'{code}' can't be read"
        return
    yield from _faults(tree.body)


def names_in(code: str) -> tuple[str, ...]:
    """Return the variables of a checked factor, in order of appearance, without functions."""
    tree = ast.parse(code, mode="eval")
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    return tuple(dict.fromkeys(column_named(n.id) for n in names if name_fault(n.id) is None))


def texts_in(code: str) -> dict[str, list[str]]:
    """Return the variables of a checked factor that are compared with strings, `g == 'a'`, each with its strings."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(code, mode="eval")):
        if isinstance(node, ast.Compare) and _texts_of(node):
            names = [side.id for side in (node.left, *node.comparators) if isinstance(side, ast.Name)]
            for name in names:
                found.setdefault(column_named(name), []).extend(_texts_of(node))
    return found


def _texts_of(node: ast.Compare) -> list[str]:
    sides = (node.left, *node.comparators)
    return [side.value for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]


def _text_faults(node: ast.Compare) -> Iterator[str]:
    named = any(isinstance(side, ast.Name) and name_fault(side.id) is None for side in (node.left, *node.comparators))
    plain = all(_TEXT.fullmatch(text) for text in _texts_of(node))
    if not (named and plain and isinstance(node.ops[0], ast.Eq | ast.NotEq)):
        yield f"'{ast.unparse(node)}': text is compared with one column, by == or !="


def dates_in(code: str) -> tuple[str, ...]:
    """Return the variables of a checked factor that are arguments of a date function."""
    calls = [node for node in ast.walk(ast.parse(code, mode="eval")) if isinstance(node, ast.Call)]
    of_dates = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in DATE_PARTS]
    return tuple(column_named(a.id) for call in of_dates for a in call.args if isinstance(a, ast.Name))


def _faults(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _call_faults(node)
        return
    if isinstance(node, ast.Constant):
        yield from _number_faults(node)
    elif isinstance(node, ast.Name):
        fault = name_fault(node.id)
        if fault:
            yield fault
    elif isinstance(node, ast.Compare):
        if len(node.ops) > 1:
            yield f"'{ast.unparse(node)}': compare two things at a time"
        elif _texts_of(node):
            yield from _text_faults(node)
            return
    elif not isinstance(node, _PLAIN):
        yield f"'{ast.unparse(node)}' is not allowed: names, numbers, arithmetic, comparisons and calls are"
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield from _power_faults(node)
    for child in ast.iter_child_nodes(node):
        yield from _faults(child) if isinstance(child, ast.expr) else _operator_faults(child)


def _operator_faults(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, _PLAIN):
        yield f"'{type(node).__name__}' is not an operator that a factor may use"


def _number_faults(node: ast.Constant) -> Iterator[str]:
    if not isinstance(node.value, int | float) or abs(node.value) > 1e300:
        yield f"{ast.unparse(node)} is not allowed here: a number is"


def _power_faults(node: ast.BinOp) -> Iterator[str]:
    # constant expressions would be evaluated with Python integers, which are unbounded
    exponent = _literal(node.right)
    if isinstance(exponent, bool) or not isinstance(exponent, int | float) or abs(exponent) > MAX_EXPONENT:
        yield f"'{ast.unparse(node)}': an exponent must be a number up to {MAX_EXPONENT}"
    if not any(isinstance(n, ast.Name) for n in ast.walk(node.left)):
        yield f"'{ast.unparse(node)}': write the number itself"


def _call_faults(node: ast.Call) -> Iterator[str]:
    if not isinstance(node.func, ast.Name):
        yield f"'{ast.unparse(node.func)}' can't be called; functions are called by their bare names"
        return
    name, function = node.func.id, FUNCTIONS.get(node.func.id)
    if name == "offset":
        yield "offset(...) is not a term; put its expression into model.options.offset"
    elif name == "Q" and len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
        yield f"'{ast.unparse(node)}' is not needed; write the column in back-ticks: `{node.args[0].value!s}`"
    elif name == "cbind":
        yield f"'{ast.unparse(node)}' is not allowed; {REMEDIES['counts']}"
    elif name in FUNCTIONS_ELSEWHERE and function is None:
        yield f"'{name}' is not a function of formulas here: {FUNCTIONS_ELSEWHERE[name]}"
    elif function is None:
        yield f"unknown function '{name}' ({did_you_mean(name, FUNCTIONS)})"
    else:
        yield from _argument_faults(node, name, function)


def _argument_faults(node: ast.Call, name: str, function: FormulaFunction) -> Iterator[str]:
    allowed = ", ".join(function.keywords) or "none"
    if name == "log" and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
        yield f"'{ast.unparse(node)}': log has no base; {LOGARITHMS}"
    elif len(node.args) > 1 + len(function.keywords) or (name not in CONTRASTS and not node.args):
        yield f"'{ast.unparse(node)}': {name} takes one variable and these arguments: {allowed}"
    first = node.args[:1] if name not in CONTRASTS else []
    if name == "cs" and len(node.args) == 1 and not node.keywords:
        # a spline has a size; without one it is the category-specific effect of brms
        yield f"'{ast.unparse(node)}' is not available: {CATEGORY_SPECIFIC}"
        return
    for argument in first:
        yield from _faults(argument)
    for given in node.keywords:
        if name == "log" and given.arg == "base":
            yield f"'{ast.unparse(node)}': log has no base; {LOGARITHMS}"
        elif name == "scale" and given.arg in ("scale", "center"):
            yield f"'{ast.unparse(node)}': scale subtracts the mean and divides by the sd; center(x) subtracts alone"
        elif given.arg not in function.keywords:
            yield f"'{ast.unparse(node)}': {name} has no argument '{given.arg}'; it has: {allowed}"
    for value in node.args[len(first) :]:
        yield from _option_faults(value, name)
    for given in node.keywords:
        yield from _option_faults(given.value, name, counts=given.arg not in _IN_UNITS)


def _option_faults(value: ast.expr, name: str, counts: bool = True) -> Iterator[str]:
    """Check an argument after the first: a literal, or a contrast for `C`; one that counts columns is limited."""
    contrast = value.func if isinstance(value, ast.Call) else value
    if name in ("C", "factor") and isinstance(contrast, ast.Name) and contrast.id in CONTRASTS:
        if isinstance(value, ast.Call):
            yield from _argument_faults(value, contrast.id, FUNCTIONS[contrast.id])
        return
    items = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    for literal in map(_literal, items):
        is_text = isinstance(literal, str) and _TEXT.fullmatch(literal) is not None
        small = isinstance(literal, bool | float) or (isinstance(literal, int) and abs(literal) <= 10**9)
        sized = not isinstance(literal, int) or name in ("C", "factor", "Treatment") or abs(literal) <= MAX_COLUMNS
        if not (is_text or (small and (sized or not counts))):
            most = f" (up to {MAX_COLUMNS})" if counts else ""
            yield f"'{ast.unparse(value)}': an argument of {name} must be a plain number or text{most}"


def _literal(node: ast.expr) -> object:
    sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
    inner = node.operand if sign == -1 and isinstance(node, ast.UnaryOp) else node
    if not isinstance(inner, ast.Constant):
        return None
    return -inner.value if sign == -1 and isinstance(inner.value, int | float) else inner.value


def formula_functions() -> dict[str, Any]:
    """Map every name of the grammar's whitelist to its function.

    Functions of a whole column are stateful: the stored mean, knots or levels make a formula
    compute the same columns for new rows as for the fitted rows.
    """
    transforms = formulaic.transforms.TRANSFORMS
    pointwise = ("log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "abs", "sign", "sin", "cos", "tanh")
    statistics: dict[str, Callable[[Any], Any]] = {
        **{name: getattr(np, name) for name in ("mean", "median", "min", "max")},
        "std": _std,
    }
    shared = ("I", "center", "C", "poly", "bs", "cr", "cs", "cc", "Treatment", "Sum", "Helmert", "Poly", "Diff")
    standardize = _standardize()
    return {
        **{name: getattr(np, name) for name in pointwise},
        **{name: _remembered(statistic) for name, statistic in statistics.items()},
        **{name: transforms[name] for name in shared},
        "factor": transforms["C"],
        **{name: standardize for name in ("scale", "standardize", "zscore")},
        **{name: _of_days(name) for name in DATE_PARTS},
        "trend": _trend(),
    }


def _std(values: Any) -> Any:
    return np.std(values, ddof=1)


def _remembered(statistic: Callable[[Any], Any]) -> Any:
    """Make a statistic of a column that keeps its fitted value when the formula is applied to new rows."""

    def call(data: Any, _state: dict[str, Any]) -> Any:
        if "value" not in _state:
            _state["value"] = float(statistic(data))
        return _state["value"]

    return formulaic.transforms.stateful_transform(call)


def _of_days(name: str) -> Callable[[Any], Any]:
    """Make a function for a part of dates, which are given as days since 1970-01-01."""

    def call(days: Any) -> Any:
        return part_of_days(name, np.asarray(days, dtype=float))

    return call


def _trend() -> Any:
    """Return `(x - min(x)) / (max(x) - min(x))`, as `trend` in expressions."""

    def trend(data: Any, _state: dict[str, Any]) -> Any:
        if "low" not in _state:
            _state.update(low=float(data.min()), high=float(data.max()))
        return (data - _state["low"]) / (_state["high"] - _state["low"])

    return formulaic.transforms.stateful_transform(trend)


def _standardize() -> Any:
    """Return `(x - mean(x)) / std(x)`, with n - 1 degrees of freedom, as `zscore` in expressions."""

    def standardize(data: Any, _state: dict[str, Any]) -> Any:
        if "mean" not in _state:
            _state.update(mean=float(data.mean()), std=float(_std(data)))
        return (data - _state["mean"]) / _state["std"]

    return formulaic.transforms.stateful_transform(standardize)
