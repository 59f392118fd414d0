"""What a sweep is: its keys in the config, its points, and the record of each job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bayesrun.schema import Section

KEYS = ("sweep", "resume", "force", "fail_fast", "cluster")
"""Top keys of the config that only a sweep reads."""

JobStatus = Literal["waiting", "finished", "partial", "failed", "skipped"]

INTERRUPTED = 130
"""Exit status of what was interrupted."""


class SweepSpec(Section):
    """Keys of `sweep`.

    Parameters
    ----------
    zip
        Groups of swept keys that move together instead of crossing: `[[model.priors.a.lam, model.priors.b.lam]]`.
    seeds
        Number of runs of each setting, each with another seed; reported as one setting with its spread.
    baseline
        Number of the job that shifts are measured from; null = the setting that changes nothing, else the first.
    figures
        Which of the model's figures each job draws (half of a short job's time goes into them); null draws all.
    metric
        Metric that `sweeper=optuna` optimizes.
    """

    zip: list[list[str]] = []
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 1
    baseline: Annotated[int, Field(ge=0)] | None = None
    figures: list[str] | None = []
    metric: str = "elpd_loo"


class Steering(Section):
    """The keys of a sweep at the top of the config: `resume` (folder), `force`, `fail_fast`, `sweep`, `cluster`."""

    sweep: SweepSpec = SweepSpec()
    resume: str | None = None
    force: bool = False
    fail_fast: bool = False
    cluster: str | None = None


@dataclass(frozen=True)
class Goal:
    """What a search (`sweeper=optuna`) optimizes: a metric, as high or as low as possible."""

    metric: str
    maximize: bool = True


@dataclass(frozen=True)
class Point:
    """One job of a sweep, as configured.

    Parameters
    ----------
    number
        From 0; name of its folder.
    overrides
        All overrides of the job.
    swept
        The swept keys with this job's values.
    setting
        The same as one short text; equal for the seeds of one setting.
    seed
        The job's seed where `sweep.seeds` repeats settings, else null.
    """

    number: int
    overrides: tuple[str, ...]
    swept: Mapping[str, str]
    setting: str
    seed: int | None = None


@dataclass(frozen=True)
class Record:
    """How a job ended; what `sweep.json` holds of it.

    Parameters
    ----------
    number, setting, swept, seed
        As in `Point`.
    status
        `waiting` before it ran, `skipped` when `fail_fast` stopped the sweep before it.
    verdict, error, exit_status, run_id
        Of its run.
    folder
        Its run folder; another sweep's when it was reused.
    note
        `reused RUN_ID`, `refit: data changed`, ...
    seconds
        Wall time of the run.
    metrics
        Its `metrics.json`, as far as the tables need it.
    """

    number: int
    setting: str
    swept: Mapping[str, str]
    seed: int | None = None
    status: JobStatus = "waiting"
    verdict: str | None = None
    error: str | None = None
    exit_status: int = 0
    run_id: str | None = None
    folder: str | None = None
    note: str = ""
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether it was ended from outside: by Ctrl-C, or by its cluster."""
        return self.exit_status == INTERRUPTED

    @property
    def path(self) -> Path | None:
        """The run folder of a job that has a posterior; of a `partial` run there may be draws only."""
        done = self.folder is not None and self.status in ("finished", "partial")
        path = Path(self.folder) if done and self.folder else None
        return path if path and (path / "posterior.nc").is_file() else None


def setting_of(swept: Mapping[str, str]) -> str:
    """Write swept keys and values as one short text: `early_rate.lam=0.5, late_rate.lam=2`."""
    return ", ".join(f"{'.'.join(k.split('.')[-2:])}={_short(v)}" for k, v in swept.items()) or "as it is"


def _short(value: str) -> str:
    """Shorten the long numbers that a search produces."""
    return f"{float(value):.4g}" if len(value) > 8 and re.fullmatch(r"-?\d+\.\d+", value) else value


def one_line(error: str) -> str:
    """Write an error as one line: its problems without their hints, or all of its words.

    Of a Python traceback only the last line says what went wrong.
    """
    lines = [line.strip() for line in error.strip().splitlines()]
    problems = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    if problems:
        return "; ".join(problems)
    if "Traceback" in error:
        return lines[-1]
    return " ".join(lines)
