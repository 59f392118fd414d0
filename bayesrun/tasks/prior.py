"""`task=prior`: what a model implies before it sees its data, and whether that is plausible.

python -m bayesrun task=prior model=NAME
python -m bayesrun task=prior model=NAME 'expect={y: [0, 500]}'

It is a run with `sampler=prior` and `diagnostics.expect`: its folder, figures and tracking are those of any run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from bayesrun.config.compose import placing_keys
from bayesrun.config.resolvers import conf, run_name, task_overrides
from bayesrun.config.run_config import parse_config
from bayesrun.open_run import Job
from bayesrun.pipeline import run
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest


def prior(request: TaskRequest) -> TaskEnd:
    """Draw from the prior, simulate data, check both, and return how that ended."""
    config = parse_config(request.config)
    folder = Path(str(OmegaConf.select(request.config, "hydra.run.dir"))).absolute()
    name = run_name(config.top.name, config.model.name, ",".join(task_overrides(request.config.hydra)))
    result = run(config, Job(folder, name, placing_keys(conf()), tags={"task": "prior"}))
    return TaskEnd(result.exit_status, result.folder)


def as_run(overrides: Sequence[str]) -> list[str]:
    """Choose the sampler `prior`, and write `expect=...` as the key that it is short for."""
    written = [f"diagnostics.{o}" if o.startswith("expect=") else o for o in overrides]
    return ["sampler=prior", *written]


TASK = Task(do=prior, options=None, takes_runs=False, rewrite=as_run)
