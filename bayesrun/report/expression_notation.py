"""Expressions of the language as MathML.

Indices come from outside: `Indices` returns the dims of a name and the letter of a dim.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from bayesrun.language.formula_grammar import column_named, with_symbols
from bayesrun.language.statements import ROWS
from bayesrun.report import mathml
from bayesrun.report.mathml import fenced, fraction, listed, operator, row, subscript, superscript, word

_SIGNS: Mapping[type, str] = {
    ast.Add: "+",
    ast.Sub: mathml.MINUS,
    ast.Lt: "<",
    ast.LtE: "≤",
    ast.Gt: ">",
    ast.GtE: "≥",
    ast.Eq: "=",
    ast.NotEq: "≠",
}
_COMPARED, _SUM, _PRODUCT, _POWER, _ATOM = range(5)
"""How strongly an expression binds."""


class Indices(Protocol):
    """The dims of names, and the letters that run over them."""

    def dims(self, name: str) -> tuple[str, ...]:
        """Return the dims of a name in expressions."""

    def letter(self, dim: str) -> str:
        """Return the letter of a dim."""

    def size(self, dim: str) -> int:
        """Return the size of a dim; 1 if it is unknown."""


def parsed(text: Any) -> ast.expr:
    """Parse an expression; one that is not valid is set as words."""
    if not isinstance(text, str):
        return ast.Constant(text)
    try:
        return ast.parse(with_symbols(text), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return ast.Constant(text)


class ExpressionSetter:
    """Sets syntax trees as MathML. The names inside a function of all rows have no index.

    Parameters
    ----------
    indices
        The dims of names, and their letters.
    """

    def __init__(self, indices: Indices) -> None:
        self.indices = indices
        self._bare = 0

    # ------------------------------------------------------------ names

    def name(self, name: str, dims: Sequence[str] | None = None) -> str:
        """Return a name's symbol with the indices of its dims."""
        base, own = mathml.symbol(column_named(name))
        dims = self.indices.dims(name) if dims is None else dims
        letters = [] if self._bare else [self.index(dim) for dim in dims]
        return subscript(base, own, *letters)

    def index(self, dim: str) -> str:
        """Return the letter of a dim."""
        return f"<mi>{self.indices.letter(dim)}</mi>"

    # ------------------------------------------------------------ expressions

    def set(self, tree: ast.expr, of_tuple: bool = False) -> str:
        """Return a tree as MathML; `of_tuple`: its elements with commas."""
        if of_tuple and isinstance(tree, ast.Tuple):
            return row(listed([self.set(part) for part in tree.elts]))
        return self._set(tree)[0]

    def summands(self, tree: ast.expr) -> Iterator[str]:
        """Return the pieces of a sum, between which a line may be broken; anything else is one piece."""
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
            yield from self.summands(tree.left)
            yield row(operator(_SIGNS[type(tree.op)]), self.inside(tree.right, _PRODUCT))
        else:
            yield self.set(tree)

    def inside(self, tree: ast.expr, least: int) -> str:
        """Return a part of an expression, in parentheses if it binds less than its surroundings."""
        shown, binds = self._set(tree)
        return shown if binds >= least else fenced(shown)

    def _set(self, tree: ast.expr) -> tuple[str, int]:
        if isinstance(tree, ast.Constant):
            return _constant(tree.value)
        if isinstance(tree, ast.Name):
            return self.name(tree.id), _ATOM
        if isinstance(tree, ast.BinOp):
            return self._binary(tree)
        if isinstance(tree, ast.UnaryOp):
            return self._unary(tree)
        if isinstance(tree, ast.Compare):
            parts = [self.inside(tree.left, _SUM)]
            for op, right in zip(tree.ops, tree.comparators, strict=True):
                parts += [operator(_SIGNS.get(type(op), "?")), self.inside(right, _SUM)]
            return row(*parts), _COMPARED
        if isinstance(tree, ast.BoolOp):
            between = mathml.text(" and " if isinstance(tree.op, ast.And) else " or ")
            return row(between.join(self.inside(value, _SUM) for value in tree.values)), _COMPARED
        if isinstance(tree, ast.Subscript):
            return self._picked(tree), _ATOM
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return _Functions(self).call(tree.func.id, tree)
        return mathml.text(ast.unparse(tree)), _ATOM

    def _binary(self, tree: ast.BinOp) -> tuple[str, int]:
        if isinstance(tree.op, ast.Add | ast.Sub):
            return row(*self.summands(tree)), _SUM
        if isinstance(tree.op, ast.Div):
            return fraction(self.set(tree.left), self.set(tree.right)), _POWER
        if isinstance(tree.op, ast.Pow):
            if isinstance(tree.right, ast.Constant) and tree.right.value == 0.5:
                return mathml.root(self.set(tree.left)), _ATOM
            return superscript(self.inside(tree.left, _ATOM), self.set(tree.right)), _POWER
        if isinstance(tree.op, ast.Mult):
            left, right = self.inside(tree.left, _PRODUCT), self.inside(tree.right, _PRODUCT)
            apart = _is_number(tree.right) or _is_word(tree.left) or _is_word(tree.right)
            sign = operator("·") if apart else "<mo>&#x2062;</mo>"  # invisible times
            return row(left, sign, right), _PRODUCT
        sign = word("mod") if isinstance(tree.op, ast.Mod) else operator("÷")
        return row(self.inside(tree.left, _POWER), sign, self.inside(tree.right, _POWER)), _PRODUCT

    def _unary(self, tree: ast.UnaryOp) -> tuple[str, int]:
        if isinstance(tree.op, ast.UAdd):
            return self._set(tree.operand)
        if isinstance(tree.op, ast.Not):
            return row(mathml.text("not "), self.inside(tree.operand, _ATOM)), _COMPARED
        sign = f'<mo form="prefix" rspace="0">{mathml.MINUS}</mo>'
        return row(sign, self.inside(tree.operand, _PRODUCT)), _PRODUCT

    def _picked(self, tree: ast.Subscript) -> str:
        """Return an indexed array: `alpha[county]` has the subscript county[i]."""
        picks = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        if not isinstance(tree.value, ast.Name):
            return subscript(fenced(self.set(tree.value)), *map(self._pick, picks))
        base, own = mathml.symbol(column_named(tree.value.id))
        if len(picks) == 1 and (shown := self._row_before(tree.value.id, picks[0])):
            return subscript(base, own, *shown)
        rest = self.indices.dims(tree.value.id)[len(picks) :]
        return subscript(base, own, *map(self._pick, picks), *map(self.index, rest))

    def _row_before(self, name: str, pick: ast.expr) -> list[str]:
        """Return the indices of a value at an earlier row of a recurrence, `y[t-1]`; none if it is no such value."""
        back = pick.right if isinstance(pick, ast.BinOp) and isinstance(pick.op, ast.Sub) else None
        row_of = pick.left if isinstance(pick, ast.BinOp) and isinstance(back, ast.Constant) else pick
        letters = {dim: self.indices.letter(dim) for dim in self.indices.dims(name)}
        if not (isinstance(row_of, ast.Name) and row_of.id == "t" and "t" in letters.values()):
            return []
        at = "<mi>t</mi>" if back is None else row("<mi>t</mi>", operator(mathml.MINUS, space=False), self.set(back))
        return [at if letter == "t" else f"<mi>{letter}</mi>" for letter in letters.values()]

    def _pick(self, pick: ast.expr) -> str:
        if isinstance(pick, ast.Slice):
            ends = ["" if end is None else self.set(end) for end in (pick.lower, pick.upper)]
            return row(ends[0], operator(":", space=False), ends[1])
        if isinstance(pick, ast.Constant) and isinstance(pick.value, str):
            return self.label(pick.value)
        if isinstance(pick, ast.Name):
            return self.level(pick.id)
        return self.set(pick)

    def label(self, text: str) -> str:
        """Return a label of a dim as a subscript: as a symbol if it is the name of one."""
        return subscript(*mathml.symbol(text)) if text.isidentifier() else mathml.text(text)

    def level(self, name: str, of_row: bool = False) -> str:
        """Return a row's level of a factor: county[i]; `of_row`: also where the name is that of the levels' dim."""
        dims = (ROWS,) if of_row else self.indices.dims(name) or (ROWS,)
        letters = [self.index(dim) for dim in dims]
        base = subscript(*mathml.symbol(column_named(name)))
        return row(base, operator("[", space=False), *letters, operator("]", space=False))

    def bare(self, tree: ast.expr) -> str:
        """Return an expression whose names have no indices: all of their elements are meant."""
        self._bare += 1
        try:
            return self.set(tree)
        finally:
            self._bare -= 1


