"""LOO-PIT: the probability integral transform of each observation under its leave-one-out prediction.

The values are uniform for a calibrated model; those of counts are randomised between their lower and upper value.
Gabry et al. (2019), doi:10.1111/rssa.12378.
"""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Canvas
from scipy.stats import binom

from bayesrun.diagnostics.scalars import names_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.observations import terms_of
from bayesrun.figures.selection import Array, group_of, title_of

BINS = 20  # fewer if a bar would hold less than six observations
POINTS = 1500  # observations that are smoothed; more are thinned


def draw(subject: Subject) -> Canvas:
    """Draw the histogram of the PIT values with the range that uniform ones would have."""
    values = pit(subject)
    figure, ax = look.panel(title_of(subject, "LOO-PIT"), 3.4)
    bins = min(BINS, max(4, len(values) // 6))
    low, high = binom.interval(subject.interval, len(values), 1 / bins)
    ax.axhspan(
        low,
        high,
        color=look.GREY,
        alpha=0.25,
        linewidth=0,
        label=f"{100 * subject.interval:g} % of bars, if calibrated",
    )
    ax.hist(values, bins=np.linspace(0, 1, bins + 1).tolist(), color=look.BLUE, alpha=0.8, rwidth=0.92)
    ax.set(xlabel="predictive probability of a value below the observed one", ylabel="observations", xlim=(0, 1))
    look.legend_below(figure, ax)
    return figure


def pit(subject: Subject) -> Array:
    """Return the PIT value of each observed point, (point,)."""
    terms, log_weights = leave_one_out(subject)
    observed, predicted = _points(subject, [str(p) for p in terms["point"].values])
    weights = np.exp(log_weights - log_weights.max(axis=0))
    weights /= weights.sum(axis=0)
    below = (weights * (predicted < observed)).sum(axis=0)
    equal = (weights * (predicted == observed)).sum(axis=0)
    return np.asarray(below + np.random.default_rng(0).uniform(size=len(observed)) * equal)


def leave_one_out(subject: Subject) -> tuple[xr.DataArray, Array]:
    """Smooth the importance weights of leaving out each observation; of more than 1,500, evenly chosen ones.

    Returns
    -------
    terms : DataArray
        Pointwise log likelihood, (chain, draw, point).
    log_weights : ndarray
        Normalised, (sample, point).
    """
    terms = terms_of(subject)
    terms = terms.isel(point=slice(None, None, -(-terms.sizes["point"] // POINTS)))
    ratios = -terms.stack(sample=("chain", "draw")).transpose("point", "sample").values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights, _ = az.psislw(np.asarray(ratios, float))
    return terms, np.asarray(weights).T


def _points(subject: Subject, wanted: list[str]) -> tuple[Array, Array]:
    """Return the observed, (point,), and the predicted values, (sample, point), at the wanted points."""
    predictions, data = group_of(subject, "posterior_predictive"), group_of(subject, "observed_data")
    observed: dict[str, float] = {}
    drawn: dict[str, Array] = {}
    for name in data.data_vars:
        if name not in predictions:
            raise NotDrawable(f"'{name}' has no posterior predictive draws")
        labels = names_of(data[name], str(name))
        flat = predictions[name].transpose("chain", "draw", *data[name].dims).values.reshape(-1, len(labels))
        observed |= dict(zip(labels, np.asarray(data[name].values, float).ravel(), strict=True))
        drawn |= dict(zip(labels, flat.T, strict=True))
    return np.array([observed[p] for p in wanted]), np.column_stack([drawn[p] for p in wanted])


FIGURE = Figure(draw=draw)
