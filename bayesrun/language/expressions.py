"""Expressions in YAML: one text, computed in NumPy for `derive` and as a Theano graph in a model.

`docs/language.md` lists what may be written. The text is parsed with `ast` against a whitelist (`_grammar`), never
compiled; what is computed is told by axes with names (`_values`), which meet by name and not by place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.errors import fail
from bayesrun.language.grammar import SIGNATURES, Expression, parse

if TYPE_CHECKING:
    import xarray as xr

    from bayesrun.language.values import Value


def functions() -> list[str]:
    """Return the signatures of all functions that an expression may call, sorted."""
    return sorted(str(signature) for signature in SIGNATURES.values())


def evaluate(text: str, data: xr.Dataset, key: str) -> xr.DataArray:
    """Compute an expression over a data set, as `derive` does.

    Parameters
    ----------
    text
        The expression; its names are variables, coords and dim sizes of the data.
    data
        The data set.
    key
        Config key of the expression, for messages; its last part names axes that have no name of their own.

    Returns
    -------
    DataArray
        The result over named dims, with the data set's coords.

    Raises
    ------
    UserError
        When the text is no expression, names what is not there, or its dims clash; it points at the place.
    """
    import xarray as xr

    from bayesrun.language._evaluate import value_of
    from bayesrun.language.scope import Scope

    value = value_of(parse(text, key), Scope(data))
    dims = _named_dims(value, data, key)
    coords = {d: data.coords[d] for d in dims if d in data.coords}
    return xr.DataArray(value.known, dims=dims, coords=coords)


def _named_dims(value: Value, data: xr.Dataset, key: str) -> list[str]:
    """Name every axis: one without a name is the only dim of its size, or a new one (`X_dim_1`)."""
    dims: list[str] = []
    for axis, (name, size) in enumerate(zip(value.dims, value.shape, strict=True)):
        if size == 0:
            raise fail(key, "the result is empty", "a slice that takes nothing?")
        fitting = [str(d) for d, n in data.sizes.items() if n == size and d not in value.dims]
        alone = value.ndim == 1 and len(fitting) == 1
        dims.append(name or (fitting[0] if alone else f"{key.rsplit('.', 1)[-1]}_dim_{axis}"))
    return dims


__all__ = ["Expression", "evaluate", "functions", "parse"]
