"""What a model builder is, the config section that all models share, and helpers for builders.

A builder turns data and a parsed spec into a `pm.Model`. PyMC3 takes seconds to import, so a builder's file imports
it inside `build` only; names, options, priors and needs are known without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.errors import Problem
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    import xarray as xr

Draws = Mapping[str, "np.ndarray"]


class ModelSpec(Section):
    """Keys of `model` that every type has (design part 2); a type's own spec extends this.

    `priors` holds what the YAML says, one mapping a prior; it has been checked against the table of distributions.
    """

    name: str
    type: str
    priors: dict[str, dict[str, Any]] = {}
    figures: list[str] = []
    options: Section = Section()


@dataclass(frozen=True)
class PriorNames:
    """Which priors a model type takes.

    Parameters
    ----------
    required
        Names that must be there.
    open
        True where the user names further ones (declarative models, GLM terms).
    """

    required: tuple[str, ...] = ()
    open: bool = False


@dataclass(frozen=True)
class ModelType:
    """A registered builder.

    Parameters
    ----------
    spec
        The section's class: `ModelSpec` with the type's own options and keys.
    priors
        The priors it takes.
    roles
        `(spec) -> roles` of the data variables it needs; empty for a model without data.
    build
        `(data, spec) -> pm.Model`. Dims and coords of the data are dims and coords of the model.
    check
        `(data, spec) -> problems` that only the data can show (collinear columns, too few rows), found before PyMC3
        is imported.
    static_check
        `(spec) -> problems` that need no data (an expression that names nothing).
    """

    spec: type[ModelSpec]
    priors: PriorNames
    roles: Callable[[Any], tuple[Role, ...]]
    build: Callable[[xr.Dataset, Any], pm.Model]
    check: Callable[[xr.Dataset, Any], list[Problem]] = lambda data, spec: []
    static_check: Callable[[Any], list[Problem]] = lambda spec: []


MODELS: Registry[ModelType] = Registry("model type", "bayesrun.models", "MODEL", ModelType)


@dataclass
class Notes:
    """What a builder tells the later steps about its model, beside what `pm.Model` holds.

    Parameters
    ----------
    helpers
        Variables that exist for the sampler's sake (non-centred offsets): kept out of summaries and files.
    recover
        `(draws, rng) -> further draws`, for variables that were summed out and are drawn afterwards. Arrays are
        (chain, draw, ...).
    coords
        Labels of dims that the model's own `coords` lack, among them `NAME_missing`.
    dims
        Dims of variables that the model's own record lacks.
    initval_spread
        Names of variables whose starting values must not be jittered.
    """

    helpers: set[str] = field(default_factory=set)
    recover: Callable[[Draws, np.random.Generator], Draws] | None = None
    coords: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    initval_spread: set[str] = field(default_factory=set)


def notes(model: pm.Model) -> Notes:
    """Return the notes of a model, made on first use."""
    if not hasattr(model, "bayesrun_notes"):
        model.bayesrun_notes = Notes()
    return model.bayesrun_notes  # type: ignore[no-any-return]
