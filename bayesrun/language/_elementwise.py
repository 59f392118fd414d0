"""Functions and operators that work number by number, in NumPy and in Theano."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from scipy import special

from bayesrun.language.values import Value, align, compute

Pair = tuple[Callable[..., Any], Callable[..., Any]]


def _theano(name: str) -> Callable[..., Any]:
    """Return a function of Theano's by its dotted name, looked up when it is called."""

    def call(*arguments: Any) -> Any:
        import theano.tensor as tt

        found: Any = tt
        for part in name.split("."):
            found = getattr(found, part)
        return found(*arguments)

    return call


def _probit(p: Any) -> Any:
    import theano.tensor as tt

    return -np.sqrt(2.0) * tt.erfcinv(2.0 * p)


def _logit(p: Any) -> Any:
    import theano.tensor as tt

    return tt.log(p) - tt.log1p(-p)


def _theano_where(condition: Any, a: Any, b: Any) -> Any:
    return _theano("switch")(_theano("neq")(condition, 0), a, b)


def _count(name: str) -> Callable[..., Any]:
    """Return a comparison of Theano's whose result is a number, 0 or 1."""
    return lambda *arguments: _theano("cast")(_theano(name)(*arguments), "int64")


def _number(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: np.asarray(function(*arguments)).astype(np.int64)


ONE_BY_ONE: dict[str, Pair] = {
    "exp": (np.exp, _theano("exp")),
    "log": (np.log, _theano("log")),
    "log1p": (np.log1p, _theano("log1p")),
    "expm1": (np.expm1, _theano("expm1")),
    "sqrt": (np.sqrt, _theano("sqrt")),
    "abs": (np.abs, _theano("abs_")),
    "sign": (np.sign, _theano("sgn")),
    "sin": (np.sin, _theano("sin")),
    "cos": (np.cos, _theano("cos")),
    "tan": (np.tan, _theano("tan")),
    "tanh": (np.tanh, _theano("tanh")),
    "sigmoid": (special.expit, _theano("nnet.sigmoid")),
    "logit": (special.logit, _logit),
    "probit": (special.ndtri, _probit),
    "erf": (special.erf, _theano("erf")),
    "gammaln": (special.gammaln, _theano("gammaln")),
    "where": (lambda c, a, b: np.where(c != 0, a, b), _theano_where),
    "switch": (lambda c, a, b: np.where(c != 0, a, b), _theano_where),
    "clip": (np.clip, _theano("clip")),
}
_FOLDED: dict[str, Pair] = {
    "minimum": (np.minimum, _theano("minimum")),
    "maximum": (np.maximum, _theano("maximum")),
}
NAMES = frozenset([*ONE_BY_ONE, *_FOLDED])

OPERATORS: dict[type[ast.AST], Pair] = {
    ast.Add: (np.add, _theano("add")),
    ast.Sub: (np.subtract, _theano("sub")),
    ast.Mult: (np.multiply, _theano("mul")),
    ast.Div: (np.true_divide, _theano("true_div")),
    ast.FloorDiv: (np.floor_divide, _theano("int_div")),
    ast.Mod: (np.mod, _theano("mod")),
    ast.Pow: (lambda a, b: np.power(np.asarray(a, dtype=float), b), _theano("pow")),
    ast.USub: (np.negative, _theano("neg")),
    ast.UAdd: (np.positive, lambda x: x),
}
LOGICAL: dict[type[ast.AST], Pair] = {
    ast.Lt: (_number(np.less), _count("lt")),
    ast.LtE: (_number(np.less_equal), _count("le")),
    ast.Gt: (_number(np.greater), _count("gt")),
    ast.GtE: (_number(np.greater_equal), _count("ge")),
    ast.Eq: (_number(np.equal), _count("eq")),
    ast.NotEq: (_number(np.not_equal), _count("neq")),
    ast.Not: (_number(np.logical_not), lambda x: _count("eq")(x, 0)),
    ast.And: (
        _number(np.logical_and),
        lambda a, b: _count("and_")(_theano("neq")(a, 0), _theano("neq")(b, 0)),
    ),
    ast.Or: (
        _number(np.logical_or),
        lambda a, b: _count("or_")(_theano("neq")(a, 0), _theano("neq")(b, 0)),
    ),
}


def apply(pair: Pair, arguments: Sequence[Value]) -> Value:
    """Apply a function number by number; the arguments' axes meet by name."""
    dims, aligned = align(arguments)
    return compute(*pair, aligned, dims)


def operate(operator: ast.AST, arguments: Sequence[Value]) -> Value:
    """Apply an operator of the syntax tree."""
    if type(operator) in LOGICAL:
        return replace(apply(LOGICAL[type(operator)], arguments), logical=True)
    return apply(OPERATORS[type(operator)], arguments)


def call(name: str, arguments: Sequence[Value]) -> Value | None:
    """Call a function that works number by number; None when `name` is no such function."""
    if name in ONE_BY_ONE:
        return apply(ONE_BY_ONE[name], arguments)
    if name in _FOLDED:
        return reduce(lambda a, b: apply(_FOLDED[name], [a, b]), arguments)
    return None
