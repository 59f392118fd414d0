"""`task=recover run=FOLDER`: complete the run folder of a killed run, from the draws that it had stored.

python -m bayesrun task=recover run=FOLDER       one run
python -m bayesrun task=recover                  every killed run below the outputs folder

Each run, sweep and task does this by itself for the killed runs below its outputs folder. A run that goes on is left
alone. Whether one of another host or container goes on is not known here: `force=true` recovers it all the same.
"""

from __future__ import annotations

import json
import logging
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bayesrun.config.compose import compose
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import BayesrunError, OutputError, Problem, check, fail
from bayesrun.invocation import command
from bayesrun.lazy import filelock
from bayesrun.logs import console_level, logging_to_memory
from bayesrun.open_run import OpenRun
from bayesrun.pictures import draw_stored
from bayesrun.pipeline import conclude, prepare
from bayesrun.run_folder import RunFolder, as_output_error, check_links, dead_runs, forget, runs_elsewhere
from bayesrun.samplers.draw_store import read_draws
from bayesrun.samplers.earlier import recovered
from bayesrun.sweeps.sweep_folder import is_sweep, may_launch, recovering
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.none import NoTracker

log = logging.getLogger("bayesrun")

_ELSEWHERE = "was started on another host, or in another container, where it may still be running"


def recover(request: TaskRequest) -> int:
    """Recover the given runs, else all killed runs; return 1 if one can't be recovered."""
    outputs = Path(str(request.config.paths.outputs))
    named = [run.folder for run in (request.run, *request.runs) if run]
    is_forced = bool(request.config.force)
    check([problem for folder in named for problem in _still_runs(folder, is_forced)])
    folders = named or dead_runs(outputs)
    if not folders:
        print("no run died below", outputs)
    if not named:
        for folder in runs_elsewhere(outputs):
            print(f"{folder}: {_ELSEWHERE}; {_force(folder)}")
    status = max([_recover(folder, outputs) for folder in folders], default=0)
    _tell_of_sweeps(folders)
    return status


def _force(folder: Path) -> str:
    return f"if it has ended there: {command('task=recover', f'run={folder}', 'force=true')}"


def _still_runs(folder: Path, is_forced: bool) -> list[Problem]:
    """Refuse a run that goes on: recovering it would take its draws away from it."""
    state = RunFolder(folder).process_state()
    if state == "running":
        return [Problem("run", f"'{folder}' is still running", "wait until it has ended, or end it with Ctrl-C")]
    if state == "unknown" and not is_forced:
        return [Problem("run", f"'{folder}' {_ELSEWHERE}", _force(folder))]
    return []


def recover_dead_runs(outputs: Path, resumed: Path | None = None) -> None:
    """Recover the killed runs below an outputs folder; failures are logged, and nothing is raised.

    A sweep that goes on runs its killed jobs again by itself.

    Parameters
    ----------
    outputs
        `paths.outputs`; where no run was killed, this only lists one folder.
    resumed
        Folder of a sweep whose jobs are about to be run again.
    """
    found = [folder for folder in dead_runs(outputs) if not _is_of_sweep(folder, resumed)]
    for folder in found:
        try:
            _recover(folder, outputs, is_wanted=partial(_is_left, folder, outputs, resumed))
        except Exception as error:  # another run's fault must not end this command
            log.warning("%s: can't be recovered: %s", folder, error)
    _tell_of_sweeps(found)


def _is_left(folder: Path, outputs: Path, resumed: Path | None) -> bool:
    """Return whether a run is still killed, and left to this command."""
    return folder in dead_runs(outputs) and not _is_of_sweep(folder, resumed)


def _is_of_sweep(folder: Path, resumed: Path | None) -> bool:
    """Return whether a killed run is left to the sweep whose job it is, which goes on."""
    sweep = folder.parent
    is_resumed = resumed is not None and sweep.resolve() == resumed.resolve()
    return is_sweep(sweep) and (is_resumed or may_launch(sweep))


def _tell_of_sweeps(folders: Sequence[Path]) -> None:
    for sweep in sorted({folder.parent for folder in folders if is_sweep(folder.parent)}):
        print(f"to finish the sweep: {command(f'resume={sweep}')}")


