"""Shrinkage of group effects: the estimate of each group by itself, and the partially pooled effect of the model.

An arrow leads from the estimate that the rows of a group alone give (no pooling) to the posterior mean (partial
pooling); 0 is the population. The estimate of group `j` maximises the likelihood of its rows over its own effects, with
all other terms `o` at their posterior means: by iteratively reweighted least squares on `eta = o + Z_j r_j`
(McCullagh and Nelder 1989, section 2.5). It is missing where the rows of a group do not determine it, and infinite
where, say, all of them are successes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.linear_predictors import contributions, expansion_of_stored
from bayesrun.figures.observations import regression_of
from bayesrun.figures.selection import title_of
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.group_effects import FittedGroups, GroupEffects
from bayesrun.models.regression.several_responses import plans_of

Array = NDArray[Any]

PANELS = 6
GROUPS = 40  # with a line each; more are points
STEPS = 30
_ENDLESS = 12.0  # change of a linear predictor beyond which a logit or a log grows without end
_WIDEST = 3.0  # the axis reaches that many times as far as the partially pooled effects

_INVERSES: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": expit,
    "probit": ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "inverse": lambda eta: 1 / eta,
    "sqrt": np.square,
    "softplus": lambda eta: np.logaddexp(0, eta),
}
_VARIANCES: Mapping[str, Callable[[Array], Array]] = {
    **dict.fromkeys(("normal", "student", "skew_normal", "lognormal"), np.ones_like),
    **dict.fromkeys(("gamma", "weibull", "exponential"), np.square),
    **dict.fromkeys(("bernoulli", "binomial", "beta_binomial", "beta"), lambda mu: mu * (1 - mu)),
    **dict.fromkeys(("poisson", "negative_binomial"), lambda mu: mu),
    "geometric": lambda mu: mu + mu**2,
    "inverse_gaussian": lambda mu: mu**3,
}
"""Variance of the response by its mean, but for a factor: of families whose `mu` is the mean of the response."""


@dataclass(frozen=True)
class ShrunkEffect:
    """One effect of one grouping.

    Parameters
    ----------
    title
        Grouping and effect.
    labels
        The groups.
    alone
        Estimate of each group by itself, (group,); NaN if its rows do not determine it, infinite if it has no end.
    pooled
        Posterior mean of its effect, (group,).
    ends
        Interval of its effect, (2, group).
    rows
        Number of its rows, (group,).
    scale
        Name of the scale of the effect.
    """

    title: str
    labels: tuple[Any, ...]
    alone: Array
    pooled: Array
    ends: Array
    rows: Array
    scale: str


def draw(subject: Subject) -> Canvas:
    """Draw a panel for each effect of each grouping."""
    found = shrunk_effects(subject)
    shown = found[:PANELS]
    note = f" (the first {PANELS} of {len(found)} effects)" if len(found) > PANELS else ""
    few = max(len(one.labels) for one in shown) <= GROUPS
    height = 0.9 + 0.17 * max(len(one.labels) for one in shown) if few else 3.6
    title = title_of(subject, f"shrinkage of group effects{note}")
    figure, axes = look.panels(title, len(shown), columns=2, height=max(2.6, height))
    for ax, one in zip(axes, shown, strict=True):
        (_draw_lines if len(one.labels) <= GROUPS else _draw_scatter)(ax, one)
        lacking = int(np.isnan(one.alone).sum())
        note = f" (no separate estimate for {lacking} of {len(one.labels)} groups)" if lacking else ""
        ax.set_title(shorten(one.title, 40) + note.replace(" (", "\n("), fontsize=9)
    figure.legend(handles=_legend(subject, shown), loc="outside lower left", ncols=2)
    return figure


def shrunk_effects(subject: Subject) -> list[ShrunkEffect]:
    """Return the effects of all groupings, with the estimates of the groups by themselves.

    Raises
    ------
    NotDrawable
        For a model without group effects, or a family or a response for which the estimates are not defined.
    """
    spec = regression_of(subject.model)
    if spec is None:
        raise NotDrawable("only regressions have group effects")
    several = spec.responses() or {"": spec}
    plans = plans_of(spec)
    written = [term for this in plans.values() for one in this.predictors.values() for term in one.terms]
    if not any(isinstance(term, GroupEffects) for term in written):
        raise NotDrawable("the formula has no group effects")
    whole = expansion_of_stored(subject, spec)
    found: list[ShrunkEffect] = []
    refused: list[str] = []
    for name, this in plans.items():
        key = f"{this.prefix}{this.family.main}"
        if not any(isinstance(term, FittedGroups) for term in whole.terms.get(key, ())):
            continue
        family = "bernoulli" if this.family.values == "binary" else several[name].family
        modified = this.response.censored or this.response.at_least or this.response.at_most
        if family not in _VARIANCES or this.main.link not in _INVERSES or modified:
            refused.append("censored or truncated rows" if modified else f"family {family}")
            continue
        response = (whole.responses or {"": whole})[name]
        found += _of_response(subject, whole, response, key, family, this.main.link, this.prefix)
    if not found:
        why = f": estimates of single groups are not defined for {', '.join(refused)}" if refused else ""
        raise NotDrawable(f"there are no group effects on a mean{why}")
    return found


def _of_response(
    subject: Subject, whole: Expansion, response: Expansion, key: str, family: str, link: str, prefix: str
) -> Iterator[ShrunkEffect]:
    parts = contributions(subject, whole, key)
    total = sum((part.mean for part in parts), np.zeros(()))
    name = prefix.removesuffix("_") or next(iter(response.model["likelihood"])).removesuffix("_obs")
    columns = response.columns
    y = columns[name].values.astype(float)
    y = np.log(y) if family == "lognormal" else y
    size = columns[f"{prefix}trials"].values.astype(float) if f"{prefix}trials" in columns else np.ones_like(y)
    weights = columns[f"{prefix}weights"].values if f"{prefix}weights" in columns else np.ones_like(y)
    shown = name if link == "identity" else f"the {link} of the mean of {name}"
    for part in parts:
        term = part.term
        if not isinstance(term, FittedGroups):
            continue
        codes = columns[f"{term.dim}_code"].values
        matrix = columns[f"{term.name}_design"].values if f"{term.name}_design" in columns else np.ones((len(y), 1))
        others = np.broadcast_to(total - part.mean, y.shape)
        alone = alone_of(
            y / size, weights * size, matrix, codes, others, _INVERSES[link], _VARIANCES[family], len(term.labels)
        )
        effects = term.drawn(subject.idata.posterior)
        draws = effects.reshape(-1, *effects.shape[2:])
        rows = np.bincount(codes, minlength=len(term.labels))
        grouping = ":".join(term.effects.term.columns)
        for k, effect in enumerate(term.design.columns):
            title = f"{prefix}{grouping}: {effect}" if prefix else f"{grouping}: {effect}"
            ends = np.asarray(hdi(draws[:, :, k], subject.interval))
            yield ShrunkEffect(title, term.labels, alone[:, k], draws[:, :, k].mean(axis=0), ends, rows, shown)


def alone_of(
    y: Array,
    weights: Array,
    matrix: Array,
    codes: Array,
    others: Array,
    inverse: Callable[[Array], Array],
    variance: Callable[[Array], Array],
    groups: int,
) -> Array:
    """Return the estimate of each group's effects from its own rows.

    Parameters
    ----------
    y
        Responses, (row,); NaN where missing.
    weights
        Their weights, (row,): numbers of trials, for shares.
    matrix
        Columns of the effects, (row, effect).
    codes
        Group of each row, (row,).
    others
        Linear predictor without these effects, (row,).
    inverse, variance
        Inverse link, and variance as a function of the mean.
    groups
        Number of groups.

    Returns
    -------
    ndarray
        Over (group, effect); NaN where the rows do not determine it, infinite where it has no end.
    """
    known = np.isfinite(y)
    y, weights, z, of, others = y[known], weights[known], matrix[known], codes[known], others[known]
    size = z.shape[1]
    found = np.zeros((groups, size))
    step = np.full((groups, size), np.inf)
    determined = _determined(z, of, groups)
    linear = inverse is _INVERSES["identity"]
    for _ in range(STEPS):
        eta = others + np.sum(z * found[of], axis=1)
        with np.errstate(all="ignore"):
            mu = inverse(eta)
            slope = (inverse(eta + 1e-5) - inverse(eta - 1e-5)) / 2e-5
            per_row = weights * slope / np.maximum(variance(mu), 1e-12)
        score = np.nan_to_num(per_row * (y - mu), posinf=0, neginf=0)
        information = np.nan_to_num(per_row * slope, posinf=0, neginf=0)
        cross = np.empty((groups, size, size))
        sums = np.empty((groups, size))
        for j in range(size):
            sums[:, j] = np.bincount(of, score * z[:, j], groups)
            for k in range(j + 1):
                cross[:, j, k] = cross[:, k, j] = np.bincount(of, information * z[:, j] * z[:, k], groups)
        cross[~determined] = np.eye(size)
        ridge = 1e-10 * np.maximum(np.trace(cross, axis1=1, axis2=2), 1e-12)[:, None, None]
        step = np.linalg.solve(cross + ridge * np.eye(size), sums[..., None])[..., 0]
        reach = np.array([np.ptp(of_column) or 1.0 for of_column in z.T])
        limit = np.inf if linear else 2.0 / reach
        step = np.clip(step, -limit, limit)
        found[determined] += step[determined]
        if np.all(np.abs(step[determined]) <= 1e-8 * (1.0 + np.abs(found[determined]))):
            break
    far = (not linear) & (np.abs(found) * np.abs(z).max(axis=0) > _ENDLESS)
    endless = np.any(far, axis=1) | np.any(np.abs(step) > 1e-3 * (1.0 + np.abs(found)), axis=1)
    endless &= determined
    found[endless] = np.sign(found[endless]) * np.inf
    found[~determined] = np.nan
    return found


def _determined(z: Array, of: Array, groups: int) -> Array:
    """Return whether the rows of each group determine all of its effects, (group,)."""
    size = z.shape[1]
    scale = np.sqrt(np.mean(z**2, axis=0))
    z = z / np.where(scale > 0, scale, 1.0)
    cross = np.empty((groups, size, size))
    for j in range(size):
        for k in range(size):
            cross[:, j, k] = np.bincount(of, z[:, j] * z[:, k], groups)
    values = np.linalg.eigvalsh(cross)
    return np.asarray(values[:, 0] > 1e-8 * np.maximum(values[:, -1], 1e-300))


def _limits(one: ShrunkEffect) -> tuple[float, float]:
    """Return the ends of the axis: all intervals, and all estimates that are not too far away."""
    low, high = float(min(one.ends[0].min(), 0)), float(max(one.ends[1].max(), 0))
    reach = _WIDEST * max(-low, high, 1e-12)
    near = one.alone[np.isfinite(one.alone) & (np.abs(one.alone) <= reach)]
    low, high = min(low, *near, 0.0), max(high, *near, 0.0)
    room = 0.05 * (high - low)
    return low - room, high + room


def _draw_lines(ax: Axes, one: ShrunkEffect) -> None:
    """Draw a line per group, in the order of their own estimates."""
    order = np.argsort(np.where(np.isnan(one.alone), one.pooled, one.alone), kind="stable")
    low, high = _limits(one)
    ax.axvline(0, color=look.GREY, linewidth=0.8)
    for place, j in enumerate(order):
        alone, pooled = one.alone[j], one.pooled[j]
        ax.plot(one.ends[:, j], [place, place], color=look.BLUE, alpha=0.3, linewidth=3, solid_capstyle="butt")
        if not np.isnan(alone):
            inside = low <= alone <= high
            at = float(np.clip(alone, low, high))
            ax.annotate(
                "",
                (pooled, place),
                (at, place),
                arrowprops={"arrowstyle": "->", "color": look.INK, "linewidth": 0.8, "shrinkA": 2, "shrinkB": 1},
            )
            mark = "o" if inside else ("<" if alone < low else ">")
            ax.plot(at, place, mark, color=look.VERMILLION, markersize=4.5, markerfacecolor="white", clip_on=False)
        ax.plot(pooled, place, "o", color=look.BLUE, markersize=4)
    ax.set(xlim=(low, high), ylim=(-0.7, len(order) - 0.3), xlabel=f"effect on {shorten(one.scale, 40)}")
    ax.set_yticks(range(len(order)), [shorten(str(one.labels[j]), 16) for j in order])
    ax.tick_params(axis="y", labelsize=7 if len(order) > 12 else 8)
    look.few_ticks(ax, x=5, y=None)


def _draw_scatter(ax: Axes, one: ShrunkEffect) -> None:
    """Draw a point per group: its own estimate, and the partially pooled effect."""
    low, high = _limits(one)
    kept = ~np.isnan(one.alone)
    at = np.clip(one.alone, low, high)
    inside = kept & (one.alone >= low) & (one.alone <= high)
    ax.plot([low, high], [low, high], color=look.GREY, linewidth=0.8, linestyle="--")
    ax.axhline(0, color=look.GREY, linewidth=0.8)
    ax.vlines(at[kept], *one.ends[:, kept], color=look.BLUE, alpha=0.2, linewidth=1)
    sizes = 6 + 34 * one.rows / max(1, one.rows.max())
    ax.scatter(at[inside], one.pooled[inside], s=sizes[inside], color=look.BLUE, alpha=0.6, linewidths=0)
    for side, mark in ((one.alone < low, "<"), (one.alone > high, ">")):
        if side.any():  # an empty line that is not clipped has no place in a layout
            ax.plot(at[side], one.pooled[side], mark, color=look.VERMILLION, markersize=4, clip_on=False)
    ax.set(xlim=(low, high), xlabel="estimate of the group by itself", ylabel=f"effect on {shorten(one.scale, 26)}")
    look.few_ticks(ax)


def _legend(subject: Subject, shown: list[ShrunkEffect]) -> list[Line2D]:
    few, many = (any((len(one.labels) <= GROUPS) is case for one in shown) for case in (True, False))
    found: list[Line2D] = []
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 4}
    if few:
        hollow = {**dot, "markerfacecolor": "white"}
        found.append(Line2D([], [], color=look.VERMILLION, label="estimate of the group by itself", **hollow))
    found.append(Line2D([], [], color=look.BLUE, label="partially pooled effect, posterior mean", **dot))
    found.append(Line2D([], [], color=look.BLUE, alpha=0.3, linewidth=3, label=f"its {subject.hdi_name}"))
    if many:
        found.append(Line2D([], [], color=look.GREY, linestyle="--", label="no pooling (0: complete pooling)"))
    if any(np.any(np.isinf(one.alone)) or np.any(np.abs(one.alone) > np.abs(_limits(one)).max()) for one in shown):
        arrow = {**dot, "marker": ">"}
        found.append(Line2D([], [], color=look.VERMILLION, label="estimate beyond the axis, or infinite", **arrow))
    return found


FIGURE = Figure(draw)