class _Functions:
    """How the functions of the language are set."""

    def __init__(self, setter: ExpressionSetter) -> None:
        self._setter = setter

    def call(self, name: str, tree: ast.Call) -> tuple[str, int]:
        special = self._SPECIAL.get(name)
        if special is not None and tree.args:
            return special(self, tree)
        shown = {"sigmoid": "logit", "gammaln": "log Γ", "erf": "erf", "log1p": "log", "atan": "arctan"}.get(name, name)
        parts = [self._setter.set(argument) for argument in tree.args]
        head = word(shown.replace("_", " "))
        if name == "sigmoid":
            head = superscript(head, mathml.number(-1))
        if name in ("normal_cdf",):
            head = "<mi>Φ</mi>"
        if name == "log1p":
            parts = [row("<mn>1</mn>", operator("+"), *parts)]
        return row(head, operator("\u2061", space=False), fenced(listed(parts))), _ATOM

    def _exp(self, tree: ast.Call) -> tuple[str, int]:
        inside = self._setter.set(tree.args[0])
        if len(ast.unparse(tree.args[0])) <= 8 and "frac" not in inside:
            return superscript("<mi>e</mi>", inside), _POWER
        return row(word("exp"), fenced(inside)), _ATOM

    def _sqrt(self, tree: ast.Call) -> tuple[str, int]:
        return mathml.root(self._setter.set(tree.args[0])), _ATOM

    def _abs(self, tree: ast.Call) -> tuple[str, int]:
        return fenced(self._setter.set(tree.args[0]), left="|", right="|"), _ATOM

    def _square(self, tree: ast.Call) -> tuple[str, int]:
        return superscript(self._setter.inside(tree.args[0], _ATOM), "<mn>2</mn>"), _POWER

    def _where(self, tree: ast.Call) -> tuple[str, int]:
        condition, yes, no = tree.args
        if_true = row(mathml.text("if "), self._setter.set(condition))
        return mathml.cases(
            [(self._setter.set(yes), if_true), (self._setter.set(no), mathml.text("otherwise"))]
        ), _COMPARED

    def _sum(self, tree: ast.Call) -> tuple[str, int]:
        return self._over("∑", tree)

    def _prod(self, tree: ast.Call) -> tuple[str, int]:
        return self._over("∏", tree)

    def _over(self, sign: str, tree: ast.Call) -> tuple[str, int]:
        """Return a sum over a dim, or over all elements."""
        dim = _dim_of(tree)
        names = [n.id for n in ast.walk(tree.args[0]) if isinstance(n, ast.Name)]
        dims = [dim] if dim else list(dict.fromkeys(d for name in names for d in self._setter.indices.dims(name)))
        letters = [self._setter.index(one) for one in dims]
        of = self._setter.inside(tree.args[0], _PRODUCT)
        return mathml.summed(sign, row(listed(letters)) if letters else "", of), _SUM

    def _mean(self, tree: ast.Call) -> tuple[str, int]:
        if isinstance(tree.args[0], ast.Name) and _dim_of(tree) is None:
            return mathml.over(self._setter.bare(tree.args[0]), "¯"), _ATOM
        return self._of_all("mean", tree)

    def _std(self, tree: ast.Call) -> tuple[str, int]:
        return self._of_all("sd", tree)

    def _var(self, tree: ast.Call) -> tuple[str, int]:
        return self._of_all("var", tree)

    def _min(self, tree: ast.Call) -> tuple[str, int]:
        return self._of_all("min", tree)

    def _max(self, tree: ast.Call) -> tuple[str, int]:
        return self._of_all("max", tree)

    def _median(self, tree: ast.Call) -> tuple[str, int]:
        return self._of_all("median", tree)

    def _of_all(self, name: str, tree: ast.Call) -> tuple[str, int]:
        return row(word(name), fenced(self._setter.bare(tree.args[0]))), _ATOM

    def _zscore(self, tree: ast.Call) -> tuple[str, int]:
        of = tree.args[0]
        if not isinstance(of, ast.Name):
            return row(word("zscore"), fenced(self._setter.set(of))), _ATOM
        above = row(self._setter.set(of), operator(mathml.MINUS), mathml.over(self._setter.bare(of), "¯"))
        return fraction(above, row(word("sd"), fenced(self._setter.bare(of)))), _POWER

    def _lag(self, tree: ast.Call) -> tuple[str, int]:
        """Return a value of an earlier row: y with the subscript t - 1."""
        of, steps = tree.args[0], tree.args[1] if len(tree.args) > 1 else ast.Constant(1)
        if not isinstance(of, ast.Name):
            return row(word("lag"), fenced(self._setter.set(of))), _ATOM
        base, own = mathml.symbol(column_named(of.id))
        first = (self._setter.indices.dims(of.id) or (ROWS,))[0]
        before = row(self._setter.index(first), operator(mathml.MINUS, space=False), self._setter.set(steps))
        return subscript(base, own, before), _ATOM

    def _dot(self, tree: ast.Call) -> tuple[str, int]:
        left, right = (self._setter.inside(argument, _PRODUCT) for argument in tree.args[:2])
        return row(left, operator("·"), right), _PRODUCT

    def _stack(self, tree: ast.Call) -> tuple[str, int]:
        return fenced(listed([self._setter.set(argument) for argument in tree.args])), _ATOM

    def _derivative(self, tree: ast.Call) -> tuple[str, int]:
        """Return the derivative of a state by the time."""
        above, below = (row("<mi>d</mi>", self._setter.set(argument)) for argument in tree.args)
        return fraction(above, below), _ATOM

    def _at(self, tree: ast.Call) -> tuple[str, int]:
        """Return a state at a time."""
        name, time = (self._setter.set(argument) for argument in tree.args)
        return row(name, operator("\u2061", space=False), fenced(time)), _ATOM

    # ------------------------------------------------------------ of regressions

    def _coefficient(self, tree: ast.Call) -> tuple[str, int]:
        """Return the coefficient of a formula's term: beta with the term as its subscript."""
        texts = [a.value for a in tree.args if isinstance(a, ast.Constant)]
        levels = [self._setter.level(name, of_row=True) for name in _level_names(tree)]
        term, of = str(texts[0]), str(texts[1]) if len(texts) > 1 else ""
        below = ["<mn>0</mn>"] if term == "Intercept" else levels or [self._setter.label(term)]
        if levels and ":" in term:
            numeric = [part for part in term.split(":") if part not in _level_names(tree)]
            below = [*map(self._setter.label, numeric), *levels]
        base = "<mi>β</mi>"
        if of:
            base = f"<msubsup>{base}{mathml.one(listed(below))}{subscript(*mathml.symbol(of))}</msubsup>"
            return base, _ATOM
        return subscript(base, *below), _ATOM

    def _effect(self, tree: ast.Call) -> tuple[str, int]:
        """Return a group effect: r with the row's group, and the effect's name unless it is the intercept alone."""
        name, effect = (str(a.value) for a in tree.args if isinstance(a, ast.Constant))
        several = self._setter.indices.size(f"{name}_effect") > 1
        group = self._setter.level(name, of_row=True)
        below = [group, "<mn>0</mn>" if effect == "Intercept" else self._setter.label(effect)] if several else [group]
        return subscript("<mi>r</mi>", *below), _ATOM

    def _column(self, tree: ast.Call) -> tuple[str, int]:
        # a word, not a text: a text beside an operator counts as space, which moves the operator's own
        return word(str(getattr(tree.args[0], "value", ""))), _ATOM

    def _covariance(self, tree: ast.Call) -> tuple[str, int]:
        """Return a covariance matrix of sds and correlations: D R D."""
        sd, cor = (self._setter.bare(argument) for argument in tree.args)
        diagonal = row(word("diag"), fenced(sd))
        return row(diagonal, operator("·"), cor, operator("·"), diagonal), _PRODUCT

    _SPECIAL: ClassVar[Mapping[str, Callable[[_Functions, ast.Call], tuple[str, int]]]] = {
        "at": _at,
        "derivative": _derivative,
        "exp": _exp,
        "sqrt": _sqrt,
        "abs": _abs,
        "square": _square,
        "where": _where,
        "sum": _sum,
        "prod": _prod,
        "mean": _mean,
        "std": _std,
        "var": _var,
        "min": _min,
        "max": _max,
        "median": _median,
        "zscore": _zscore,
        "lag": _lag,
        "dot": _dot,
        "stack": _stack,
        "coefficient": _coefficient,
        "effect": _effect,
        "column": _column,
        "covariance": _covariance,
        "switch": _where,
    }


def _level_names(tree: ast.Call) -> list[str]:
    parts = [part for keyword in tree.keywords for part in getattr(keyword.value, "elts", [])]
    return [str(part.value) for part in parts if isinstance(part, ast.Constant)]


def _dim_of(tree: ast.Call) -> str | None:
    named = [k.value for k in tree.keywords if k.arg == "dim"] + list(tree.args[1:2])
    found = named[0] if named else None
    return found.id if isinstance(found, ast.Name) else None


def _constant(value: object) -> tuple[str, int]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return mathml.text(str(value)), _ATOM
    return mathml.number(float(value)), _ATOM if value >= 0 and "e" not in f"{value:.10g}" else _PRODUCT


def _is_number(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant)


def _is_word(tree: ast.expr) -> bool:
    """Return whether a factor is a name of several letters, which would run into its neighbour."""
    if isinstance(tree, ast.Subscript):
        return _is_word(tree.value)
    return isinstance(tree, ast.Name) and "mathvariant" in mathml.symbol(tree.id)[0]
