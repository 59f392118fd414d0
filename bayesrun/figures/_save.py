"""Draw the figures of a run and write them as PNG files."""

from __future__ import annotations

import logging
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import Bbox
from PIL import Image

from bayesrun.figures._style import style
from bayesrun.figures.base import FIGURES, NotDrawable, Subject
from bayesrun.processes import end_with_parent, forked, may_fork
from bayesrun.run_folder import RunFolder

_LOG = logging.getLogger("bayesrun.figures")


def draw_all(
    names: Sequence[str], subject: Subject, folder: Path, processes: int = 1, meanwhile: Callable[[], object] = bool
) -> tuple[list[Path], dict[str, str]]:
    """Draw figures and save each as `folder/NAME.png`.

    Parameters
    ----------
    names
        Registered names; one named twice is drawn once.
    subject
        What they show.
    folder
        Made where it is not there.
    processes
        How many draw at the same time; they fork, so that nothing is imported or copied for them.
    meanwhile
        Called once, while other processes draw.

    Returns
    -------
    list of Path
        The files written, in the order of `names`.
    dict of str to str
        Why a figure was not drawn, by name. A figure that fails is one of them: a picture must not lose a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(names))
    alone = min(processes, len(wanted)) < 2 or not may_fork()
    drawn = _in_turn if alone else partial(_side_by_side, processes=processes)
    outcomes = drawn(wanted, subject, folder, meanwhile=meanwhile)
    written, reasons = [], {}
    for name, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, Path):
            written.append(outcome)
        else:
            _LOG.log(outcome.level, "figure '%s' %s", name, outcome.told)
            reasons[name] = outcome.reason
    return written, reasons


@dataclass(frozen=True)
class _NotDrawn:
    reason: str
    told: str
    level: int


def _in_turn(
    names: Sequence[str], subject: Subject, folder: Path, meanwhile: Callable[[], object]
) -> Iterator[Path | _NotDrawn]:
    meanwhile()
    for name in names:
        yield _attempt(name, subject, folder)


def _side_by_side(
    names: Sequence[str], subject: Subject, folder: Path, meanwhile: Callable[[], object], processes: int
) -> Iterator[Path | _NotDrawn]:
    """Draw in forked processes; a figure whose process dies is one that failed."""
    for name in names:  # imported once, before the processes fork
        with suppress(Exception):
            FIGURES.load(name, "model.figures")
    with forked(processes, partial(_attempt, subject=subject, folder=folder), _let_parent_decide) as submit:
        futures = [submit(name) for name in names]
        meanwhile()
        for future in futures:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                yield _NotDrawn(f"it failed: {error}", f"failed: {error}", logging.WARNING)


def _let_parent_decide() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _attempt(name: str, subject: Subject, folder: Path) -> Path | _NotDrawn:
    try:
        return _draw_one(name, subject, folder)
    except NotDrawable as reason:
        return _NotDrawn(str(reason), f"is not drawn: {reason}", logging.INFO)
    except Exception as error:  # whatever a figure does, the run goes on
        failure = f"failed: {type(error).__name__}: {error}"
        return _NotDrawn(f"it {failure}", f"{failure}\n{traceback.format_exc()}", logging.WARNING)


def _draw_one(name: str, subject: Subject, folder: Path) -> Path:
    figure = FIGURES.load(name, "model.figures")
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ and xarray, about their own code
        return save(figure.draw(subject), folder / f"{name}.png")


def save(figure: Canvas, path: Path) -> Path:
    """Write a figure as PNG, whole.

    The canvas is drawn once; `Figure.savefig` draws twice, and the layout is what takes the time.
    """
    for ax in figure.axes:
        _measure_once(ax)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    resolution = (figure.dpi, figure.dpi)
    return RunFolder(path.parent).write(path.name, lambda to: image.save(to, "PNG", compress_level=1, dpi=resolution))


def _measure_once(ax: Axes) -> None:
    """Let the layout measure what lies around axes once.

    It measures twice, as labels may change with the axes' size; those of axes with a set number of ticks hardly do, and
    measuring is a third of what a figure takes. Spines lie on the axes' edge, and need not be measured.
    """
    measure, around = ax.get_tightbbox, list[Any]()

    def get_tightbbox(renderer: Any = None, **how: Any) -> Bbox:
        frame = np.asarray(ax.get_window_extent(renderer).extents)
        if not around:
            box = measure(renderer, **how)
            around.append(np.zeros(4) if box is None else box.extents - frame)
        return Bbox.from_extents(*(frame + around[0]))

    for spine in ax.spines.values():
        spine.set_in_layout(False)
    ax.get_tightbbox = get_tightbbox  # type: ignore[method-assign]
