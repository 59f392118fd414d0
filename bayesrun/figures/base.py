"""What a figure is: a function from a saved posterior to a Matplotlib figure.

There is one file per figure; its name is the name in `model.figures` and that of the PNG in the run folder. `style`
defines how all of them look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bayesrun.registry import Registry

if TYPE_CHECKING:
    import arviz as az
    import matplotlib.figure
    import pandas as pd


@dataclass(frozen=True)
class Subject:
    """The posterior that figures show.

    Parameters
    ----------
    idata
        The posterior with its groups. `observed_data` has each likelihood under its own name (missing values are NaN),
        `constant_data` every variable of the prepared data set, both over named dims with coords. Imputed values are
        `posterior[NAME_missing]` over dim `DIM_missing`, with the labels of their rows.
    summary
        One row per scalar (`summary.csv`), index `name`.
    model
        The config section `model` as plain values: `name`, `type`, `options`, ...
    """

    idata: az.InferenceData
    summary: pd.DataFrame
    model: Mapping[str, Any]

    @cached_property
    def r_hat(self) -> dict[str, float]:
        """R-hat by the name of the scalar."""
        column = self.summary.get("r_hat")
        return {} if column is None else {str(name): float(value) for name, value in column.items()}


@dataclass(frozen=True)
class Figure:
    """A registered figure.

    Parameters
    ----------
    draw
        `(subject) -> matplotlib figure`, called under the settings of `style`. Raises `NotDrawable` with the reason if
        the subject lacks what the figure shows.
    """

    draw: Callable[[Subject], matplotlib.figure.Figure]


class NotDrawable(Exception):
    """The posterior lacks what the figure shows; the message says what. It is logged, and the run continues."""


FIGURES: Registry[Figure] = Registry(
    "figure",
    "bayesrun.figures",
    "FIGURE",
    Figure,
    others=("drawing", "marginals", "matplotlib_patches", "observations", "selection", "style", "traces"),
)
