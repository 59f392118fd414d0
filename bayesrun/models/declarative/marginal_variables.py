"""Discrete variables that are summed out while sampling, and drawn afterwards.

priors:
  switchpoint: {dist: Marginal, of: {dist: DiscreteUniform, lower: 1851, upper: 1961}}
  present: {dist: Marginal, of: {dist: Bernoulli, p: psi, dims: [site]}}

With `k` the values of the variables and `y` what depends on them, NUTS samples the other variables `theta` from

    p(y | theta) = sum_k p(k | theta) p(y | k, theta),

and `k` is drawn from `p(k | y, theta)` at each draw: the joint posterior is that of the model as it is written, which
is the one that is reported. Missing values, and what is computed from the variables, follow from the drawn values.
How the sums are taken is in `bayesrun.language.discrete_sums`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, fail
from bayesrun.language.declaration import Declaration, Deterministic, Draft, Random
from bayesrun.language.densities.named_densities import written_density
from bayesrun.language.discrete_sums import Factor, Link, summed, total
from bayesrun.language.expressions import read, value_of
from bayesrun.language.functions import ELEMENTWISE, index
from bayesrun.language.grammar import Expression, names_in, parse
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.modifiers import log_terms, plan_modifiers
from bayesrun.language.plan import Plan, plan
from bayesrun.language.prior_checks import MARGINAL, split
from bayesrun.language.scope import Scope
from bayesrun.language.values import Fault, Value, apply, constant
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition, gives

Array = NDArray[Any]

MOST_VALUES = 10_000
_FINITE = ("Bernoulli", "Binomial", "Categorical", "DiscreteUniform")
_SAMPLE = "sample '{}' instead: write its distribution"


def is_marginal(part: Definition) -> bool:
    """Return whether a definition is a variable that is summed out."""
    return part.kind == "prior" and part.body.get("dist") == MARGINAL


def plain(part: Definition) -> Definition:
    """Return a definition with the variable that is summed out as an ordinary one."""
    return replace(part, body=dict(part.body["of"])) if is_marginal(part) else part


def dependents(parts: Sequence[Definition], name: str) -> set[str]:
    """Return the names of the definitions that depend on a variable, directly or through deterministics."""
    found, grown = set[str](), {name}
    while True:
        new = [p for p in parts if p.name not in found and p.names & grown]
        if not new:
            return found
        found |= {p.name for p in new}
        grown |= {given for p in new if p.kind == "deterministic" for given in gives(p)}


def _needed(parts: Sequence[Definition], found: set[str]) -> set[str]:
    """Return the deterministics among these definitions that a likelihood, or another such variable, depends on."""
    by_name = {given: part for part in parts if part.name in found for given in gives(part)}
    todo = [part for part in by_name.values() if part.kind != "deterministic"]
    needed = set[str]()
    while todo:
        for name in todo.pop().names:
            part = by_name.get(name)
            if part is not None and part.kind == "deterministic" and part.name not in needed:
                needed.add(part.name)
                todo.append(part)
    return needed


def marginal_problems(parts: Sequence[Definition]) -> Iterator[Problem]:
    """Find variables that can't be summed out, without data."""
    own = [part for part in parts if is_marginal(part)]
    for other in parts if own else ():
        if other.kind == "likelihood" and other.body.get("dist") in (HIDDEN_MARKOV, LINEAR_GAUSSIAN):
            message = f"its hidden states can't be summed out beside '{own[0].name}'"
            yield Problem(f"{other.key}.dist", message, _SAMPLE.format(own[0].name))
    told = set[str]()
    for part in own:
        found = dependents(parts, part.name)
        needed = _needed(parts, found)
        for other in parts:
            if other.name not in found or other.name in told or is_marginal(other):
                continue
            what = {"prior": "a prior", "potential": "a potential", "recurrence": "a recurrence"}.get(other.kind)
            if what is not None:
                message = f"depends on '{part.name}', which is summed out: only likelihoods and deterministics may"
                yield Problem(other.key, f"{what} {message}", _SAMPLE.format(part.name))
                told.add(other.name)
            elif other.name in needed and other.body.get("expr") is None:
                message = f"depends on '{part.name}', which is summed out: only expressions may"
                yield Problem(other.key, message, _SAMPLE.format(part.name))
                told.add(other.name)
        if not any(other.kind == "likelihood" and other.name in found for other in parts):
            yield Problem(part.key, "no likelihood depends on it: there is nothing to sum out", "use it, or remove it")


def axis_of(name: str) -> str:
    """Return the name of the axis of a variable's values."""
    return f"{name}_value"


