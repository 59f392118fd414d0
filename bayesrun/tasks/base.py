"""What a task is, and how a command's task and the finished runs that it works on are found.

    python -m bayesrun task=NAME run=FOLDER NAME.OPTION=VALUE ...

`task` (default `run`) names what a command does. A file of this folder registers a `Task` under its own name. A task's
options are the keys below its name; its fields may also be given alone (`until_ess=4000` is `extend.until_ess=4000`).
A task that works on the config of a finished run gets that config composed again, with the command's overrides.
"""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bayesrun.config.compose import compose
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import unknown_top_keys
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.invocation import command
from bayesrun.registry import Registry
from bayesrun.run_folder import check_links
from bayesrun.schema import Section, parse
from bayesrun.tracking.base import TRACKERS, TrackingSpec

_MLFLOW = "mlflow:"
_RUN_ID = re.compile(r"[0-9a-f]{32}")  # as MLflow makes them
_STEERING = ("task", "run", "runs")


class NoOptions(Section):
    """A task without options of its own."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that a task works on.

    Parameters
    ----------
    folder
        Its run folder, with `config.yaml`, `posterior.nc`, ...
    """

    folder: Path


@dataclass(frozen=True)
class TaskRequest:
    """What a task is asked to do.

    Parameters
    ----------
    arguments
        Hydra's parsed flags; `overrides` without those that choose the task and its runs.
    config
        The composed config, Hydra's node included. It is the finished run's where the task asks for that.
    options
        The task's own options, of the class that it registered.
    run
        The run of `run=...`; None where none was given.
    runs
        The runs of `runs=[...]`.
    """

    arguments: Namespace
    config: DictConfig
    options: Any
    run: FinishedRun | None = None
    runs: tuple[FinishedRun, ...] = ()


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended: its exit status, and the run folder that it made, if it made one."""

    exit_status: int
    folder: Path | None = None


@dataclass(frozen=True)
class Task:
    """A registered task.

    Parameters
    ----------
    do
        `(request) -> TaskEnd`, or the exit status alone where it makes no run folder. May raise `BayesrunError`.
    options
        What is allowed below the task's name; None where that section belongs to the run's config (`predict`).
    needs_run
        Whether `run=...` is required.
    uses_config_of_run
        Whether `config` is that of the finished run, with the command's overrides, instead of the primary config.
    takes_runs
        Whether finished runs mean something to it.
    takes_several
        Whether `runs=[...]` does.
    launches
        Whether it makes many fits, which `launcher=...` can place on other machines.
    rewrite
        Writes overrides as the task's options, where users write them as keys of the run.
    """

    do: Callable[[TaskRequest], TaskEnd | int]
    options: type[Section] | None = NoOptions
    needs_run: bool = False
    uses_config_of_run: bool = False
    takes_runs: bool = True
    takes_several: bool = False
    launches: bool = False
    rewrite: Callable[[Sequence[str]], list[str]] = list


TASKS: Registry[Task] = Registry(
    "task",
    "bayesrun.tasks",
    "TASK",
    Task,
    others=("known_posteriors", "ranked_quantities", "refits", "second_series", "simulated_fits", "task_run"),
)


def do_task(name: str, arguments: Namespace, begin: Callable[[Path], object] | None = None) -> TaskEnd:
    """Do a task and return how it ended.

    Parameters
    ----------
    name
        The task's registered name.
    arguments
        Hydra's parsed flags and the overrides of the command line.
    begin
        Called with `paths.outputs` once all of that is valid; nothing is if None.

    Raises
    ------
    UserError
        With every problem of the task's name, options and runs.
    """
    if name not in TASKS.names():
        raise fail("task", f"unknown task '{name}'", f"allowed: run, {', '.join(TASKS.names())}")
    task = TASKS.load(name, "task")
    if arguments.multirun:
        raise fail("task", f"'{name}' can't be swept", "leave -m out")
    if not task.launches and any(_key(override) == "launcher" for override in arguments.overrides):
        hint = f"leave it out; tasks of many fits: {', '.join(_that(lambda one: one.launches))}"
        raise fail("launcher", f"has no meaning for task '{name}'", hint)
    given, several = _runs(arguments.overrides)
    if task.needs_run and not given and not several:
        raise fail("run", f"task '{name}' needs a finished run", "give run=FOLDER, run=last or run=mlflow:RUN_ID")
    if (given or several) and not task.takes_runs:
        hint = f"leave it out; tasks of finished runs: {', '.join(_that(lambda one: one.needs_run))}"
        raise fail("run" if given else "runs", f"has no meaning for task '{name}'", hint)
    if several and not task.takes_several:
        raise fail("runs", f"has no meaning for task '{name}', which works on one run", "give run=FOLDER")
    found = _find_runs([*given, *several], arguments)
    run = found[0] if given else None
    if task.needs_run and run:
        check(_not_of_a_fit(run))
    overrides = task.rewrite(_own_overrides(name, task, arguments.overrides))
    rest = Namespace(**{**vars(arguments), "overrides": overrides})
    if task.uses_config_of_run and run:
        rest = _on_config_of(run, rest)
    composition = compose(rest, conf())
    config, problems = composition.config, composition.problems
    options, config = _options(name, task, config, problems)
    check([*problems, *unknown_top_keys({str(key): None for key in config if key != "hydra"})])
    if begin:
        begin(Path(str(config.paths.outputs)))
    end = task.do(TaskRequest(rest, config, options, run, tuple(found[len(given) :])))
    return end if isinstance(end, TaskEnd) else TaskEnd(end)


def _that(does: Callable[[Task], bool]) -> list[str]:
    return [name for name in TASKS.names() if does(TASKS.load(name, "task"))]


def _runs(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the values of `run` (none or one) and `runs`."""
    one = [value for value in _values(overrides, "run", "null")[-1:] if value != "null"]
    several = _values(overrides, "runs", "")[-1].strip("[]")
    return one, [part.strip().strip("'\"") for part in several.split(",") if part.strip()]


