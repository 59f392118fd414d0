"""The entry point: Hydra's command line, with every fault of the config told before Hydra starts a job."""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bayesrun.config.resolvers import conf, register_resolvers, run_name, task_overrides
from bayesrun.errors import BayesrunError, Problem, UserError, check
from bayesrun.processes import collect_rarely

if TYPE_CHECKING:
    from bayesrun.config.run_config import RunConfig
    from bayesrun.pipeline import RunResult

_MAY_TRACK_ELSEWHERE = re.compile(r"[+~]*(tracking|experiment|hydra|resume|task)\b")


def main() -> None:
    """Run bayesrun as a command; never returns."""
    collect_rarely()
    register_resolvers()
    arguments = get_args_parser().parse_args()
    _leave(_run(arguments))


def _leave(status: int) -> None:
    """End the process once all that asked for it is tidied up; Python would free every object first, for 0.5 s."""
    logging.shutdown()
    atexit._run_exitfuncs()
    with suppress(OSError):  # who read the output has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _only_shows(arguments: Namespace) -> bool:
    return bool(arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion)


def _run(arguments: Namespace) -> int:
    try:
        if _only_shows(arguments):
            return _show(arguments)
        task = _task(arguments)
        if task != "run":
            from bayesrun.tasks.base import do_task

            return do_task(task, arguments)
        arguments = _resumed(arguments)
        _warm_default_tracker(arguments)
        checked = _check(arguments)
        if _sweeps(arguments, checked):
            return _sweep(arguments, checked)
        return _single(arguments, checked)
    except BayesrunError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`: who read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _task(arguments: Namespace) -> str:
    """Return what the command line asks for: `run`, or a task of `bayesrun/tasks`."""
    named = ["task=run", *(override for override in arguments.overrides if override.startswith("task="))]
    return named[-1].partition("=")[2].strip("'\"")


def _resumed(arguments: Namespace) -> Namespace:
    """With `resume=FOLDER`, go on with the command line of the sweep in that folder."""
    folder = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("resume=")), "null")
    if folder == "null":
        return arguments
    from bayesrun.sweep.sweep_folder import resumed

    return resumed(arguments, Path(folder.strip("'\"")))


def _show(arguments: Namespace) -> int:
    if not (arguments.hydra_help or arguments.shell_completion):
        config, taken, problems = _composed(arguments)
        check(problems)
        if arguments.help:
            from bayesrun.cli.help import text

            print(text(config, [conf(), *([Path(arguments.config_dir)] if arguments.config_dir else [])]))
            return 0
        plus = {override.lstrip("+").removeprefix("data@"): override for override in taken}
        sys.argv[1:] = [plus.get(argument, argument) for argument in sys.argv[1:]]
    hydra.main(version_base="1.3", config_path=str(conf()), config_name="main")(lambda config: None)()
    return 0


def _check(arguments: Namespace) -> DictConfig:
    """Compose and parse before Hydra starts a job: all faults at once, and nothing made on disk."""
    from bayesrun.config.run_config import parse_config
    from bayesrun.tracking.base import TRACKERS

    config, _, problems = _composed(arguments)
    try:
        parsed = None if _sweeps(arguments, config) else parse_config(_without_hydra(config))
    except UserError as error:
        problems += error.problems
    check(problems)
    if parsed:
        TRACKERS.load(parsed.tracking.backend, "tracking.backend").warm(parsed.tracking)
    return config


def _warm_default_tracker(arguments: Namespace) -> None:
    """Begin to load what takes longest of all, on another core, unless the command line may ask for another tracker."""
    from bayesrun.tracking.base import TRACKERS, TrackingSpec

    elsewhere = arguments.multirun or arguments.config_dir or arguments.config_name
    if not elsewhere and not any(map(_MAY_TRACK_ELSEWHERE.match, arguments.overrides)):
        default = TrackingSpec()
        TRACKERS.load(default.backend, "tracking.backend").warm(default)


def _sweeps(arguments: Namespace, config: DictConfig) -> bool:
    mode = config.hydra.mode  # an experiment's; the flag wins
    return bool(arguments.multirun or (mode is not None and mode.name == "MULTIRUN" and not arguments.run))


def _composed(arguments: Namespace) -> tuple[DictConfig, list[str], list[Problem]]:
    from bayesrun.config.compose import compose

    return compose(arguments, conf(), list(arguments.overrides), arguments.multirun)


def _without_hydra(config: DictConfig) -> DictConfig:
    from bayesrun.config.override_merge import drop_replaced

    plain = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
    return drop_replaced(plain, config.hydra)


def _single(arguments: Namespace, config: DictConfig) -> int:
    """Run the one job of a config as Hydra does, but for composing it once more."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import run_job as run_in_hydra
    from hydra.types import HydraContext, RunMode

    from bayesrun.config.compose import start_hydra

    config.hydra.mode = RunMode.RUN
    callbacks = Callbacks(config)
    context = HydraContext(start_hydra(arguments, conf()).config_loader, callbacks)
    callbacks.on_run_start(config=config, config_name=arguments.config_name or "main")
    done = run_in_hydra(run_job, config, "hydra.run.dir", None, context)
    callbacks.on_run_end(config=config, config_name=arguments.config_name or "main", job_return=done)
    result: RunResult = done.return_value
    return result.exit_status


def run_job(
    config: DictConfig,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    name: str | None = None,
) -> RunResult:
    """Run one job that Hydra composed, alone or as a point of a sweep.

    Parameters
    ----------
    config
        The composed config, without Hydra's node.
    parent_run_id, tags, name
        The sweep's run in tracking, the sweep's tags of the job, and its name there.

    Returns
    -------
    RunResult
        How it ended; faults of config or data are told and are a result, too.
    """
    from bayesrun.config.override_merge import drop_replaced
    from bayesrun.config.run_config import parse_config
    from bayesrun.pipeline import Job, RunResult, run
    from bayesrun.run_folder import remove_if_empty

    node = HydraConfig.get()
    wanted = Path(node.runtime.output_dir)
    try:
        parsed = parse_config(drop_replaced(config, OmegaConf.structured(node)))
        name = name or run_name(parsed.top.name, parsed.model.name, ",".join(task_overrides(node)))
        return run(parsed, Job(wanted, name, _placing_keys(), parent_run_id, tags or {}))
    except BayesrunError as error:
        remove_if_empty(wanted)
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return RunResult("failed", None, error.exit_status, None, error=str(error))


def _placing_keys() -> dict[str, Any]:
    """Hydra's keys that place a run, as the primary config has them: a run folder's `config.yaml` runs again."""
    primary = OmegaConf.load(conf() / "main.yaml")
    assert isinstance(primary, DictConfig)
    return OmegaConf.to_container(primary.hydra, resolve=False)  # type: ignore[return-value]


def _sweep(arguments: Namespace, config: DictConfig) -> int:
    from bayesrun.config.compose import start_hydra
    from bayesrun.sweep.patches import SweepLoader
    from bayesrun.sweep.run import Request, run_sweep

    loader = SweepLoader(start_hydra(arguments, conf()).config_loader.get_search_path())

    def parsed(overrides: Sequence[str]) -> tuple[RunConfig, Sequence[str]]:
        return _parse_point(arguments, config, loader, overrides)

    return run_sweep(Request(arguments, config, loader, parsed, run_job))


def _parse_point(
    arguments: Namespace, config: DictConfig, loader: Any, overrides: Sequence[str]
) -> tuple[RunConfig, Sequence[str]]:
    """Compose one point as the launcher will; a point that can't be composed is told as a single run's fault is.

    Returns its parsed config, and its overrides as Hydra takes them.
    """
    from bayesrun.config.compose import compose
    from bayesrun.config.run_config import parse_config

    try:
        composed = loader.load_sweep_config(config, list(overrides))
    except (HydraException, OmegaConfBaseException):
        composed, overrides, problems = compose(arguments, conf(), list(overrides), False)
        check(problems)
    return parse_config(_without_hydra(composed)), overrides
