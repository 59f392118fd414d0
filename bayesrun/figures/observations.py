"""Observed data and their predictions: values, series over one dim, pointwise likelihoods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.factors import LABELS
from bayesrun.diagnostics.numerics.densities import is_discrete
from bayesrun.diagnostics.predictive_accuracy import observed_terms
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.figures.selection import Array, group_of
from bayesrun.large_draws import values_at
from bayesrun.models.regression.families import FAMILIES, Family
from bayesrun.models.regression.regression_spec import RegressionSpec

Kind = Literal["binary", "ordinal", "categorical", "count", "positive", "continuous"]
"""What values are: events, ordered or unordered levels, counts, positive ones over orders of magnitude, others."""

_ORDERED = ("OrderedLogistic", "OrderedProbit", "SequentialLogistic", "AdjacentLogistic")
_NUMBERS = 4_000_000
_FEWEST = 60
"""Largest number of predicted values that a figure takes, and smallest number of data sets."""
_WIDE = 10.0
"""Ratio of the 97.5% to the 2.5% quantile from which on positive values are better shown by their logarithms."""


@dataclass(frozen=True)
class ObservedAndPredicted:
    """Observed values of a likelihood, without missing ones, and predicted data sets of the same rows.

    Parameters
    ----------
    name
        Name of the likelihood.
    axis_label
        The name, with its unit if the data have one.
    values
        Observed, (row,).
    draws
        Predicted, (draw, row).
    kind
        What its values are.
    levels
        Labels of the values 0, 1, ... of levels.
    rows
        Index of each value among all that were to be observed, flattened; (row,).
    response
        Name of the response, of a likelihood of several.
    """

    name: str
    axis_label: str
    values: Array
    draws: Array
    kind: Kind = "continuous"
    levels: tuple[str, ...] = ()
    rows: Array = field(default_factory=lambda: np.arange(0))
    response: str | None = None

    @cached_property
    def discrete(self) -> bool:
        """Whether only whole numbers were observed and predicted."""
        return is_discrete(self.values) and is_discrete(self.draws)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Limits of the axis: all data, and all predictions but their far tails, with a margin."""
        low, high = np.quantile(self.draws, [0.002, 0.998])
        low, high = min(float(low), float(self.values.min())), max(float(high), float(self.values.max()))
        if self.discrete:
            return float(np.floor(low)), float(np.ceil(high))
        margin = 0.04 * (high - low) or 1.0
        return low - margin, high + margin


def predicted(subject: Subject, count: int) -> list[ObservedAndPredicted]:
    """Return the observed variables with `count` predicted data sets, evenly chosen from all draws.

    Raises
    ------
    NotDrawable
        When there is no posterior predictive group, or no observed variable in it.
    """
    found = list(_predicted(subject, count))
    if not found:
        raise NotDrawable("no observed variable was predicted from the posterior")
    return found


def _predicted(subject: Subject, count: int) -> Iterator[ObservedAndPredicted]:
    predictions, observed = group_of(subject, "posterior_predictive"), group_of(subject, "observed_data")
    for name in (str(n) for n in observed.data_vars if n in predictions):
        # the responses of a regression have units of their own
        labels = observed[name]["response"].values if "response" in observed[name].dims else [None]
        for label in labels:
            at = {} if label is None else {"response": label}
            values = observed[name].sel(at).values.ravel()
            kept = np.isfinite(values.astype(float))
            if kept.any():
                draws = thinned(predictions[name].sel(at), count, np.flatnonzero(kept))
                likelihood, own = name if label is None else f"{label}_obs", None if label is None else str(label)
                shown = axis_label(subject, likelihood)
                kind = _kind(subject.model, likelihood, values[kept], draws)
                levels = _levels(subject, likelihood, values[kept], draws) if kind in ("ordinal", "categorical") else ()
                yield ObservedAndPredicted(name, shown, values[kept], draws, kind, levels, np.flatnonzero(kept), own)


def _kind(model: Mapping[str, Any], likelihood: str, values: Array, draws: Array) -> Kind:
    """Return the kind of values: levels are known from the model, all others are judged by their values."""
    family = _family(model, likelihood)
    if family is not None and family.values == "level":
        return "ordinal" if family.categories == "thresholds" else "categorical"
    written = str(((model.get("likelihood") or {}).get(likelihood) or {}).get("dist"))
    if written in _ORDERED:
        return "ordinal"
    if written.startswith("Categorical"):
        return "categorical"
    ends = (min(values.min(), draws.min()), max(values.max(), draws.max()))
    if is_discrete(values) and is_discrete(draws) and ends[0] >= 0:
        return "binary" if ends[1] <= 1 else "count"
    low, high = np.quantile(values, [0.025, 0.975])
    return "positive" if ends[0] > 0 and high > _WIDE * low else "continuous"


def _family(model: Mapping[str, Any], likelihood: str) -> Family | None:
    """Return the family of a regression's response."""
    regression = regression_of(model)
    if regression is None or regression.family not in FAMILIES.names():
        return None
    of_response = regression.responses().get(likelihood.removesuffix("_obs"), regression)
    return FAMILIES.load(of_response.family, "model.family")


