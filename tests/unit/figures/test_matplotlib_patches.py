"""With the patches a picture is that of Matplotlib alone, and Matplotlib itself is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.image import imread

from bayesrun.figures.base import Subject
from bayesrun.figures.drawing import save
from bayesrun.figures.mixing import draw_rank, draw_trace
from bayesrun.figures.posteriors import draw_posterior
from bayesrun.figures.style import style


def test_the_patches_are_for_the_installed_version() -> None:
    assert matplotlib.__version__.startswith(("3.7.", "3.8.")), "measure again whether the patches are still needed"


@pytest.mark.parametrize("draw", [draw_posterior, draw_rank, draw_trace], ids=["posterior", "rank", "trace"])
def test_a_picture_is_that_of_matplotlib_alone(
    draw: Callable[[Subject], Canvas], regression: Subject, tmp_path: Path
) -> None:
    with style():
        ours = imread(save(draw(regression), tmp_path / "ours.png"))[..., :3]
        draw(regression).savefig(tmp_path / "theirs.png")
        theirs = imread(tmp_path / "theirs.png")[..., :3]
    assert ours.shape == theirs.shape
    # axes may lie a pixel or two aside: spines are not measured
    dark = [np.argwhere(picture.mean(axis=2) < 0.5) for picture in (ours, theirs)]
    assert np.abs(dark[0].mean(axis=0) - dark[1].mean(axis=0)).max() < 8


def test_no_class_of_matplotlib_is_changed(regression: Subject, tmp_path: Path) -> None:
    before = Axes.get_tightbbox
    with style():
        save(draw_posterior(regression), tmp_path / "one.png")
    assert Axes.get_tightbbox is before
