"""Discrete variables that are summed out while sampling, and drawn afterwards.

priors:
  switchpoint: {dist: Marginal, of: {dist: DiscreteUniform, lower: 1851, upper: 1961}}

With `k` the values of the variable and `y` what depends on it, NUTS samples the other variables `theta` from

    p(y | theta) = sum_k p(k | theta) p(y | k, theta),

and `k` is drawn from `p(k | y, theta)` at each draw: the joint posterior is that of the model as it is written, which
is the one that is reported. Missing values, and what is computed from the variable, follow from the drawn value.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, fail
from bayesrun.language.declaration import Container, Declaration, Deterministic, Draft, Likelihood
from bayesrun.language.densities.draws import choose
from bayesrun.language.densities.elementwise import written_density
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.expressions import read, value_of
from bayesrun.language.functions import ELEMENTWISE, reduce_axis
from bayesrun.language.generators import generator
from bayesrun.language.grammar import names_in, parse
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.linear_gaussian import LINEAR_GAUSSIAN
from bayesrun.language.plan import Plan, plan
from bayesrun.language.prior_checks import MARGINAL, split
from bayesrun.language.values import Value, apply, constant, node_of
from bayesrun.lazy import xr
from bayesrun.models.declarative.definitions import Definition, gives

Array = NDArray[Any]

MOST_VALUES = 10_000
_FINITE = ("Bernoulli", "Binomial", "Categorical", "DiscreteUniform")


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


def marginal_problems(parts: Sequence[Definition]) -> Iterator[Problem]:
    """Find variables that can't be summed out, without data."""
    own = [part for part in parts if is_marginal(part)]
    for part in own[1:]:
        hint = "sample it, or put both into one variable with a value for each pair"
        yield Problem(f"{part.key}.dist", f"one variable can be summed out, and '{own[0].name}' is", hint)
    for other in parts if own else ():
        if other.kind == "likelihood" and other.body.get("dist") in (HIDDEN_MARKOV, LINEAR_GAUSSIAN):
            message = f"its hidden states can't be summed out beside '{own[0].name}'"
            yield Problem(f"{other.key}.dist", message, f"sample '{own[0].name}' instead: write its distribution")
    for part in own[:1]:
        found = dependents(parts, part.name)
        for other in parts:
            if other.name not in found:
                continue
            what = {"prior": "a prior", "potential": "a potential", "recurrence": "a recurrence"}.get(other.kind)
            if what is not None:
                message = f"depends on '{part.name}', which is summed out: only likelihoods and deterministics may"
                yield Problem(other.key, f"{what} {message}", f"sample '{part.name}' instead: write its distribution")
            elif other.kind == "deterministic" and other.body.get("expr") is None:
                message = f"depends on '{part.name}', which is summed out: only expressions may"
                yield Problem(other.key, message, f"sample '{part.name}' instead: write its distribution")
            elif other.kind == "likelihood" and split(other.body)[1]:
                message = f"depends on '{part.name}', which is summed out: it can't be weighted or limited"
                yield Problem(other.key, message, f"sample '{part.name}' instead: write its distribution")
        if not any(other.kind == "likelihood" and other.name in found for other in parts):
            yield Problem(part.key, "no likelihood depends on it: there is nothing to sum out", "use it, or remove it")


