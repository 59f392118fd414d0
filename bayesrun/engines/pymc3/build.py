"""From a declaration to a PyMC3 model, and what `pm.Model` has no place for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt

from bayesrun.engines.pymc3.lowering import Lowering
from bayesrun.engines.pymc3.patches.base import applied
from bayesrun.engines.pymc3.random_variables import make_distribution, make_variable, names_of
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import BayesrunError, Problem, UserError, check, fail
from bayesrun.language.declaration import (
    Container,
    Declaration,
    Density,
    Deterministic,
    Likelihood,
    Observed,
    Potential,
    Random,
    in_turn,
)
from bayesrun.language.incomplete_vectors import recovery_of
from bayesrun.language.operations import Variable, evaluate
from bayesrun.language.plan import Plan
from bayesrun.language.recurrence_draws import simulation_of
from bayesrun.language.values import node_of

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

    from bayesrun.language.declaration import DrawnTogether, Hidden, Recover, Terms


@dataclass
class Metadata:
    """What a declaration says about a model and `pm.Model` has no place for.

    Parameters
    ----------
    helpers, recover, reported, terms, hidden
        As in `bayesrun.language.declaration.Declaration`.
    coords
        Labels of dims that the model's own `coords` lack, among them `NAME_missing`.
    dims
        Dims of variables that the model's own record lacks.
    missing
        Where each likelihood has imputed values: True where one is, over the likelihood's dims.
    unobserved
        Where each likelihood has rows that are not observed and not imputed, over its dims.
    together
        How to draw the likelihoods whose rows depend on each other.
    """

    helpers: set[str] = field(default_factory=set)
    recover: Recover | None = None
    coords: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: dict[str, NDArray[Any]] = field(default_factory=dict)
    unobserved: dict[str, NDArray[Any]] = field(default_factory=dict)
    reported: pm.Model | None = None
    together: tuple[DrawnTogether, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    terms: Terms | None = None


def metadata(model: pm.Model) -> Metadata:
    """Return the metadata of a model, made on first use."""
    if not hasattr(model, "bayesrun_metadata"):
        model.bayesrun_metadata = Metadata()
    return model.bayesrun_metadata  # type: ignore[no-any-return]


_LARGE = 10_000
"""Number of elements from which on data are put into a container without PyMC3's copies."""


def build(declared: Declaration | pm.Model) -> pm.Model:
    """Build the model of a declaration.

    Parameters
    ----------
    declared
        What a builder declared. A `pm.Model` that a plug-in has built itself is returned as it is.

    Returns
    -------
    pm.Model
        Its variables in the order of the declaration. Test values are those of the initial point; what PyMC3 has no
        place for is in `metadata(model)`.

    Raises
    ------
    UserError
        When PyMC3 can't make one of the variables, or an initial value is outside of its support.
    """
    if isinstance(declared, pm.Model):
        return declared
    _check_dims(declared)
    with building(), pm.Model(coords=dict(declared.coords)) as model:
        try:
            _add_items(model, declared)
        except OverflowError as error:
            raise _too_large(declared, error) from error
    note = metadata(model)
    note.helpers.update(declared.helpers)
    note.recover = in_turn(declared.recover, recovery_of(declared))
    note.terms, note.hidden = declared.terms, declared.hidden
    simulation = simulation_of(declared)
    note.together = (*declared.hidden, *(() if simulation is None else (simulation,)))
    for hidden in declared.hidden:
        note.dims.update(hidden.dims)
        note.coords.update(hidden.coords)
    note.reported = None if declared.reported is None else build(declared.reported)
    return model


def _check_dims(declared: Declaration) -> None:
    """Refuse dims with the names of the axes of draws."""
    hint = "rename the column that labels it: data.columns: {{{0}_label: {0}, ...}}; of an array its dim: data.dims"
    check(
        [
            Problem("data.dims", f"a dim can't be called '{dim}', which is an axis of the draws", hint.format(dim))
            for dim in ("chain", "draw")
            if dim in declared.coords
        ]
    )


def _add_items(model: pm.Model, declared: Declaration) -> None:
    variables: dict[str, Any] = {}
    lower = Lowering(variables)
    for item in declared.items:
        if isinstance(item, Container):
            variables[item.name] = _container(model, item)
        elif isinstance(item, Deterministic):
            value = lower(node_of(item.value))
            variables[item.name] = pm.Deterministic(item.name, value, dims=item.dims or None)
        elif isinstance(item, Potential):
            pm.Potential(item.name, _potential(item, lower, variables))
        elif isinstance(item, Random):
            variables |= _random(model, item, lower, variables)
        else:
            variables[item.name] = _likelihood(model, item, lower, variables)


def _container(model: pm.Model, item: Container) -> Any:
    numbers = item.numbers
    if numbers.size <= _LARGE or numbers.dtype != np.float64:
        return pm.Data(item.name, numbers, dims=item.dims or None)
    container = pm.Data(item.name, numbers[:1])  # it copies what it is given, twice: the rest is set afterwards
    container.set_value(numbers, borrow=True)
    container.dshape, model.RV_dims[item.name] = numbers.shape, item.dims
    return container


