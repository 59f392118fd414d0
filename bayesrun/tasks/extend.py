"""`task=extend`: continue sampling where a run ended, in a new run that has all draws.

python -m bayesrun task=extend run=FOLDER sampler.draws=+2000     2,000 more draws per chain
python -m bayesrun task=extend run=FOLDER sampler.draws=3000      3,000 draws per chain in all
python -m bayesrun task=extend run=last until_ess=4000            as many as every quantity needs for an ESS of 4,000

The draws are those of one long run, with the same checks, figures and tracking as any run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import Problem, check, fail
from bayesrun.extension import Extension, least_ess, next_draws, with_draws
from bayesrun.lazy import pd
from bayesrun.open_run import PlaceOfRun
from bayesrun.pipeline import run
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.base import SAMPLERS, Count
from bayesrun.samplers.earlier import read_earlier
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import job_of, key_of

_FREE = (
    "tracking",
    "paths",
    "name",
    "tags",
    "experiment_name",
    "intervals",
    "diagnostics",
    "store",
    "predict",
    "predictive",
    "extend",
    "hydra",
)
_FREE_BELOW = ("model.figures", "sampler.cores", "sampler.max_seconds", "sampler.progress")
_DRAWS = re.compile(r"\+{0,2}sampler\.draws=(\+?)(\d{1,9})")
_HOW_MUCH = "sampler.draws=+N adds N draws per chain; until_ess=N adds as many as that ESS needs"
_MAX_TIMES = 20


class ExtendSpec(Section):
    """Options of `task=extend`.

    Parameters
    ----------
    more_draws
        Draws to add per chain; `sampler.draws=+N` is the same.
    draws
        Draws per chain in all; `sampler.draws=N` is the same.
    until_ess
        Add draws until the bulk and the tail ESS of every quantity are as large as this.
    max_draws
        Draws per chain in all, at most, with `until_ess`; null = 20 times those of the run.
    """

    more_draws: Count | None = None
    draws: Count | None = None
    until_ess: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    max_draws: Count | None = None


def extend(request: TaskRequest) -> TaskEnd:
    """Extend a run, and return how that ended."""
    assert request.run is not None
    options: ExtendSpec = request.options
    _check_request(request, options)
    config = parse_config(request.config)
    folder = RunFolder(request.run.folder.absolute())
    _check_method(config, folder)
    earlier = read_earlier(folder)
    most = options.max_draws or _MAX_TIMES * earlier.length
    if options.until_ess is None:
        draws = options.draws or earlier.length + (options.more_draws or 0)
    else:
        ess = least_ess(_summary(folder))
        if ess >= options.until_ess:
            print(f"{folder.path}: nothing to do, the smallest ESS is {ess:,.0f}")
            return TaskEnd(0)
        draws = next_draws(earlier.length, ess, options.until_ess, most)
    if draws <= earlier.length:
        key = "extend.max_draws" if options.until_ess else "sampler.draws"
        raise fail(key, f"is {draws:,}, and the run has {earlier.length:,} draws per chain", "ask for more")
    job = _job(config, folder, options, draws)
    assert job.parent is not None
    digest = folder.read_json("provenance.json").get("data_digest")
    seconds = float(folder.read_json("metrics.json").get("seconds_sample") or 0.0)
    extension = Extension(job.parent, earlier, digest, seconds, options.until_ess, most)
    result = run(with_draws(config, draws), job, extension)
    return TaskEnd(result.exit_status, result.folder)


def _check_request(request: TaskRequest, options: ExtendSpec) -> None:
    """Refuse keys that would change the chains, and a request without a number of draws or an ESS."""
    keys = [key_of(override) for override in request.arguments.overrides]
    hint = f"allowed: {', '.join((*_FREE[:-2], *_FREE_BELOW, 'sampler.draws', 'until_ess', 'max_draws'))}"
    problems = [
        Problem(key, "belongs to the run that is extended", hint)
        for key in keys
        if key.partition(".")[0] not in _FREE and key not in _FREE_BELOW and key != "sampler.draws"
    ]
    if "sampler.draws" in keys:
        problems.append(Problem("sampler.draws", "must be a number of draws", _HOW_MUCH))
    goals = [options.more_draws, options.draws, options.until_ess]
    if not problems and sum(one is not None for one in goals) != 1:
        problems.append(Problem("extend", "needs either sampler.draws or until_ess, not both", _HOW_MUCH))
    if options.max_draws is not None and options.until_ess is None:
        problems.append(Problem("extend.max_draws", "bounds until_ess, which is not set", _HOW_MUCH))
    check(problems)


def _check_method(config: RunConfig, folder: RunFolder) -> None:
    status = folder.status()
    if status not in ("finished", "partial"):
        raise fail("run", f"'{folder.path}' is {status}", "extend a run that is finished or partial")
    method = config.sampler.method
    if SAMPLERS.load(method, "sampler.method").extend is None:
        message = f"'{folder.path}' can't be extended: the draws of {method} are made all at once"
        raise fail("run", message, f"run it again with more draws: sampler={method} sampler.draws=N")


def _summary(folder: RunFolder) -> Any:
    try:
        return pd.read_csv(folder.path / "summary.csv")
    except OSError:
        raise folder.lacks("summary.csv") from None


def _job(config: RunConfig, parent: RunFolder, options: ExtendSpec, draws: int) -> PlaceOfRun:
    """Return where the new run belongs; it names its parent."""
    how_far = f"until_ess={options.until_ess}" if options.until_ess else f"draws={draws}"
    params = {"sampler.draws": how_far} if options.until_ess else {}
    return job_of("extend", config, parent.path, how_far, params)


def as_options(overrides: Sequence[str]) -> list[str]:
    """Write `sampler.draws=+N` and `sampler.draws=N` as the task's own options."""
    return [_as_option(override) for override in overrides]


def _as_option(override: str) -> str:
    found = _DRAWS.fullmatch(override.replace("'", "").replace(" ", ""))
    if found is None:
        return override
    return f"extend.{'more_draws' if found[1] else 'draws'}={int(found[2])}"


TASK = Task(do=extend, options=ExtendSpec, needs_run=True, uses_config_of_run=True, rewrite=as_options)
