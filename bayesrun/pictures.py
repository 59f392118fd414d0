"""What is drawn of a run once its verdict is known: figures, the model's graph, and the report.

They come last, so that an interrupt, a kill or a power cut loses pictures alone. `status.json` says under `pictures`
how far they are: `pending` (with the process that draws them), `drawn` or `interrupted`. `task=figures` draws them
later, and so does the next command where the process was killed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.config.run_config import RunConfig
from bayesrun.errors import fail
from bayesrun.figures.early import EarlyFigures, drawing_early
from bayesrun.finished_run import read_posterior
from bayesrun.invocation import command
from bayesrun.language.statements import WrittenModel
from bayesrun.lazy import az, pd
from bayesrun.open_run import write_report_of
from bayesrun.partial_imports import import_matplotlib
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.chains import parallel_chains

if TYPE_CHECKING:
    from bayesrun.engines.base import ModelGraph
    from bayesrun.figures.base import Outcome, Subject

log = logging.getLogger("bayesrun")

DRAWING = "drawing the figures and the report; Ctrl-C ends this, and keeps the run"
"""Shown after the verdict, on a terminal, while pictures are drawn."""


def begin_figures(
    config: RunConfig, folder: RunFolder, idata: az.InferenceData
) -> AbstractContextManager[EarlyFigures]:
    """Draw figures that show draws alone while the block runs, which looks at predictions and checks."""
    return drawing_early(
        config.model.figures,
        idata,
        config.plain["model"],
        config.top.intervals,
        folder.figures,
        parallel_chains(config.sampler),
        _attempt,
    )


def _attempt(name: str, subject: Subject, folder: Path) -> Outcome:
    import_matplotlib()  # here, since no verdict waits for it
    from bayesrun.figures.drawing import attempt

    return attempt(name, subject, folder)


def draw_pictures(
    config: RunConfig,
    subject: Subject,
    folder: RunFolder,
    written: WrittenModel | None,
    graph: Callable[[], ModelGraph] | None = None,
    early: EarlyFigures | None = None,
) -> dict[str, str]:
    """Draw the figures of a run, side by side, and its model's graph meanwhile.

    Parameters
    ----------
    config
        The run's config, which names the figures.
    subject
        The posterior to show.
    folder
        Its folder.
    written
        The model as it is written.
    graph
        Makes the engine's graph of the model, for one that is not written or whose graph can't be drawn.
    early
        The figures that were begun before the verdict.

    Returns
    -------
    dict of str to str
        Why a figure was not drawn, by name.
    """
    import_matplotlib()
    from bayesrun.figures.drawing import draw_all

    _, reasons = draw_all(
        config.model.figures,
        subject,
        folder.figures,
        parallel_chains(config.sampler),
        meanwhile=lambda: _write_graph(config.plain["model"], folder, written, graph),
        early=early,
    )
    return reasons


def draw_stored(config: RunConfig, folder: RunFolder) -> dict[str, str]:
    """Draw the pictures of a run from the files of its folder, and write its report anew.

    Parameters
    ----------
    config
        The run's config.
    folder
        Its folder.

    Returns
    -------
    dict of str to str
        Why a figure was not drawn, by name.

    Raises
    ------
    UserError
        When the run has no posterior or no summary, or one that can't be read.
    """
    from bayesrun.figures.base import Subject

    folder.remove_unfinished()
    idata = read_posterior(folder.path)
    path = folder.path / "summary.csv"
    if not path.is_file():
        raise folder.lacks("summary.csv")
    try:
        summary = pd.read_csv(path, index_col="name")
    except ValueError as error:  # not text, no table, or not this one
        hint = f"restore the file, or run the model again: {command('task=rerun', f'run={folder.path}')}"
        raise fail("run", f"'{path}' can't be read: {str(error).splitlines()[0]}", hint) from None
    subject = Subject(idata, summary, config.plain["model"], config.top.intervals)
    content = folder.read_json("model.json")
    reasons = draw_pictures(config, subject, folder, WrittenModel.restored(content) if content else None)
    folder.write_pictures("drawn")
    write_report_of(folder)
    return reasons


def _write_graph(
    model: Mapping[str, Any],
    folder: RunFolder,
    written: WrittenModel | None,
    graph: Callable[[], ModelGraph] | None,
) -> None:
    """Write the graph of the model as it is written, otherwise of the engine's model."""
    from bayesrun.report.model_graph import write_graph, written_distributions, written_graph

    if written is not None:
        try:
            nodes, texts = written_graph(written)
            write_graph(nodes, folder, texts)
            return
        except Exception:  # a graph must not cost a run
            log.debug("the written model has no graph", exc_info=True)
    if graph is not None:
        write_graph(graph(), folder, written_distributions(model))