@dataclass(frozen=True)
class SummedOut:
    """The sum over a variable, while a model is declared.

    Parameters
    ----------
    part
        Its definition.
    names
        Names of the definitions that depend on it.
    """

    part: Definition
    names: frozenset[str]

    @property
    def dim(self) -> str:
        """Name of the dim of its values."""
        return f"{self.part.name}_value"

    def begin(self, draft: Draft) -> tuple[Array, Value]:
        """Let its name stand for all its values, over a dim of their own; return these and their log probabilities."""
        key = f"{self.part.key}.of"
        this = plan(self.part.name, self.part.body["of"], draft.scope, key)
        values = _values(this, key)
        every = constant(values, (self.dim,))
        draft.scope.add_labels(self.dim, list(values))
        draft.scope.add(self.part.name, every)
        if this.family.name == "DiscreteUniform":
            return values, constant(np.full(len(values), -np.log(len(values))), (self.dim,))
        density = written_density(this.family.name)
        assert density is not None
        parameters = {name: value.named((None,) * value.ndim) for name, value in this.values.items()}
        return values, density(every.named((None,)), parameters).named((self.dim,))

    def compute(self, draft: Draft, part: Definition) -> None:
        """Let the name of a deterministic stand for what it is at each of the values."""
        dims = (self.dim, *draft.scope.dims())
        self._check(draft, part.body["expr"], part.key)
        draft.scope.add(part.name, read(part.body["expr"], draft.scope, part.key, dims))

    def _check(self, draft: Draft, given: Any, key: str) -> None:
        """Refuse what would not be computed for each value apart: its values are one more axis.

        Raises
        ------
        UserError
            When an expression does more than number by number with it, or meets an axis without a name.
        """
        if isinstance(given, Sequence) and not isinstance(given, str):
            for place, one in enumerate(given):
                if isinstance(one, str) and parse(one, key).names & self._known:
                    message = f"a list can't depend on '{self.part.name}', which is summed out"
                    raise fail(f"{key}[{place}]", message, "write stack(...) of data, indexed by it")
            return
        if not isinstance(given, str):
            return
        expression = parse(given, key)
        for node in ast.walk(expression.tree):
            if not isinstance(node, ast.expr) or not names_in(node) & self._known:
                continue
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if is_call and node.func.id not in ELEMENTWISE:  # type: ignore[attr-defined]
                message = f"'{node.func.id}' can't be used on what depends on '{self.part.name}', which is summed out"  # type: ignore[attr-defined]
                raise UserError([expression.problem(node, message, "use where(...), or functions of one number")])
            if isinstance(node, ast.Subscript):
                if names_in(node.value) & self._known:
                    message = f"what depends on '{self.part.name}', which is summed out, can't be indexed"
                    raise UserError([expression.problem(node, message, "index its parts instead")])
                continue
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr) and not names_in(child) & self._known and not _is_function(node, child):
                    value = value_of(replace(expression, tree=child, names=names_in(child)), draft.scope)
                    if None in value.dims:
                        message = f"an axis without a name meets '{self.part.name}', which is summed out"
                        hint = "use a data variable, or the name of a dim, which stands for its labels"
                        raise UserError([expression.problem(child, message, hint)])

    @property
    def _known(self) -> frozenset[str]:
        return self.names | {self.part.name}

    def log_terms(self, draft: Draft, part: Definition, data: xr.Dataset) -> Value:
        """Return the log likelihood of a likelihood's data at each value (value)."""
        for name, given in part.body.items():
            if name != "dist":
                self._check(draft, given, f"{part.key}.{name}")
        array = data[part.observed]
        dims, shape = (self.dim, *map(str, array.dims)), (draft.scope.size(self.dim) or 0, *array.shape)
        this = plan(part.name, split(part.body)[0], draft.scope, part.key, dims, shape)
        density = None if this.family.event or this.inner or this.truncated else written_density(this.family.name)
        if density is None:
            message = f"a {this.family.name} can't depend on '{self.part.name}', which is summed out"
            raise fail(f"{part.key}.dist", message, f"sample '{self.part.name}' instead: write its distribution")
        seen = ~array.isnull().values
        x = constant(np.where(seen, array.values, 1))
        parameters = {name: value.named((None,) * value.ndim) for name, value in this.values.items()}
        logs = density(x, parameters)
        logs = apply("where", [constant(np.broadcast_to(seen, shape)), logs, 0.0]).named((None,) * len(shape))
        for _ in array.dims:
            logs = reduce_axis("sum", logs, logs.ndim - 1)
        return logs.named((self.dim,))


