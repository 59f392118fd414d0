"""What each term of a regression adds to its linear predictor, at the posterior's draws and the rows of the fit.

The terms are those of the expanded model (`task=expand`), whose expressions are evaluated at the draws. So this needs
no engine, and knows nothing of any kind of term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesrun.errors import UserError
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.language.declaration import Container, Deterministic
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.values import Value, node_of
from bayesrun.models import declarative
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.linear_terms import FittedTerm
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec

Array = NDArray[Any]

DRAWS = 200
"""Draws at which terms are evaluated."""
_NUMBERS = 500_000
"""Numbers, of rows at draws, that are evaluated at once."""
_NAME = "contribution_of_term"


@dataclass(frozen=True)
class Contribution:
    """A term of a linear predictor.

    Parameters
    ----------
    term
        The fitted term.
    mean
        What it adds on average over draws, (row,); a single number for a term that is the same in all rows.
    """

    term: FittedTerm
    mean: Array


def expansion_of_stored(subject: Subject, spec: RegressionSpec) -> Expansion:
    """Return the expansion of a regression for the rows that its posterior stores.

    Raises
    ------
    NotDrawable
        When they are not stored, or do not fit the formula.
    """
    if "constant_data" not in subject.idata.groups():
        raise NotDrawable("effects need the data (store.groups: constant_data)")
    data = subject.idata.constant_data
    data = data.assign_attrs(dim=str(data.attrs.get("dim", next(iter(data.dims)))))
    try:
        return expansion_of(data, spec)
    except (UserError, KeyError) as error:
        raise NotDrawable(f"the formula can't be computed from the stored data: {error}") from error


def contributions(subject: Subject, expansion: Expansion, parameter: str) -> list[Contribution]:
    """Return what each term adds to the linear predictor of a parameter.

    Parameters
    ----------
    subject
        The posterior.
    expansion
        The regression.
    parameter
        Key of the linear predictor among the expansion's terms.

    Raises
    ------
    NotDrawable
        When the posterior lacks a variable of a term.
    """
    terms, setting = expansion.terms[parameter], expansion.settings[parameter]
    parts = [(term, term.declare(setting).expression) for term in terms]
    parts = [(term, text) for term, text in parts if text]
    shown = {f"{_NAME}_{k}": text for k, (_, text) in enumerate(parts)}
    model = {**expansion.model, "deterministics": {**expansion.model.get("deterministics", {}), **shown}}
    declared = declarative.build(expansion.columns, declarative.DeclarativeSpec.model_validate(model))
    recalled = [
        item for name, of in expansion.terms.items() for t in of for item in t.recalled(expansion.settings[name])
    ]
    values = {item.name: item.value for item in declared.items if isinstance(item, Deterministic)}
    values |= {item.name: item.value for item in (*recalled, *expansion.recalled)}
    containers = {item.name: item.numbers for item in declared.items if isinstance(item, Container)}
    posterior = subject.idata.posterior
    chosen = evenly(posterior.sizes["chain"] * posterior.sizes["draw"], DRAWS)
    rows = max(expansion.columns.sizes.values(), default=1)
    sums = [np.zeros(()) for _ in parts]
    for some in np.array_split(chosen, max(1, len(chosen) * rows // _NUMBERS)):
        draws = _Draws(posterior, values, containers, some)
        # a term that is known has one draw
        sums = [
            total + len(some) * draws.at(values[name]).mean(axis=0) for total, name in zip(sums, shown, strict=True)
        ]
    return [Contribution(term, total / len(chosen)) for (term, _), total in zip(parts, sums, strict=True)]


class _Draws:
    """Variables of the posterior, and quantities that are computed from them, over (draw, ...), at some draws."""

    def __init__(
        self, posterior: xr.Dataset, values: dict[str, Value], containers: dict[str, Array], chosen: Array
    ) -> None:
        self.posterior, self.values, self.containers, self.chosen = posterior, values, containers, chosen
        self.known: dict[str, Array] = {}

    def at(self, value: Value) -> Array:
        (found,) = evaluate_at_draws([node_of(value)], self._variable, self.containers)
        return found

    def _variable(self, name: str) -> Array:
        if name not in self.known:
            if name in self.posterior:
                flat = self.posterior[name].transpose("chain", "draw", ...).values
                self.known[name] = flat.reshape(-1, *flat.shape[2:])[self.chosen]
            elif name in self.values:
                self.known[name] = self.at(self.values[name])
            else:
                raise NotDrawable(f"posterior.nc does not hold what '{name}' is computed from")
        return self.known[name]


def evenly(count: int, limit: int) -> Array:
    """Return at most `limit` indices, evenly spread."""
    return np.asarray(np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int)))
