"""The state that a formula has learned from the fitted rows, as plain values, to compute the columns of new rows.

`formulaic` keeps the means, knots, coefficients and levels of its transforms in a model spec. Here that spec becomes
numbers, strings, lists and mappings that a run folder can hold, and is rebuilt from them without running any code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesrun.language.formulaic_patches import restored_spec
from bayesrun.language.formulas import Design, DesignTerm, Formula


def plain_design(design: Design) -> dict[str, Any]:
    """Return the state of a design as plain values that JSON can hold."""
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


def restored_design(content: Mapping[str, Any], formula: Formula) -> Design:
    """Rebuild a design from the output of `plain_design`; its matrix is empty, `at` evaluates other rows."""
    spec = restored_spec(
        formula.parsed,
        content["structure"],
        {expr: _restored(state) for expr, state in content["transforms"].items()},
        {
            expr: (of["kind"], {"categories": _restored(of["categories"])} if of["categories"]["list"] else {})
            for expr, of in content["encodings"].items()
        },
    )
    terms = tuple(
        DesignTerm(n, start, stop, None if ls is None else tuple(ls)) for n, start, stop, ls in content["terms"]
    )
    columns = tuple(content["columns"])
    return Design(np.empty((0, len(columns))), columns, terms, spec)


def _plain(state: Any) -> Any:
    """Return a state as plain values; mappings keep the type of their keys, arrays stay arrays."""
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
    if not isinstance(content, Mapping):
        return content
    if "number" in content:
        return float(content["number"])
    if "map" in content:
        return {key: _restored(value) for key, value in content["map"]}
    if "list" in content:
        return [_restored(value) for value in content["list"]]
    return np.array([_restored(value) for value in content["array"]]).reshape(content["shape"])
