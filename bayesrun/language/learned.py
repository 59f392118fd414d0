"""What expressions learn from the fitted rows: subexpressions that reduce the rows.

`mean(x)`, `x[0]` and `dot(w, x)` are properties of the rows that they are computed from. The fit computes and stores
them by their text. For new rows they keep their fitted values, even if `x` is absent.
What is over the rows (`log(x)`, `cumsum(x)`, `lag(x)`) is computed from the new rows. For composite functions such as
`zscore(x)`, the parts are learned (`_EXPANSIONS`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesrun.language.grammar import text_of
from bayesrun.language.values import Dims, Fault, Value, constant

MAX_LEARNED = 10_000
"""Longest array that is learned; a longer one selects individual rows, which do not apply to new rows."""

_COUNTED = ("arange", "zeros", "ones")
_EXPANSIONS = {
    "zscore": "(x - mean(x)) / std(x)",
    "softmax": "exp(x - logsumexp(x))",
    "trend": "(x - min(x)) / (max(x) - min(x))",
}


@dataclass(frozen=True)
class LearnedValue:
    """A learned value: its numbers over named axes; dates are days since 1970-01-01."""

    dims: Dims
    numbers: Any
    date: bool = False

    def value(self) -> Value:
        """Return it as a value for expressions."""
        return replace(constant(self.numbers, self.dims), date=self.date)

    def plain(self) -> dict[str, Any]:
        """Return it as plain, JSON-serializable values."""
        numbers = self.numbers
        finite = bool(np.all(np.isfinite(numbers)))
        listed = numbers if finite else np.where(np.isfinite(numbers), numbers.astype(object), numbers.astype(str))
        return {"dims": list(self.dims), "numbers": listed.tolist(), "date": self.date}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> LearnedValue:
        """Rebuild it from the output of `plain`."""
        numbers = np.array(content["numbers"])
        numbers = numbers if numbers.dtype.kind in "iuf" else numbers.astype(float)
        return cls(tuple(content["dims"]), numbers, bool(content["date"]))


class Learned:
    """The learned values of one stage of a run (`derive`, or a model), by the text of the subexpression.

    Parameters
    ----------
    rows
        The row dimension.
    constants
        What a fit has learned, applied to new rows. None during a fit.
    """

    def __init__(self, rows: str, constants: Mapping[str, LearnedValue] | None = None) -> None:
        self.rows = rows
        self.of_new_rows = constants is not None
        self.constants: dict[str, LearnedValue] = dict(constants or {})
        self._parts: dict[ast.AST, ast.expr] = {}

    def recall(self, node: ast.expr) -> Value | None:
        """Return the learned value of a node for new rows; None if the node is computed from the rows themselves.

        Raises
        ------
        Fault
            When the node counts the fitted rows, which is undefined for new rows.
        """
        if not self.of_new_rows or isinstance(node, ast.Constant):
            return None
        found = self.constants.get(text_of(node))
        if found is not None:
            return found.value()
        if _called(node) == "arange" and self._counts_rows(node):
            raise Fault(
                "counts the rows of the fit, among which new rows have no place", "use a column, such as days(date)"
            )
        return None

    def refuse_mixing(self, node: ast.expr, value: Value, parts: Iterable[Value]) -> None:
        """Reject a reduction over the rows that was not learned: over new rows its value would differ from the fit.

        Raises
        ------
        Fault
            When an input of the node is over new rows, but the node itself is not.
        """
        if self.of_new_rows and self.rows not in value.dims and any(self.rows in part.dims for part in parts):
            message = f"'{text_of(node)}' combines values of all rows of the fit, which new rows do not have"
            raise Fault(message, "use quantities that are not over the rows")

    def refuse_negative(self, picks: Iterable[Value]) -> None:
        """Reject negative codes of new rows, such as -1 for a missing value, which would index from the end.

        Raises
        ------
        Fault
            When an index over new rows is negative.
        """
        for pick in picks if self.of_new_rows else ():
            if self.rows in pick.dims and pick.known is not None and np.any(pick.known < 0):
                raise Fault(f"index {np.min(pick.known):g} of a new row is not a code", "codes are counted from 0")

    def names_needed(self, tree: ast.AST) -> set[str]:
        """Return the names in an expression outside its learned parts."""
        if self.of_new_rows and text_of(tree) in self.constants:
            return set()
        inner = [child for child in ast.iter_child_nodes(tree) if isinstance(child, ast.expr | ast.keyword | ast.Slice)]
        names = {tree.id} if isinstance(tree, ast.Name) else set()
        return names.union(*map(self.names_needed, inner))

    def expanded(self, node: ast.Call, argument: Value, dim: str | int | None) -> ast.expr | None:
        """Return a function along the rows in terms of reductions; None for all other functions."""
        name = _called(node)
        if name not in _EXPANSIONS or argument.known is None or self.rows not in argument.dims:
            return None
        axis = argument.dims.index(self.rows)
        by_default = dim is None and (name != "softmax" or axis == argument.ndim - 1)
        if not by_default and dim not in (self.rows, axis, axis - argument.ndim):
            return None
        made = ast.parse(_EXPANSIONS[name], mode="eval").body
        along_rows = [ast.Name(self.rows)] if name == "softmax" and dim is None else node.args[1:]
        self._parts[node] = _Replaced(node, along_rows).visit(made)
        return self._parts[node]

    def learn(
        self, tree: ast.expr, values: Mapping[ast.AST, Value], over_rows: Callable[[str], bool], size: int
    ) -> None:
        """Store the largest subexpressions that are known and not over the rows.

        Parameters
        ----------
        tree
            The expression.
        values
            Values of its nodes.
        over_rows
            Whether a name refers to a value over the rows.
        size
            Number of rows.
        """
        if self.of_new_rows:
            return
        for node in self._largest(tree, values, over_rows, size):
            value = values[node]
            self.constants[text_of(node)] = LearnedValue(value.dims, np.asarray(value.known), value.date)

    def _largest(
        self, node: ast.AST, values: Mapping[ast.AST, Value], over_rows: Callable[[str], bool], size: int
    ) -> Iterator[ast.expr]:
        value = values.get(node)
        if value is not None and value.known is not None and self._is_learned(node, value, over_rows, size):
            yield node  # type: ignore[misc]
            return
        for child in ast.iter_child_nodes(self._parts.get(node, node)):
            yield from self._largest(child, values, over_rows, size)

    def _is_learned(self, node: ast.AST, value: Value, over_rows: Callable[[str], bool], size: int) -> bool:
        if self.rows in value.dims or value.known.size > MAX_LEARNED or _called(node) in _COUNTED:
            return False
        # an unnamed axis as long as the rows may be the rows
        if any(dim is None and length == size for dim, length in zip(value.dims, value.shape, strict=True)):
            return False
        return self._counts_rows(node) or any(over_rows(name) for name in _names(node))

    def _counts_rows(self, node: ast.AST) -> bool:
        return f"n_{self.rows}" in set(_names(node))


class _Replaced(ast.NodeTransformer):
    """Substitutes a call's argument and dim into the expansion of its function."""

    def __init__(self, call: ast.Call, dim: Sequence[ast.expr]) -> None:
        self._call, self._dim = call, dim

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._call.args[0] if node.id == "x" else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        inner = [self.visit(argument) for argument in node.args]
        reduces = _called(node) in ("mean", "std", "logsumexp", "min", "max")
        made = ast.Call(node.func, [*inner, *self._dim] if reduces else inner, self._call.keywords if reduces else [])
        return ast.copy_location(made, self._call)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        made = ast.BinOp(self.visit(node.left), node.op, self.visit(node.right))
        return ast.copy_location(made, self._call)


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _names(node: ast.AST) -> Iterator[str]:
    functions = {id(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in functions)
