"""What a formula has learned from the fitted rows, as plain values, and the same columns for new rows.

`formulaic` keeps the means, knots, coefficients and levels of its transforms in a model spec. Here that spec becomes
numbers, texts, lists and mappings that a run folder can hold, and is made again of them without running any code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.errors import Problem, UserError
from bayesrun.language.formulas import Design, Formula, Term

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

_KEY = "predict.data"


def plain_design(design: Design) -> dict[str, Any]:
    """Return what a design has learned as plain values that JSON can hold."""
    spec = design.spec
    return {
        "columns": list(design.columns),
        "terms": [[t.name, t.start, t.stop, None if t.labels is None else list(t.labels)] for t in design.terms],
        "transforms": {expr: _plain(state) for expr, state in spec.transform_state.items()},
        "encodings": {
            expr: {"kind": kind.value, "categories": _plain(list(state.get("categories", [])))}
            for expr, (kind, state) in spec.encoder_state.items()
        },
        "structure": [
            {
                "term": [factor.expr for factor in structure.term.factors],
                "scoped": [
                    {"scale": float(scoped.scale), "factors": [[f.factor.expr, f.reduced] for f in scoped.factors]}
                    for scoped in structure.scoped_terms
                ],
                "columns": list(structure.columns),
            }
            for structure in spec.structure
        ],
    }


def restored_design(formula: Formula, content: Mapping[str, Any]) -> Design:
    """Make a design again of what `plain_design` returned; its matrix is empty, `at` gives the rows of others."""
    import numpy as np
    from formulaic import ModelSpec, SimpleFormula
    from formulaic.parser.types import Factor

    kinds = {kind.value: kind for kind in Factor.Kind}
    spec = ModelSpec(
        SimpleFormula(formula.parsed, _ordering="degree"),
        materializer="pandas",
        na_action="ignore",
        output="pandas",
        structure=[_structure(formula, one) for one in content["structure"]],
        transform_state={expr: _restored(state) for expr, state in content["transforms"].items()},
        encoder_state={
            expr: (kinds[of["kind"]], {"categories": _restored(of["categories"])} if of["categories"]["list"] else {})
            for expr, of in content["encodings"].items()
        },
    )
    terms = tuple(Term(n, start, stop, None if ls is None else tuple(ls)) for n, start, stop, ls in content["terms"])
    columns = tuple(content["columns"])
    return Design(np.empty((0, len(columns))), columns, terms, spec)


def columns_at(formula: Formula, design: Design, rows: xr.Dataset, dim: str) -> NDArray[Any]:
    """Return the columns of a fitted formula for new rows (row, column).

    Parameters
    ----------
    formula
        The formula.
    design
        What was learned.
    rows
        The new rows.
    dim
        The row dimension.

    Raises
    ------
    UserError
        For levels that the fit has not seen, values outside of a spline's range, and columns that are not finite: by
        column and row.
    """
    from bayesrun.data.factors import row_column

    problems: list[Problem] = []
    variables = {name: row_column(rows, name) for name in formula.variables}
    levels = _levels(formula, design)
    arrays = {name: _as_fitted(array, levels.get(name), problems) for name, array in variables.items()}
    if problems:
        raise UserError(problems)
    matrix = _evaluated(formula, design, arrays or {dim: rows[dim].values})
    _check_finite(design, matrix, rows, dim)
    return matrix


def _levels(formula: Formula, design: Design) -> dict[str, list[Any]]:
    """Return the levels of each variable that is a factor of the formula."""
    found: dict[str, list[Any]] = {}
    for expr, (kind, state) in design.spec.encoder_state.items():
        match = re.match(r"(?:C\(\s*)?(\w+)\s*(?:[,)]|$)", expr)
        if kind.value == "categorical" and match and match[1] in formula.variables:
            found[match[1]] = list(state.get("categories", []))
    return found


def _as_fitted(array: xr.DataArray, levels: list[Any] | None, problems: list[Problem]) -> NDArray[Any]:
    """Write labels of new rows as those of the fit, which they equal by value."""
    import numpy as np
    import pandas as pd

    from bayesrun.data.labels import codes_of, value_key
    from bayesrun.data.locate import places
    from bayesrun.errors import did_you_mean

    if levels is None:
        return np.asarray(array.values)
    codes, unseen = codes_of(array.values, levels)
    for label in pd.unique(array.values[unseen]):
        where = places(array.copy(data=unseen & (array.values == label)))
        message = f"the model was not fitted to '{label}' of '{array.name}' ({where})"
        hint = did_you_mean(value_key(label), map(value_key, levels))
        problems.append(Problem(f"{_KEY}.{array.name}", message, hint))
    known = np.empty(len(levels), dtype=object)
    known[:] = levels
    found = known[np.where(codes < 0, 0, codes)]
    return found if isinstance(levels[0], str) else np.array(found.tolist())


def _evaluated(formula: Formula, design: Design, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    import warnings

    import numpy as np

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return design.at(arrays)
    except Exception as error:  # whatever NumPy, pandas and formulaic raise on unfit rows
        said = str(error).strip().splitlines()
        text = re.sub(r"\x1b\[[0-9;]*m", "", said[0]) if said else type(error).__name__
        message = f"'{formula.text}' can't be computed for the new rows: {text}"
        hint = "a spline has no value outside the range of the fitted rows" if "knots" in text else ""
        raise UserError([Problem(_KEY, message, hint)]) from error


def _check_finite(design: Design, matrix: NDArray[Any], rows: xr.Dataset, dim: str) -> None:
    import numpy as np

    from bayesrun.data.locate import places

    problems = []
    for column in np.flatnonzero(~np.isfinite(matrix).all(axis=0)):
        where = places(rows[dim].copy(data=~np.isfinite(matrix[:, column])))
        problems.append(Problem(_KEY, f"'{design.columns[column]}' is not finite ({where})", "correct the rows"))
    if problems:
        raise UserError(problems)


def _structure(formula: Formula, content: Mapping[str, Any]) -> Any:
    from formulaic.materializers.types import ScopedFactor, ScopedTerm
    from formulaic.materializers.types.evaluated_factor import EvaluatedFactor
    from formulaic.model_spec import EncodedTermStructure

    term = next(t for t in formula.parsed if [f.expr for f in t.factors] == content["term"])
    factors = {factor.expr: factor for factor in term.factors}
    scoped = [
        ScopedTerm(
            [ScopedFactor(EvaluatedFactor(factors[expr], values=None), bool(reduced)) for expr, reduced in of["factors"]],
            scale=of["scale"],
        )
        for of in content["scoped"]
    ]
    return EncodedTermStructure(term, scoped, content["columns"])


def _plain(state: Any) -> Any:
    """Return a state as plain values; mappings keep the type of their keys, arrays stay arrays."""
    import numpy as np

    if isinstance(state, np.generic):
        state = state.item()
    if isinstance(state, float) and not np.isfinite(state):
        return {"number": str(state)}
    if state is None or isinstance(state, bool | int | float | str):
        return state
    if isinstance(state, Mapping):
        return {"map": [[_plain(key), _plain(value)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {"list": [_plain(value) for value in state]}
    array = np.asarray(state)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"a formula has learned a {type(state).__name__}, which can't be stored")
    return {"array": [_plain(value) for value in array.ravel().tolist()], "shape": list(array.shape)}


def _restored(content: Any) -> Any:
    import numpy as np

    if not isinstance(content, Mapping):
        return content
    if "number" in content:
        return float(content["number"])
    if "map" in content:
        return {key: _restored(value) for key, value in content["map"]}
    if "list" in content:
        return [_restored(value) for value in content["list"]]
    return np.array([_restored(value) for value in content["array"]]).reshape(content["shape"])