def _potential(item: Potential, lower: Lowering, variables: dict[str, Any]) -> Any:
    terms = [] if item.value is None else [lower(node_of(item.value))]
    for density in item.densities:
        term = _log_density(density, lower, variables)
        terms.append(term if density.sign > 0 else -term)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _log_density(density: Density, lower: Lowering, variables: dict[str, Any]) -> Any:
    node = node_of(density.value)
    if isinstance(node, Variable) and node.name == density.plan.name:
        variable = variables[node.name]
        if isinstance(variable, pm.model.FreeRV):
            return variable.logpt  # the variable's own density: its graph need not be made twice
    return tt.sum(make_distribution(density.plan, lower).logp(lower(node)))


def _random(model: pm.Model, item: Random, lower: Lowering, variables: dict[str, Any]) -> dict[str, Any]:
    with _made_by_pymc3(item.plan):
        variable = make_variable(item.plan, item.dims, lower, _initial(item, variables))
    _check_initial_value(variable, item.plan)
    if item.plan.family.name == "LKJCholeskyCov" and item.dims:
        note = metadata(model)
        note.dims |= {f"{item.name}_stds": item.dims[:1], f"{item.name}_corr": item.dims}
    return dict(names_of(item.plan, variable, model))


def _initial(item: Random, variables: dict[str, Any]) -> Any:
    """Return the initial value as numbers; one that depends on other variables is computed at theirs."""
    if item.initial is None:
        return None
    found = evaluate(node_of(item.initial), lambda name: _now(variables[name]))
    full = np.broadcast_to(found, item.plan.shape)
    return full.astype(np.int64 if item.plan.family.discrete else float).copy()


def _now(variable: Any) -> Any:
    return variable.get_value(borrow=True) if hasattr(variable, "get_value") else variable.tag.test_value


def _check_initial_value(variable: Any, plan: Plan) -> None:
    """Refuse an initial value outside of a transformed variable's range: what is built on it would be NaN, too."""
    transformed = getattr(variable, "transformed", None)
    if transformed is not None and not np.isfinite(transformed.tag.test_value).all():
        start = np.asarray(variable.tag.test_value)
        message = f"the prior density of {plan.family.name} is zero at the initial value" + (
            f" {plan.prior['initval']}" if "initval" in plan.prior else f" {start}" if start.size == 1 else ""
        )
        raise fail(plan.key, message, "set an `initval` inside the support, or check the parameters")


def _likelihood(model: pm.Model, item: Likelihood, lower: Lowering, variables: dict[str, Any]) -> Any:
    observed, note = item.observed, metadata(model)
    if observed.missing is not None:
        note.dims[f"{item.name}_missing"] = (observed.missing.dim,)
        note.coords[observed.missing.dim] = observed.missing.labels
        absent = note.unobserved if observed.missing.summed_out else note.missing
        absent[item.name] = observed.missing.mask
    if item.plan.modifiers is not None and item.plan.modifiers.kept is not None:
        kept = item.plan.modifiers.kept
        left_out = ~kept.reshape(*kept.shape, *(1,) * (len(observed.shape) - kept.ndim))
        note.unobserved[item.name] = np.broadcast_to(left_out, observed.shape)
    if observed.absent is not None:
        note.unobserved[item.name] = observed.absent
    with _made_by_pymc3(item.plan), applied("small_test_values") if item.elementwise else nullcontext():
        return make_variable(item.plan, observed.dims, lower, None, _values(observed, variables))


def _values(observed: Observed, variables: dict[str, Any]) -> Any:
    if observed.container is not None:
        return variables[observed.container]
    if observed.missing is not None and not observed.missing.summed_out:
        return np.ma.array(observed.values, mask=observed.missing.mask)  # type: ignore[no-untyped-call]
    return observed.values


@contextmanager
def _made_by_pymc3(plan: Plan) -> Iterator[None]:
    """Return the prior that PyMC3 complains about as a problem."""
    try:
        yield
    except BayesrunError:
        raise
    except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        message = f"PyMC3 can't make this {plan.family.name}: {str(error).splitlines()[0]}"
        raise fail(plan.key, message) from error


def _too_large(declared: Declaration, error: OverflowError) -> UserError:
    """Explain the error when counts can't follow from the initial values of the parameters."""
    plans = [item.plan for item in declared.items if isinstance(item, Random)]
    given = [f"{plan.name} starts at {plan.prior['initval']}" for plan in plans if "initval" in plan.prior]
    message = f"the initial values are too large for the whole numbers that depend on them ({error})"
    hint = "set an `initval` near the data, or tighter priors" + (f"; {', '.join(given)}" if given else "")
    return UserError([Problem("model.priors", message, hint)])
