"""A model as data: its variables, deterministics, potentials, likelihoods and data containers, in order.

A builder fills a `Draft` and returns its `Declaration`, from which an engine builds a model. Neither depends on the
other.

    draft = Draft(data)
    rate = declare(draft, "rate", {"dist": "Exponential", "lam": 1}, "model.priors.rate")
    draft.observe("counts_obs", "Poisson", {"mu": rate}, observed_values(data, "counts"))
    return draft.declaration()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem
from bayesrun.language.learned import Learned, LearnedValue
from bayesrun.language.operations import Data
from bayesrun.language.plan import Plan, of_values, variables_of
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, variable
from bayesrun.lazy import xr

if TYPE_CHECKING:
    from bayesrun.language.formulas import Design

Draws = Mapping[str, NDArray[Any]]
Recover = Callable[[Draws, np.random.Generator], Draws]
Terms = Callable[[Draws], Draws]


def in_turn(*parts: Recover | None) -> Recover | None:
    """Return what draws the variables of several parts; None if there are none."""
    given = tuple(part for part in parts if part is not None)
    return given[0] if len(given) == 1 else _InTurn(given) if given else None


@dataclass(frozen=True)
class _InTurn:
    """Several parts of a model, each of which draws variables that were summed out, given those before."""

    parts: tuple[Recover, ...]

    def __call__(self, draws: Draws, rng: np.random.Generator) -> Draws:
        found: dict[str, NDArray[Any]] = {}
        for part in self.parts:
            found |= part({**draws, **found}, rng)
        return found


class DrawnTogether(Protocol):
    """How the rows of likelihoods that depend on each other are drawn."""

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Names of the likelihoods."""

    def draw(self, draws: Draws, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw each likelihood at draws (draw, ...)."""


class Hidden(DrawnTogether, Protocol):
    """Hidden states that were summed out and are drawn afterwards."""

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dims of what is drawn afterwards."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is drawn afterwards."""

    @property
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dims that nothing else has."""

    def recover(self, draws: Draws, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw the states at draws (chain, draw, ...)."""

    def problems_at(self, draws: Draws) -> Iterable[Problem]:
        """Find what is wrong with the states' distribution at draws (draw, ...)."""


@dataclass(frozen=True)
class Container:
    """A data variable that expressions refer to by name.

    Parameters
    ----------
    name
        Name of the data variable.
    numbers
        Its values.
    dims
        Its dims.
    """

    name: str
    numbers: NDArray[Any]
    dims: tuple[str, ...]


@dataclass(frozen=True)
class Random:
    """A random variable.

    Parameters
    ----------
    plan
        Its distribution and name.
    dims
        Name of each axis in the model; empty if the variable has no axis that can be named.
    initial
        Initial value; None for the distribution's default. It may depend on variables declared earlier.
    """

    plan: Plan
    dims: tuple[str, ...] = ()
    initial: Value | None = None

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.plan.name


@dataclass(frozen=True)
class Deterministic:
    """A named quantity computed from others."""

    name: str
    value: Value
    dims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Density:
    """The log density of a distribution at a value, summed, times `sign`."""

    plan: Plan
    value: Value
    sign: int = 1


@dataclass(frozen=True)
class Potential:
    """An additional term of the log density: a value, and densities at values."""

    name: str
    value: Value | None = None
    densities: tuple[Density, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Missing values of a likelihood, which are imputed.

    Parameters
    ----------
    mask
        True where a value is missing, over the likelihood's dims.
    dim
        Name of the dim of the imputed values `LIKELIHOOD_missing`.
    labels
        Labels of that dim: those of the rows.
    summed_out
        Whether they are summed out of the likelihood and drawn afterwards, instead of being sampled.
    """

    mask: NDArray[Any]
    dim: str
    labels: Sequence[Any]
    summed_out: bool = False


@dataclass(frozen=True)
class Observed:
    """The observed data of a likelihood.

    Parameters
    ----------
    values
        Observed values over the dims, 0 where missing; whole numbers are stored as integers.
    dims, shape
        Names and sizes of its axes.
    coords
        Labels of those dims.
    missing
        Which values are missing; None if all are observed.
    container
        Name of the data container that holds the values, if any.
    absent
        True where a value is missing without being imputed: what stands there is not shown as observed.
    """

    values: NDArray[Any]
    dims: tuple[str, ...]
    coords: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    missing: Missing | None = None
    container: str | None = None
    absent: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        return tuple(self.values.shape)


@dataclass(frozen=True)
class Likelihood:
    """An observed random variable.

    Parameters
    ----------
    plan
        Its distribution and name.
    observed
        The observed data.
    elementwise
        Whether rows differ only in their values: an engine may then infer shapes from a single value for all rows.
    """

    plan: Plan
    observed: Observed
    elementwise: bool = False

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.plan.name


Item = Container | Random | Deterministic | Potential | Likelihood


@dataclass(frozen=True)
class ModelDesign:
    """What a model learned from the fitted rows. New rows are transformed with it; nothing is learned from them.

    Parameters
    ----------
    constants
        Reductions over the rows inside the model's expressions (`mean(x)` in `x - mean(x)`), by their text.
    formula
        The terms of a formula with the state of its transforms: levels, knots, means. It holds no rows.
    rows
        The row dimension; empty to use that of the data.
    terms
        State of a regression's terms, as plain values that JSON can hold.
    """

    constants: Mapping[str, LearnedValue] = field(default_factory=dict)
    formula: Design | None = None
    rows: str = ""
    terms: Mapping[str, Any] = field(default_factory=dict)

    def recalled(self) -> Learned:
        """Return what expressions over new rows reuse from the fit."""
        return Learned(self.rows, self.constants)


@dataclass(frozen=True)
class Declaration:
    """A model.

    Parameters
    ----------
    items
        Its parts in topological order: each follows those that it depends on.
    coords
        Labels of its dims.
    helpers
        Auxiliary variables for the sampler (non-centred offsets), left out of summaries and files.
    recover
        `(draws, rng) -> further draws`, for marginalized variables, which are drawn afterwards. Arrays are
        (chain, draw, ...).
    reported
        The model as the user wrote it, when this one is a reparametrization (marginalized, whitened): its priors are
        sampled, its likelihood is used for predictions and diagnostics, and its graph is drawn. Names are those of
        `draws` after `recover`.
    design
        What was learned from the rows in addition to the posterior.
    notes
        What a reader should know of the rows that it was declared for.
    fed
        Data variables on whose earlier rows a recurrence depends, and the likelihood that draws each: predictions
        continue what they have drawn (`bayesrun.language.recurrence_draws`).
    hidden
        Hidden Markov chains and structural time series, whose states are drawn afterwards.
    terms
        `draws -> log likelihood of each observation given all others`, by likelihood, where variables that belong to
        a few observations were summed out; arrays are (chain, draw, ...), with everything in the draws.
    """

    items: tuple[Item, ...]
    coords: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    helpers: frozenset[str] = frozenset()
    recover: Recover | None = None
    reported: Declaration | None = None
    design: ModelDesign = ModelDesign()
    notes: tuple[str, ...] = ()
    fed: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[Hidden, ...] = ()
    terms: Terms | None = None

    def random(self, name: str) -> Random:
        """Return the random variable with a given name."""
        return next(item for item in self.items if isinstance(item, Random) and item.name == name)


def has_initial_values(declared: Any) -> bool:
    """Return whether a prior of a model has an `initval` of the user's."""
    if not isinstance(declared, Declaration):
        return False
    return any(isinstance(one, Random) and one.plan.option("initval") is not None for one in declared.items)


class Draft:
    """A model that is being declared.

    Parameters
    ----------
    data
        The prepared data; expressions may name its variables.
    coords
        Labels of the dims that the model itself defines.
    learned
        Reductions over the rows that are learned, or reused for new rows; None if there are none.
    """

    def __init__(
        self,
        data: xr.Dataset | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.coords: dict[str, Sequence[Any]] = dict(coords or {})
        self.scope = Scope(data, self.coords, learned=learned)
        self._data = data
        self._items: list[Item] = []
        self._helpers: set[str] = set()
        self._missing: dict[str, Sequence[Any]] = {}

    def declaration(self) -> Declaration:
        """Return the model as declared so far."""
        return Declaration(tuple(self._items), dict(self.coords), frozenset(self._helpers))

    def container(self, name: str, numbers: NDArray[Any], dims: Sequence[str]) -> Value:
        """Add a data container that holds the given numbers."""
        self._items.append(Container(name, numbers, tuple(dims)))
        return Value(tuple(dims), tuple(numbers.shape), numbers, Data(name))

    def data_variables(self, names: Iterable[str]) -> dict[str, Value]:
        """Add data containers for data variables, with their dims and labels."""
        assert self._data is not None
        names = list(names)
        for name in names:
            self.add_coords(coords_of(self._data[name]))
        return {n: self.container(n, self._data[n].values, tuple(map(str, self._data[n].dims))) for n in names}

    def add_coords(self, coords: Mapping[str, Sequence[Any]]) -> None:
        """Register dims with their labels; dims that are already known keep theirs."""
        self.coords.update({dim: labels for dim, labels in coords.items() if dim not in self.coords})

    def name_axes(self, name: str, dims: Sequence[str | None], shape: Sequence[int], scope: Scope) -> tuple[str, ...]:
        """Name all axes of a variable, and label them.

        Returns
        -------
        tuple of str
            Names of all axes; an unnamed axis is called `theta_dim_0`, with labels 0, 1, ...
        """
        names = tuple(dim or f"{name}_dim_{axis}" for axis, dim in enumerate(dims))
        for dim, size in zip(names, shape, strict=True):
            labels: Any = scope.labels(dim)
            counted: Any = np.arange(size)
            self.add_coords({dim: counted if labels is None else labels})
        return names

    def random(
        self, plan: Plan, dims: Sequence[str] = (), initial: Value | None = None, helper: bool = False
    ) -> dict[str, Value]:
        """Add a random variable and return the values of its names; a helper is not reported."""
        self._items.append(Random(plan, tuple(dims), initial))
        self._helpers |= {plan.name} if helper else set()
        return variables_of(plan)

    def deterministic(self, name: str, value: Value, dims: Sequence[str] = ()) -> Value:
        """Add a named quantity computed from others."""
        self._items.append(Deterministic(name, value, tuple(dims)))
        return variable(name, value.dims, value.shape)

    def potential(self, name: str, value: Value | None, densities: Sequence[Density] = ()) -> None:
        """Add a term of the log density."""
        self._items.append(Potential(name, value, tuple(densities)))

    def likelihood(self, plan: Plan, observed: Observed, elementwise: bool = False) -> Value:
        """Add a likelihood; its value is the observed data with missing values imputed."""
        self.add_coords(observed.coords)
        observed = self._own_labels(plan.name, observed)
        if observed.missing is not None:
            self._missing[observed.missing.dim] = observed.missing.labels
        self._items.append(Likelihood(plan, observed, elementwise))
        return variable(plan.name, observed.dims, observed.shape)

    def observe(
        self,
        name: str,
        family: str,
        parameters: Mapping[str, Value],
        observed: Observed,
        elementwise: bool = False,
    ) -> Value:
        """Add a likelihood whose parameters the builder has computed."""
        plan = of_values(name, family, parameters, observed.dims, observed.shape)
        return self.likelihood(plan, observed, elementwise)

    def _own_labels(self, name: str, observed: Observed) -> Observed:
        """Use a separate dim for missing values if another likelihood has different missing rows of the same dim."""
        missing = observed.missing
        if missing is None or list(self._missing.get(missing.dim, missing.labels)) == list(missing.labels):
            return observed
        return replace(observed, missing=replace(missing, dim=f"{name}_{missing.dim}"))


def coords_of(array: xr.DataArray) -> dict[str, Sequence[Any]]:
    """Return the labels of an array's dims; 0, 1, ... for a dim without labels."""
    coords: dict[str, Any] = {
        str(d): array[d].values if d in array.coords else range(array.sizes[d]) for d in array.dims
    }
    return coords


def observed_values(array: xr.DataArray) -> Observed:
    """Return the observed data of a likelihood.

    Parameters
    ----------
    array
        A variable of the prepared data; a missing value is NaN.
    """
    dims, values, mask = tuple(map(str, array.dims)), array.values, array.isnull().values
    whole = bool(np.all(values[~mask] == np.round(values[~mask])))
    missing = Missing(mask, f"{'_'.join(dims)}_missing", _labels_at(array, mask)) if mask.any() else None
    filled = np.where(mask, 0, values) if missing is not None else values
    return Observed(filled.astype(int) if whole else filled, dims, coords_of(array), missing)


def _labels_at(array: xr.DataArray, mask: NDArray[Any]) -> list[Any]:
    labels = [array[d].values if d in array.coords else np.arange(array.sizes[d]) for d in array.dims]
    places = [
        tuple(axis[i] for axis, i in zip(labels, index, strict=True)) for index in zip(*np.nonzero(mask), strict=True)
    ]
    return [place[0] if len(place) == 1 else ",".join(map(str, place)) for place in places]


__all__ = ["Container", "Declaration", "Density", "Deterministic", "Draft", "Likelihood", "Observed", "Random"]
