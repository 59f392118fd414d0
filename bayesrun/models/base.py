"""What a model builder is, and the config section that all models share.

A builder turns data and a parsed spec into a `Declaration` (`bayesrun.language.declaration`), of which an engine makes
a model. No builder knows an engine. NumPy is imported inside `build` only, so that names, options, priors and needs are
known without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.errors import Problem
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    import xarray as xr

    from bayesrun.language.declaration import Declaration, ModelDesign


class ModelSpec(Section):
    """Keys of `model` that every type has (design part 2); a type's own spec extends this.

    `priors` holds what the YAML says, one mapping per prior; it has been checked against the table of distributions.
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
    optional
        Names that may be there.
    open
        True where the user names further ones (declarative models, GLM terms).
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
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
        `(data, spec) -> Declaration`. Dims and coords of the data are dims and coords of the model.
    check
        `(data, spec) -> problems` that only the data can show (collinear columns, too few rows), found before an
        engine is imported.
    static_check
        `(spec) -> problems` that need no data (an expression that names nothing).
    apply
        `(rows, spec, design) -> Declaration` of new rows, seen through the `design` of the fit's declaration; None for
        a type that learns nothing from rows beside its posterior.
    """

    spec: type[ModelSpec]
    priors: PriorNames
    roles: Callable[[Any], tuple[Role, ...]]
    build: Callable[[xr.Dataset, Any], Declaration]
    check: Callable[[xr.Dataset, Any], list[Problem]] = lambda data, spec: []
    static_check: Callable[[Any], list[Problem]] = lambda spec: []
    apply: Callable[[xr.Dataset, Any, ModelDesign], Declaration] | None = None

    def declare_rows(self, rows: xr.Dataset, spec: Any, design: ModelDesign) -> Declaration:
        """Declare the model of new rows.

        Parameters
        ----------
        rows
            The new rows, in the form of the fitted data.
        spec
            The model's section.
        design
            What the fit learned from its own rows (`Declaration.design`).
        """
        return self.build(rows, spec) if self.apply is None else self.apply(rows, spec, design)


MODELS: Registry[ModelType] = Registry(
    "model type", "bayesrun.models", "MODEL", ModelType, others=("functions", "regression")
)

__all__ = ["MODELS", "ModelSpec", "ModelType", "PriorNames"]
