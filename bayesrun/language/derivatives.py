"""Derivatives of expressions of single numbers, as expressions: nodes in, nodes out.

Zeros and ones are left out as they arise, so that the derivative of a short expression is short. Comparisons, signs and
whole parts are constant between their jumps: their derivative is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from bayesrun.language.operations import Call, Constant, Node, Variable, in_order

Rule = Callable[..., "Node | None"]
"""`(node, operand, derivative of operand, ...) -> derivative`; None is 0."""

_STEPS = frozenset(
    ("sign", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "not", "and", "or", "floor_divide")
)


def number(value: float) -> Constant:
    """Return a fixed number as a node."""
    return Constant(np.asarray(float(value)))


def derivative(node: Node, name: str) -> Node | None:
    """Return the derivative of a node by the variable of a name; None where it is 0 everywhere.

    Parameters
    ----------
    node
        An expression of single numbers whose operations are among `DIFFERENTIABLE`.
    name
        Name of the variable.
    """
    known: dict[int, Node | None] = {}
    for part in in_order(node):
        if isinstance(part, Variable):
            known[id(part)] = number(1.0) if part.name == name else None
        elif isinstance(part, Call) and any(known[id(given)] is not None for given in part.inputs):
            pairs = [(given, known[id(given)]) for given in part.inputs]
            rule = _RULES.get(part.operation)
            known[id(part)] = None if rule is None else rule(part, *(one for pair in pairs for one in pair))
        else:
            known[id(part)] = None
    return known[id(node)]


def _is(node: Node, value: float) -> bool:
    return isinstance(node, Constant) and not node.replaceable and float(node.numbers) == value


def _times(a: Node | None, b: Node | None) -> Node | None:
    if a is None or b is None or _is(a, 0.0) or _is(b, 0.0):
        return None
    return b if _is(a, 1.0) else a if _is(b, 1.0) else Call("multiply", (a, b))


def _plus(a: Node | None, b: Node | None) -> Node | None:
    if a is None or b is None:
        return b if a is None else a
    return Call("add", (a, b))


def _minus(a: Node | None, b: Node | None) -> Node | None:
    if b is None:
        return a
    return Call("negative", (b,)) if a is None else Call("subtract", (a, b))


def _over(a: Node | None, b: Node) -> Node | None:
    return None if a is None else Call("divide", (a, b))


def _power(node: Node, a: Node, da: Node | None, b: Node, db: Node | None) -> Node | None:
    by_base = None
    if da is not None:
        less = number(float(b.numbers) - 1.0) if isinstance(b, Constant) else Call("subtract", (b, number(1.0)))
        rest = a if _is(less, 1.0) else Call("power", (a, less))
        by_base = _times(_times(b, rest), da)
    by_exponent = None
    if db is not None:
        inside = Call("greater", (a, number(0.0)))
        log = Call("where", (inside, Call("log", (Call("where", (inside, a, number(1.0))),)), number(0.0)))
        by_exponent = _times(_times(node, log), db)
    return _plus(by_base, by_exponent)


def _chosen(condition: Node, a: Node | None, b: Node | None) -> Node | None:
    if a is None and b is None:
        return None
    return Call("where", (condition, a or number(0.0), b or number(0.0)))


def _clip(
    node: Node, x: Node, dx: Node | None, low: Node, dlow: Node | None, high: Node, dhigh: Node | None
) -> Node | None:
    inner = _chosen(Call("greater", (x, high)), dhigh, dx)
    return _chosen(Call("less", (x, low)), dlow, inner)


def _elementwise(slope: Callable[[Node, Node], Node]) -> Rule:
    """Return the rule of a function of one number from `(node, operand) -> slope`."""
    return lambda node, a, da: _times(slope(node, a), da)


def _one_minus_square(node: Node) -> Node:
    return Call("subtract", (number(1.0), Call("square", (node,))))


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "add": lambda node, a, da, b, db: _plus(da, db),
        "subtract": lambda node, a, da, b, db: _minus(da, db),
        "multiply": lambda node, a, da, b, db: _plus(_times(da, b), _times(a, db)),
        "divide": lambda node, a, da, b, db: _minus(_over(da, b), _over(_times(node, db), b)),
        "power": _power,
        "negative": lambda node, a, da: None if da is None else Call("negative", (da,)),
        "positive": lambda node, a, da: da,
        "square": _elementwise(lambda node, a: Call("multiply", (number(2.0), a))),
        "sqrt": _elementwise(lambda node, a: Call("divide", (number(0.5), node))),
        "exp": _elementwise(lambda node, a: node),
        "expm1": _elementwise(lambda node, a: Call("add", (node, number(1.0)))),
        "log": _elementwise(lambda node, a: Call("divide", (number(1.0), a))),
        "log1p": _elementwise(lambda node, a: Call("divide", (number(1.0), Call("add", (number(1.0), a))))),
        "sin": _elementwise(lambda node, a: Call("cos", (a,))),
        "cos": _elementwise(lambda node, a: Call("negative", (Call("sin", (a,)),))),
        "tan": _elementwise(lambda node, a: Call("add", (number(1.0), Call("square", (node,))))),
        "atan": _elementwise(
            lambda node, a: Call("divide", (number(1.0), Call("add", (number(1.0), Call("square", (a,))))))
        ),
        "tanh": _elementwise(lambda node, a: _one_minus_square(node)),
        "sigmoid": _elementwise(lambda node, a: Call("subtract", (node, Call("square", (node,))))),
        "logit": _elementwise(
            lambda node, a: Call("divide", (number(1.0), Call("subtract", (a, Call("square", (a,))))))
        ),
        "erf": _elementwise(
            lambda node, a: Call(
                "multiply",
                (number(2.0 / math.sqrt(math.pi)), Call("exp", (Call("negative", (Call("square", (a,)),)),))),
            )
        ),
        "abs": _elementwise(lambda node, a: Call("sign", (a,))),
        "where": lambda node, c, dc, a, da, b, db: _chosen(c, da, db),
        "minimum": lambda node, a, da, b, db: _chosen(Call("less", (a, b)), da, db),
        "maximum": lambda node, a, da, b, db: _chosen(Call("greater", (a, b)), da, db),
        "clip": _clip,
        "mod": lambda node, a, da, b, db: _minus(da, _times(Call("floor_divide", (a, b)), db)),
    }
)
DIFFERENTIABLE = frozenset((*_RULES, *_STEPS))
"""Operations on single numbers of which derivatives are known."""
