"""`task=recover run=FOLDER`: complete the run folder of a killed run, from the draws that it had stored.

python -m bayesrun task=recover run=FOLDER       one run
python -m bayesrun task=recover                  every killed run below the outputs folder

Each command does this by itself for the killed runs below its outputs folder.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from pathlib import Path

from bayesrun.config.compose import compose
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import BayesrunError, check, fail
from bayesrun.open_run import OpenRun, write_report_of
from bayesrun.pipeline import conclude, prepare
from bayesrun.run_folder import RunFolder, dead_runs, forget
from bayesrun.samplers.draw_store import read_draws
from bayesrun.samplers.earlier import recovered
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.none import NoTracker

log = logging.getLogger("bayesrun")


def recover(request: TaskRequest) -> int:
    """Recover the given runs, else all killed runs; return 1 if one can't be recovered."""
    outputs = Path(str(request.config.paths.outputs))
    named = [run.folder for run in (request.run, *request.runs) if run]
    folders = named or dead_runs(outputs)
    if not folders:
        print("no run died below", outputs)
    return max([_recover(folder, outputs) for folder in folders], default=0)


def recover_dead_runs(outputs: Path) -> None:
    """Recover the killed runs below an outputs folder; failures are logged, and nothing is raised."""
    for folder in dead_runs(outputs):
        if "sweeps" not in folder.relative_to(outputs.absolute()).parts[:1]:  # `resume=` runs a sweep's jobs again
            _recover(folder, outputs)


def _recover(folder: Path, outputs: Path) -> int:
    try:
        print(f"{folder}: {recover_run(_config_of(folder), RunFolder(folder))}")
    except BayesrunError as error:
        print(f"{folder}: can't be recovered: {error}")
        RunFolder(folder).write_status("failed", None, f"killed; {error}")
        return 1
    finally:
        forget(outputs, folder)
    return 0


def recover_run(config: RunConfig, folder: RunFolder) -> str:
    """Complete the run folder of a killed run, from the draws that it had stored.

    Parameters
    ----------
    config
        The run's own config.
    folder
        Its folder.

    Returns
    -------
    str
        What was recovered.

    Raises
    ------
    UserError
        When the data or the config have changed since.
    """
    stored = read_draws(folder.draws)
    if stored is None:
        return _nothing_stored(folder)
    began = time.perf_counter()
    prepared = prepare(config)
    sampled = recovered(stored, prepared.model.constrain)
    opened = OpenRun(NoTracker(), folder)
    conclude(config, prepared, sampled, opened, began)
    if config.top.report:
        write_report_of(folder)
    _send(config, folder)
    chains, draws = next(iter(sampled.draws.values())).shape[:2]
    return f"recovered {chains * draws:,} draws of {chains} chains (status {opened.status}, verdict {opened.verdict})"


def _nothing_stored(folder: RunFolder) -> str:
    """Mark a run without draws as failed, unless it had ended before the process was killed."""
    if folder.status() in (None, "running"):
        folder.write_status("failed", None, "killed before the first draw was kept")
        return "was killed before the first draw was kept; run it again"
    return f"needs no recovery: it is {folder.status()}"


def _send(config: RunConfig, folder: RunFolder) -> None:
    """Send what was recovered to where the run is tracked; `task=sync` does it later where that fails."""
    try:
        TRACKERS.load(config.tracking.backend, "tracking.backend").upload(config.tracking, folder.path)
    except BayesrunError as error:
        log.warning("%s", error)


def _config_of(folder: Path) -> RunConfig:
    if not (folder / "config.yaml").is_file():
        raise fail("run", f"'{folder}' has no config.yaml", "it was killed before it began: run it again")
    arguments = Namespace(
        config_dir=str(folder), config_name="config", config_path=None, overrides=[], multirun=False, run=False
    )
    composition = compose(arguments, conf())
    check(composition.problems)
    return parse_config(composition.config)


TASK = Task(do=recover)
