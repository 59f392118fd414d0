"""Imputed values: the posterior of each missing observation, labelled by its row."""

from __future__ import annotations

from matplotlib.figure import Figure as Canvas

from bayesrun.diagnostics.base import shorten
from bayesrun.diagnostics.scalars import names_of
from bayesrun.figures import style as look
from bayesrun.figures.base import Figure, NotDrawable, Subject
from bayesrun.figures.marginals import draw_marginal, frame
from bayesrun.figures.selection import draws_of, group_of, is_discrete, title_of

LIMIT = 12


def draw(subject: Subject) -> Canvas:
    """Draw the distribution of each imputed value, at most twelve."""
    names = [f"{name}_missing" for name in group_of(subject, "observed_data").data_vars]
    found = [subject.idata.posterior[name] for name in names if name in subject.idata.posterior]
    values = [(n, draws_of(v)[..., i]) for v in found for i, n in enumerate(names_of(v, str(v.name)))]
    if not values:
        raise NotDrawable("no value is imputed")
    note = f" (the first {LIMIT} of {len(values)})" if len(values) > LIMIT else ""
    figure, axes = look.panels(title_of(subject, f"imputed values{note}"), min(len(values), LIMIT), height=2.4)
    for ax, (name, draws) in zip(axes, values, strict=False):
        draw_marginal(ax, draws.ravel(), look.GREEN)
        frame(ax, draws.ravel())
        ax.set(
            title=shorten(name, 34), xlabel="imputed value", ylabel="probability" if is_discrete(draws) else "density"
        )
        look.few_ticks(ax, whole_x=is_discrete(draws))
    return figure


FIGURE = Figure(draw=draw)
