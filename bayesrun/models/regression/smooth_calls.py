"""Calls of smooth functions in a formula, `s(x, k = 10, by = g)`, taken out of its right side and read.

They are spelled as in mgcv and brms. A call takes columns, then arguments by name, which are numbers, texts, `TRUE`
and `FALSE`, or vectors, `c(5, 8)`; nothing of it is evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bayesrun.errors import did_you_mean, fail
from bayesrun.language.formula_grammar import column_named, quoted
from bayesrun.language.unicode_names import identifier_of
from bayesrun.models.regression.group_terms import joined, summands

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "s": ("k", "bs", "by", "fx"),
    "t2": ("k", "by"),
    "hsgp": ("m", "c", "cov", "by", "scale", "iso"),
    "mo": (),
}
"""Arguments of each function after its columns."""
_ELSEWHERE: Mapping[str, str] = {
    "te": "t2(x, z) is the tensor product smooth whose penalties are separate",
    "ti": "write t2(x, z), which holds the main effects too",
    "gp": "write hsgp(x), an approximation of a Gaussian process by basis functions",
}
_REMEDIES: Mapping[tuple[str, str], str] = {
    ("s", "m"): "the penalty is that of the second derivative, m = 2",
    ("s", "id"): "each smooth has an sd of its own",
    ("s", "sp"): "the smoothness is estimated: give a prior below model.priors.sds",
    ("s", "xt"): "the basis has no further options",
    ("s", "df"): "df is the k of a smooth: s(x, k = 10); a spline without a penalty is cr(x, df = 10)",
    ("t2", "bs"): "its margins are cubic regression splines",
    ("t2", "d"): "its margins are splines of one column each",
    ("t2", "full"): "the penalties are those of full = FALSE",
    ("hsgp", "k"): "the number of basis functions is m, and the boundary factor is c",
    ("hsgp", "gr"): "equal values share their effect anyway",
    ("mo", "id"): "each term has a simplex of its own",
}
_FACTOR = ("C", "factor")
_CALL = re.compile(rf"(?<![\w.])({'|'.join((*ARGUMENTS, *_ELSEWHERE))})\s*\(")


@dataclass(frozen=True)
class SmoothCall:
    """A call as the user wrote it.

    Parameters
    ----------
    function
        Its name.
    inputs
        The columns that it takes.
    arguments
        Numbers, texts, truths, and tuples of them, by name.
    by
        The column `by`, or None.
    labelled
        Whether the values of `by` are labels even if they are numbers: `by = C(g)`.
    text
        The call.
    key
        Config key of the formula.
    """

    function: str
    inputs: tuple[str, ...]
    arguments: Mapping[str, Any]
    by: str | None
    labelled: bool
    text: str
    key: str

    @property
    def name(self) -> str:
        """Name in the model's variables: `s_x`, `t2_x_z`, `s_x_by_g`."""
        parts = [self.function, *self.inputs, *(() if self.by is None else ("by", self.by))]
        return identifier_of("_".join(parts))

    @property
    def short(self) -> str:
        """The call with its columns alone, `s(x)`, or `s(x, by = g)`."""
        columns = ", ".join(self.inputs)
        return f"{self.function}({columns})" if self.by is None else f"{self.function}({columns}, by = {self.by})"

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names that its term may have in `model.priors`."""
        return tuple(dict.fromkeys(f"{prefix}{name}" for name in (self.name, self.short, self.text)))

    def fault(self, message: str, hint: str) -> Exception:
        """Return an error about this call."""
        return fail(self.key, f"'{self.text}': {message}", hint)


def is_smooth(text: str) -> bool:
    """Return whether a formula, with symbols for names in back-ticks, calls a function of this module."""
    return _CALL.search(text) is not None


def without_smooths(right: str, key: str) -> tuple[str, list[SmoothCall]]:
    """Take the calls of `s`, `t2` and `hsgp` out of the right side of a formula.

    Parameters
    ----------
    right
        The right side, with symbols for names in back-ticks.
    key
        Config key of the formula.

    Returns
    -------
    rest : str
        What is left; `1` if nothing is.
    calls : list of SmoothCall
        In the order of the formula.

    Raises
    ------
    UserError
        For a call that can't be read, and one that is not a summand.
    """
    kept, calls = [], list[SmoothCall]()
    for sign, part in summands(right):
        found = _CALL.search(part)
        if found is None or found[1] == "mo":
            kept.append((sign, part))
        else:
            _check_summand(sign, part, found[1], key)
            calls.append(read_call(part, key))
    first: dict[str, SmoothCall] = {}
    for call in calls:
        before = first.setdefault(call.name, call)
        if before is not call and before.short == call.short:
            raise call.fault("the same smooth appears twice", "leave one of them out")
        if before is not call:
            raise call.fault(f"it would have the same name as {before.short}", "rename a column by data.columns")
    return joined(kept), calls


def _check_summand(sign: str, part: str, function: str, key: str) -> None:
    shown = quoted(part)
    if function in _ELSEWHERE:
        raise fail(key, f"'{shown}': there is no {function}()", _ELSEWHERE[function])
    if sign == "-":
        raise fail(key, f"'- {shown}' removes a smooth", "leave the term out")
    begin = part.find("(")
    if not part.startswith(function) or part[len(function) : begin].strip() or _closing(part, begin) != len(part) - 1:
        hint = (
            f"a smooth must be a term of its own; {function}(x, by = z) multiplies it by z, or varies it with a factor"
        )
        raise fail(key, f"'{shown}': {function}() can't appear inside another term", hint)


def _closing(text: str, begin: int) -> int:
    depth = 0
    for place in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return -1


def read_call(text: str, key: str) -> SmoothCall:
    """Read one call, such as `s(x, bs = "cr", k = 8)`.

    Raises
    ------
    UserError
        For anything but columns and arguments that the function has.
    """
    shown = quoted(text)
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise fail(key, f"'{shown}' can't be read", "write s(x), s(x, k = 20), s(x, by = g), t2(x, z), hsgp(x), mo(x)")
    function = call.func.id
    inputs = tuple(_inputs(call, shown, key))
    arguments = {str(given.arg): given.value for given in call.keywords}
    for name in arguments:
        if name not in ARGUMENTS[function]:
            remedy = _REMEDIES.get((function, name))
            allowed = ", ".join(ARGUMENTS[function])
            hint = remedy or f"{did_you_mean(name, ARGUMENTS[function])}; allowed: {allowed}"
            hint = hint if allowed else remedy or "it takes a column, and no arguments"
            raise fail(key, f"'{shown}': {function} has no argument '{name}'", hint)
    by, labelled = _by(arguments.pop("by", None), shown, key)
    values = {name: _value(node, name, shown, key) for name, node in arguments.items()}
    return SmoothCall(function, inputs, values, by, labelled, shown, key)


def _inputs(call: ast.Call, shown: str, key: str) -> Iterator[str]:
    for node in call.args:
        if not isinstance(node, ast.Name):
            got = quoted(ast.unparse(node))
            hint = "name columns, and the arguments by name, k = 10; compute columns in data.derive"
            raise fail(key, f"'{shown}': '{got}' is not a column", hint)
        yield column_named(node.id)
    if not call.args:
        raise fail(key, f"'{shown}' has no column", "write s(x)")
    names = [ast.unparse(node) for node in call.args]
    if len(set(names)) < len(names):
        raise fail(key, f"'{shown}' takes the same column twice", "name each column once")


def _by(node: ast.expr | None, shown: str, key: str) -> tuple[str | None, bool]:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FACTOR
    labelled = called and isinstance(node, ast.Call) and len(node.args) == 1
    inner = node.args[0] if isinstance(node, ast.Call) and labelled else node
    if inner is None or (isinstance(inner, ast.Name) and inner.id in ("NA", "NULL", "None")):
        return None, False
    if not isinstance(inner, ast.Name):
        raise fail(key, f"'{shown}': 'by' is not a column", "by = g, or by = C(g) for numbers that are labels")
    return column_named(inner.id), labelled


def _value(node: ast.expr, name: str, shown: str, key: str) -> Any:
    """Return a literal: a number, a text, a truth, or a tuple of them."""
    if isinstance(node, ast.Name) and node.id.lower() in ("true", "false", "t", "f"):
        return node.id.lower() in ("true", "t")
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(value, bool | int | float | str):
        return value
    vector = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "c"
    items = node.args if isinstance(node, ast.Call) and vector else getattr(node, "elts", None)
    if items is None or len(items) > 10:
        got = quoted(ast.unparse(node))
        raise fail(key, f"'{shown}': {name} must be a number, text, TRUE or FALSE (got {got})", "write k = 10")
    return tuple(_value(item, name, shown, key) for item in items)


def whole_numbers(call: SmoothCall, name: str, count: int, least: int, most: int) -> tuple[int | None, ...]:
    """Return an argument that is one whole number, or one per input; None where it is not given.

    Raises
    ------
    UserError
        For anything else, and numbers out of the range.
    """
    given = call.arguments.get(name)
    if given is None or given in (-1, "NA"):  # mgcv's spelling of the default
        return (None,) * count
    values = given if isinstance(given, tuple) else (given,) * count
    right = all(isinstance(v, int) and not isinstance(v, bool) and least <= v <= most for v in values)
    if not right or len(values) != count:
        several = f", or {count} of them" if count > 1 else ""
        got = given if not isinstance(given, tuple) else list(given)
        raise call.fault(f"{name} must be a whole number from {least} to {most}{several} (got {got!r})", f"{name} = 10")
    return tuple(values)


def truth(call: SmoothCall, name: str, default: bool) -> bool:
    """Return an argument that is TRUE or FALSE."""
    given = call.arguments.get(name, default)
    if not isinstance(given, bool):
        raise call.fault(f"{name} must be TRUE or FALSE (got {given!r})", f"{name} = TRUE")
    return given
