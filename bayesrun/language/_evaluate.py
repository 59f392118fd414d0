"""Walk the tree of a checked expression and compute it, in NumPy or as a Theano graph."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from bayesrun.errors import Problem, UserError
from bayesrun.language import _arrays, _elementwise, _reductions
from bayesrun.language.grammar import Expression, arguments
from bayesrun.language.scope import Scope
from bayesrun.language.values import Fault, Value, constant

_SHAPED = {"zeros": 0.0, "ones": 1.0}


def value_of(expression: Expression, scope: Scope, dims: Sequence[str | None] = ()) -> Value:
    """Compute an expression.

    Parameters
    ----------
    expression
        The checked expression.
    scope
        What its names mean.
    dims
        Dims that the result is said to have. Arrays of which neither has the dims of the other make a new, larger
        array only when the user has said that this is meant.

    Returns
    -------
    Value
        Its numbers where they are known, and its graph where they are random.

    Raises
    ------
    UserError
        With the place at fault: every unknown name, else the first axis that clashes.
    """
    problems = _unknown(expression, scope)
    if problems:
        raise UserError(problems)
    return _Walk(expression, scope, dims).value(expression.tree)


def _unknown(expression: Expression, scope: Scope) -> list[Problem]:
    problems = []
    for name in sorted(expression.names):
        try:
            scope.lookup(name)
        except Fault as fault:
            nodes = [n for n in ast.walk(expression.tree) if isinstance(n, ast.Name) and n.id == name]
            problems.append(expression.problem(nodes[0], fault.message, fault.hint))
    return problems


class _Walk:
    """One evaluation of one expression."""

    def __init__(self, expression: Expression, scope: Scope, dims: Sequence[str | None]) -> None:
        self._expression, self._scope, self._dims = expression, scope, frozenset(dims)

    def value(self, node: ast.expr) -> Value:
        """Compute a node; what goes wrong in it is pointed at."""
        try:
            return self._value(node)
        except Fault as fault:
            raise UserError([self._expression.problem(node, fault.message, fault.hint)]) from None
        except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
            problem = self._expression.problem(node, f"can't be computed: {str(error).splitlines()[0]}")
            raise UserError([problem]) from error

    def _value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return constant(float(node.value))  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self._scope.lookup(node.id)
        if isinstance(node, ast.BinOp):
            return self._operate(node.op, [self.value(node.left), self.value(node.right)])
        if isinstance(node, ast.UnaryOp):
            return _elementwise.operate(node.op, [self.value(node.operand)])
        if isinstance(node, (ast.BoolOp, ast.Compare)):
            return self._logic(node)
        if isinstance(node, ast.Subscript):
            return self._index(node)
        assert isinstance(node, ast.Call), node
        return self._call(node)

    def _operate(self, operator: ast.AST, parts: list[Value]) -> Value:
        self._refuse_clash(parts)
        return _elementwise.operate(operator, parts)

    def _refuse_clash(self, parts: list[Value]) -> None:
        """Refuse an outer product that no one asked for: mostly `alpha` was meant to be `alpha[county]`."""
        named = [frozenset(d for d in part.dims if d is not None) for part in parts]
        union = frozenset().union(*named)
        if union in named or union <= self._dims:
            return
        apart = next((a, b) for i, a in enumerate(named) for b in named[i + 1 :] if not (a <= b or b <= a))
        first, second = (f"({', '.join(sorted(map(str, names)))})" for names in apart)
        hint = "index one by codes over the other, as in alpha[county], or say dims: that name them all"
        raise Fault(f"dims {first} and {second} clash", hint)

    def _logic(self, node: ast.BoolOp | ast.Compare) -> Value:
        """`a < b < c` means `a < b and b < c`."""
        if isinstance(node, ast.BoolOp):
            parts, operator = [self.value(v) for v in node.values], node.op
        else:
            terms = [self.value(v) for v in [node.left, *node.comparators]]
            pairs = zip(node.ops, terms[:-1], terms[1:], strict=True)
            parts, operator = [self._operate(op, [a, b]) for op, a, b in pairs], ast.And()
        result = parts[0]
        for part in parts[1:]:
            result = self._operate(operator, [result, part])
        return result

    def _index(self, node: ast.Subscript) -> Value:
        array = self.value(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _arrays.index(array, [self._slice(p) if isinstance(p, ast.Slice) else self.value(p) for p in parts])

    def _slice(self, node: ast.Slice) -> slice:
        ends = [
            None if end is None else _arrays.whole_number(self.value(end), name)
            for name, end in (("start", node.lower), ("stop", node.upper), ("step", node.step))
        ]
        if ends[2] == 0:
            raise Fault("a slice needs a step other than 0")
        return slice(*ends)

    def _call(self, node: ast.Call) -> Value:
        assert isinstance(node.func, ast.Name)
        name, dim, values = node.func.id, None, []
        for argument_name, argument in arguments(node):
            if argument_name == "dim":
                dim = _dim(argument)
            elif argument_name == "shape":
                sizes = argument.elts if isinstance(argument, ast.Tuple) else [argument]
                return _arrays.filled(_SHAPED[name], [self.value(size) for size in sizes])
            else:
                values.append(self.value(argument))
        if name in _elementwise.NAMES:
            self._refuse_clash(values)
        return _call(name, values, dim)


def _call(name: str, values: list[Value], dim: str | int | None) -> Value:
    for found in (_elementwise.call(name, values), _reductions.call(name, values, dim)):
        if found is not None:
            return found
    function = getattr(_arrays, name) if name in _ARRAYS else None
    assert function is not None, name
    result: Value = function(*values)
    return result


_ARRAYS = ("dot", "outer", "transpose", "stack", "concatenate", "diff", "lag", "arange")


def _dim(node: ast.expr) -> str | int:
    if isinstance(node, ast.Name):
        return node.id
    sign, inner = (-1, node.operand) if isinstance(node, ast.UnaryOp) else (1, node)
    assert isinstance(inner, ast.Constant)
    return sign * int(inner.value)  # type: ignore[arg-type]