def _is_function(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.Call) and child is node.func


def _values(this: Plan, key: str) -> Array:
    """Return the values of a variable with finitely many."""
    name = this.family.name
    if name not in _FINITE:
        raise fail(f"{key}.dist", f"a {name} has no known number of values", f"one of {', '.join(_FINITE)}")
    if this.shape:
        raise fail(
            key, "must be a single number", "for one variable per row use Mixture, for one per time HiddenMarkov"
        )
    if name == "Categorical":
        return np.arange(this.values["p"].shape[-1])
    if name == "Bernoulli":
        return np.arange(2)
    ends = [this.values[end].known for end in (("n",) if name == "Binomial" else ("lower", "upper"))]
    if any(end is None for end in ends):
        raise fail(key, "its values must not depend on random variables", "fix its limits")
    low, high = (0, int(ends[0])) if name == "Binomial" else (int(ends[0]), int(ends[1]))
    if high - low >= MOST_VALUES:
        raise fail(key, f"has {high - low + 1:,} values", f"up to {MOST_VALUES:,} can be summed out")
    return np.arange(low, high + 1)


def total_of(draft: Draft, name: str, joint: Value) -> None:
    """Add the sum over all values to the log density."""
    draft.potential(f"{name}_marginal", reduce_axis("logsumexp", joint))


@dataclass(frozen=True)
class Recovery:
    """Draws what was summed out.

    Parameters
    ----------
    name
        The variable.
    values
        Its values (value).
    joint
        Log density of the data and each value (value).
    sampled
        The model that is sampled.
    reported
        The model as it is written.
    names
        Names of what depends on the variable.
    """

    name: str
    values: Array
    joint: Value
    sampled: Declaration
    reported: Declaration
    names: frozenset[str]

    def __call__(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw the variable, and what follows from it, at draws (chain, draw, ...)."""
        size = next(iter(draws.values())).shape[:2]
        known = {name: np.reshape(v, (size[0] * size[1], *v.shape[2:])) for name, v in draws.items()}
        count = size[0] * size[1]
        logs = self._at(self.sampled, [self.joint], known)[0]
        logs = np.broadcast_to(logs, (count, logs.shape[1]))
        made = {self.name: self.values[choose(np.exp(logs - logs.max(axis=1, keepdims=True)), rng)]}
        for item in self.reported.items:
            if isinstance(item, Deterministic) and item.name in self.names:
                found = self._at(self.reported, [item.value], {**known, **made})[0]
                made[item.name] = np.broadcast_to(found, (count, *found.shape[1:]))
            elif isinstance(item, Likelihood) and item.name in self.names and item.observed.missing is not None:
                made[f"{item.name}_missing"] = self._missing(item, {**known, **made}, count, rng)
        return {name: values.reshape(*size, *values.shape[1:]) for name, values in made.items()}

    def _missing(self, item: Likelihood, known: Mapping[str, Array], count: int, rng: np.random.Generator) -> Array:
        draw = generator(item.plan.family.name)
        if draw is None or item.observed.missing is None:
            raise fail(item.plan.key, f"missing values of a {item.plan.family.name} can't be drawn", "drop them")
        found = self._at(self.reported, list(item.plan.values.values()), known)
        named = zip(item.plan.values, found, strict=True)
        parameters = {name: np.broadcast_to(a, (count, *a.shape[1:])) for name, a in named}
        whole = np.broadcast_to(draw(parameters, item.observed.shape, rng), (count, *item.observed.shape))
        return whole[:, item.observed.missing.mask]

    def _at(self, declared: Declaration, values: Sequence[Value], known: Mapping[str, Array]) -> list[Array]:
        containers = {item.name: item.numbers for item in declared.items if isinstance(item, Container)}
        return evaluate_at_draws([node_of(value) for value in values], known.__getitem__, containers)


__all__ = ["Recovery", "SummedOut", "dependents", "is_marginal", "marginal_problems", "plain", "total_of"]
