"""Predictions of a fitted model for the rows of other data: the model is built on them, the draws are the posterior's.

What a label means comes from the data of the fit: codes of factors are made again, so that `county` 3 is the same
county in both. Variables over the rows themselves are computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.inference._predict import predict
from bayesrun.models.base import ModelSpec, ModelType

if TYPE_CHECKING:
    import pandas as pd
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray

    Draws = Mapping[str, NDArray[Any]]

KEY = "predict.data"


def like_fitted(new: xr.Dataset, fitted: xr.Dataset, factors: Mapping[str, str], observed: Sequence[str]) -> xr.Dataset:
    """Bring new rows into the form of the data that the model was fitted to.

    Parameters
    ----------
    new, fitted
        Both data sets, prepared.
    factors
        Code variable to dim of the labels, in the new data.
    observed
        Variables that the model explains; new data need not have them.

    Returns
    -------
    Dataset
        The new rows; codes are those of the fit, and what is not over the rows is taken from the fit.

    Raises
    ------
    UserError
        When the new rows have a label that the fit has not seen.
    """
    import numpy as np

    problems: list[Problem] = []
    codes = {name: _codes(new, fitted, name, dim, problems) for name, dim in factors.items() if dim in fitted.coords}
    check(problems)
    rows = {str(d) for name in observed for d in fitted[name].dims}
    own = new.drop_dims([d for d in new.dims if d in fitted.dims and d not in rows])
    own = own.assign({name: (new[name].dims, values) for name, values in codes.items()})
    shared = [n for n, v in fitted.variables.items() if not rows & set(map(str, v.dims)) and n not in own.variables]
    whole = own.assign({n: fitted[n] for n in shared if n in fitted.data_vars})
    whole = whole.assign_coords({n: fitted[n] for n in shared if n in fitted.coords})
    for name in observed:
        dims = tuple(map(str, fitted[name].dims))
        if name not in whole and all(d in whole.sizes for d in dims):
            whole[name] = (dims, np.zeros([whole.sizes[d] for d in dims]))
    return whole.fillna({n: 0 for n in observed if n in whole})


def _codes(new: xr.Dataset, fitted: xr.Dataset, name: str, dim: str, problems: list[Problem]) -> Any:
    """Look up the labels of new rows among those of the fit."""
    import numpy as np

    known = {label: code for code, label in enumerate(fitted[dim].values.tolist())}
    labels = new[dim].values[new[name].values].tolist()
    for label in sorted({label for label in labels if label not in known}, key=str):
        hint = did_you_mean(str(label), map(str, known))
        problems.append(Problem(f"{KEY}.factors.{name}", f"the model was not fitted to '{label}'", hint))
    return np.array([known.get(label, 0) for label in labels], dtype=np.int64)


def predictions(kind: ModelType, spec: ModelSpec, rows: xr.Dataset, draws: Draws, seed: int) -> pd.DataFrame:
    """Predict every likelihood for new rows.

    Parameters
    ----------
    kind, spec
        The model.
    rows
        The new rows, `like_fitted`.
    draws
        Posterior draws by name (chain, draw, ...).
    seed
        Decides the predictive draws.

    Returns
    -------
    DataFrame
        A row for each value of each likelihood: `variable`, its labels by dim, `mean`, `sd`, `hdi_3%`, `hdi_97%`.

    Raises
    ------
    UserError
        When the rows lack what the model needs, or the model has a random variable over the rows.
    """
    import numpy as np
    import pandas as pd

    check(row_problems(kind, spec, rows))
    from bayesrun.engines.pymc3.build import build

    built = build(kind.build(rows, spec))
    model = notes(built).reported or built
    np.random.seed(seed % 2**32)
    tables = [_table(model, variable, _usable(model, draws)) for variable in model.observed_RVs]
    return pd.concat(tables, ignore_index=True)


def row_problems(kind: ModelType, spec: ModelSpec, rows: xr.Dataset) -> list[Problem]:
    """Find what the model lacks in new rows."""
    return [Problem(p.key, f"for the rows of {KEY}: {p.message}", p.hint) for p in kind.check(rows, spec)]


def _usable(model: pm.Model, draws: Draws) -> Draws:
    """Leave out deterministics over the rows, which are other rows now, and what has another shape."""
    rows = {d for v in model.observed_RVs for d in model.RV_dims.get(v.name, ())}
    over_rows = {v.name for v in model.deterministics if rows & set(model.RV_dims.get(v.name, ()))}
    fitting = {n: v for n, v in draws.items() if n in model.named_vars and n not in over_rows}
    return {n: v for n, v in fitting.items() if model[n].tag.test_value.shape == v.shape[2:]}


def _table(model: pm.Model, variable: Any, draws: Draws) -> pd.DataFrame:
    import arviz as az
    import pandas as pd
    from theano.graph.fg import MissingInputError

    try:
        predicted = predict(model, variable, draws)
    except MissingInputError as error:
        message = f"'{variable.name}' depends on a random variable over the rows, which new rows do not have"
        raise fail(KEY, message, "predict from a model without it") from error
    flat = predicted.reshape(*predicted.shape[:2], -1)
    dims = model.RV_dims.get(variable.name, ())
    labels = pd.MultiIndex.from_product([list(model.coords[d]) for d in dims], names=dims)
    low, high = az.hdi(flat, hdi_prob=0.94).T
    values = {"mean": flat.mean((0, 1)), "sd": flat.std((0, 1), ddof=1), "hdi_3%": low, "hdi_97%": high}
    table = pd.DataFrame(values, index=labels).reset_index()
    table.insert(0, "variable", variable.name)
    return table


__all__ = ["KEY", "like_fitted", "predictions", "row_problems"]