def _recover(folder: Path, outputs: Path, is_wanted: Callable[[], bool] = lambda: True) -> int:
    """Recover one run, if it is still wanted once no other command has it."""
    try:
        with recovering(folder, timeout=0):
            return _recover_alone(folder, outputs) if is_wanted() else 0
    except filelock.Timeout:
        print(f"{folder}: another command is recovering it")
        return 0


def _recover_alone(folder: Path, outputs: Path) -> int:
    """Recover one run; an interrupt leaves it as it is, to be recovered by the next command."""
    status = 0
    try:
        check_links(folder)
        with console_level(logging.WARNING), logging_to_memory():  # what libraries say of themselves is no news here
            said = _end_task_run(folder) or recover_run(config_of(folder), RunFolder(folder))
        print(f"{folder}: {said}")
    except (BayesrunError, OSError) as error:
        told = as_output_error(error, folder)
        if isinstance(told, OutputError):  # no reason to give the run up: its draws stay where they are
            print(f"{folder}: can't be recovered now: {str(told).splitlines()[0]}")
            print("the draws are kept: free some space, and run task=recover again")
            return 1
        if isinstance(error, OSError):
            raise
        print(f"{folder}: can't be recovered: {error}")
        RunFolder(folder).write_status("failed", None, f"killed; {error}")
        status = 1
    forget(outputs, folder)
    return status


def _end_task_run(folder: Path) -> str:
    """Mark what a task makes of another run as failed if it was killed; empty where the folder is that of a model."""
    try:
        content = json.loads((folder / "status.json").read_text(encoding="utf-8"))
        task = content["task"]
    except (OSError, ValueError, KeyError):
        return ""
    if content["status"] != "running":
        return f"needs no recovery: it is {content['status']}"
    del content["process"]
    RunFolder(folder).write_json("status.json", {**content, "status": "failed", "error": "killed"})
    return f"task={task} was killed: run it again"


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
    if folder.pictures() == "pending":  # it was killed after its verdict
        draw_stored(config, folder)
        send(config, folder)
        return f"needs no recovery but for its figures, which are drawn: it is {folder.status()}"
    folder.remove_unfinished()
    stored = read_draws(folder.draws)
    if stored is None:
        return _nothing_stored(folder)
    began = time.perf_counter()
    prepared = prepare(config)
    sampled = recovered(stored, prepared.model.constrain)
    opened = OpenRun(NoTracker(), folder)
    conclude(config, prepared, sampled, opened, began)
    opened.settle(config.top.report)
    send(config, folder)
    chains, draws = next(iter(sampled.draws.values())).shape[:2]
    return f"recovered {chains * draws:,} draws of {chains} chains (status {opened.status}, verdict {opened.verdict})"


def _nothing_stored(folder: RunFolder) -> str:
    """Mark a run without draws as failed, unless it had ended before the process was killed."""
    if folder.status() in (None, "running"):
        folder.write_status("failed", None, "killed before the first draw was kept")
        return "was killed before the first draw was kept; run it again"
    return f"needs no recovery: it is {folder.status()}"


def send(config: RunConfig, folder: RunFolder) -> None:
    """Send what was recovered to where the run is tracked; `task=sync` does it later where that fails."""
    try:
        TRACKERS.load(config.tracking.backend, "tracking.backend").upload(config.tracking, folder.path)
    except BayesrunError as error:
        log.warning("%s", error)


def config_of(folder: Path) -> RunConfig:
    """Return the config of a run, from its `config.yaml`.

    Raises
    ------
    UserError
        When it has none, or what it names is no longer there.
    """
    if not (folder / "config.yaml").is_file():
        raise fail("run", f"'{folder}' has no config.yaml", "it was killed before it began: run it again")
    arguments = Namespace(
        config_dir=str(folder), config_name="config", config_path=None, overrides=[], multirun=False, run=False
    )
    composition = compose(arguments, conf())
    check(composition.problems)
    return parse_config(composition.config)


TASK = Task(do=recover, takes_several=True)
