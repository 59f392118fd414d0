"""Forward evaluation of a declaration at every posterior draw in NumPy: computed values, new draws, expected values.

No engine is needed, so nothing is compiled: predicting from a finished run takes as long as reading its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.errors import fail
from bayesrun.language.declaration import Container as DataContainer
from bayesrun.language.declaration import Declaration, Deterministic, Item, Likelihood, Random
from bayesrun.language.densities.base import choose, wide
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.generators import expectation, generator, level_probabilities
from bayesrun.language.modifiers import Modifiers, draw_modified
from bayesrun.language.operations import names_in
from bayesrun.language.plan import Plan, component_shape
from bayesrun.language.recurrence_draws import NotSimulated, Simulation, simulation_of
from bayesrun.language.values import Value, node_of
from bayesrun.lazy import xr

Array = NDArray[Any]
DrawByEngine = Callable[[str, Mapping[str, Array], tuple[int, ...], int], Array]
"""`(distribution, parameters (draw, ...), shape of one draw, seed) -> draws (draw, ...)`, for what NumPy lacks."""


LARGEST_MEAN = 1e15
"""Largest mean of a count: linear predictors of counts end at 35, and generators at the largest integer."""
_SIGNS = ("positive", "nonnegative")  # a positive parameter may be so small that it is 0


@dataclass(frozen=True)
class Forecast:
    """Predictions of a likelihood at every draw.

    Parameters
    ----------
    drawn
        New observations (draw, ...) over its dims.
    expected
        Expected values (draw, ...); None if its distribution has none.
    dims
        Its dims.
    labels
        Labels of those dims.
    shares
        Probabilities of its levels (draw, ..., level), in order; None if its values are not levels.
    parameters
        Parameters of its distribution that have a value for each element, by name (draw, ...).
    """

    drawn: Array
    expected: Array | None
    dims: tuple[str, ...]
    labels: Mapping[str, Sequence[Any]]
    shares: Array | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict)


class Forward:
    """One pass over a declaration.

    Parameters
    ----------
    draws
        Names mapped to arrays (draw, ...), for the variables of the posterior on their original scale.
    rng
        Random generator for all draws.
    draw_by_engine
        Draws from distributions without a NumPy generator.
    fresh
        Names of the random variables that are drawn, in full or in part.
    rows
        Row dimension: the posterior has no draws of variables over new rows.
    """

    def __init__(
        self,
        draws: Mapping[str, Array],
        rng: np.random.Generator,
        draw_by_engine: DrawByEngine,
        fresh: Container[str],
        rows: str,
    ) -> None:
        self._draws = dict(draws)
        self._fresh, self._rows = fresh, rows
        self._over_rows: set[str] = set()
        self._rng = rng
        self._by_engine = draw_by_engine
        self.count = len(next(iter(self._draws.values())))
        self._known: dict[str, Array] = {}
        self._containers: dict[str, Array] = {}
        self._evaluated: tuple[Plan, dict[str, Array]] | None = None

    def run(self, declared: Declaration) -> dict[str, Forecast]:
        """Compute and draw the items of a declaration in order, and return its likelihoods."""
        found: dict[str, Forecast] = {}
        simulation = simulation_of(declared)
        together = () if simulation is None else simulation.likelihoods
        for item in declared.items:
            if not isinstance(item, Likelihood):
                self._add(item)
            elif item.name not in together:
                found[item.name] = self._likelihood(item)
        if simulation is not None:
            found |= self._row_by_row(declared, simulation)
        return found

    def _row_by_row(self, declared: Declaration, simulation: Simulation) -> dict[str, Forecast]:
        """Draw the likelihoods whose rows follow from the rows before."""
        known = {name: values for name, values in self._draws.items() if name not in self._over_rows}
        draws = {name: self._full(np.asarray(values)) for name, values in {**known, **self._known}.items()}
        try:
            drawn = simulation.with_means(draws, self._rng)
        except NotSimulated as error:
            names = ", ".join(simulation.likelihoods)
            raise fail("predict", f"'{names}' can't be predicted: {error}") from error
        items = {item.name: item for item in declared.items if isinstance(item, Likelihood)}
        return {
            name: Forecast(*values, items[name].observed.dims, _labels(items[name])) for name, values in drawn.items()
        }

    def parameters_of_likelihoods(self, declared: Declaration) -> dict[str, list[Array]]:
        """Compute the parameters of each likelihood without drawing observations."""
        found: dict[str, list[Array]] = {}
        for item in declared.items:
            if isinstance(item, Likelihood):
                found[item.name] = self.values(list(item.plan.values.values()))
                self._known[item.name] = np.asarray(item.observed.values)[None]
            else:
                self._add(item)
        return found

    def _add(self, item: Item) -> None:
        if isinstance(item, DataContainer):
            self._containers[item.name] = item.numbers
        elif isinstance(item, Random):
            if item.name in self._fresh:
                self._draw_new(item)
            elif self._rows in (*item.dims, *item.plan.dims):
                self._over_rows.add(item.name)
        elif isinstance(item, Deterministic):
            if all(self._has(name) for name in names_in(node_of(item.value))):
                self._known[item.name] = self.values([item.value])[0]
            elif self._rows in item.dims:
                self._over_rows.add(item.name)

    def _has(self, name: str) -> bool:
        return name in self._known or (name in self._draws and name not in self._over_rows)

    def values(self, values: Sequence[Value]) -> list[Array]:
        """Evaluate values at every draw: arrays (draw, ...), or (1, ...) if nothing differs between draws."""
        return evaluate_at_draws([node_of(value) for value in values], self.variable, self._containers)

    def variable(self, name: str) -> Array:
        """Return a variable at every draw: (draw, ...), or (1, ...) if it is the same at all draws."""
        if name in self._known:
            return self._known[name]
        if not self._has(name):
            hint = "it was left out by store.variables or store.exclude"
            raise fail("predict", f"the run has no draws of '{name}'", hint)
        return self._draws[name]

    def _draw_new(self, item: Random) -> None:
        """Draw a variable; a variable that is not over the rows is drawn once for all blocks of rows."""
        over_rows = self._rows in (*item.dims, *item.plan.dims)
        if over_rows or item.name not in self._known:
            self._known[item.name] = self._with_new(item)

    def _with_new(self, item: Random) -> Array:
        """Draw a variable; elements that are in the posterior keep their posterior draws."""
        drawn = self._full(self.draw(item.plan, item.plan.shape))
        if self._rows in (*item.dims, *item.plan.dims):
            return drawn
        fitted = self.variable(item.name)
        whole = drawn.astype(np.result_type(drawn, fitted))
        places = (slice(None), *(slice(None, size) for size in fitted.shape[1:]))
        whole[places] = fitted
        return whole

    def _likelihood(self, item: Likelihood) -> Forecast:
        shape = item.observed.shape
        self._evaluated = None
        self._check_parameters(item)
        try:
            drawn = self._full(self.draw(item.plan, shape))
        except ValueError as error:
            message = f"'{item.name}' can't be predicted: {error}"
            raise fail("predict", message, "the new rows may lie too far from those of the fit") from error
        if item.observed.missing is not None:
            mask = item.observed.missing.mask
            self._known[item.name] = np.where(mask, drawn, item.observed.values)
        expected = self.expected(item.plan, shape)
        shares = self.shares(item.plan, shape)
        parameters = {} if item.plan.inner else self._of_elements(item.plan, shape)
        self._evaluated = None
        return Forecast(
            drawn,
            None if expected is None else self._full(expected),
            item.observed.dims,
            _labels(item),
            None if shares is None else self._full(shares),
            parameters,
        )

    def _check_parameters(self, item: Likelihood) -> None:
        """Reject rows for which a parameter is outside its domain, or the mean of a count beyond what can be drawn.

        Not every generator refuses a negative scale, and the linear predictors of counts are bounded.
        """
        plan, shape = item.plan, item.observed.shape
        if plan.inner:
            return
        for name, values in self.parameters(plan).items():
            parameter = plan.family.parameters.get(name)
            if parameter is None or parameter.axes or values.dtype.kind not in "fiu":
                continue
            if parameter.domain in _SIGNS:
                self._reject(item, values < 0, f"'{name}' < 0")
            elif parameter.domain == "unit":
                self._reject(item, (values < 0) | (values > 1), f"'{name}' is outside 0 to 1")
        if plan.family.support == "count" and not plan.family.event:
            mean = self.expected(plan, shape)
            if mean is not None:
                self._reject(
                    item, mean > LARGEST_MEAN, f"its mean exceeds {LARGEST_MEAN:g}, more than can be drawn from"
                )

    def _reject(self, item: Likelihood, bad: Array, why: str) -> None:
        if not bad.any():
            return
        dims, own = item.observed.dims, bad.any(axis=0)
        where = ""
        if own.shape == item.observed.shape:
            labels = {dim: np.asarray(values) for dim, values in _labels(item).items()}
            where = f" ({places(xr.DataArray(own, dims=dims, coords=labels))})"
        at = bad.reshape(len(bad), -1).any(axis=1).mean()
        share = "" if at == 1 else f" in {at:.1%} of the draws"
        hint = "the new rows may lie too far from those of the fit"
        raise fail("predict", f"'{item.name}' can't be predicted: {why}{share}{where}", hint)

    def _of_elements(self, plan: Plan, shape: tuple[int, ...]) -> dict[str, Array]:
        """Return the parameters that have a value for each element of a likelihood (draw, *shape)."""
        found = {}
        for name, values in self.parameters(plan).items():
            own = values.shape[1:]
            if len(own) <= len(shape) and all(n in (1, of) for n, of in zip(own[::-1], shape[::-1], strict=False)):
                found[name] = self._full(_over(values, shape))
        return found

    def _full(self, values: Array) -> Array:
        return np.broadcast_to(values, (self.count, *values.shape[1:]))

    def parameters(self, plan: Plan) -> dict[str, Array]:
        """Evaluate a distribution's parameters at every draw; those of the last one are kept, for its mean."""
        if self._evaluated is None or self._evaluated[0] is not plan:
            found = dict(zip(plan.values, self.values(list(plan.values.values())), strict=True))
            self._evaluated = plan, {name: np.asarray(values) for name, values in found.items()}
        return self._evaluated[1]

    def draw(self, plan: Plan, shape: tuple[int, ...]) -> Array:
        """Draw from a distribution at every draw of its parameters: (draw, *shape)."""
        if plan.modifiers is not None:
            return self._modified(plan, plan.modifiers, shape)
        if plan.inner:
            return self._mixture(plan, shape)
        parameters = {name: self._full(values) for name, values in self.parameters(plan).items()}
        if plan.family.name == "NormalMixture":
            return _normal_mixture(parameters, shape, self._rng)
        name = "TruncatedNormal" if plan.family.name == "Normal" and plan.truncated else plan.family.name
        if plan.truncated and plan.family.name != "Normal":
            raise fail("predict", f"a truncated {plan.family.name} can't be drawn from", "use TruncatedNormal")
        own = generator(name)
        if own is not None:
            return np.broadcast_to(own(parameters, shape, self._rng), (self.count, *shape))
        if plan.family.event:
            raise fail("predict", f"'{plan.name}' can't be predicted: {plan.family.name} has no forward draws")
        full = {n: np.ascontiguousarray(wide(v, shape)) for n, v in parameters.items()}
        return self._by_engine(plan.family.name, full, shape, int(self._rng.integers(2**31)))

    def _modified(self, plan: Plan, modifiers: Modifiers, shape: tuple[int, ...]) -> Array:
        """Draw within the limits of a likelihood."""
        plain, own = replace(plan, modifiers=None), modifiers.values()
        limits = dict(zip(own, self.values(list(own.values())), strict=True))
        values = {name: self._full(found) for name, found in {**self.parameters(plain), **limits}.items()}
        return draw_modified(plan.family, modifiers, values, lambda: self.draw(plain, shape), self._rng)

    def expected(self, plan: Plan, shape: tuple[int, ...]) -> Array | None:
        """Return the expected values of a distribution at every draw (draw, *shape); None if it has none."""
        if plan.modifiers is not None and (plan.modifiers.limits or plan.modifiers.truncation):
            return None
        if plan.inner or plan.family.name == "NormalMixture":
            return self._mixture_mean(plan, shape)
        name = "TruncatedNormal" if plan.family.name == "Normal" and plan.truncated else plan.family.name
        own = expectation(name)
        if own is None or (plan.truncated and plan.family.name != "Normal"):
            return None
        with np.errstate(all="ignore"):
            found = own(self.parameters(plan))
        return _over(found, shape)

    def shares(self, plan: Plan, shape: tuple[int, ...]) -> Array | None:
        """Return the probabilities of levels at every draw (draw, *shape, level); None if values are not levels."""
        own = None if plan.inner or plan.truncated else level_probabilities(plan.family.name)
        return None if own is None else wide(own(self.parameters(plan)), shape, 1)

    def _components(self, plan: Plan) -> tuple[Plan, ...] | Plan:
        return plan.inner["comp_dists"]

    def _mixture(self, plan: Plan, shape: tuple[int, ...]) -> Array:
        components = self._components(plan)
        weights = wide(self._full(self.values([plan.values["w"]])[0]), shape, 1)
        chosen = choose(weights, self._rng)[..., None]
        if isinstance(components, Plan):
            every = self._full(self.draw(components, component_shape(plan)))
        else:
            every = np.stack([self._full(self.draw(one, shape)) for one in components], axis=-1)
        return np.asarray(np.take_along_axis(every, chosen, axis=-1)[..., 0])

    def _mixture_mean(self, plan: Plan, shape: tuple[int, ...]) -> Array | None:
        weights = wide(self.values([plan.values["w"]])[0], shape, 1)
        if plan.family.name == "NormalMixture":
            mu = self.values([plan.values["mu"]])[0]
            return np.asarray((weights * wide(mu, shape, 1)).sum(axis=-1))
        components = self._components(plan)
        if isinstance(components, Plan):
            one = self.expected(components, component_shape(plan))
            return None if one is None else np.asarray((weights * one).sum(axis=-1))
        means = [self.expected(one, shape) for one in components]
        if any(mean is None for mean in means):
            return None
        return np.asarray((weights * np.stack([self._full(m) for m in means if m is not None], axis=-1)).sum(axis=-1))


