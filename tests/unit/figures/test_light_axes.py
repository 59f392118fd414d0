"""Pictures with light axes are those of Matplotlib's own axes, pixel by pixel, with one tick object an axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axis import Tick
from matplotlib.figure import Figure as Canvas
from matplotlib.image import imread
from matplotlib.ticker import AutoMinorLocator

from bayesrun.figures import forest
from bayesrun.figures import style as look
from bayesrun.figures.base import Subject
from bayesrun.figures.drawing import save
from bayesrun.figures.light_axes import LightCanvas
from bayesrun.figures.mixing import draw_energy, draw_rank, draw_trace
from bayesrun.figures.posteriors import draw_posterior, draw_prior_posterior
from bayesrun.figures.style import style


def _both(draw: Callable[[], Canvas], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Draw with light axes and with Matplotlib's own."""
    pictures = []
    for name, kind in (("light", LightCanvas), ("plain", Canvas)):
        with monkeypatch.context() as patched, style():
            patched.setattr(look, "LightCanvas", kind)
            pictures.append(imread(save(draw(), folder / f"{name}.png")))
    return pictures


@pytest.mark.parametrize(
    "draw",
    [draw_posterior, draw_prior_posterior, draw_rank, draw_trace, draw_energy, forest.draw],
    ids=["posterior", "prior_posterior", "rank", "trace", "energy", "forest"],
)
def test_figures_are_the_same(
    draw: Callable[[Subject], Canvas], regression: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light, plain = _both(lambda: draw(regression), tmp_path, monkeypatch)
    np.testing.assert_array_equal(light, plain)


def _own_ticks() -> Canvas:
    """Draw all that axes do with ticks beside plain marks and labels."""
    figure, axes = look.panels("ticks", 9)
    for ax in axes:
        ax.plot([1.0, 10.0, 1000.0], [-3.0, 1e-7, 2e6], label="values")
        ax.set(xlabel="across", ylabel="up", title="values")
    look.log_scale(axes[0], "x")
    axes[1].set_xscale("log")  # with minor ticks
    axes[2].grid(alpha=0.3)
    axes[3].xaxis.set_minor_locator(AutoMinorLocator())
    look.label_levels(axes[4], ["a long label", "another long label", "a third one", "b"])
    axes[5].set(xlim=(20, -5), ylim=(3, 1))
    axes[6].tick_params(labelsize=6, labeltop=True, top=True, colors="red", direction="in")
    axes[7].xaxis.get_major_ticks()[0].label1.set_color("green")
    axes[8].ticklabel_format(style="sci", scilimits=(0, 0))
    look.no_scale(axes[8])
    return figure


def test_ticks_of_their_own_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    light, plain = _both(_own_ticks, tmp_path, monkeypatch)
    np.testing.assert_array_equal(light, plain)


def test_a_figure_can_be_changed_and_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn_twice() -> Canvas:
        figure, ax = look.panel("twice")
        ax.plot([0, 1], [0, 1])
        save(figure, tmp_path / "first.png")
        ax.set_xlim(0, 1000)
        ax.tick_params(labelsize=14)
        look.few_ticks(ax, x=3)
        return figure

    light, plain = _both(drawn_twice, tmp_path, monkeypatch)
    np.testing.assert_array_equal(light, plain)


@pytest.mark.parametrize("kind", [LightCanvas, Canvas])
def test_labels_can_be_read(kind: type[Canvas], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "LightCanvas", kind)
    with style():
        figure, ax = look.panel("read")
        ax.plot([0, 4], [0, 1])
        ax.set_xlim(-0.5, 4.5)
        look.few_ticks(ax, x=4)
        save(figure, tmp_path / "one.png")
        texts = [label.get_text() for label in ax.get_xticklabels()]
    assert texts == ["-1.5", "0.0", "1.5", "3.0", "4.5"]  # the first one lies outside the limits: it is not drawn


def test_an_axis_has_one_tick_at_most(regression: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    begin = Tick.__init__

    def counted(self: Tick, *arguments: Any, **options: Any) -> None:
        made.append(self)
        begin(self, *arguments, **options)

    monkeypatch.setattr(Tick, "__init__", counted)
    with style():
        figure = draw_rank(regression)
        save(figure, tmp_path / "rank.png")
    assert 0 < len(made) <= 2 * len(figure.axes)
