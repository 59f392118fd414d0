"""New series from a model with recurrences that depend on the data which the model explains.

A prediction of an ARMA or GARCH model continues what has been drawn so far, not what was observed: row by row, the
recurrence is computed from the rows drawn before, then the likelihood's parameters, then the observation. All draws of
the posterior go along the rows together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem
from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood
from bayesrun.language.evaluation_at_draws import NUMBER_BY_NUMBER, evaluate_at_draws
from bayesrun.language.generators import expectation, generator
from bayesrun.language.operations import OPERATIONS, Call, Node, Variable, names_in
from bayesrun.language.recurrences import Program, RecurrenceRows
from bayesrun.language.values import node_of

Array = NDArray[Any]

_AT_ONCE = 20_000_000
"""Numbers that are held at once."""


class NotSimulated(Exception):
    """No series can be drawn; the message gives the reason."""


@dataclass(frozen=True)
class Simulation:
    """How to draw the likelihoods on whose data recurrences depend.

    Parameters
    ----------
    declared
        The model.
    likelihoods
        Their names.
    """

    declared: Declaration
    likelihoods: tuple[str, ...]

    def draw(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw all of them together.

        Parameters
        ----------
        draws
            Variables of the model by name (draw, ...).
        rng
            Source of randomness.

        Returns
        -------
        dict
            Name of the likelihood to array (draw, ...).

        Raises
        ------
        NotSimulated
            When a likelihood can't be drawn row by row.
        """
        return {name: drawn for name, (drawn, _) in self.with_means(draws, rng).items()}

    def with_means(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, tuple[Array, Array | None]]:
        """Draw all of them together, and return with each its expected values given the rows before (draw, ...)."""
        count = len(next(iter(draws.values())))
        step = max(1, _AT_ONCE // max(1, _numbers_per_draw(self.declared)))
        parts, means = [], []
        for begin in range(0, count, step):
            some = {name: values[begin : begin + step] for name, values in draws.items()}
            one = _Pass(self, some, rng)
            parts.append(one.run())
            means.append(one.means)
        found = {}
        for name in self.likelihoods:
            of = [mean[name] for mean in means if name in mean]
            whole = np.concatenate([part[name] for part in parts])
            found[name] = whole, np.concatenate(of) if len(of) == len(parts) else None
        return found


def simulation_of(declared: Declaration) -> Simulation | None:
    """Return how to draw the likelihoods of a model with recurrences; None where none depends on drawn data."""
    if not declared.fed:
        return None
    links = _Links(declared)
    likelihoods = [item for item in declared.items if isinstance(item, Likelihood)]
    names = tuple(i.name for i in likelihoods if any(links.depends(node_of(v)) for v in i.plan.values.values()))
    return Simulation(declared, names) if names else None


def same_row_problems(declared: Declaration) -> Iterator[Problem]:
    """Find likelihoods whose distribution depends on their own value at the same row, which no series can have."""
    if not declared.fed:
        return
    links = _Links(declared)
    needs: dict[str, set[str]] = {}
    for item in declared.items:
        if isinstance(item, Likelihood):
            todo = [node_of(value) for value in item.plan.values.values()]
            needs[item.name] = {declared.fed[name] for name in links.at_the_same_row(todo) if name in declared.fed}
    keys = {item.name: item.plan.key for item in declared.items if isinstance(item, Likelihood)}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        names = list(reversed(error.args[1]))
        if len(names) == 2:
            message = f"the distribution of '{names[0]}' depends on its own value at the same row"
        else:
            message = f"these depend on each other's values at the same row: {' <- '.join(names)}"
        yield Problem(keys[names[0]], message, "use values of earlier rows, as in y[t-1]")


def _numbers_per_draw(declared: Declaration) -> int:
    programs = {id(part.settings[0]): part.settings[0] for part in _Links(declared).recurrences()}
    return sum(int(np.prod(program.shape)) for program in programs.values())


class _Links:
    """Which nodes depend on a recurrence of drawn data."""

    def __init__(self, declared: Declaration) -> None:
        self.fed = declared.fed
        made = {i.name: node_of(i.value) for i in declared.items if isinstance(i, Deterministic)}
        # a walk at later rows is made from its draws at the rows of the fit, which have its name
        self.made = {name: node for name, node in made.items() if name not in names_in(node)}
        self._items = declared.items
        self._depends: dict[int, bool] = {}

    def recurrences(self) -> list[Call]:
        """Return the recurrences that some likelihood depends on."""
        found: dict[int, Call] = {}
        todo = [node_of(v) for i in self._items if isinstance(i, Likelihood) for v in i.plan.values.values()]
        while todo:
            node = self.resolved(todo.pop())
            if isinstance(node, Call) and id(node) not in found and self.depends(node):
                if node.operation == "recurrence":
                    found[id(node)] = node
                todo.extend(node.inputs)
        return list(found.values())

    def at_the_same_row(self, nodes: Sequence[Node]) -> set[str]:
        """Return the drawn data variables whose values at a row some nodes need at the same row."""
        found: set[str] = set()
        todo: list[Any] = list(nodes)
        seen = set[Any]()
        while todo:
            one = todo.pop()
            node, number = one if isinstance(one, tuple) else (self.resolved(one), None)
            if (id(node), number) in seen or not isinstance(node, Call) or not self.depends(node):
                continue
            seen.add((id(node), number))
            if number is not None:
                program: Program = node.settings[0]
                variable = program.variables[number]
                if variable.data and variable.name in self.fed:
                    found.add(variable.name)
                    continue
                todo += [(node, i.of[0]) for i in variable.block if i.kind == "now"]
                todo += [node.inputs[i.of[0]] for i in variable.block if i.kind == "input"]
            elif node.operation == "index":
                source = self.resolved(node.inputs[0])
                if isinstance(source, Call) and source.operation == "recurrence":
                    todo.append((source, node.settings[0][0]))
                else:
                    todo += node.inputs
            elif node.operation != "recurrence":
                todo += node.inputs
        return found

    def resolved(self, node: Node) -> Node:
        """Return how a deterministic is computed, in place of its name."""
        while isinstance(node, Variable) and node.name in self.made:
            node = self.made[node.name]
        return node

    def depends(self, node: Node) -> bool:
        """Return whether a node differs for other data."""
        node = self.resolved(node)
        if not isinstance(node, Call):
            return False
        if id(node) not in self._depends:
            fed = node.operation == "recurrence" and any(
                v.data and v.name in self.fed for v in node.settings[0].variables
            )
            self._depends[id(node)] = fed or any(self.depends(given) for given in node.inputs)
        return self._depends[id(node)]


class _Series(RecurrenceRows):
    """A recurrence whose inputs and data are asked for row by row."""

    def __init__(self, program: Program, count: int, given: Callable[[int, int], Array]) -> None:
        super().__init__(program, [], OPERATIONS, count)
        self._given = given

    def _input(self, number: int, row: int) -> Array:
        return self._given(number, row)


class _Pass:
    """Some draws, from the first row to the last."""

    def __init__(self, simulation: Simulation, draws: Mapping[str, Array], rng: np.random.Generator) -> None:
        declared = simulation.declared
        self._links, self._draws, self._rng = _Links(declared), draws, rng
        self._count = len(next(iter(draws.values())))
        self._containers = {i.name: i.numbers for i in declared.items if isinstance(i, Container)}
        self._items = {i.name: i for i in declared.items if isinstance(i, Likelihood)}
        self._names = simulation.likelihoods
        self._whole: dict[int, Array] = {}
        self._series: dict[int, _Series] = {}
        self._drawn: dict[str, Array] = {}
        self.means: dict[str, Array] = {}
        self._row, self._at_row, self._busy = 0, dict[Any, Array](), set[Any]()

    def run(self) -> dict[str, Array]:
        lengths = {part.settings[0].rows for part in self._links.recurrences()}
        if len(lengths) > 1:
            raise NotSimulated("its recurrences run along different dims")
        for name in self._names:
            item = self._items[name]
            self._check(item)
            self._drawn[name] = np.array(
                np.broadcast_to(item.observed.values, (self._count, *item.observed.shape)), float
            )
        with np.errstate(all="ignore"):
            for self._row in range(lengths.pop()):
                self._at_row, self._busy = {}, set()
                for name in self._names:
                    self._observation(name)
                for node in self._links.recurrences():
                    for number in range(len(node.settings[0].variables)):
                        self._variable(node, number)
        discrete = {name: self._items[name].plan.discrete for name in self._names}
        return {n: v.astype(np.int64) if discrete[n] else v for n, v in self._drawn.items()}

    def _check(self, item: Likelihood) -> None:
        plan, modifiers = item.plan, item.plan.modifiers
        limited = modifiers is not None and bool(modifiers.limits or modifiers.truncation)
        if generator(plan.family.name) is None or plan.family.event or plan.inner or plan.truncated or limited:
            raise NotSimulated(f"a {plan.family.name} that is mixed, limited or has no draws can't be drawn row by row")

    # ------------------------------------------------------------ what depends on the drawn rows

    def _observation(self, name: str) -> Array:
        """Draw a likelihood at this row: (draw, ...) with an axis of 1 along the rows."""
        if name in self._at_row:
            return self._at_row[name]
        if name in self._busy:
            raise NotSimulated(f"the distribution of '{name}' depends on its own value at the same row")
        self._busy.add(name)
        plan = replace(self._items[name].plan, modifiers=None)
        behind = self._axis_of(name)
        parameters = {}
        for parameter, value in plan.values.items():
            known = plan.family.parameters.get(parameter)
            found = self._part(node_of(value), behind + (known.axes if known else 0))
            parameters[parameter] = np.broadcast_to(found, (self._count, *found.shape[1:]))
        axis = len(plan.shape) - 1 - behind
        shape = tuple(1 if i == axis else n for i, n in enumerate(plan.shape))
        draw = generator(plan.family.name)
        assert draw is not None
        values = np.broadcast_to(draw(parameters, shape, self._rng), (self._count, *shape))
        place = [slice(None)] * (1 + len(shape))
        place[1 + axis] = slice(self._row, self._row + 1)
        self._drawn[name][tuple(place)] = values
        mean = expectation(plan.family.name)
        if mean is not None:
            whole = self.means.setdefault(name, np.empty(self._drawn[name].shape))
            found = np.asarray(mean(parameters))
            whole[tuple(place)] = found.reshape(len(found), *(1,) * (1 + len(shape) - found.ndim), *found.shape[1:])
        self._at_row[name] = values
        return values

    def _axis_of(self, name: str) -> int:
        """Return the number of axes of a likelihood behind that of the rows."""
        nodes = [(n, v) for n, v in self._items[name].plan.values.items() if self._links.depends(node_of(v))]
        parameter, value = nodes[0]
        known = self._items[name].plan.family.parameters.get(parameter)
        return self._behind(node_of(value)) - (known.axes if known else 0)

    def _part(self, node: Node, behind: int) -> Array:
        """Return a node at this row; `behind` axes follow that of the rows."""
        if self._links.depends(node):
            if self._behind(node) != behind:
                raise NotSimulated("its parameters have the rows on different axes")
            return self._value(self._links.resolved(node))
        found = self._fixed(node)
        if found.ndim - 1 > behind and found.shape[-1 - behind] > 1:
            return np.asarray(np.take(found, [self._row], axis=found.ndim - 1 - behind))
        return found

    def _value(self, node: Node) -> Array:
        key = id(node)
        if key not in self._at_row:
            assert isinstance(node, Call)
            self._at_row[key] = self._computed(node)
        return self._at_row[key]

    def _computed(self, node: Call) -> Array:
        behind = self._behind(node)
        if node.operation == "index":
            source = self._links.resolved(node.inputs[0])
            assert isinstance(source, Call)
            values: Array = self._variable(source, node.settings[0][0])
            return np.reshape(values, (len(values), *source.settings[0].series, 1))
        if node.operation == "rearrange":
            given = self._part(node.inputs[0], self._behind(node.inputs[0]))
            positions = node.settings[0]
            moved = np.transpose(given, [0, *(p + 1 for p in positions if p is not None)])
            sizes = iter(moved.shape[1:])
            return np.reshape(moved, (len(moved), *(1 if p is None else next(sizes) for p in positions)))
        parts = [self._part(given, behind) for given in node.inputs]
        ndim = max(part.ndim for part in parts)
        meeting = [part.reshape(len(part), *(1,) * (ndim - part.ndim), *part.shape[1:]) for part in parts]
        return np.asarray(OPERATIONS[node.operation](*meeting, *node.settings))

    def _behind(self, node: Node) -> int:
        """Return how many axes follow that of the rows."""
        node = self._links.resolved(node)
        assert isinstance(node, Call)
        if node.operation == "index" and len(node.settings[0]) == 1 and isinstance(node.settings[0][0], int):
            source = self._links.resolved(node.inputs[0])
            if isinstance(source, Call) and source.operation == "recurrence":
                return 0
        if node.operation == "rearrange":
            before = [p for p in node.settings[0] if p is not None]
            old = len(before) - 1 - self._behind(node.inputs[0])
            return len(node.settings[0]) - 1 - list(node.settings[0]).index(old)
        if node.operation in NUMBER_BY_NUMBER:
            places = {self._behind(given) for given in node.inputs if self._links.depends(given)}
            if len(places) == 1:
                return places.pop()
        raise NotSimulated(f"'{node.operation}' combines rows, which are drawn one after another")

    def _variable(self, node: Call, number: int) -> Array:
        """Return a variable of a recurrence at this row: (draw, series)."""
        key = id(node), number
        if key in self._at_row:
            return self._at_row[key]
        if key in self._busy:
            raise NotSimulated("what it depends on at a row depends on the observation at the same row")
        self._busy.add(key)
        series = self._series_of(node)
        variable = series.program.variables[number]
        if variable.data and self._links.fed.get(variable.name) in self._names:
            values = self._observation(self._links.fed[variable.name])
            series.values[number, :, :, self._row] = self._flat(values, series.program, self._links.fed[variable.name])
        else:
            series.compute(number, self._row, lambda other: self._variable(node, other))
        self._at_row[key] = series.values[number, :, :, self._row]
        return self._at_row[key]

    def _flat(self, values: Array, program: Program, likelihood: str) -> Array:
        """Return an observation as (draw, series)."""
        axis = values.ndim - 1 - self._axis_of(likelihood)
        return np.moveaxis(values, axis, -1).reshape(len(values), -1)

    def _series_of(self, node: Call) -> _Series:
        if id(node) not in self._series:
            program: Program = node.settings[0]

            def given(number: int, row: int) -> Array:
                by_series, by_row, _ = program.inputs[number]
                source = node.inputs[number]
                if self._links.depends(source):
                    found = self._part(source, 0)
                else:
                    found = self._fixed(source)
                    if by_row:
                        found = found[..., row : row + 1]
                return found.reshape(len(found), program.width if by_series else 1)

            self._series[id(node)] = _Series(program, self._count, given)
        return self._series[id(node)]

    # ------------------------------------------------------------ what does not

    def _fixed(self, node: Node) -> Array:
        """Return a node that does not depend on the drawn rows, at all rows."""
        if id(node) not in self._whole:
            self._whole[id(node)] = evaluate_at_draws([node], self._known, self._containers)[0]
        return self._whole[id(node)]

    def _known(self, name: str) -> Array:
        if name in self._draws:
            return self._draws[name]
        if name in self._links.made:
            return self._fixed(self._links.made[name])
        raise NotSimulated(f"there are no draws of '{name}'")


__all__: Sequence[str] = ["NotSimulated", "Simulation", "same_row_problems", "simulation_of"]
