"""Imputed values: the posterior of each missing observation, labelled by its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Canvas

from bayesrun.figures import _style as look
from bayesrun.figures._scalars import draws_of, group_of, is_discrete, label_text, title_of
from bayesrun.figures._shapes import draw_marginal, frame
from bayesrun.figures.base import Figure, NotDrawable, Subject

if TYPE_CHECKING:
    import xarray as xr

LIMIT = 12


def draw(subject: Subject) -> Canvas:
    """Draw the distribution of each imputed value, at the most twelve."""
    names = [f"{name}_missing" for name in group_of(subject, "observed_data").data_vars]
    found = [subject.idata.posterior[name] for name in names if name in subject.idata.posterior]
    values = [(f"{v.name}[{label_text(lab)}]", draws_of(v)[..., i]) for v in found for i, lab in enumerate(_labels(v))]
    if not values:
        raise NotDrawable("no value is imputed")
    note = f" (the first {LIMIT} of {len(values)})" if len(values) > LIMIT else ""
    figure, axes = look.panels(title_of(subject, f"imputed values{note}"), min(len(values), LIMIT), height=2.4)
    for ax, (name, draws) in zip(axes, values, strict=False):
        draw_marginal(ax, draws.ravel(), look.GREEN)
        frame(ax, draws.ravel())
        ax.set(title=look.shorten(name, 34), xlabel="imputed value", ylabel="posterior probability")
        look.few_ticks(ax, whole_x=is_discrete(draws))
    return figure


def _labels(values: xr.DataArray) -> list[object]:
    dim = next(d for d in values.dims if d not in ("chain", "draw"))
    return list(values[dim].values)


FIGURE = Figure(draw=draw)
