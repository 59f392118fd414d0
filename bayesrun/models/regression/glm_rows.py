"""A fitted GLM over new rows: the columns, levels and offset of the fit, and the likelihood over the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesrun.data.base import Role
from bayesrun.language.declaration import Declaration, Draft, Observed
from bayesrun.language.functions import concatenate, dot
from bayesrun.language.grammar import parse
from bayesrun.language.values import Value, apply, constant, variable
from bayesrun.models.base import NewRows
from bayesrun.models.regression.design_matrix import likelihood_of, offset_values, response_variables
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.glm_model import LARGEST
from bayesrun.models.regression.glm_spec import KEY, GlmSpec
from bayesrun.models.regression.response_families import likelihood


def needs(rows: NewRows, spec: GlmSpec) -> tuple[Role, ...]:
    """Return the predictors, the trials and the variables of the offset outside its learned parts."""
    formula, options = spec.parsed(), spec.options
    found = [
        Role(n, "predictor", "any" if n in formula.categorical else "number_or_date", KEY) for n in formula.variables
    ]
    if options.trials:
        found.append(Role(options.trials, "predictor", "count", "model.options.trials"))
    key = "model.options.offset"
    offset = _offset_names(rows, options.offset) if options.offset else ()
    return (*found, *(Role(name, "predictor", "real", key) for name in offset))


def at_rows(rows: NewRows, spec: GlmSpec) -> Declaration:
    """Declare the likelihood over new rows; coefficients and further parameters are those of the posterior."""
    formula, dim = spec.parsed(), rows.dim
    fitted = rows.design.formula
    assert fitted is not None
    matrix = columns_at(formula, fitted, rows.data, dim)
    labels: dict[str, Any] = {dim: rows.data[dim].values}
    draft = Draft(rows.data, labels)
    parts: list[Value] = []
    for term in fitted.terms:
        shape = () if term.labels is None else (len(term.labels),)
        parts.append(variable(term.name, (None,) * len(shape), shape))
    predictor = dot(Value((dim, "column"), matrix.shape, matrix), concatenate(*parts).named(("column",)))
    if spec.options.offset is not None:
        offset = offset_values(rows.data, spec.options.offset, dim, rows.design.recalled())
        predictor = predictor + constant(offset, predictor.dims)
    if spec.options.form == "whitened" and spec.link() == "log":
        predictor = apply("minimum", [predictor, LARGEST])
    trials = None if spec.options.trials is None else rows.data[spec.options.trials].values.astype(int)
    auxiliaries = {name: variable(name, (), ()) for name in spec.known_family().auxiliaries}
    family, parameters = likelihood(spec.family, spec.link(), predictor, auxiliaries, trials)
    name = likelihood_of(response_variables(formula.response, KEY)[0])
    draft.observe(name, family, parameters, Observed(np.zeros(len(matrix)), (dim,), labels))
    return draft.declaration()


def _offset_names(rows: NewRows, text: str) -> tuple[str, ...]:
    expression = parse(text, "model.options.offset")
    needed = expression.names & rows.design.recalled().names_needed(expression.tree)
    return tuple(sorted(name for name in needed if name not in rows.data.sizes and not name.startswith("n_")))


__all__ = ["at_rows", "needs"]
