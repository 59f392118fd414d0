"""Checks of a parameter's fixed value against the parameter's domain, without NumPy."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bayesrun.errors import Problem, UserError
from bayesrun.language._families import Parameter
from bayesrun.language._grammar import parse

_Test = Callable[[float], bool]
_TESTS: Mapping[str, tuple[_Test, str]] = MappingProxyType(
    {
        "real": (lambda v: True, "a number"),
        "positive": (lambda v: v > 0, "above 0"),
        "nonnegative": (lambda v: v >= 0, "0 or above"),
        "unit": (lambda v: 0 <= v <= 1, "between 0 and 1"),
        "simplex": (lambda v: 0 <= v <= 1, "between 0 and 1"),
        "count": (lambda v: v >= 0 and v == math.floor(v), "a whole number, 0 or above"),
        "size": (lambda v: v >= 1 and v == math.floor(v), "a whole number, 1 or above"),
        "integer": (lambda v: v == math.floor(v), "a whole number"),
        "matrices": (lambda v: True, "a number"),
    }
)
_INFINITE = ("lower", "upper")
_TOLERANCE = 1e-6


def value_problems(key: str, value: Any, parameter: Parameter) -> Iterator[Problem]:
    """Find what is wrong with the value that YAML gives a parameter.

    Parameters
    ----------
    key
        Config key of the value.
    value
        Number, (nested) list of numbers and expressions, or the text of an expression.
    parameter
        What it is given to.
    """
    if parameter.domain == "bool":
        if not isinstance(value, bool):
            yield Problem(key, f"must be true or false (got {value!r})")
    elif parameter.domain == "text":
        if not isinstance(value, str):
            yield Problem(key, f"must be a name (got {value!r})")
    elif _is_list(value):
        yield from _list_problems(key, value, parameter)
    else:
        yield from _scalar_problems(key, value, parameter)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _list_problems(key: str, values: Sequence[Any], parameter: Parameter) -> Iterator[Problem]:
    if not values:
        yield Problem(key, "is an empty list", "give at least one number")
        return
    inner = [_is_list(v) for v in values]
    if any(inner) and (not all(inner) or (len({len(v) for v in values}) > 1 and parameter.domain != "matrices")):
        yield Problem(key, "is ragged: all its rows must have one length")
        return
    problems = [p for i, v in enumerate(values) for p in value_problems(f"{key}[{i}]", v, parameter)]
    yield from problems
    if parameter.domain == "simplex" and not problems:
        yield from _simplex_problems(key, values)


def _simplex_problems(key: str, values: Sequence[Any]) -> Iterator[Problem]:
    numbers = [v for v in values if isinstance(v, (int, float))]
    if len(numbers) == len(values) and abs(sum(numbers) - 1) > _TOLERANCE:
        yield Problem(key, f"must sum to 1 (sums to {sum(numbers):g})")


def _scalar_problems(key: str, value: Any, parameter: Parameter) -> Iterator[Problem]:
    if isinstance(value, str):
        yield from _text_problems(key, value, parameter)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        yield Problem(key, f"must be a number, a list or an expression (got {value!r})")
    else:
        yield from _number_problems(key, float(value), parameter)


def _text_problems(key: str, text: str, parameter: Parameter) -> Iterator[Problem]:
    try:
        tree = parse(text, key).tree
    except UserError as error:
        yield from error.problems
        return
    number = _literal(tree)
    if number is not None:
        yield from _number_problems(key, number, parameter)


def _literal(tree: ast.expr) -> float | None:
    """Return the number that an expression is, if it is nothing else (`1e-3` is text in YAML 1.1)."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        inner = _literal(tree.operand)
        return None if inner is None else -inner
    return float(tree.value) if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)) else None


def _number_problems(key: str, number: float, parameter: Parameter) -> Iterator[Problem]:
    test, words = _TESTS[parameter.domain]
    if math.isnan(number) or (math.isinf(number) and parameter.name not in _INFINITE):
        yield Problem(key, f"must be a finite number (got {number})")
    elif math.isfinite(number) and not test(number):
        yield Problem(key, f"must be {words} (got {number:g})")
