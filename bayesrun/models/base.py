"""What a model builder is, the config section that all models share, and helpers for builders.

A builder turns data and a parsed spec into a `pm.Model`. PyMC3 takes seconds to import, so a builder's file imports
it inside `build` only; names, options, priors and needs are known without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError
from bayesrun.language.notes import Notes, notes
from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray


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


MODELS: Registry[ModelType] = Registry(
    "model type", "bayesrun.models", "MODEL", ModelType, others=("functions", "regression")
)


def build_model(kind: ModelType, data: Any, spec: ModelSpec) -> pm.Model:
    """Build a model, and say what it means when counts can't follow from where its parameters start.

    Raises
    ------
    UserError
        When a start is so large that no whole number holds what depends on it.
    """
    try:
        return kind.build(data, spec)
    except OverflowError as error:
        given = [f"{name} starts at {prior['initval']}" for name, prior in spec.priors.items() if "initval" in prior]
        message = f"the starting values are too large for the whole numbers that depend on them ({error})"
        hint = "set an `initval` near the data, or tighter priors" + (f"; {', '.join(given)}" if given else "")
        raise UserError([Problem("model.priors", message, hint)]) from error


def data_variables(data: xr.Dataset, names: Iterable[str]) -> dict[str, Any]:
    """Put data variables into `pm.Data` containers of the model in context, with their dims and coords.

    Parameters
    ----------
    data
        The prepared data.
    names
        Variables to put there.

    Returns
    -------
    dict
        Name to shared Theano variable.
    """
    import pymc3 as pm

    add_coords(data, names)
    return {name: pm.Data(name, data[name].values, dims=tuple(map(str, data[name].dims))) for name in names}


def add_coords(data: xr.Dataset, names: Iterable[str]) -> None:
    """Make the dims of data variables known, with their labels, to the model in context."""
    import pymc3 as pm

    dims = {str(d): data[d].values if d in data.coords else range(data.sizes[d]) for n in names for d in data[n].dims}
    model = pm.modelcontext(None)
    # PyMC3 compares labels that come twice with a method that arrays lack
    model.add_coords({d: labels for d, labels in dims.items() if d not in model.coords})


def observed_values(data: xr.Dataset, variable: str, likelihood: str) -> tuple[Any, tuple[str, ...]]:
    """Return the observed values of a likelihood and their dims; gaps come masked, to be imputed.

    Labels of imputed values are noted: `LIKELIHOOD_missing` over dim `DIM_missing` bears the rows' own labels.

    Parameters
    ----------
    data
        The prepared data; a gap is NaN.
    variable
        Name of the observed data variable.
    likelihood
        Name that the likelihood bears in the model.

    Returns
    -------
    values : ndarray or masked array
        Over the variable's dims; whole numbers come as integers.
    dims : tuple of str
        Those dims.
    """
    import numpy as np
    import pymc3 as pm

    add_coords(data, [variable])
    array = data[variable]
    dims, values, gaps = tuple(map(str, array.dims)), array.values, array.isnull().values
    whole = bool(np.all(values[~gaps] == np.round(values[~gaps])))
    if not gaps.any():
        return (values.astype(int) if whole else values), dims
    note = notes(pm.modelcontext(None))
    note.dims[f"{likelihood}_missing"] = (f"{'_'.join(dims)}_missing",)
    note.coords[f"{'_'.join(dims)}_missing"] = _labels_at(array, gaps)
    note.gaps[likelihood] = gaps
    filled = np.where(gaps, 0, values)
    return np.ma.array(filled.astype(int) if whole else filled, mask=gaps), dims  # type: ignore[no-untyped-call]


def _labels_at(array: xr.DataArray, gaps: NDArray[Any]) -> list[Any]:
    import numpy as np

    labels = [array[d].values if d in array.coords else np.arange(array.sizes[d]) for d in array.dims]
    places = [
        tuple(axis[i] for axis, i in zip(labels, index, strict=True)) for index in zip(*np.nonzero(gaps), strict=True)
    ]
    return [place[0] if len(place) == 1 else ",".join(map(str, place)) for place in places]


__all__ = [
    "MODELS",
    "ModelSpec",
    "ModelType",
    "Notes",
    "PriorNames",
    "add_coords",
    "build_model",
    "data_variables",
    "notes",
    "observed_values",
]