def _values(overrides: Sequence[str], key: str, default: str) -> list[str]:
    return [default, *(o.partition("=")[2].strip("'\"") for o in overrides if _key(o) == key)]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _own_overrides(name: str, task: Task, overrides: Sequence[str]) -> list[str]:
    """Leave out what chooses task and runs; write the task's options below its name."""
    own = task.options.model_fields if task.options else {}
    kept = [o for o in overrides if _key(o) not in _STEERING]
    return [f"{name}.{o.lstrip('+')}" if _key(o) in own else o for o in kept]


def _options(name: str, task: Task, config: DictConfig, problems: list[Problem]) -> tuple[Section | None, DictConfig]:
    """Parse the task's section and take it out of the config."""
    if task.options is None:
        return None, config
    section = config.get(name)
    raw = OmegaConf.to_container(section, resolve=True) if OmegaConf.is_config(section) else section or {}
    rest = OmegaConf.masked_copy(config, [str(key) for key in config if key != name])
    return parse(task.options, raw, name, problems), rest


def _on_config_of(run: FinishedRun, arguments: Namespace) -> Namespace:
    """Let the run's own `config.yaml` be the primary config; a folder of the user's is still searched."""
    if (run.folder / "sweep.json").is_file():
        raise fail("run", f"'{run.folder}' is a sweep", f"name one of its jobs: run={run.folder}/0")
    if not (run.folder / "config.yaml").is_file():
        raise fail("run", f"'{run.folder}' has no config.yaml", "give the folder of a run")
    user = [f"hydra.searchpath=[file://{Path(arguments.config_dir).absolute()}]"] if arguments.config_dir else []
    chosen = [_added_choice(override) for override in arguments.overrides]
    changed = {"config_dir": str(run.folder), "config_name": "config", "overrides": [*user, *chosen]}
    return Namespace(**{**vars(arguments), **changed})


def _added_choice(override: str) -> str:
    """Choose a file of a group anew: `config.yaml` holds what was chosen for the run, and names no groups."""
    group, _, name = override.partition("=")
    return f"+{override}" if re.fullmatch(r"[\w./-]+", name) and (conf() / group).is_dir() else override


