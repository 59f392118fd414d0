"""What simulation-based calibration ranks: the scalars of a model, and test quantities that its user names.

A test quantity is any function of parameters and data. Ranks of parameters are uniform for some wrong posteriors, such
as the prior; a quantity that depends on the data as well sees these (Modrák et al. 2023, doi:10.1214/23-BA1404).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.summary import label_texts, names_of
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError, UserError, check, fail
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.expressions import value_of
from bayesrun.language.grammar import parse
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, node_of, variable
from bayesrun.lazy import xr

Arrays = Mapping[str, NDArray[Any]]

KEY = "sbc.quantities"
LOG_LIKELIHOOD = "log_likelihood"
"""The test quantity that is always ranked."""
MOST_SCALARS = 300


class Quantities:
    """The scalars whose ranks are taken.

    Parameters
    ----------
    model
        The model as it is written.
    truth
        Their true values (fit, ...).
    asked
        Further quantities: name to an expression over variables of the model and data, those of likelihoods simulated.
    config, data
        The config and the data of the model, whose names expressions may use.

    Raises
    ------
    UserError
        When an expression can't be computed.
    """

    def __init__(
        self,
        model: CompiledModel,
        truth: Arrays,
        asked: Mapping[str, str],
        config: RunConfig,
        data: xr.Dataset | None,
    ) -> None:
        shapes = {n: s for n, s in model.variables.items() if n in truth and truth[n].shape[1:] == s}
        shown = [name for name in shapes if name not in model.helpers]
        sizes = {name: int(np.prod(shapes[name], dtype=int)) for name in shown}
        self.total = sum(sizes.values())
        each = self.total if self.total <= MOST_SCALARS else max(1, MOST_SCALARS // len(shown))
        self._places = {name: _spread(size, each) for name, size in sizes.items()}
        coords, dims = model.labels()
        axes = {n: list(dims.get(n, [f"{n}_dim_{i}" for i in range(len(s))])) for n, s in shapes.items()}
        self.scalars: list[str] = []
        for name, places in self._places.items():
            labels = {dim: coords.get(dim, range(size)) for dim, size in zip(axes[name], shapes[name], strict=True)}
            array = xr.DataArray(np.zeros((1, 1, *shapes[name])), dims=("chain", "draw", *axes[name]), coords=labels)
            written = names_of(array, name)
            self.scalars += [written[place] for place in places]
        self._sources = _sources(config, model)
        scope = _scope(data, model, {name: (axes[name], shapes[name]) for name in shapes}, self._sources)
        self._asked = _parsed(asked, scope, [*self.scalars, *shapes, LOG_LIKELIHOOD])
        self.asked = [name for name, value in self._asked.items() for name in _names(name, value, scope)]

    @property
    def names(self) -> list[str]:
        """Names of all scalars, those that were asked for last."""
        return [*self.scalars, *self.asked]

    def of(self, draws: Arrays, leading: int, data: Arrays) -> NDArray[np.float64]:
        """Return the scalars (..., scalar) of arrays with `leading` axes before those of each variable.

        Parameters
        ----------
        draws, leading
            Variable to array.
        data
            Likelihood to its simulated data, over its dims.

        Raises
        ------
        SamplingError
            When a quantity that was asked for is not a number.
        """
        found = []
        for name, places in self._places.items():
            values = np.asarray(draws[name], float)
            found.append(values.reshape(*values.shape[:leading], -1)[..., places])
        if self._asked:
            found.append(self._computed(draws, leading, data))
        return np.concatenate(found, axis=-1)

    def _computed(self, draws: Arrays, leading: int, data: Arrays) -> NDArray[np.float64]:
        before = np.shape(next(iter(draws.values())))[:leading]
        count = int(np.prod(before, dtype=int))
        simulated = {source: data[name] for source, name in self._sources.items()}

        def values(name: str) -> NDArray[Any]:
            if name in simulated:
                return np.broadcast_to(simulated[name], (count, *np.shape(simulated[name])))
            array = np.asarray(draws[name])
            return array.reshape(count, *array.shape[leading:])

        computed = evaluate_at_draws([node_of(value) for value in self._asked.values()], values, {})
        found = []
        for name, numbers in zip(self._asked, computed, strict=True):
            flat = np.broadcast_to(np.asarray(numbers, float).reshape(len(numbers), -1), (count, int(numbers[0].size)))
            if np.isnan(flat).any():
                raise SamplingError(f"{KEY}.{name} is not a number for some draws")
            found.append(flat.reshape(*before, -1))
        return np.concatenate(found, axis=-1)


def _sources(config: RunConfig, model: CompiledModel) -> dict[str, str]:
    """Return the names by which expressions call the simulated data, and their likelihoods."""
    found = {name: name for name in model.likelihoods}
    for role in config.model_type.roles(config.model):
        if role.kind == "observed":
            own = [name for name in model.likelihoods if role.key == f"model.likelihood.{name}.observed"]
            own = own or (list(model.likelihoods) if len(model.likelihoods) == 1 else [])
            if own:
                found[role.variable] = own[0]
    return found


def _scope(
    data: xr.Dataset | None,
    model: CompiledModel,
    variables: Mapping[str, tuple[Sequence[str], tuple[int, ...]]],
    sources: Mapping[str, str],
) -> Scope:
    coords, dims = model.labels()
    scope = Scope(data)
    for dim, labels in coords.items():
        if scope.labels(dim) is None:
            scope.add_labels(dim, list(labels))
    for name, (axes, shape) in variables.items():
        scope.add(name, variable(name, list(axes), list(shape)))
    for source, name in sources.items():
        shape = model.likelihoods[name]
        axes = list(dims.get(name, [f"{name}_dim_{i}" for i in range(len(shape))]))
        scope.add(source, variable(source, axes, list(shape)), replace=True)
    return scope


def _parsed(asked: Mapping[str, str], scope: Scope, taken: Sequence[str]) -> dict[str, Value]:
    found, problems = {}, list[Problem]()
    for name, text in asked.items():
        key = f"{KEY}.{name}"
        try:
            if name in taken:
                raise fail(key, f"the name '{name}' is that of a variable, which is ranked anyway", "choose another")
            found[name] = value_of(parse(text, key), scope)
        except UserError as error:
            problems += error.problems
    check(problems)
    return found


def _names(name: str, value: Value, scope: Scope) -> list[str]:
    """Name the elements of a quantity by the labels of its dims."""
    texts = [""]
    for dim, size in zip(value.dims, value.shape, strict=True):
        labels = scope.labels(dim) if dim is not None else None
        axis = [str(i) for i in range(size)] if labels is None else label_texts(np.asarray(labels))
        texts = [f"{before}, {label}" if before else label for before in texts for label in axis]
    return [f"{name}[{text}]" if text else name for text in texts]


def _spread(size: int, most: int) -> NDArray[np.int64]:
    """Return `most` places of `size`, evenly spread."""
    return np.asarray(np.unique(np.round(np.linspace(0, size - 1, min(size, most))).astype(np.int64)))