def _levels(subject: Subject, likelihood: str, values: Array, draws: Array) -> tuple[str, ...]:
    """Return the labels of levels, as the data have them; otherwise their numbers."""
    count = int(max(values.max(), draws.max())) + 1
    data = subject.idata.get("constant_data")
    name = _data_name(subject, likelihood)
    if data is not None and name in data:
        of_factor = data[name].attrs.get(LABELS)
        labels = data[of_factor].values if of_factor in data.coords else data[name].attrs.get("levels", ())
        if len(np.atleast_1d(labels)) >= count:
            return tuple(map(str, np.atleast_1d(labels)))
    return tuple(map(str, range(count)))


def thinned(data: xr.DataArray, count: int, rows: Array) -> Array:
    """Return draws, evenly chosen of all chains, of some rows: (draw, row).

    Parameters
    ----------
    data
        Over chain, draw and the dims of the rows.
    count
        Maximum number of draws. Of many rows fewer are taken, but not fewer than 60: more rows show as much.
    rows
        Index of each row, flattened.
    """
    draws = data.transpose("chain", "draw", ...)
    chains, length = draws.shape[:2]
    count = min(count, max(_FEWEST, _NUMBERS // max(1, len(rows))))
    chosen = np.unique(np.linspace(0, chains * length - 1, count).astype(int))
    of_chains = [chosen[chosen // length == chain] % length for chain in range(chains)]
    found = np.concatenate(
        [values_at(draws, chain, own, rows) for chain, own in enumerate(of_chains) if own.size], axis=0
    )
    return found


def regression_of(model: Mapping[str, Any]) -> RegressionSpec | None:
    """Return the config of a regression (`type: glm` is another name of it); None for other types of model."""
    if model.get("type") not in ("glm", "regression"):
        return None
    return RegressionSpec.model_validate({"name": "model", **model})


def axis_label(subject: Subject, likelihood: str) -> str:
    """Return the name of a likelihood's values in the data, with the unit in brackets if there is one."""
    shown = _data_name(subject, likelihood)
    for group, name in product(("constant_data", "observed_data"), (shown, likelihood)):
        if group in subject.idata.groups() and name in subject.idata[group]:
            unit = subject.idata[group][name].attrs.get("units")
            if unit:
                return f"{shown} ({unit})"
    return shown


def _data_name(subject: Subject, likelihood: str) -> str:
    """Find the name in the model's config: readers know the data, not the name of the likelihood."""
    model, options = subject.model, subject.model.get("options") or {}
    regression = regression_of(model)
    if regression is not None:
        several, name = regression.responses(), likelihood.removesuffix("_obs")
        if several:
            return name if name in several else ", ".join(several)
        return without_back_ticks(next(iter(regression.formulas().values())).partition("~")[0])
    written = (model.get("likelihood") or {}).get(likelihood) or {}
    return str(written.get("observed") or options.get("response") or options.get("observed") or likelihood)


def without_back_ticks(text: str) -> str:
    """Return the left side of a formula, without back-ticks if it is a column alone."""
    quoted = re.fullmatch(r"\s*`([^`]*)`\s*", text)
    return quoted[1] if quoted else text.strip()


def series_of(subject: Subject, name: str | None = None) -> xr.DataArray:
    """Return the observed series: the likelihood called `name`, or the only one over a single dim.

    Raises
    ------
    NotDrawable
        When there is no such series.
    """
    observed = group_of(subject, "observed_data")
    found = [v for n, v in observed.data_vars.items() if v.ndim == 1 and name in (None, n)]
    if not found:
        raise NotDrawable(f"no observed series{f' {name}' if name else ''} over one dim")
    return found[0]


def times(series: xr.DataArray) -> Array:
    """Return the labels along a series' dim, dates as datetime64; 0, 1, ... if the labels are not numbers."""
    labels = np.asarray(series[series.dims[0]].values)
    return labels if labels.dtype.kind in "iufM" else np.arange(len(labels))


def posterior_of(subject: Subject, name: str) -> xr.DataArray:
    """Return a posterior variable.

    Raises
    ------
    NotDrawable
        When the posterior has no such variable.
    """
    posterior = group_of(subject, "posterior")
    if name not in posterior:
        raise NotDrawable(f"the posterior has no variable '{name}'")
    return posterior[name]


def terms_of(subject: Subject) -> xr.DataArray:
    """Return the pointwise log likelihood of all observed points, (chain, draw, point).

    Raises
    ------
    NotDrawable
        When no likelihood has such terms.
    """
    found = observed_terms(subject.idata)
    if found is None or not found[0].sizes["point"]:
        raise NotDrawable("no likelihood has pointwise terms")
    return found[0]


def codes_of(values: Array, levels: Sequence[Any]) -> Array:
    """Return the index of each value among the levels, (row,); -1 for none."""
    return np.asarray(pd.Categorical(values, categories=list(levels)).codes)