def _find_runs(texts: Sequence[str], arguments: Namespace) -> list[FinishedRun]:
    """Find every run; raise with all that can't be found."""
    if not texts:
        return []
    found, problems = [], list[Problem]()
    for text in texts:
        try:
            found.append(find_run(text, arguments))
        except UserError as error:
            problems += error.problems
    check(problems)
    return found


def find_run(text: str, arguments: Namespace) -> FinishedRun:
    """Find a finished run.

    Parameters
    ----------
    text
        Its folder, `last`, or `mlflow:RUN_ID`; an id of MLflow's own form may stand alone.
    arguments
        Hydra's parsed flags, which name outputs and tracking.

    Raises
    ------
    UserError
        When there is no such run.
    """
    if text.startswith(_MLFLOW) or (_RUN_ID.fullmatch(text) and not Path(text).exists()):
        return _tracked_run(text.removeprefix(_MLFLOW), arguments)
    if text == "last":
        return _last_run(_places(arguments)[0])
    folder = Path(text)
    if (folder / "sweep.json").is_file() and not (folder / "status.json").is_file():
        hint = f"finish it: {command('-m', f'resume={text}')}; or name a job of it: run={text}/0"
        raise fail("run", f"'{text}' is a sweep that has not ended", hint)
    if not (folder / "status.json").is_file():
        raise fail("run", f"'{text}' is not a run folder", "give a folder below outputs/runs, 'last', or mlflow:RUN_ID")
    check_links(folder)
    return FinishedRun(folder)


def _last_run(outputs: Path) -> FinishedRun:
    """Return the run that was started last below an outputs folder; not what a task has found in another run."""
    every = (path.parent for path in outputs.glob("runs/*/*/status.json"))
    newest = sorted(every, key=lambda folder: ((folder / "config.yaml").stat().st_mtime, folder.name), reverse=True)
    found = next((folder for folder in newest if not _is_of_task(folder)), None)
    if found is None:
        raise fail("run", f"there is no run below '{outputs}'", "give run=FOLDER, or paths.outputs=FOLDER")
    return FinishedRun(found)


def _is_of_task(folder: Path) -> bool:
    """Return whether a folder has what a task found in a run, or draws from the prior of a run."""
    status, record = (_read(folder / name) for name in ("status.json", "provenance.json"))
    return "parent" in status or (record.get("parent") or {}).get("task") == "prior"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # the run has just begun
        return {}
    return content


def _not_of_a_fit(run: FinishedRun) -> list[Problem]:
    """Find that a folder has what a task found in a run, without draws of its own, and name that run."""
    status = json.loads((run.folder / "status.json").read_text(encoding="utf-8"))
    if "parent" not in status or (run.folder / "posterior.nc").is_file():
        return []
    message = f"'{run.folder}' has the results of task={status.get('task')}, and no draws of its own"
    hint = (
        f"give the run that it worked on: run={status['parent']}" if status["parent"] else "give a run that has draws"
    )
    return [Problem("run", message, hint)]


def _tracked_run(run_id: str, arguments: Namespace) -> FinishedRun:
    """Return the folder of a tracked run: where it was made, or else downloaded below the outputs folder."""
    if not re.fullmatch(r"\w+", run_id):
        raise fail("run", f"'{run_id}' is not a run id", "copy it from MLflow: run=mlflow:RUN_ID")
    outputs, spec = _places(arguments)
    backend = TRACKERS.load(spec.backend, "tracking.backend")
    return FinishedRun(backend.fetch(spec, run_id, outputs / "fetched" / run_id))


def _places(arguments: Namespace) -> tuple[Path, TrackingSpec]:
    """Return the outputs folder and the tracker that a command line names."""
    overrides = [o for o in arguments.overrides if _key(o).partition(".")[0] in ("paths", "tracking")]
    composition = compose(Namespace(**{**vars(arguments), "overrides": overrides}), conf())
    config, problems = composition.config, composition.problems
    spec = parse(TrackingSpec, OmegaConf.to_container(config.tracking, resolve=True), "tracking", problems)
    check(problems)
    assert spec
    return Path(str(config.paths.outputs)), spec
