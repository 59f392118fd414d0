"""`task=predict`: predict new rows from a finished run, without sampling.

python -m bayesrun task=predict run=FOLDER predict.data=NAME              from a run folder
python -m bayesrun task=predict run=last predict.data=new.csv             the rows of a file
python -m bayesrun task=predict run=mlflow:RUN_ID predict.data=NAME       from a tracked run

The numbers are those that predicting right after the fit gives. They go into a run folder of their own, which names
its parent, and into a tracked run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bayesrun.config.run_config import RunConfig
from bayesrun.data.prepare import digest
from bayesrun.errors import Problem, check, fail
from bayesrun.finished_run import LateEngine, draws_for
from bayesrun.logs import logging_to_memory
from bayesrun.predict.fitted_model import read_design
from bayesrun.predict.new_rows import PreparedRows, prepare_rows
from bayesrun.predict.tables import check_groups, write_predictions
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import OF_RUN, TaskRun, config_of, key_of, open_task_run
from bayesrun.tracking.base import TRACKERS, DatasetInfo

log = logging.getLogger("bayesrun")

_OF_COMMAND = ("predict", "tracking", "paths")


def predict(request: TaskRequest) -> TaskEnd:
    """Predict the rows of `predict.data` from the finished run, and return how that ended."""
    assert request.run is not None
    _check_overrides(request.arguments.overrides)
    folder = request.run.folder
    config = config_of(request, folder, ("predict",))
    if config.predict.data is None:
        hint = "choose the new rows: predict.data=NAME, or predict.data=FILE"
        raise fail("predict.data", "is required but missing", hint)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        fitted = read_design(folder, getattr(config.model, "formula", None))
        rows = prepare_rows(config.model_type, config.model, fitted, config.predict, config.paths.data)
        check_groups(rows, config.predict.group_by)
        for note in rows.notes:
            log.info("predict.data: %s", note)
        draws = draws_for(fitted, folder)
        with open_task_run(_task_run(config, folder, rows), memory) as own:
            interval, seed = config.top.intervals, config.top.seed
            engine = LateEngine(config.engine)
            write_predictions(config.predict, interval, seed, rows, fitted, draws, engine, own)
    print(f"folder: {own.path}")
    return TaskEnd(0, own.path)


def _task_run(config: RunConfig, folder: Path, rows: PreparedRows) -> TaskRun:
    name, found = str(rows.data.attrs.get("name", "")), digest(rows.data)
    dataset = DatasetInfo(name, found, str(rows.data.attrs.get("origin", "")), rows.data.sizes[rows.dim])
    return TaskRun("predict", [folder], config, config.plain["predict"], f"data={name}", found, dataset)


def _check_overrides(overrides: Sequence[str]) -> None:
    """Refuse keys that would change the fit; keys of sampling and checks have no effect."""
    keys = [key_of(override) for override in overrides]
    of_fit = [key for key in keys if key.partition(".")[0] in ("model", "data") and key != "model.figures"]
    hint = f"allowed: {', '.join((*_OF_COMMAND, *OF_RUN))}"
    check([Problem(key, "belongs to the fit, which is done", hint) for key in of_fit])
    idle = [key for key in keys if key.partition(".")[0] not in (*_OF_COMMAND, *OF_RUN, "hydra")]
    if idle:
        log.debug("without effect on predictions: %s", ", ".join(idle))


TASK = Task(do=predict, options=None, needs_run=True)
