"""From a composed config to a run or a sweep: what the command line and Python have in common."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bayesrun.config.compose import Composition, placing_keys
from bayesrun.config.resolvers import conf, run_name, task_overrides
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import BayesrunError, UserError, check
from bayesrun.open_run import PlaceOfRun, RunResult
from bayesrun.pipeline import run
from bayesrun.run_folder import check_place, remove_if_empty
from bayesrun.sweeps.run import EndOfSweep, Request, run_sweep
from bayesrun.tasks.recover import recover_dead_runs
from bayesrun.tracking.base import TRACKERS


def run_composed(
    composition: Composition, shows: bool = True, command: Sequence[str] | None = None, table: Path | None = None
) -> RunResult:
    """Run one config; problems with overrides and with the config are reported together.

    Parameters
    ----------
    composition
        The composed config.
    shows, command, table
        As in `PlaceOfRun`.

    Raises
    ------
    UserError
        With every problem; nothing is left behind.
    """
    problems, config = list(composition.problems), composition.config
    try:
        parsed = parse_config(config)
    except UserError as error:
        problems += error.problems
    check(problems)
    TRACKERS.load(parsed.tracking.backend, "tracking.backend").warm(parsed.tracking)
    recover_dead_runs(parsed.paths.outputs)
    folder = Path(str(OmegaConf.select(config, "hydra.run.dir"))).absolute()
    check_place(folder)
    job = _job(parsed, config.hydra, folder)
    return run(parsed, replace(job, shows=shows, command=command, table=table))


def _job(parsed: RunConfig, node: Any, folder: Path, name: str | None = None) -> PlaceOfRun:
    name = name or run_name(parsed.top.name, parsed.model.name, ",".join(task_overrides(node)))
    return PlaceOfRun(folder, name, placing_keys(conf()))


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


def sweep_composed(
    arguments: Namespace, composition: Composition, begin: Callable[[], object] = lambda: None
) -> EndOfSweep:
    """Run a sweep.

    Parameters
    ----------
    arguments
        Hydra's parsed flags.
    composition
        What they compose.
    begin
        Called once all points are valid; from then on an interrupt ends the sweep in order.

    Raises
    ------
    UserError
        With the problems of all points; nothing is left behind.
    """
    config, loader = composition.config, composition.loader
    check_place(Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).absolute())

    def parsed(overrides: Sequence[str]) -> tuple[RunConfig, Sequence[str]]:
        return parse_config(loader.load_sweep_config(config, list(overrides))), overrides

    def begin_all() -> None:
        begin()
        recover_dead_runs(Path(str(config.paths.outputs)), Path(str(config.resume)) if config.resume else None)

    return run_sweep(Request(arguments, config, loader, parsed, run_job, composition.problems, begin_all))
