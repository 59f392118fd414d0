"""What a figure is: a function of a saved posterior to a matplotlib figure.

One file a figure; file = name in `model.figures` = PNG in the run folder's `figures/`. `_style` holds the one style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.registry import Registry

if TYPE_CHECKING:
    import arviz as az
    import matplotlib.figure
    import pandas as pd


@dataclass(frozen=True)
class Subject:
    """What a figure may look at.

    Parameters
    ----------
    idata
        The posterior with its groups. `observed_data` has each likelihood under its own name (gaps are NaN),
        `constant_data` every variable of the prepared data set, both over named dims with coords; imputed values are
        `posterior[NAME_missing]` over dim `DIM_missing`, labelled by the rows' own labels.
    summary
        One row a scalar (`summary.csv`), index = `name`.
    model
        The config section `model` as plain values: `name`, `type`, `options`, ...
    """

    idata: az.InferenceData
    summary: pd.DataFrame
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A registered figure.

    Parameters
    ----------
    draw
        `(subject) -> matplotlib figure`, drawn under the style of `_style`. Raises `NotDrawable` with the reason
        where the subject lacks what the figure shows.
    """

    draw: Callable[[Subject], matplotlib.figure.Figure]


class NotDrawable(Exception):
    """The figure can't be drawn of this posterior; the message says why. It is logged, and the run goes on."""


FIGURES: Registry[Figure] = Registry("figure", "bayesrun.figures", "FIGURE", Figure)
