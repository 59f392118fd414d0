"""Draw the figures of a run and write them as PNG files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from PIL import Image

from bayesrun.figures._style import style
from bayesrun.figures.base import FIGURES, NotDrawable, Subject
from bayesrun.run_folder import RunFolder

_LOG = logging.getLogger("bayesrun.figures")


def draw_all(names: Sequence[str], subject: Subject, folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Draw figures and save each as `folder/NAME.png`.

    Parameters
    ----------
    names
        Registered names; one named twice is drawn once.
    subject
        What they show.
    folder
        Made where it is not there.

    Returns
    -------
    list of Path
        The files written, in the order of `names`.
    dict of str to str
        Why a figure was not drawn, by name. A figure that fails is one of them: a picture must not lose a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, reasons = [], {}
    for name in dict.fromkeys(names):
        try:
            written.append(_draw_one(name, subject, folder))
        except NotDrawable as reason:
            _LOG.info("figure '%s' is not drawn: %s", name, reason)
            reasons[name] = str(reason)
        except Exception as error:  # whatever a figure does, the run goes on
            _LOG.warning("figure '%s' failed: %s: %s", name, type(error).__name__, error, exc_info=True)
            reasons[name] = f"it failed: {type(error).__name__}: {error}"
    return written, reasons


def _draw_one(name: str, subject: Subject, folder: Path) -> Path:
    figure = FIGURES.load(name, "model.figures")
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ and xarray, about their own code
        return save(figure.draw(subject), folder / f"{name}.png")


def save(figure: Canvas, path: Path) -> Path:
    """Write a figure as PNG, whole.

    The canvas is drawn once; `Figure.savefig` draws twice, and the layout is what takes the time.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    resolution = (figure.dpi, figure.dpi)
    return RunFolder(path.parent).write(path.name, lambda to: image.save(to, "PNG", compress_level=4, dpi=resolution))
