"""The definitions of a declarative model as one list, their order, and the errors that can be found without data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.errors import Problem, UserError
from bayesrun.language.distributions import family
from bayesrun.language.grammar import parse
from bayesrun.language.hidden_markov import HIDDEN_MARKOV, hidden_markov_problems
from bayesrun.language.linear_gaussian import COMPONENTS, LINEAR_GAUSSIAN, linear_gaussian_problems
from bayesrun.language.ode_reader import ode_names, ode_problems, states_of
from bayesrun.language.prior_checks import check_prior, dims_problems, modifier_problems, split
from bayesrun.language.recurrence_checks import lags_in, names_used, recurrence_problems

if TYPE_CHECKING:
    from bayesrun.models.declarative import DeclarativeSpec

Kind = Literal["prior", "deterministic", "potential", "likelihood", "recurrence"]
_NO_OPTION = ("initval", "transform", "parameterization", "shape")
# a quantity that no expression names may be called as a term of a formula is: log(x), C(g), a:b
_LABEL = re.compile(r"[^\s/\\][^/\\\n]{0,199}")
_RESERVED = ("chain", "draw", "lp")


@dataclass(frozen=True)
class Definition:
    """One named part of the model.

    Parameters
    ----------
    kind
        Kind of definition.
    name
        Its name.
    key
        Config key.
    body
        A prior's or likelihood's mapping, without `observed`; for expressions `{expr: ..., dims: ...}`, or
        `{ode: {...}}`; a recurrence.
    observed
        Observed data variable of a likelihood.
    """

    kind: Kind
    name: str
    key: str
    body: Mapping[str, Any]
    observed: str | None = None

    @property
    def system(self) -> Any:
        """The differential equations that a deterministic is the solution of; None for an expression."""
        return self.body.get("ode") if self.kind == "deterministic" else None

    @property
    def names(self) -> frozenset[str]:
        """Names that its expressions use."""
        if self.kind == "recurrence":
            return names_used(self.body) if isinstance(self.body, Mapping) else frozenset()
        if self.system is not None:
            return ode_names(self.system)
        return frozenset(name for text in self.texts for name in _names_of(text))

    @property
    def texts(self) -> tuple[str, ...]:
        """Its expressions; text of other kinds is not included."""
        return tuple(_texts_in(self.body))


def definitions(spec: DeclarativeSpec) -> list[Definition]:
    """Return all definitions of a model, in the order of the YAML."""
    found = [Definition("prior", n, f"model.priors.{n}", body) for n, body in spec.priors.items()]
    kinds: tuple[tuple[Kind, str, Mapping[str, Any]], ...] = (
        ("deterministic", "deterministics", spec.deterministics),
        ("potential", "potentials", spec.potentials),
    )
    for kind, section, entries in kinds:
        for name, entry in entries.items():
            body = entry if isinstance(entry, Mapping) else {"expr": entry}
            found.append(Definition(kind, name, f"model.{section}.{name}", body))
    found += recurrences(spec.recurrence)
    for name, body in spec.likelihood.items():
        own = {k: v for k, v in body.items() if k != "observed"}
        found.append(Definition("likelihood", name, f"model.likelihood.{name}", own, body.get("observed")))
    return found


def recurrences(given: Any) -> list[Definition]:
    """Return the recurrences of a model: one mapping, or a list of them."""
    if given is None or given == {} or given == []:
        return []
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not listed:
        return [Definition("recurrence", "recurrence", "model.recurrence", given)]
    keys = [f"recurrence[{i}]" for i in range(len(given))]
    return [Definition("recurrence", key, f"model.{key}", one) for key, one in zip(keys, given, strict=True)]


def _texts_in(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        known = family(str(given.get("dist")))
        texts = {n for n, p in known.parameters.items() if p.domain == "text"} if known else set()
        for key, value in given.items():
            if key not in ("dist", "dims", "shape", "transform", "parameterization", *texts):
                yield from _texts_in(value)
    elif isinstance(given, Sequence):
        for part in given:
            yield from _texts_in(part)


def _names_of(text: str) -> frozenset[str]:
    try:
        return parse(text, "").names
    except UserError:
        return frozenset()


def in_order(parts: Sequence[Definition], completed: Iterable[str] = ()) -> list[Definition]:
    """Sort definitions topologically, otherwise in the order of the YAML.

    Parameters
    ----------
    parts
        The definitions.
    completed
        Likelihoods whose names refer to the completed variable in other expressions, because values are missing.

    Raises
    ------
    UserError
        When definitions need each other in a cycle.
    """
    known = {p.name for p in parts if p.kind in ("prior", "deterministic", "recurrence")} | set(completed)
    owner = {n: p.name for p in parts for n in gives(p) if p.name in known}
    needs = {p.name: {owner[n] for n in p.names if n in owner} for p in parts}
    place = {p.name: number for number, p in enumerate(parts)}
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise UserError([_cycle(parts, error.args[1])]) from None
    placed: list[Definition] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, place[name])
        first = parts[heappop(ready)]
        placed.append(first)
        sorter.done(first.name)
    return placed


def gives(part: Definition) -> tuple[str, ...]:
    """Return the names that a definition provides to others."""
    if part.kind == "prior" and part.body.get("dist") == "LKJCholeskyCov":
        return (part.name, f"{part.name}_corr", f"{part.name}_stds")
    if part.kind == "recurrence":
        step = part.body.get("step") if isinstance(part.body, Mapping) else None
        return tuple(map(str, step)) if isinstance(step, Mapping) else ()
    if part.system is not None:
        return (part.name, *states_of(part.system))
    return (part.name,)


def _helpers(part: Definition) -> tuple[str, ...]:
    """Return the names of additional variables that a definition creates, which must not be used otherwise."""
    if part.kind == "recurrence":
        return tuple(f"{name}_end" for name in lags_in(part.body))
    form = part.body.get("parameterization")
    made = {"noncentered": ("offset",), "whitened": ("level", "waves", "start")}.get(str(form), ())
    made = (*made, "level") if form == "noncentered" and part.body.get("dist") == "GaussianRandomWalk" else made
    if part.body.get("dist") in ("CAR", "ICAR"):
        made = ("offset",)
    if part.body.get("dist") == "GaussianProcess":
        made = ("process", "new") if part.kind == "likelihood" else ("offset", "waves", "jacobian", "weights", "new")
    missing: tuple[str, ...] = ("missing",) if part.kind == "likelihood" else ()
    missing = ("state", "path") if part.body.get("dist") == HIDDEN_MARKOV else missing
    if part.body.get("dist") == LINEAR_GAUSSIAN:
        missing = (*(name for name in COMPONENTS if part.body.get(name) is not None), "end", "new", "states")
    return (*gives(part)[1:], *(f"{part.name}_{end}" for end in (*made, *missing)))


def _cycle(parts: Sequence[Definition], cycle: Sequence[str]) -> Problem:
    """Name the definitions of a cycle, each followed by one that it depends on."""
    names = list(reversed(cycle))
    key = next(p.key for p in parts if p.name == names[0])
    if len(names) == 2:
        return Problem(key, f"'{names[0]}' is defined by itself", "remove its own name from its expressions")
    return Problem(key, f"these are defined by each other: {' <- '.join(names)}", "break the cycle")


def static_problems(spec: DeclarativeSpec) -> list[Problem]:
    """Find all errors in a model that can be detected without data."""
    parts = definitions(spec)
    problems = [p for part in parts for p in _own_problems(part)]
    problems += _repeats(parts)
    problems += _coords_problems(spec.coords, parts)
    if not spec.priors:
        problems.append(Problem("model.priors", "is empty: there is nothing to infer", "add name: {dist: ..., ...}"))
    if not problems:
        try:
            in_order(parts)
        except UserError as error:
            problems += error.problems
    return problems


def _coords_problems(coords: Mapping[str, Sequence[Any]], parts: Sequence[Definition]) -> Iterator[Problem]:
    """Check the dims that the model itself has."""
    made = {name: part.key for part in parts for name in gives(part)}
    for dim, labels in coords.items():
        key = f"model.coords.{dim}"
        yield from _name_problems(str(dim), key)
        if dim in made:
            yield Problem(key, f"the name '{dim}' is taken by {made[dim]}", "rename one of them")
        kinds = {isinstance(label, str) for label in labels}
        if not labels or len(kinds) > 1 or not all(isinstance(label, (str, int, float)) for label in labels):
            yield Problem(key, f"must be a list of labels (got {labels!r})", "write [intercept, slope]")
        elif len(set(labels)) < len(labels):
            yield Problem(key, f"has a label twice (got {labels!r})", "give each place a label of its own")


def _own_problems(part: Definition) -> Iterator[Problem]:
    if part.kind == "recurrence":
        yield from recurrence_problems(part.key, part.body)
        for name in gives(part):
            yield from _name_problems(name, f"{part.key}.step.{name}")
        return
    label = part.kind == "deterministic" and _LABEL.fullmatch(part.name)
    if not label or "__" in part.name or part.name in _RESERVED:
        yield from _name_problems(part.name, part.key)
    if part.kind == "likelihood":
        yield from _likelihood_problems(part)
    elif part.kind == "prior" and _is_mixed(part):
        message = (
            f"{part.body['dist']} is for observed values: no sampler can move between its end points and the interior"
        )
        yield Problem(f"{part.key}.dist", message, "choose a continuous prior")
    elif part.kind != "prior":
        yield from _expression_problems(part)


def _name_problems(name: str, key: str) -> Iterator[Problem]:
    if not name.isidentifier() or "__" in name or name in _RESERVED:
        hint = "use letters, digits and single underscores, starting with a letter"
        yield Problem(key, f"'{name}' is not a valid name", hint)


def _is_mixed(part: Definition) -> bool:
    known = family(str(part.body.get("dist"))) if isinstance(part.body, Mapping) else None
    return known is not None and known.mixed


def _likelihood_problems(part: Definition) -> Iterator[Problem]:
    if part.body.get("dist") == HIDDEN_MARKOV:
        yield from hidden_markov_problems(part.key, part.body)
        modifiers: dict[str, Any] = {}
    elif part.body.get("dist") == LINEAR_GAUSSIAN:
        yield from linear_gaussian_problems(part.key, part.body)
        modifiers = {}
    else:
        prior, modifiers = split(part.body)
        yield from map(_or_observed, check_prior(part.key, prior, observed=True))
    yield from modifier_problems(part.key, modifiers)
    if part.observed is None:
        yield Problem(f"{part.key}.observed", "is required but missing", "name the data variable that it explains")
    elif not isinstance(part.observed, str):
        yield Problem(f"{part.key}.observed", f"must be the name of a data variable (got {part.observed!r})")
    for option in _NO_OPTION:
        if part.body.get(option) is not None:
            yield Problem(f"{part.key}.{option}", f"'{option}' does not apply to a likelihood", "remove it")


def _or_observed(problem: Problem) -> Problem:
    """Suggest `observed`, a key that a likelihood has and a prior does not, if it was mistyped."""
    mistyped = "has no parameter" in problem.message and get_close_matches(problem.key.rpartition(".")[2], ["observed"])
    return replace(problem, hint="did you mean 'observed'?") if mistyped else problem


def _expression_problems(part: Definition) -> Iterator[Problem]:
    if part.kind == "deterministic" and "ode" in part.body:
        for name in sorted(part.body.keys() - {"ode"}):
            yield Problem(f"{part.key}.{name}", f"'{name}' does not apply to an ode", "remove it")
        yield from ode_problems(f"{part.key}.ode", part.system)
        return
    unknown = part.body.keys() - {"expr", "dims"}
    for name in sorted(unknown):
        yield Problem(f"{part.key}.{name}", f"unknown key '{name}'", "allowed: expr, dims")
    expr = part.body.get("expr")
    if expr is None:
        yield Problem(f"{part.key}.expr", "is required but missing", "write an expression")
    elif isinstance(expr, bool) or not isinstance(expr, (str, int, float)):
        yield Problem(f"{part.key}.expr", f"must be an expression (got {expr!r})")
    else:
        try:
            parse(str(expr), part.key)
        except UserError as error:
            yield from error.problems
    yield from dims_problems(f"{part.key}.dims", part.body.get("dims"))


def _repeats(parts: Sequence[Definition]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for part in parts:
        own = {name: f"{part.key}.step.{name}" for name in gives(part)} if part.kind == "recurrence" else None
        for name, key in (own or {part.name: part.key}).items():
            if name in seen:
                yield Problem(key, f"the name '{name}' is taken by {seen[name]}", "rename one of them")
            seen.setdefault(name, key)
    for part in parts:
        for helper in _helpers(part):
            if helper in seen:
                yield Problem(seen[helper], f"the name '{helper}' is made by {part.key}", "rename it")
