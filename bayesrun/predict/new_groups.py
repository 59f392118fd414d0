"""Groups that a fit has not seen, for expected values of a population of groups.

A row of a new group has effects drawn from the distribution of the groups. One new group tells how another group would
do; the average over many of them, at every draw, is the expected value over the population of groups. With a link that
is not the identity, the latter differs from the value at group effects of 0: the mean of inverse logits is closer to
one half than the inverse logit of the mean (Zeger, Liang and Albert 1988, doi:10.2307/2531734).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.factors import value_key
from bayesrun.errors import UserError, fail
from bayesrun.language.declaration import Declaration, Deterministic, Random
from bayesrun.language.formula_state import plain_design
from bayesrun.language.operations import names_in
from bayesrun.language.values import Value, node_of
from bayesrun.lazy import pd
from bayesrun.predict.fitted_model import FittedModel

POPULATION = 1000
"""Number of new groups over which an average of the population is taken, at every draw."""


def grouping_columns(fitted: FittedModel, declared_with: Callable[[str], Declaration]) -> tuple[str, ...]:
    """Return the columns of the data whose labels are groups with a distribution of their own.

    These are the groupings of a regression, and in other models the factors over which something is defined by other
    variables of the model, as `u ~ Normal(0, tau)` over `school` is, or `tau * z`.

    Parameters
    ----------
    fitted
        What the fit has learned.
    declared_with
        Declares the likelihoods over rows with a new label of a column.

    Raises
    ------
    UserError
        When there are factors, and no new label of any of them can be drawn.
    """
    of_regression = [str(of.dims[0]).split(":") for of in group_effects(fitted).values()]
    if of_regression:
        groupings = [names for names, _ in _groupings(fitted.model.terms)] or of_regression
        return tuple(dict.fromkeys(column for names in groupings for column in names))
    found, refused = [], list[UserError]()
    for column in dict.fromkeys(fitted.data.factors.values()):
        try:
            items = declared_with(column).items
        except UserError as error:
            refused.append(error)
        else:
            found += [column] if any(_has_distribution(item, column, fitted) for item in items) else []
    if refused and not found:
        raise refused[0]
    return tuple(found)


def _has_distribution(item: Any, dim: str, fitted: FittedModel) -> bool:
    """Return whether a part of a declaration is over groups, and defined by variables that are not over them."""
    if not isinstance(item, Random | Deterministic):
        return False
    dims = (*item.dims, *(item.plan.dims if isinstance(item, Random) else ()))
    return dim in dims and fitted.model.rows not in dims and _depends(item, dim, fitted, set(fitted.quantities))


def _depends(item: Random | Deterministic, dim: str, fitted: FittedModel, known: set[str]) -> bool:
    """Return whether a variable over groups is defined by variables that are not over these groups."""
    values = list(item.plan.values.values()) if isinstance(item, Random) else [item.value]
    names = {name for value in values if isinstance(value, Value) for name in names_in(node_of(value))} & known
    return any(dim not in fitted.quantities[name].dims for name in names)


def group_effects(fitted: FittedModel) -> dict[str, Any]:
    """Return the effects of groups of a regression, over group and effect."""
    return {n: q for n, q in fitted.quantities.items() if n.startswith("r_") and len(q.dims) == 2}


def with_new_groups(
    frame: pd.DataFrame, columns: Sequence[str], fitted: FittedModel, number: NDArray[np.int64]
) -> pd.DataFrame:
    """Let every row belong to a group that the fit has not seen.

    Parameters
    ----------
    frame
        The rows.
    columns
        The columns that name their groups.
    fitted
        What the fit has learned.
    number
        Which new group each row belongs to (row,).

    Raises
    ------
    UserError
        When the rows have no such column.
    """
    changed = {}
    for column in columns:
        if column not in frame.columns:
            message = f"'{column}' is not a column of the data, so a new group can't be added to it"
            raise fail("effects.groups", message, "use effects.groups=none, or known")
        known = {value_key(label) for label in [*labels_of(fitted, column), *pd.unique(frame[column])]}
        if frame[column].dtype.kind in "iuf":
            numbers = [float(label) for label in known if _is_number(label)]
            changed[column] = int(max(numbers, default=0.0)) + 1 + number
        else:
            names = np.array([_unused(f"(new {i + 1})", known) for i in range(int(number.max()) + 1)], dtype=object)
            changed[column] = names[number]
    return frame.assign(**changed)


def column_labels(fitted: FittedModel) -> dict[str, list[Any]]:
    """Return the columns that are labels in the fit, also those that are numbers, with their levels.

    These are factors of the data, categorical columns of formulas such as `C(area)`, and groupings.
    """
    found = {name: list(labels) for name, labels in fitted.data.levels.items()}
    formula = None if fitted.model.formula is None else plain_design(fitted.model.formula)
    for name, labels in _categorical([formula, fitted.model.terms]):
        column = re.fullmatch(r"(?:C|factor)\(\s*([^,()]+?)\s*(?:,.*)?\)", name)
        found.setdefault(column[1] if column else name, labels)
    for columns, _ in _groupings(fitted.model.terms):
        for name in columns:
            found.setdefault(name, list(dict.fromkeys(labels_of(fitted, name))))
    return found


def _categorical(found: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the categorical variables of formulas in what a fit has learned, and their levels."""
    if isinstance(found, Mapping):
        for name, how in (found.get("encodings") or {}).items():
            if how.get("kind") == "categorical":
                yield name, list(how["categories"]["list"])
        for part in found.values():
            yield from _categorical(part)
    elif isinstance(found, list | tuple):
        for part in found:
            yield from _categorical(part)


def labels_of(fitted: FittedModel, column: str) -> list[Any]:
    """Return the labels of a column that the fit has seen; empty if it is not a column of labels."""
    if column in fitted.data.levels:
        return list(fitted.data.levels[column])
    for names, labels in _groupings(fitted.model.terms):
        if column in names:
            place = names.index(column)
            return [label if len(names) == 1 else str(label).split(":")[place] for label in labels]
    return []


def _groupings(found: Any) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield the columns and the labels of groupings in the state of a regression's terms."""
    if isinstance(found, Mapping):
        if "labels" in found and "grouping" in found:
            yield list(found["grouping"]), list(found["labels"])
        for part in found.values():
            yield from _groupings(part)
    elif isinstance(found, list | tuple):
        for part in found:
            yield from _groupings(part)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _unused(name: str, known: set[str]) -> str:
    while name in known:
        name = f"{name}'"
    return name
