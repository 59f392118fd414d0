"""Evaluation of expressions: to numbers for `derive`, to nodes in a model.

`docs/language.md` lists what may be written. The text is parsed against a whitelist (`grammar`), never compiled; values
have named axes (`values`), which are aligned by name and not by position.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, did_you_mean, fail
from bayesrun.language.calendar_dates import (
    PARTS,
    date_of_text,
    date_part,
    is_date_after_call,
    is_date_after_operator,
    to_dates,
)
from bayesrun.language.functions import ELEMENTWISE, call, index, operate, whole_number
from bayesrun.language.grammar import Expression, arguments, is_text, names_in, parse
from bayesrun.language.learned import Learned
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import check_row_before
from bayesrun.language.values import Dims, Fault, Value, align, apply, compute, constant
from bayesrun.lazy import xr


def evaluate(
    text: str,
    data: xr.Dataset,
    key: str,
    columns: Mapping[str, xr.DataArray] | None = None,
    learned: Learned | None = None,
) -> xr.DataArray:
    """Compute an expression over a data set, as `derive` does.

    Parameters
    ----------
    text
        The expression; its names are variables, coords and dim sizes of the data.
    data
        The data set.
    key
        Config key of the expression, for messages; its last part names unnamed axes.
    columns
        Columns over the rows whose names refer, in the data set, to the dims of their labels.
    learned
        Reductions over the rows that are learned, or reused for new rows; None if there are none.

    Returns
    -------
    DataArray
        The result over named dims, with the data set's coords.

    Raises
    ------
    UserError
        When the text is not a valid expression, uses an unknown name, or its dims conflict; the error points at the
        place.
    """
    value = value_of(parse(text, key), Scope(data, columns=columns, learned=learned))
    dims = _named_dims(value, data, key)
    numbers = to_dates(value.known) if value.date else value.known
    coords = {d: data.coords[d] for d in dims if d in data.coords}
    return xr.DataArray(numbers, dims=dims, coords=coords)


def _named_dims(value: Value, data: xr.Dataset, key: str) -> list[str]:
    """Name every axis: an unnamed axis is the only dim of its size, or a new dim (`X_dim_1`)."""
    dims: list[str] = []
    for axis, (name, size) in enumerate(zip(value.dims, value.shape, strict=True)):
        if size == 0:
            raise fail(key, "the result is empty", "does a slice select nothing?")
        fitting = [str(d) for d, n in data.sizes.items() if n == size and d not in value.dims]
        alone = value.ndim == 1 and len(fitting) == 1
        dims.append(name or (fitting[0] if alone else f"{key.rsplit('.', 1)[-1]}_dim_{axis}"))
    return dims


def read(given: Any, scope: Scope, key: str, dims: Dims = ()) -> Value:
    """Convert a parameter in YAML to a value: a number, a (nested) list, or an expression.

    Parameters
    ----------
    given
        The number, list or text.
    scope
        Values of the names.
    key
        Its config key.
    dims
        Dims that the expression may have.
    """
    if isinstance(given, str):
        value = value_of(parse(given, key), scope, dims)
        if value.date:
            raise fail(key, f"'{given}' contains dates, but a number is needed", "use days(date), or trend(date)")
        return value
    if not isinstance(given, Sequence):
        return constant(given)
    parts = [read(part, scope, f"{key}[{i}]", dims) for i, part in enumerate(given)]
    if all(part.known is not None and part.node is None for part in parts):
        return constant([part.known for part in parts])
    try:
        return _rows(parts)
    except Fault as fault:
        raise UserError([Problem(key, fault.message, fault.hint)]) from None


def _rows(parts: Sequence[Value]) -> Value:
    """Stack the elements of a list along a new first axis."""
    dims, aligned = align(parts)
    if len({part.shape for part in aligned}) > 1:
        raise Fault("its elements differ in their axes")
    return compute("stack_first", aligned, (None, *dims))


def value_of(expression: Expression, scope: Scope, dims: Sequence[str | None] = ()) -> Value:
    """Evaluate an expression.

    Parameters
    ----------
    expression
        The checked expression.
    scope
        Values of its names.
    dims
        Declared dims of the result. An outer product, where neither array has all dims of the other, is only
        allowed if the user has declared its dims.

    Returns
    -------
    Value
        Its numbers if they are known, its graph if they are random.

    Raises
    ------
    UserError
        With the location of the error: every unknown name, otherwise the first axis that conflicts.
    """
    problems = _unknown(expression, scope)
    if problems:
        raise UserError(problems)
    walk = _Walk(expression, scope, dims)
    value = walk.value(expression.tree)
    if scope.learned is not None:
        scope.learned.learn(expression.tree, walk.values, scope.is_over_rows, scope.size(scope.learned.rows) or 0)
    return value


def _unknown(expression: Expression, scope: Scope) -> list[Problem]:
    problems = []
    names = expression.names
    if scope.learned is not None:
        names = names & scope.learned.names_needed(expression.tree)
    for name in sorted(names - _names_of_labels(expression, scope)):
        try:
            scope.lookup(name)
        except Fault as fault:
            nodes = [n for n in ast.walk(expression.tree) if isinstance(n, ast.Name) and n.id == name]
            problems.append(expression.problem(nodes[0], fault.message, fault.hint))
    return problems


def _names_of_labels(expression: Expression, scope: Scope) -> set[str]:
    """Return the names of columns that an expression only compares with strings."""
    return {name for name in expression.labels if scope.cells(name) is not None}


_OF_NEIGHBOURS = ("lag", "diff")


class _Walk:
    """A single evaluation of an expression."""

    def __init__(self, expression: Expression, scope: Scope, dims: Sequence[str | None]) -> None:
        self._expression, self._scope, self._dims = expression, scope, frozenset(dims)
        self.values: dict[ast.AST, Value] = {}

    def value(self, node: ast.expr) -> Value:
        """Evaluate a node; errors point at it."""
        try:
            recalled = self._scope.learned.recall(node) if self._scope.learned else None
            self.values[node] = self._value(node) if recalled is None else recalled
            if self._scope.learned and recalled is None:
                parts = [self.values[child] for child in ast.iter_child_nodes(node) if child in self.values]
                self._scope.learned.refuse_mixing(node, self.values[node], parts)
            return self.values[node]
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
            return self._operate(node.op, [self.value(node.operand)])
        if isinstance(node, (ast.BoolOp, ast.Compare)):
            return self._logic(node)
        if isinstance(node, ast.Subscript):
            return self._index(node)
        assert isinstance(node, ast.Call), node
        return self._call(node)

    def _operate(self, operator: ast.AST, parts: list[Value]) -> Value:
        self._refuse_clash(parts)
        is_date = any(part.date for part in parts) and is_date_after_operator(operator, parts)
        made = operate(operator, parts)
        return replace(_missing_kept(made, parts) if made.logical else made, date=is_date)

    def _refuse_clash(self, parts: list[Value]) -> None:
        """Reject an accidental outer product: usually `alpha` should have been `alpha[county]`."""
        named = [frozenset(d for d in part.dims if d is not None) for part in parts]
        union = frozenset().union(*named)
        if union in named or union <= self._dims:
            return
        apart = next((a, b) for i, a in enumerate(named) for b in named[i + 1 :] if not (a <= b or b <= a))
        first, second = (f"({', '.join(sorted(map(str, names)))})" for names in apart)
        hint = "index one by codes over the other, as in alpha[county], or write dims: that name them all"
        raise Fault(f"dims {first} and {second} clash", hint)

    def _logic(self, node: ast.BoolOp | ast.Compare) -> Value:
        """Evaluate a comparison; `a < b < c` means `a < b and b < c`."""
        if isinstance(node, ast.BoolOp):
            parts, operator = [self.value(v) for v in node.values], node.op
        elif any(map(is_text, (node.left, *node.comparators))):
            return self._compare_text(node)
        else:
            terms = [self.value(v) for v in [node.left, *node.comparators]]
            pairs = zip(node.ops, terms[:-1], terms[1:], strict=True)
            parts, operator = [self._operate(op, [a, b]) for op, a, b in pairs], ast.And()
        result = parts[0]
        for part in parts[1:]:
            result = self._operate(operator, [result, part])
        return result

    def _compare_text(self, node: ast.Compare) -> Value:
        """Compare a column of labels or dates with a quoted string."""
        first, second = node.left, node.comparators[0]
        text, other = (first, second) if is_text(first) else (second, first)
        assert isinstance(text, ast.Constant)
        cells = self._scope.cells(other.id) if isinstance(other, ast.Name) else None
        if cells is None or cells[0].dtype.kind == "M":
            value = self.value(other)
            if not value.date:
                raise Fault(f"'{text.value!s}' is compared with numbers", "compare a column of labels: group == 'a'")
            pair = [value, date_of_text(str(text.value))]
            return self._operate(node.ops[0], pair if other is first else pair[::-1])
        assert isinstance(other, ast.Name)
        if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            raise Fault("labels can't be ordered", "text can only be compared with == and !=")
        return self._equals(other.id, cells, str(text.value), isinstance(node.ops[0], ast.Eq))

    def _equals(self, name: str, cells: tuple[Any, tuple[str, ...]], text: str, equal: bool) -> Value:
        labels, dims = cells
        if labels.dtype.kind in "iuf":
            raise Fault(f"'{name}' holds numbers, but '{text}' is text", f"write {name} == {text} without quotes")
        missing = np.array([label is None or label != label for label in labels.ravel()]).reshape(labels.shape)
        found = (labels.astype(str) == text) & ~missing
        learned = self._scope.learned
        if not found.any() and not (learned and learned.of_new_rows):
            known = sorted({str(label) for label in labels[~missing].ravel()})
            raise Fault(f"'{name}' has no value '{text}'", did_you_mean(text, known))
        answer = (found if equal else ~found).astype(np.int64)
        return replace(constant(np.where(missing, np.nan, answer) if missing.any() else answer, dims), logical=True)

    def _index(self, node: ast.Subscript) -> Value:
        array = self.value(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        picks = [self._slice(p) if isinstance(p, ast.Slice) else self.value(p) for p in parts]
        if self._scope.learned is not None:
            self._scope.learned.refuse_negative([pick for pick in picks if isinstance(pick, Value)])
        taken = index(array, picks)
        return replace(taken, date=array.date)

    def _slice(self, node: ast.Slice) -> slice:
        ends = [
            None if end is None else whole_number(self.value(end), name)
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
                values = [self._size(size) for size in sizes]
            else:
                values.append(self.value(argument))
        if name in ELEMENTWISE:
            self._refuse_clash(values)
        if name in _OF_NEIGHBOURS and values[0].ndim:
            times = self._scope.dates_along(values[0].dims[0 if name == "lag" else -1])
            if times is not None:
                check_row_before(name, times, names_in(node))
        parts = self._scope.learned.expanded(node, values[0], dim) if self._scope.learned and values else None
        if parts is not None:
            return self.value(parts)
        if name in PARTS:
            return date_part(name, values[0])
        if name == "trend":
            return self._operate(ast.Div(), [self._since(values[0], values[0]), self._since(values[0])])
        is_date = any(value.date for value in values) and is_date_after_call(name, values)
        made = call(name, values, dim)
        condition = values[:1] if name in ("where", "switch") else []
        return replace(_missing_kept(made, condition), date=is_date)

    def _since(self, value: Value, at: Value | None = None) -> Value:
        """Return the difference between the largest and the smallest element of a value."""
        low, high = (replace(call(name, [value]), date=value.date) for name in ("min", "max"))
        return self._operate(ast.Sub(), [high if at is None else at, low])

    def _size(self, node: ast.expr) -> Value:
        """Replace the number of rows in a shape by that of the current rows."""
        return self._scope.lookup(node.id) if isinstance(node, ast.Name) else self.value(node)


def _missing_kept(made: Value, operands: Sequence[Value]) -> Value:
    """Return a result that is missing where an operand is; NumPy's comparisons would return 0."""
    known = [operand for operand in operands if operand.known is not None]
    if made.known is None or not any(np.isnan(operand.known).any() for operand in known):
        return made
    flags = [replace(operand, known=np.isnan(operand.known).astype(float), date=False) for operand in known]
    whole = replace(made, known=np.zeros(made.shape), logical=False)
    missing = apply("add", [whole, reduce(lambda a, b: apply("add", [a, b]), flags)])
    return replace(made, known=np.where(missing.known > 0, np.nan, made.known))


def _dim(node: ast.expr) -> str | int:
    if isinstance(node, ast.Name):
        return node.id
    sign, inner = (-1, node.operand) if isinstance(node, ast.UnaryOp) else (1, node)
    assert isinstance(inner, ast.Constant)
    return sign * int(inner.value)  # type: ignore[arg-type]
