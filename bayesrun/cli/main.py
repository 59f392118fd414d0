"""The entry point: the command line; every problem with the config is reported before anything is started."""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bayesrun.cli.help import help_text, show_config
from bayesrun.config.compose import Composition, compose, placing_keys
from bayesrun.config.hydra_internals import VERSION_BASE, command_line
from bayesrun.config.resolvers import conf, register_resolvers, run_name, task_overrides
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.early_signals import end, heard, interrupt_on_all
from bayesrun.errors import BayesrunError, Problem, UserError, check
from bayesrun.open_run import Job, RunResult
from bayesrun.pipeline import run
from bayesrun.processes import collect_rarely
from bayesrun.redaction import RedactedStream, remember_environment, remember_overrides
from bayesrun.run_folder import check_place, dead_runs, remove_if_empty
from bayesrun.sweeps.run import Request, run_sweep
from bayesrun.sweeps.sweep_folder import resumed
from bayesrun.tasks.base import do_task
from bayesrun.tasks.recover import recover_dead_runs
from bayesrun.tracking.base import TRACKERS, TrackingSpec

_MAY_TRACK_ELSEWHERE = re.compile(r"[+~]*(tracking|experiment|hydra|resume|task)\b")


def main() -> None:
    """Run bayesrun as a command; never returns."""
    collect_rarely()
    remember_environment()
    remember_overrides(sys.argv[1:])
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)  # type: ignore[assignment]
    register_resolvers()
    _leave(_run(command_line().parse_intermixed_args()))


def _leave(status: int) -> None:
    """End the process after the registered clean-up; Python would first free every object, which takes 0.5 s."""
    logging.shutdown()
    atexit._run_exitfuncs()
    with suppress(OSError):  # the reader of the output has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _run(arguments: Namespace) -> int:
    try:
        check(_flags_without_effect(arguments))
        if _only_shows(arguments):
            return _show(arguments)
        task = _task(arguments)
        if task != "run":
            return do_task(task, arguments)
        arguments = _resumed(arguments)
        _warm_default_tracker(arguments)
        composition = compose(arguments, conf())
        return _sweep(arguments, composition) if _sweeps(arguments, composition.config) else _single(composition)
    except BaseException as error:
        return _tell(error)


def _tell(error: BaseException) -> int:
    """Print what ended the command, in one message, and return the exit status."""
    interrupted = heard()  # it may have surfaced as another error
    if interrupted is not None:
        end(interrupted)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # `| head`: the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if not isinstance(error, BayesrunError) or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {error}", file=sys.stderr)
    return error.exit_status


def _flags_without_effect(arguments: Namespace) -> list[Problem]:
    """Refuse flags of Hydra's that bayesrun does not follow: a rerun would load a pickle, which can run any code."""
    problems = []
    if arguments.experimental_rerun:
        hint = "run a folder again: --config-dir RUN_FOLDER --config-name config"
        problems.append(Problem("--experimental-rerun", "is not supported: a pickle can run code", hint))
    if arguments.config_path:
        problems.append(Problem("--config-path", "is not supported", "name a folder of your own: --config-dir FOLDER"))
    return problems


def _only_shows(arguments: Namespace) -> bool:
    return bool(arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion)


def _show(arguments: Namespace) -> int:
    """Answer a flag that only shows something; nothing is run."""
    if arguments.hydra_help or arguments.shell_completion:  # Hydra answers these itself, without the user's files
        sys.argv[1:] = [word for word in sys.argv[1:] if word.startswith(("--hydra-help", "--shell", "-sc", "query="))]
        return _ask_hydra()
    composition = compose(arguments, conf())
    check(composition.problems)
    if arguments.help:
        folders = [conf(), *([Path(arguments.config_dir)] if arguments.config_dir else [])]
        print(help_text(composition.config, folders))
    elif arguments.cfg:
        print(show_config(composition.config, arguments.cfg, arguments.package, arguments.resolve), end="")
    else:
        return _ask_hydra()
    return 0