@dataclass(frozen=True)
class _Use:
    """How something depends on variables: by name of the axis of their values, found by a link or over their dims."""

    links: Mapping[str, Link | None] = field(default_factory=dict)

    def and_of(self, other: _Use) -> _Use:
        """Return the dependence of something that depends on both.

        Raises
        ------
        Fault
            When one depends on another element of a variable than the other.
        """
        for name in self.links.keys() & other.links.keys():
            mine, its = self.links[name], other.links[name]
            if (mine is not its) and (mine is None or not mine.same(its)):
                message = f"depends on two elements of '{name.removesuffix('_value')}' at once"
                raise Fault(message, "find both by the same codes")
        return _Use({**other.links, **self.links})


class SummedOut:
    """The sums over discrete variables, while a model is declared.

    Parameters
    ----------
    parts
        All definitions of the model.
    reported
        The model as it is written, with ordinary variables.
    """

    def __init__(self, parts: Sequence[Definition], reported: Declaration) -> None:
        self.variables = [part for part in parts if is_marginal(part)]
        found = set[str]().union(*(dependents(parts, part.name) for part in self.variables))
        self.names = frozenset(found) | {part.name for part in self.variables}
        self._needed = _needed(parts, found)
        self._dims = {item.name: item.dims for item in reported.items if isinstance(item, (Random, Deterministic))}
        self.values: dict[str, Array] = {}
        self.factors: list[Factor] = []
        self._uses: dict[str, _Use] = {}

    def is_needed(self, part: Definition) -> bool:
        """Return whether the density depends on a deterministic; others are computed from the drawn values."""
        return part.name in self._needed

    def dims_of(self, name: str) -> tuple[str, ...]:
        """Return the dims of a variable."""
        return self._dims[name]

    def begin(self, draft: Draft, part: Definition) -> None:
        """Let the name of a variable stand for all its values, over an axis of their own."""
        key, axis, dims = f"{part.key}.of", axis_of(part.name), self.dims_of(part.name)
        body, scope, use = self._rewritten(part.body["of"], draft.scope, key)
        others = tuple(use.links)
        sizes = [draft.scope.size(dim) or 0 for dim in (*others, *dims)]
        this = plan(part.name, {k: v for k, v in body.items() if k != "dims"}, scope, key, (*others, *dims), sizes)
        values = _values(this, key)
        every = constant(values, (axis,))
        draft.scope.add_labels(axis, list(values))
        draft.scope.add(part.name, every)
        self.values[part.name], self._uses[part.name] = values, _Use({axis: None})
        wide = constant(values.reshape(-1, *(1,) * len(sizes)))
        logs = _log_masses(this, wide).named((axis, *others, *dims))
        logs = _shrunk(logs, (len(values), *sizes))
        self._add(part.name, logs, use.and_of(_Use({axis: None})), dims, draft.scope, key)

    def compute(self, draft: Draft, part: Definition) -> None:
        """Let the name of a deterministic stand for what it is at each of the values."""
        body, scope, use = self._rewritten({"expr": part.body["expr"]}, draft.scope, part.key, bare=True)
        dims = (*use.links, *draft.scope.dims())
        draft.scope.add(part.name, read(body["expr"], scope, part.key, dims))
        self._uses[part.name] = use

    def explain(self, draft: Draft, part: Definition, data: xr.Dataset) -> None:
        """Add the log likelihood of a likelihood's data at each of the values."""
        own, modifiers = split(part.body)
        body, scope, use = self._rewritten(own, draft.scope, part.key)
        self._refuse_in_modifiers(modifiers, part.key)
        array = data[part.observed]
        axes, dims = tuple(use.links), tuple(map(str, array.dims))
        shape = (*(draft.scope.size(axis) or 0 for axis in axes), *array.shape)
        this = plan(part.name, body, scope, part.key, (*axes, *dims), shape)
        density = None if this.family.event or this.inner or this.truncated else written_density(this.family.name)
        if density is None:
            name = self._name_of(use)
            message = f"a {this.family.name} can't depend on '{name}', which is summed out"
            raise fail(f"{part.key}.dist", message, _SAMPLE.format(name))
        seen = ~array.isnull().values
        filled = np.where(seen, array.values, array.values[seen][0] if seen.any() else 1)
        parameters = {name: value.named((None,) * value.ndim) for name, value in this.values.items()}
        made = plan_modifiers(this.family, modifiers, draft.scope, part.key, dims, array.values)
        x = constant(filled)
        if made is not None and made.kept is not None:
            seen &= made.kept
            x = constant(np.where(seen, filled, made.inside))
        if made is not None and made.status is not None:
            x_inside = constant(np.where(made.status == 0, x.known, made.inside))
            logs = density(x_inside, parameters)
        else:
            logs = density(x, parameters)
        if made is not None:
            values = {name: value.named((None,) * value.ndim) for name, value in made.values().items()}
            logs = log_terms(this.family, logs, x, parameters, made.of(values))
        logs = apply("where", [constant(np.broadcast_to(seen, shape)), logs, 0.0]).named((*axes, *dims))
        self._add(part.name, logs, use, dims, draft.scope, part.key)

    def _add(self, name: str, logs: Value, use: _Use, dims: Sequence[str], scope: Scope, key: str) -> None:
        links = [link for link in use.links.values() if link is not None]
        first = links[0] if links else None
        if first is not None and (any(not first.same(link) for link in links) or first.groups in dims):
            message = f"depends on elements of {self._names_of(use)} in several ways at once"
            raise fail(key, message, _SAMPLE.format(self._name_of(use)))
        variables = {axis: self.dims_of(axis.removesuffix("_value")) for axis in use.links}
        linked = frozenset(axis for axis, link in use.links.items() if link is not None)
        sizes = {dim: scope.size(dim) or 0 for dim in dims}
        for axis, own in variables.items():
            found = {first.groups if first and axis in linked and dim == first.rows else dim for dim in dims}
            reached = found | ({first.groups} if first is not None and axis in linked else set())
            if not set(own) <= reached:
                absent = ", ".join(dim for dim in own if dim not in reached)
                message = f"'{name}' depends on all elements of '{axis.removesuffix('_value')}' over '{absent}' at once"
                raise fail(key, message, _SAMPLE.format(axis.removesuffix("_value")))
        self.factors.append(Factor(name, logs, variables, sizes, first, linked))

    def total(self, key: str) -> Value:
        """Return the log density of all factors.

        Raises
        ------
        UserError
            When a factor depends on several elements at once.
        """
        try:
            return total(summed(self.factors))
        except Fault as fault:
            raise fail(key, fault.message, fault.hint) from None

    def _name_of(self, use: _Use) -> str:
        return next(iter(use.links)).removesuffix("_value")

    def _names_of(self, use: _Use) -> str:
        return " and ".join(f"'{name.removesuffix('_value')}'" for name in use.links)

    def _refuse_in_modifiers(self, modifiers: Mapping[str, Any], key: str) -> None:
        for name, given in modifiers.items():
            for text in _texts(given):
                if parse(text, key).names & self.names:
                    message = f"'{name}' can't depend on a variable that is summed out"
                    raise fail(f"{key}.{name}", message, "use data")

    def _rewritten(
        self, body: Mapping[str, Any], scope: Scope, key: str, bare: bool = False
    ) -> tuple[dict[str, Any], Scope, _Use]:
        """Return a body whose indexed variables have names of their own, their values, and what it depends on.

        Raises
        ------
        UserError
            When an expression does more than number by number with the variables.
        """
        made, at, use = dict(body), dict[str, Value](), _Use()
        for name, given in body.items():
            if name == "dist":
                continue
            where = key if bare else f"{key}.{name}"
            self._refuse_list(given, where)
            if not isinstance(given, str):
                continue
            expression = parse(given, where)
            if not expression.names & self.names:
                continue
            use, made[name] = self._read(expression, scope, use, at)
        return made, scope.extended(at) if at else scope, use

    def _read(self, expression: Expression, scope: Scope, use: _Use, at: dict[str, Value]) -> tuple[_Use, str]:
        tree = _Indexed(self, expression, scope, at).visit(deepcopy(expression.tree))
        for node in ast.walk(expression.tree):
            if isinstance(node, ast.expr):
                self._check(node, expression, scope)
        for name in sorted(names_in(tree)):
            found = self._uses.get(name)
            if found is not None:
                try:
                    use = use.and_of(found)
                except Fault as fault:
                    raise UserError([expression.problem(expression.tree, fault.message, fault.hint)]) from None
        return use, expression.text if not at else ast.unparse(tree)

    def _refuse_list(self, given: Any, key: str) -> None:
        if isinstance(given, Sequence) and not isinstance(given, str):
            for place, one in enumerate(given):
                for text in _texts(one):
                    known = parse(text, key).names & self.names
                    if known:
                        name = self._name_of(self._uses[min(known)])
                        message = f"a list can't depend on '{name}', which is summed out"
                        raise fail(f"{key}[{place}]", message, "write stack(...) of data, indexed by it")

    def _check(self, node: ast.expr, expression: Expression, scope: Scope) -> None:
        """Refuse what would not be computed for each value apart: its values are one more axis."""
        known = names_in(node) & self.names
        if not known:
            return
        name = self._name_of(self._uses[min(known)])
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_call and node.func.id not in ELEMENTWISE:  # type: ignore[attr-defined]
            message = f"'{node.func.id}' can't be used on what depends on '{name}', which is summed out"  # type: ignore[attr-defined]
            raise UserError([expression.problem(node, message, "use where(...), or functions of one number")])
        if isinstance(node, ast.Subscript):
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not names_in(child) & self.names and not _is_function(node, child):
                value = value_of(replace(expression, tree=child, names=names_in(child)), scope)
                if None in value.dims:
                    message = f"an unnamed axis can't be combined with '{name}', which is summed out"
                    hint = "use a data variable, or the name of a dim, which stands for its labels"
                    raise UserError([expression.problem(child, message, hint)])

    def at_codes(self, node: ast.Subscript, expression: Expression, scope: Scope) -> tuple[Value, _Use]:
        """Return something over one dim at codes of its elements, and what it depends on.

        Raises
        ------
        UserError
            When it is indexed in another way.
        """
        assert isinstance(node.value, ast.expr)
        use = self._uses[min(names_in(node.value) & self.names)]
        message = f"what depends on '{self._name_of(use)}', which is summed out, can't be indexed in this way"
        refused = UserError([expression.problem(node, message, "index it by codes over the rows: z[site]")])
        name = node.value.id if isinstance(node.value, ast.Name) else None
        if name is None or names_in(node.slice) & self.names or any(link is not None for link in use.links.values()):
            raise refused
        dims = self._dims.get(name, ())
        if len(dims) != 1 or isinstance(node.slice, (ast.Tuple, ast.Slice)):
            raise refused
        codes = value_of(replace(expression, tree=node.slice, names=names_in(node.slice)), scope)
        if codes.known is None or codes.ndim != 1 or codes.dims[0] is None or codes.logical:
            raise refused
        (groups,), rows, value = dims, str(codes.dims[0]), scope.lookup(name)
        size = scope.size(groups) or 0
        try:  # checks the codes, too
            places = index(constant(np.arange(size), (groups,)), [codes])
            if groups in value.dims:
                value = index(value, [*[slice(None)] * value.dims.index(groups), codes])
        except Fault as fault:
            raise UserError([expression.problem(node, fault.message, fault.hint)]) from None
        link = Link(rows, groups, np.asarray(places.known, dtype=np.int64), size)
        own = {axis: link if groups in self.dims_of(axis.removesuffix("_value")) else None for axis in use.links}
        return value, _Use(own)

    def remember(self, name: str, use: _Use) -> None:
        """Keep what a name made for an indexed value depends on."""
        self._uses[name] = use


