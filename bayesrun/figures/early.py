"""Draw figures that show nothing but draws beside predictions and checks, by a process that was forked for them.

The process takes one figure after another from a pipe, which holds a byte for each. Once the verdict is known, what is
left in the pipe is drawn by all processors (`drawing.draw_all`). Nothing of Matplotlib is imported here, and nothing
that the run waits for happens: the process has a lower priority, and its figures are lost with a run that fails.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.figures.base import Outcome, Subject
from bayesrun.processes import end_with_parent, leave_signals_to_parent, may_fork, uninterrupted

if TYPE_CHECKING:
    import arviz as az

OF_DRAWS = ("trace", "posterior", "rank", "trace_chains", "autocorrelation", "forest", "energy")
"""Figures that show draws and the sampler's statistics alone, longest first."""

DrawFigure = Callable[[str, Subject, Path], Outcome]

_NICE = 5
_MOST_BYTES = 50_000_000  # of draws: figures of more take memory that predictions may need


class EarlyFigures:
    """What is drawn before the verdict.

    Parameters
    ----------
    names
        Figures that the process was given.
    waiting
        The end of the pipe with the figures that nobody has taken yet, a byte for each.
    replies
        Where the process sends what has become of the ones that it took.
    """

    def __init__(
        self, names: Sequence[str] = (), waiting: int | None = None, replies: Connection | None = None
    ) -> None:
        self.names, self._waiting, self._replies = list(names), waiting, replies
        self.taken: list[str] = []
        self.is_kept = False

    def stop(self) -> None:
        """Leave what is not begun to others; from here on the figures are kept."""
        self.is_kept = True
        if self._waiting is not None:
            left = {self.names[place] for place in os.read(self._waiting, len(OF_DRAWS))}
            self.taken = [name for name in self.names if name not in left]

    def outcomes(self) -> dict[str, Outcome]:
        """Wait for the figure that is being drawn; return what has become of each one that was taken, by name.

        One that the process died of is not there.
        """
        found = {}
        with suppress(EOFError, OSError):
            while self._replies is not None:
                name, outcome = self._replies.recv()
                found[name] = outcome
        return found


def remove_half_written(folder: Path) -> None:
    """Remove what a process that was killed has left of figures."""
    for path in folder.glob(".*.png"):
        path.unlink(missing_ok=True)


@contextmanager
def drawing_early(
    names: Sequence[str],
    idata: az.InferenceData,
    model: Any,
    interval: float,
    folder: Path,
    processes: int,
    draw: DrawFigure,
) -> Iterator[EarlyFigures]:
    """Draw figures while the block runs; if it fails before `EarlyFigures.stop`, they are removed.

    Parameters
    ----------
    names
        All figures of the run.
    idata
        Its draws.
    model, interval
        As of `Subject`.
    folder
        Where figures are written.
    processes
        Number of processes that may compute at the same time; with one, nothing is drawn early.
    draw
        Draws one figure (`drawing.attempt`).
    """
    remove_half_written(folder)
    known = [name for name in OF_DRAWS if name in names]
    if not known or processes < 2 or idata.posterior.nbytes > _MOST_BYTES or not may_fork():
        yield EarlyFigures()
        return
    folder.mkdir(parents=True, exist_ok=True)
    waiting, filled = os.pipe()
    replies, told = multiprocessing.Pipe(duplex=False)
    os.write(filled, bytes(range(len(known))))
    os.close(filled)
    arguments = known, waiting, told, idata, model, interval, folder, draw
    process = multiprocessing.get_context("fork").Process(target=_draw, args=arguments)
    with uninterrupted():
        process.start()
    told.close()
    del idata, arguments
    figures = EarlyFigures(known, waiting, replies)
    try:
        yield figures
    except BaseException:
        process.kill()
        raise
    finally:
        process.join()
        os.close(waiting)
        replies.close()
        if not figures.is_kept:
            for name in known:
                (folder / f"{name}.png").unlink(missing_ok=True)
            remove_half_written(folder)
            with suppress(OSError):  # others are there
                folder.rmdir()


def _draw(
    names: Sequence[str],
    waiting: int,
    told: Connection,
    idata: az.InferenceData,
    model: Any,
    interval: float,
    folder: Path,
    draw: DrawFigure,
) -> None:
    """Draw figures as long as there are some that nobody has taken."""
    gc.freeze()
    leave_signals_to_parent()
    end_with_parent()
    os.nice(_NICE)
    from bayesrun.diagnostics.summary import summarise

    with suppress(Exception):  # whoever waits draws what is missing
        subject = Subject(idata, summarise(idata, interval), model, interval)
        while taken := os.read(waiting, 1):
            name = names[taken[0]]
            told.send((name, draw(name, subject, folder)))