def _ask_hydra() -> int:
    hydra.main(version_base=VERSION_BASE, config_path=str(conf()), config_name="main")(lambda config: None)()
    return 0


def _task(arguments: Namespace) -> str:
    """Return what the command line asks for: `run`, or a task of `bayesrun/tasks`."""
    named = ["task=run", *(override for override in arguments.overrides if override.startswith("task="))]
    return str(named[-1]).partition("=")[2].strip("'\"")


def _resumed(arguments: Namespace) -> Namespace:
    """With `resume=FOLDER`, continue with the command line of the sweep in that folder."""
    folder = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("resume=")), "null")
    if folder == "null":
        return arguments

    return resumed(arguments, Path(folder.strip("'\"")))


def _warm_default_tracker(arguments: Namespace) -> None:
    """Start loading the tracker, the slowest import, on another core, unless the command line may choose another."""
    elsewhere = arguments.multirun or arguments.config_dir or arguments.config_name
    if not elsewhere and not any(map(_MAY_TRACK_ELSEWHERE.match, arguments.overrides)):
        default = TrackingSpec()
        TRACKERS.load(default.backend, "tracking.backend").warm(default)


def _sweeps(arguments: Namespace, config: DictConfig) -> bool:
    mode = config.hydra.mode  # set by an experiment; the flag wins
    return bool(arguments.multirun or (mode is not None and mode.name == "MULTIRUN" and not arguments.run))


def _single(composition: Composition) -> int:
    """Run one config; problems with overrides and with the config are reported together."""
    problems, config = list(composition.problems), composition.config
    try:
        parsed = parse_config(config)
    except UserError as error:
        problems += error.problems
    check(problems)
    TRACKERS.load(parsed.tracking.backend, "tracking.backend").warm(parsed.tracking)
    _recover_dead_runs(parsed.paths.outputs)
    folder = Path(str(OmegaConf.select(config, "hydra.run.dir"))).absolute()
    check_place(folder)
    return run(parsed, _job(parsed, config.hydra, folder)).exit_status


def _recover_dead_runs(outputs: Path) -> None:
    """Complete the run folders of runs that were killed; where there are none this only lists one folder."""
    if dead_runs(outputs):
        recover_dead_runs(outputs)


def _job(parsed: RunConfig, node: Any, folder: Path, name: str | None = None) -> Job:
    name = name or run_name(parsed.top.name, parsed.model.name, ",".join(task_overrides(node)))
    return Job(folder, name, placing_keys(conf()))


def run_job(
    config: DictConfig,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    name: str | None = None,
) -> RunResult:
    """Run one job of a sweep, as Hydra's launcher composed it.

    Parameters
    ----------
    config
        The composed config, without Hydra's node.
    parent_run_id, tags, name
        The sweep's run in tracking, the sweep's tags of the job, and its name there.

    Returns
    -------
    RunResult
        How it ended. Errors in the config or the data are printed, and are a result, too.
    """
    node = HydraConfig.get()
    wanted = Path(node.runtime.output_dir)
    try:
        parsed = parse_config(config)
        job = _job(parsed, node, wanted, name)
        return run(parsed, replace(job, parent_run_id=parent_run_id, tags=tags or {}))
    except BayesrunError as error:
        remove_if_empty(wanted)
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return RunResult("failed", None, error.exit_status, None, error=str(error))


def _sweep(arguments: Namespace, composition: Composition) -> int:
    config, loader = composition.config, composition.loader
    check_place(Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).absolute())
    interrupt_on_all()

    def parsed(overrides: Sequence[str]) -> tuple[RunConfig, Sequence[str]]:
        return parse_config(loader.load_sweep_config(config, list(overrides))), overrides

    return run_sweep(Request(arguments, config, loader, parsed, run_job, composition.problems))
