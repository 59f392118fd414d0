"""Every change that bayesrun makes to Matplotlib's behaviour, in one place.

==================  ==============================================================  ===================  ==============
patch               reason                                                          versions             benefit
==================  ==============================================================  ===================  ==============
`measure_once`      constrained layout measures each pair of axes twice, because    3.7 to 3.8 (pinned)  a third of the
                    tick labels may change with its size; the tick numbers of our                        time of a
                    axes are set, so they hardly do                                                      figure
`draw_once`         `Figure.savefig` draws the canvas a second time to find out     3.7 to 3.8 (pinned)  half the time
                    what the first drawing already laid out                                              of a file
`light_axes`        five artists a tick, measured eight times a drawing; a module   3.7 to 3.8 (pinned)  a third of a
                    of its own, whose axes share one tick                                                figure's time
==================  ==============================================================  ===================  ==============

Each works on one figure and changes no global state. `tests/unit/figures/test_matplotlib_patches.py` and
`test_light_axes.py` compare the pictures with those of Matplotlib alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import Bbox
from PIL import Image


def measure_once(ax: Axes) -> None:
    """Let the layout measure the surroundings of axes once; spines lie on their edge and need no measuring."""
    measure, around = ax.get_tightbbox, list[Any]()

    def get_tightbbox(renderer: Any = None, **options: Any) -> Bbox:
        frame = np.asarray(ax.get_window_extent(renderer).extents)
        if not around:
            box = measure(renderer, **options)
            around.append(np.zeros(4) if box is None else box.extents - frame)
        return Bbox.from_extents(*(frame + around[0]))

    for spine in ax.spines.values():
        spine.set_in_layout(False)
    ax.get_tightbbox = get_tightbbox  # type: ignore[method-assign]


def draw_once(figure: Canvas, path: Path) -> None:
    """Write a figure as PNG from a single drawing."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.save(path, "PNG", compress_level=1, dpi=(figure.dpi, figure.dpi))
