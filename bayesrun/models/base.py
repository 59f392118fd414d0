"""The interface of model builders, and the config section that all models share.

A builder turns data and a parsed spec into a `Declaration` (`bayesrun.language.declaration`), from which an engine
makes a model. Builders are independent of engines. NumPy is only imported inside `build`, so that names, options,
priors and needs are known without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.errors import Problem
from bayesrun.lazy import xr
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    from bayesrun.language.declaration import Declaration, ModelDesign
    from bayesrun.language.statements import Statement


class ModelSpec(Section):
    """Keys of `model` that every type has; a type's own spec extends this.

    Parameters
    ----------
    name
        Name of the model; also that of its runs and of its experiment in MLflow, unless others are given.
    type
        Registered name of the model type.
    priors
        One prior per name, `{dist: NAME, PARAM: VALUE, ...}`; checked against the table of distributions.
    figures
        Names of the figures to draw.
    options
        Options of the model type.
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
        Required names.
    optional
        Optional names.
    open
        Whether the user may name additional ones (declarative models, GLM terms).
    nested
        Names that hold several priors by name (`sd` of each grouping) instead of one.
    joint
        Names of `dist` that are priors of several variables together, not distributions; `static_check` checks them.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    open: bool = False
    nested: tuple[str, ...] = ()
    joint: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantity:
    """A variable of a fitted model.

    Parameters
    ----------
    dims, shape
        Its axes; the dim of an unnamed axis is None.
    known
        Whether it depends on no random variable.
    """

    dims: tuple[str | None, ...]
    shape: tuple[int, ...]
    known: bool = False


@dataclass(frozen=True)
class NewRows:
    """New rows for which a fitted model makes predictions.

    Parameters
    ----------
    data
        The rows in the form of the fit; data that are not over the rows are those of the fit. The response may be
        missing.
    design
        What the fit learned from its own rows (`Declaration.design`).
    quantities
        The variables of the fit, with known draws.
    likelihoods
        The dims of each likelihood of the fit.
    grown
        Dims with labels that the fit has not seen, which come last, mapped to the number of the fit's labels.
    draw_over_rows
        Whether variables over the rows are drawn from their distribution, instead of being rejected.
    """

    data: xr.Dataset
    design: ModelDesign
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    likelihoods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grown: Mapping[str, int] = field(default_factory=dict)
    draw_over_rows: bool = False

    @property
    def dim(self) -> str:
        """The row dimension."""
        return self.design.rows


@dataclass(frozen=True)
class ModelType:
    """A registered builder.

    Parameters
    ----------
    spec
        The section's class: `ModelSpec` with the type's own options and keys.
    priors
        The priors that it takes.
    roles
        `(spec) -> roles` of the data variables it needs; empty for a model without data.
    build
        `(data, spec) -> Declaration`. Dims and coords of the data are dims and coords of the model.
    check
        `(data, spec) -> problems` that depend on the data (collinear columns, too few rows), found before an
        engine is imported.
    static_check
        `(spec) -> problems` that need no data (an expression that names nothing).
    at_rows
        `(rows, spec) -> Declaration` of the likelihoods over new rows. Its expressions may name variables that are not
        among its items: those are known from the posterior's draws. None for a type whose `build` also takes new rows,
        because it learns nothing from rows except its posterior.
    needs
        `(rows, spec) -> roles` of the variables that new rows must have; None: the predictors among `roles`.
    uses
        `(spec) -> names`, in addition to those of the roles, that may be data variables, for `drop_missing: rows`.
    build_checks
        Whether `build` raises the problems that `check` returns, so that what both need is computed once.
    statements
        `(spec, data) -> statements` of the model as its user wrote it; None: they are read off the declaration.
    """

    spec: type[ModelSpec]
    priors: PriorNames
    roles: Callable[[Any], tuple[Role, ...]]
    build: Callable[[xr.Dataset, Any], Declaration]
    check: Callable[[xr.Dataset, Any], list[Problem]] = lambda data, spec: []
    static_check: Callable[[Any], list[Problem]] = lambda spec: []
    at_rows: Callable[[NewRows, Any], Declaration] | None = None
    needs: Callable[[NewRows, Any], tuple[Role, ...]] | None = None
    uses: Callable[[Any], frozenset[str]] = lambda spec: frozenset()
    build_checks: bool = False
    statements: Callable[[Any, xr.Dataset | None], list[Statement]] | None = None


MODELS: Registry[ModelType] = Registry("model type", "bayesrun.models", "MODEL", ModelType, others=("functions",))

__all__ = ["MODELS", "ModelSpec", "ModelType", "NewRows", "PriorNames", "Quantity"]
