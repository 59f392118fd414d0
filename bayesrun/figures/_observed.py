"""What was observed, and what the fitted model predicts of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bayesrun.figures._arrays import Array
from bayesrun.figures._scalars import group_of, is_discrete
from bayesrun.figures.base import NotDrawable, Subject

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Observed:
    """One likelihood's observed values, gaps left out, and predicted data sets of the same rows.

    Parameters
    ----------
    name
        Name of the likelihood.
    axis_label
        The name with its unit, where the data say one.
    values
        Observed, (row,).
    draws
        Predicted, (draw, row).
    """

    name: str
    axis_label: str
    values: Array
    draws: Array

    @cached_property
    def discrete(self) -> bool:
        """Whether only whole numbers were observed and predicted."""
        return is_discrete(self.values) and is_discrete(self.draws)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """What is worth showing: the data, and all predictions but their far tails, with a margin."""
        low, high = np.quantile(self.draws, [0.002, 0.998])
        low, high = min(float(low), float(self.values.min())), max(float(high), float(self.values.max()))
        if self.discrete:
            return float(np.floor(low)), float(np.ceil(high))
        margin = 0.04 * (high - low) or 1.0
        return low - margin, high + margin


def predicted(subject: Subject, count: int) -> list[Observed]:
    """Observed variables with `count` data sets predicted, evenly chosen from all draws.

    Raises
    ------
    NotDrawable
        When there is no posterior predictive group, or no observed variable in it.
    """
    found = list(_predicted(subject, count))
    if not found:
        raise NotDrawable("no observed variable was predicted from the posterior")
    return found


def _predicted(subject: Subject, count: int) -> Iterator[Observed]:
    predictions, observed = group_of(subject, "posterior_predictive"), group_of(subject, "observed_data")
    for name in (str(n) for n in observed.data_vars if n in predictions):
        values = observed[name].values.ravel()
        kept = np.isfinite(values.astype(float))
        if kept.any():
            draws = _some(predictions[name], count)[:, kept]
            yield Observed(name, axis_label(subject, name), values[kept], draws)


def _some(data: xr.DataArray, count: int) -> Array:
    draws = data.transpose("chain", "draw", ...)
    chains, length = draws.shape[:2]
    chosen = np.unique(np.linspace(0, chains * length - 1, count).astype(int))
    values = draws.values[chosen // length, chosen % length]
    return np.asarray(values.reshape(len(chosen), -1))


def axis_label(subject: Subject, likelihood: str) -> str:
    """What the data call the values that a likelihood explains, with their unit in brackets where they carry one."""
    shown = _data_name(subject, likelihood)
    for group, name in product(("constant_data", "observed_data"), (shown, likelihood)):
        if group in subject.idata.groups() and name in subject.idata[group]:
            unit = subject.idata[group][name].attrs.get("units")
            if unit:
                return f"{shown} ({unit})"
    return shown


def _data_name(subject: Subject, likelihood: str) -> str:
    """Find the name in the model's config: the likelihood's own one means nothing to who knows the data."""
    model, options = subject.model, subject.model.get("options") or {}
    if model.get("type") == "glm":
        return str(model["formula"]).partition("~")[0].strip()
    written = (model.get("likelihood") or {}).get(likelihood) or {}
    return str(written.get("observed") or options.get("response") or options.get("observed") or likelihood)