def _labels(item: Likelihood) -> dict[str, Sequence[Any]]:
    sizes = zip(item.observed.dims, item.observed.shape, strict=True)
    return {dim: item.observed.coords.get(dim, range(size)) for dim, size in sizes}


def _normal_mixture(p: Mapping[str, Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    scale = p["sigma"] if "sigma" in p else p["tau"] ** -0.5
    size = max(v.shape[-1] for v in (p["w"], p["mu"], scale) if v.ndim > 1)
    weights, mu, sigma = (_components_last(v, size, shape) for v in (p["w"], p["mu"], scale))
    chosen = choose(weights, rng)[..., None]
    centre, spread = (np.take_along_axis(v, chosen, axis=-1)[..., 0] for v in (mu, sigma))
    return rng.normal(centre, spread)


def _components_last(values: Array, size: int, shape: tuple[int, ...]) -> Array:
    last = values if values.ndim > 1 else values[..., None]
    return wide(np.broadcast_to(last, (*last.shape[:-1], size)), shape, 1)


def _over(values: Array, shape: tuple[int, ...]) -> Array:
    padded = values.reshape(values.shape[0], *(1,) * (len(shape) + 1 - values.ndim), *values.shape[1:])
    return np.broadcast_to(padded, (values.shape[0], *shape))
