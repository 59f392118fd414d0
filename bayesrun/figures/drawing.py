"""Draw the figures of a run, side by side, and write them as PNG files."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from bayesrun.figures.base import FIGURES, NotDrawable, NotDrawn, Outcome, Subject, default_for
from bayesrun.figures.early import EarlyFigures, remove_half_written
from bayesrun.figures.matplotlib_patches import draw_once, measure_once
from bayesrun.figures.style import style
from bayesrun.processes import forked, may_pool
from bayesrun.run_folder import RunFolder

_LOG = logging.getLogger("bayesrun.figures")


def draw_all(
    names: Sequence[str],
    subject: Subject,
    folder: Path,
    processes: int = 1,
    meanwhile: Callable[[], object] = bool,
    early: EarlyFigures | None = None,
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
    early
        What has been drawn of them, and is being drawn.

    Returns
    -------
    list of Path
        The written files, in the order of `names`.
    dict of str to str
        Why a figure was not drawn, by name. A figure that fails is one of them: a figure must not lose a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(names))
    asked = tuple(wanted) != default_for(str(subject.model.get("type")))
    if early is None:
        early = EarlyFigures()
        remove_half_written(folder)
    early.stop()
    outcomes = _drawn([name for name in wanted if name not in early.taken], subject, folder, processes, meanwhile)
    outcomes |= early.outcomes()
    outcomes |= _drawn([name for name in wanted if name not in outcomes], subject, folder, processes)
    written, reasons = [], {}
    for name in wanted:
        outcome = outcomes[name]
        if isinstance(outcome, Path):
            written.append(outcome)
        else:
            _tell(name, outcome, asked)
            reasons[name] = outcome.reason
    return written, reasons


_LONGEST = ("trace", "prior_posterior", "posterior", "rank", "trace_chains", "loo_pit", "autocorrelation", "ppc")
"""Figures that take the most time: they are begun first, so that all processes are busy until the end."""


def _drawn(
    names: Sequence[str], subject: Subject, folder: Path, processes: int, meanwhile: Callable[[], object] = bool
) -> dict[str, Outcome]:
    """Draw figures, beside each other where that is possible; return what has become of each."""
    if min(processes, len(names)) < 2 or not may_pool():
        meanwhile()
        return {name: attempt(name, subject, folder) for name in names}
    order = {name: place for place, name in enumerate(_LONGEST)}
    ordered = sorted(names, key=lambda name: order.get(name, len(order)))
    return dict(zip(ordered, _side_by_side(ordered, subject, folder, meanwhile, processes), strict=True))


def _side_by_side(
    names: Sequence[str], subject: Subject, folder: Path, meanwhile: Callable[[], object], processes: int
) -> Iterator[Outcome]:
    """Draw in forked processes; if a process dies, its figure has failed."""
    for name in names:  # import once, before the processes fork
        with suppress(Exception):
            FIGURES.load(name, "model.figures")
    with forked(processes, partial(attempt, subject=subject, folder=folder)) as submit:
        futures = [submit(name) for name in names]
        meanwhile()
        for future in futures:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                yield NotDrawn(str(error), failed=True)


def attempt(name: str, subject: Subject, folder: Path) -> Outcome:
    """Draw a figure and save it as `folder/NAME.png`; return the file, or why there is none."""
    try:
        return _draw_one(name, subject, folder)
    except NotDrawable as reason:
        return NotDrawn(str(reason))
    except Exception as error:  # whatever a figure does, the run goes on
        return NotDrawn(f"{type(error).__name__}: {error}", failed=True, traceback=traceback.format_exc())


def _tell(name: str, outcome: NotDrawn, asked: bool) -> None:
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
