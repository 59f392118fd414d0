"""`task=prior`: what a model implies before it sees its data, and whether that is plausible.

python -m bayesrun task=prior model=NAME
python -m bayesrun task=prior model=NAME 'expect={y: [0, 500]}'
python -m bayesrun task=prior run=FOLDER 'expect={y: [0, 500]}'       the model and data of a finished run

It is a run with `sampler=prior` and `diagnostics.expect`: its folder, figures and tracking are those of any run. Of a
finished run it names that run as its parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from bayesrun.config.compose import placing_keys
from bayesrun.config.resolvers import conf, run_name, task_overrides
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.open_run import PlaceOfRun
from bayesrun.pipeline import read_data, run
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import check_data_of_run, check_keys_of_fit, job_of

_OTHERWISE = "with other keys it is another model: task=prior --config-dir RUN --config-name config"


def prior(request: TaskRequest) -> TaskEnd:
    """Draw from the prior, simulate data, check both, and return how that ended."""
    if request.run is not None:
        check_keys_of_fit(request, _OTHERWISE)
    config = parse_config(request.config)
    if request.run is None:
        job = _job(request, config)
    else:
        parent = request.run.folder.absolute()
        check_data_of_run(parent, read_data(config)[1])
        job = job_of("prior", config, parent)
        job = replace(job, parent={**(job.parent or {}), "task": "prior"})  # `run=last` means the run, not its prior
    result = run(config, job)
    return TaskEnd(result.exit_status, result.folder)


def _job(request: TaskRequest, config: RunConfig) -> PlaceOfRun:
    folder = Path(str(OmegaConf.select(request.config, "hydra.run.dir"))).absolute()
    name = run_name(config.top.name, config.model.name, ",".join(task_overrides(request.config.hydra)))
    return PlaceOfRun(folder, name, placing_keys(conf()), tags={"task": "prior"})


def as_run(overrides: Sequence[str]) -> list[str]:
    """Choose the sampler `prior`, and write `expect=...` as the key that it is short for."""
    written = [f"diagnostics.{o}" if o.startswith("expect=") else o for o in overrides]
    return ["sampler=prior", *written]


TASK = Task(do=prior, options=None, uses_config_of_run=True, rewrite=as_run)
