"""What a figure is: a function from a saved posterior to a Matplotlib figure.

A figure's name is the name in `model.figures` and that of the PNG in the run folder. Figures of one subject share a
module. `style` defines how all of them look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.diagnostics.base import INTERVAL
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
    interval
        Probability inside every interval (`intervals` in the config).
    """

    idata: az.InferenceData
    summary: pd.DataFrame
    model: Mapping[str, Any]
    interval: float = INTERVAL

    @property
    def hdi_name(self) -> str:
        """Name of the interval in titles and legends: `94% HDI`."""
        return f"{100 * self.interval:g}% HDI"

    @cached_property
    def r_hat(self) -> dict[str, float]:
        """R-hat by the name of the scalar."""
        if "r_hat" not in self.summary.columns:
            return {}
        return {str(name): float(value) for name, value in self.summary["r_hat"].items()}


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


@dataclass(frozen=True)
class NotDrawn:
    """Why a figure was not drawn: the subject lacks what it shows, or drawing failed, with its traceback."""

    reason: str
    failed: bool = False
    traceback: str = ""


Outcome = Path | NotDrawn
"""What has become of a figure: its file, or why there is none."""


FIGURES: Registry[Figure] = Registry(
    "figure",
    "bayesrun.figures",
    "FIGURE",
    Figure,
    others=(
        "drawing",
        "early",
        "estimated_effects",
        "light_axes",
        "linear_predictors",
        "matplotlib_patches",
        "observations",
        "rank_ecdf",
        "regression_means",
        "reliability_panels",
        "selection",
        "smooth_effects",
        "style",
        "used_columns",
    ),
    shared={
        "posteriors": ("posterior", "prior_posterior", "imputed"),
        "mixing": ("trace", "trace_chains", "rank", "autocorrelation", "energy"),
        "predictive_checks": ("ppc", "ppc_density", "ppc_ecdf", "ppc_rootogram", "ppc_statistics"),
        "predictive_calibration": ("ppc_calibration", "loo_pit", "pareto_k"),
        "predictive_rows": ("ppc_intervals", "ppc_residuals", "ppc_grouped"),
        "time_series": ("accident_rate", "switchpoint", "returns", "volatility"),
    },
)

_GENERAL = ("trace", "forest", "posterior", "prior_posterior", "rank", "energy", "ppc", "loo_pit", "pareto_k")
_FIRST = {
    "declarative": ("scatter", "imputed"),
    "glm": ("effects", "shrinkage", "scatter"),
    "linear_regression": ("scatter",),
    "regression": ("effects", "shrinkage", "scatter"),
    "stochastic_volatility": ("volatility", "returns"),
    "switchpoint": ("accident_rate", "switchpoint", "imputed"),
}


def default_for(model_type: str) -> tuple[str, ...]:
    """Return the figures of a model whose YAML lists none; those that its posterior does not support are left out."""
    return (*_FIRST.get(model_type, ()), *_GENERAL)
