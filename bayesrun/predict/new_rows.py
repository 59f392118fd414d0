"""Predictions of a fitted model for the rows of other data: the model is built on them, the draws are the posterior's.

What a label means comes from the data of the fit: codes of factors are made again, so that `county` 3 is the same
county in both. Variables over the rows themselves are computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.engines.base import CompiledModel, Engine, MissingDraws
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.models.base import ModelSpec, ModelType

if TYPE_CHECKING:
    import pandas as pd
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


def predictions(
    engine: Engine, kind: ModelType, spec: ModelSpec, rows: xr.Dataset, draws: Draws, seed: int
) -> pd.DataFrame:
    """Predict every likelihood for new rows.

    Parameters
    ----------
    engine
        Holds the model of the new rows.
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
    import pandas as pd

    check(row_problems(kind, spec, rows))
    model = engine.compile(kind.build(rows, spec)).reported
    predicted, failed = model.predict(list(model.likelihoods), _usable(model, draws), seed)
    for name, error in failed.items():
        if not isinstance(error, MissingDraws):
            raise error
        message = f"'{name}' depends on a random variable over the rows, which new rows do not have"
        raise fail(KEY, message, "predict from a model without it") from error
    return pd.concat([_table(model, name, values) for name, values in predicted.items()], ignore_index=True)


def row_problems(kind: ModelType, spec: ModelSpec, rows: xr.Dataset) -> list[Problem]:
    """Find what the model lacks in new rows."""
    return [Problem(p.key, f"for the rows of {KEY}: {p.message}", p.hint) for p in kind.check(rows, spec)]


def _usable(model: CompiledModel, draws: Draws) -> Draws:
    """Leave out deterministics over the rows, which are other rows now, and what has another shape."""
    _, dims = model.labels()
    rows = {d for name in model.likelihoods for d in dims.get(name, ())}
    over_rows = {name for name in model.deterministics if rows & set(dims.get(name, ()))}
    return {n: v for n, v in draws.items() if n not in over_rows and model.variables.get(n) == v.shape[2:]}


def _table(model: CompiledModel, name: str, predicted: NDArray[Any]) -> pd.DataFrame:
    import arviz as az
    import pandas as pd

    coords, dims = model.labels()
    own = dims.get(name, [])
    flat = predicted.reshape(*predicted.shape[:2], -1)
    labels = pd.MultiIndex.from_product([list(coords[d]) for d in own], names=own)
    low, high = az.hdi(flat, hdi_prob=0.94).T
    values = {"mean": flat.mean((0, 1)), "sd": flat.std((0, 1), ddof=1), "hdi_3%": low, "hdi_97%": high}
    table = pd.DataFrame(values, index=labels).reset_index()
    table.insert(0, "variable", name)
    return table


__all__ = ["KEY", "like_fitted", "predictions", "row_problems"]
