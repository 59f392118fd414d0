"""Draw the figures of a run, side by side, and write them as PNG files."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from bayesrun.figures.base import FIGURES, NotDrawable, Subject, default_for
from bayesrun.figures.matplotlib_patches import draw_once, measure_once
from bayesrun.figures.style import style
from bayesrun.processes import forked, may_pool
from bayesrun.run_folder import RunFolder

_LOG = logging.getLogger("bayesrun.figures")


def draw_all(
    names: Sequence[str], subject: Subject, folder: Path, processes: int = 1, meanwhile: Callable[[], object] = bool
) -> tuple[list[Path], dict[str, str]]:
    """Draw figures and save each as `folder/NAME.png`.

    Parameters
    ----------
    names
        Registered names; a name given twice is drawn once.
    subject
        The posterior to show.
    folder
        Created if it does not exist.
    processes
        Number of processes that draw at the same time; they are forked, so nothing is imported or copied for them.
    meanwhile
        Called once, while other processes draw.

    Returns
    -------
    list of Path
        The written files, in the order of `names`.
    dict of str to str
        Why a figure was not drawn, by name. A figure that fails is one of them: a figure must not lose a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for half_written in folder.glob(".*.png"):  # by a process that was killed
        half_written.unlink(missing_ok=True)
    wanted = list(dict.fromkeys(names))
    asked = tuple(wanted) != default_for(str(subject.model.get("type")))
    alone = min(processes, len(wanted)) < 2 or not may_pool()
    drawn = _in_turn if alone else partial(_side_by_side, processes=processes)
    outcomes = drawn(wanted, subject, folder, meanwhile=meanwhile)
    written, reasons = [], {}
    for name, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, Path):
            written.append(outcome)
        else:
            _tell(name, outcome, asked)
            reasons[name] = outcome.reason
    return written, reasons


@dataclass(frozen=True)
class _NotDrawn:
    """Why a figure was not drawn: the subject lacks what it shows, or drawing failed, with its traceback."""

    reason: str
    failed: bool = False
    traceback: str = ""


def _in_turn(
    names: Sequence[str], subject: Subject, folder: Path, meanwhile: Callable[[], object]
) -> Iterator[Path | _NotDrawn]:
    meanwhile()
    for name in names:
        yield _attempt(name, subject, folder)


def _side_by_side(
    names: Sequence[str], subject: Subject, folder: Path, meanwhile: Callable[[], object], processes: int
) -> Iterator[Path | _NotDrawn]:
    """Draw in forked processes; if a process dies, its figure has failed."""
    for name in names:  # import once, before the processes fork
        with suppress(Exception):
            FIGURES.load(name, "model.figures")
    with forked(processes, partial(_attempt, subject=subject, folder=folder)) as submit:
        futures = [submit(name) for name in names]
        meanwhile()
        for future in futures:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                yield _NotDrawn(str(error), failed=True)


def _attempt(name: str, subject: Subject, folder: Path) -> Path | _NotDrawn:
    try:
        return _draw_one(name, subject, folder)
    except NotDrawable as reason:
        return _NotDrawn(str(reason))
    except Exception as error:  # whatever a figure does, the run goes on
        return _NotDrawn(f"{type(error).__name__}: {error}", failed=True, traceback=traceback.format_exc())


def _tell(name: str, outcome: _NotDrawn, asked: bool) -> None:
    """Log why a figure is missing; nobody asked for the figures of the default set."""
    if outcome.failed:
        _LOG.warning("figure '%s' failed: %s", name, outcome.reason)
        _LOG.debug(outcome.traceback)
    else:
        _LOG.log(logging.INFO if asked else logging.DEBUG, "figure '%s' is not drawn: %s", name, outcome.reason)


def _draw_one(name: str, subject: Subject, folder: Path) -> Path:
    figure = FIGURES.load(name, "model.figures")
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ and xarray warn about their own code
        return save(figure.draw(subject), folder / f"{name}.png")


def save(figure: Canvas, path: Path) -> Path:
    """Write a figure as PNG, whole."""
    for ax in figure.axes:
        measure_once(ax)
    return RunFolder(path.parent).write(path.name, lambda to: draw_once(figure, to))