class _Indexed(ast.NodeTransformer):
    """Gives names of their own to values that are found by codes."""

    def __init__(self, of: SummedOut, expression: Expression, scope: Scope, at: dict[str, Value]) -> None:
        self._of, self._expression, self._scope, self._at = of, expression, scope, at

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Replace an indexed value."""
        if not names_in(node.value) & self._of.names:
            self.generic_visit(node)
            return node
        value, use = self._of.at_codes(node, self._expression, self._scope)
        name = f"summed_out_at_{len(self._at)}"
        self._at[name] = value
        self._of.remember(name, use)
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def _texts(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        for one in given.values():
            yield from _texts(one)
    elif isinstance(given, Sequence):
        for one in given:
            yield from _texts(one)


def _is_function(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.Call) and child is node.func


def _shrunk(logs: Value, sizes: Sequence[int]) -> Value:
    """Leave out axes of length 1 that stand for more."""
    parts = [constant(0) if have == 1 < size else slice(None) for have, size in zip(logs.shape, sizes, strict=True)]
    return index(logs, parts)


def _values(this: Plan, key: str) -> Array:
    """Return the values of a variable with finitely many."""
    name = this.family.name
    if name not in _FINITE:
        raise fail(f"{key}.dist", f"a {name} has no known number of values", f"one of {', '.join(_FINITE)}")
    if name == "Categorical":
        return np.arange(this.values["p"].shape[-1])
    if name == "Bernoulli":
        return np.arange(2)
    ends = [this.values[end].known for end in (("n",) if name == "Binomial" else ("lower", "upper"))]
    if any(end is None for end in ends):
        raise fail(key, "its values must not depend on random variables", "fix its limits")
    if any(np.size(end) != 1 for end in ends):
        raise fail(key, "its values must be the same for all elements", "give it one number for each limit")
    numbers = [int(np.ravel(end)[0]) for end in ends]
    low, high = (0, numbers[0]) if name == "Binomial" else (numbers[0], numbers[1])
    if high - low >= MOST_VALUES:
        raise fail(key, f"has {high - low + 1:,} values", f"up to {MOST_VALUES:,} can be summed out")
    return np.arange(low, high + 1)


def _log_masses(this: Plan, values: Value) -> Value:
    """Return the log probability of each value, over (value, the variable's axes); axes of length 1 stand for more."""
    if this.family.name == "DiscreteUniform":
        return constant(np.full(values.shape, -np.log(len(np.asarray(values.known)))))
    density = written_density(this.family.name)
    assert density is not None
    return density(values, {name: value.named((None,) * value.ndim) for name, value in this.values.items()})


__all__ = ["SummedOut", "axis_of", "dependents", "is_marginal", "marginal_problems", "plain"]
