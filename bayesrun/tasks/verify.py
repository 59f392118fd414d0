"""`task=verify`: models whose posterior is known, sampled on the machine at hand.

python -m bayesrun task=verify
python -m bayesrun task=verify sampler.engine=pymc3 verify.models=[eight_schools,switchpoint]

Each mean and each sd is compared with its exact value, in units of its Monte Carlo standard error: libraries, compiler
and sampler are right together, or something is seen here.
"""

from __future__ import annotations

import platform
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from pydantic import field_validator

from bayesrun.config.compose import compose
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.diagnostics.base import CheckResult, Finding, Severity, verdict
from bayesrun.diagnostics.summary import names_of, summarise
from bayesrun.errors import Problem, SamplingError, VerdictError, check, did_you_mean
from bayesrun.jobs.blocks import Placement, Work, make_fits
from bayesrun.lazy import pd, special
from bayesrun.logs import logging_to_memory
from bayesrun.many_fits import Fit, FitCache
from bayesrun.pipeline import compiled, load_data
from bayesrun.predict.predictive_groups import Groups, inference_data
from bayesrun.provenance import config_digest
from bayesrun.report.progress import CountLine
from bayesrun.samplers.base import SAMPLERS
from bayesrun.samplers.monitors import MonitorGroup
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.known_posteriors import KNOWN
from bayesrun.tasks.task_run import TaskRun, as_markdown, key_of, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "verify.csv"
_ALLOWED = (
    "sampler",
    "engine",
    "diagnostics",
    "tracking",
    "paths",
    "seed",
    "name",
    "tags",
    "experiment_name",
    "verify",
    "launcher",
    "cluster",
    "hydra",
)
_LIMITS = (0.01, 1e-4)
"""Probability of a difference as large as the largest by chance, from which on the verdict is `warn`, and `fail`."""


class VerifySpec(Section):
    """Options of `task=verify`.

    Parameters
    ----------
    models
        Names of the models; empty for all.
    """

    models: list[str] = []

    @field_validator("models", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class _Sampling:
    """Samples the models by number; each fit is the comparison of one."""

    names: Sequence[str]
    configs: Sequence[RunConfig]

    def __call__(self, number: int) -> Fit:
        name, config = self.names[number], self.configs[number]
        data = load_data(config)[0]
        model = compiled(config, config.model_type.build(data, config.model))
        sampler = SAMPLERS.load(config.sampler.method, "sampler.method")
        check(sampler.check(model, config.sampler))
        in_turn = config.sampler.model_copy(update={"cores": 1})
        sampled = sampler.sample(model, in_turn, config.top.seed, MonitorGroup([]))
        sampled.require_whole()
        draws = model.recover(sampled.draws, config.top.seed)
        idata = inference_data(model.reported, data, Groups({n: v for n, v in draws.items() if n not in model.helpers}))
        summary = summarise(idata)
        names, exact = list[str](), list[Any]()
        for variable, moments in KNOWN[name].exact(data).items():
            names += names_of(idata.posterior[variable], variable)
            exact.append(np.stack([np.ravel(moment) for moment in moments], axis=1))
        columns = ["mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk"]
        return {
            "names": np.array(names),
            "exact": np.concatenate(exact),
            "found": summary.loc[names, columns].to_numpy(float),
        }


def verify(request: TaskRequest) -> TaskEnd:
    """Compare samples with known posteriors, and return how that ended."""
    options: VerifySpec = request.options
    wrong = [key for key in map(key_of, request.arguments.overrides) if key.partition(".")[0] not in _ALLOWED]
    check([Problem(key, "has no meaning for this task", f"allowed: {', '.join(_ALLOWED)}") for key in wrong])
    unknown = [(i, name) for i, name in enumerate(options.models) if name not in KNOWN]
    check([Problem(f"verify.models[{i}]", f"unknown model '{n}'", did_you_mean(n, KNOWN)) for i, n in unknown])
    names = options.models or list(KNOWN)
    configs = [_config(request, name) for name in names]
    first = configs[0]
    TRACKERS.load(first.tracking.backend, "tracking.backend").warm(first.tracking)
    with logging_to_memory() as memory:
        made = TaskRun("verify", [], _called_verify(first), {"models": names}, "")
        with open_task_run(made, memory) as own:
            again = partial(_fits_of, names, configs, platform.uname()._asdict())
            fit, cache = again()
            with CountLine("models", len(names), first.sampler.progress) as line:
                place = Placement.of(request.config, own.path)
                done = make_fits(range(len(names)), Work(fit, again), cache, place, line.tell)
            if done.interrupted:
                raise KeyboardInterrupt(f"{len(done.made)} of {len(names)} models are done: the same command continues")
            if not done.made:
                raise SamplingError(f"no model could be sampled: {next(iter(done.failed.values()))}")
            table = pd.concat([_compared(names[number], fit) for number, fit in done.made.items()], ignore_index=True)
            judged = _judged(table, {names[number]: reason for number, reason in done.failed.items()})
            shown = _by_model(table)
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_json("findings.json", [asdict(finding) for finding in judged.findings])
            own.write_data("metrics.json", clean_metrics(judged.metrics))
            own.write_text("description.md", "\n\n".join([_summary(judged), as_markdown(shown)]))
            shutil.rmtree(cache.folder, ignore_errors=True)  # the next command shall sample on this machine again
    show_table(shown)
    for finding in judged.findings:
        if finding.severity != "ok":
            print(finding.message)
    if done.reused:
        print(f"{done.reused} models were sampled before, by a command that did not end.")
    print(f"\n{_summary(judged)}\nfolder: {own.path}")
    bad = verdict(judged.findings) == "fail" and first.diagnostics.fail_run
    return TaskEnd(VerdictError.exit_status if bad else 0, own.path)


def _config(request: TaskRequest, name: str) -> RunConfig:
    """Compose the config of a known model, with what the command sets; chains run in turn, models side by side."""
    known = KNOWN[name]
    given = [o for o in request.arguments.overrides if key_of(o).partition(".")[0] != "verify"]
    shipped = [] if known.model is not None else [f"model={name}"]
    overrides = ["experiment_name=verify", *shipped, *given]
    composition = compose(Namespace(**{**vars(request.arguments), "overrides": overrides}), conf())
    check(composition.problems)
    config = composition.config
    if known.model is not None:
        plain: Any = OmegaConf.to_container(config, resolve=False)
        kept = {key: value for key, value in plain.items() if key not in ("hydra", "model", "data")}
        config = OmegaConf.create({**kept, "model": dict(known.model), "data": dict(known.data or {})})
    parsed = parse_config(config)
    return replace(parsed, sampler=parsed.sampler.model_copy(update={"progress": False}))


def _fits_of(
    names: Sequence[str], configs: Sequence[RunConfig], machine: Mapping[str, str]
) -> tuple[_Sampling, FitCache]:
    """Return what samples the models, here or in a job, and the cache of a command on a machine, of which they tell."""
    models = [[name, config_digest(config.plain)] for name, config in zip(names, configs, strict=True)]
    identity = {"models": models, "machine": dict(machine)}
    return _Sampling(names, configs), FitCache.of(configs[0].paths.outputs, "verify", identity)


def _called_verify(config: RunConfig) -> RunConfig:
    return replace(config, top=config.top.model_copy(update={"name": config.top.name or "verify"}))


# ---------------------------------------------------------------- what is found


def _compared(name: str, fit: Fit) -> pd.DataFrame:
    """Return a row per quantity and moment, with the difference in Monte Carlo standard errors."""
    rows = []
    for quantity, exact, found in zip(fit["names"], fit["exact"], fit["found"], strict=True):
        for place, moment in enumerate(("mean", "sd")):
            difference = found[place] - exact[place]
            rows.append(
                {
                    "model": name,
                    "quantity": str(quantity),
                    "moment": moment,
                    "exact": exact[place],
                    "found": found[place],
                    "mcse": found[2 + place],
                    "in_mcse": difference / found[2 + place],
                    "ess_bulk": found[4],
                }
            )
    return pd.DataFrame(rows)


def _by_model(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per model: how far the worst of its moments is off."""
    worst = table.loc[table.groupby("model", sort=False)["in_mcse"].apply(lambda d: d.abs().idxmax())]
    sizes = table.groupby("model", sort=False)
    return pd.DataFrame(
        {
            "model": worst["model"].to_numpy(),
            "known by": [KNOWN[name].how for name in worst["model"]],
            "moments": sizes.size().to_numpy(),
            "largest |difference| / MCSE": worst["in_mcse"].abs().to_numpy(),
            "of": [
                f"{moment} of {quantity}" for moment, quantity in zip(worst["moment"], worst["quantity"], strict=True)
            ],
            "ess_min": sizes["ess_bulk"].min().to_numpy(),
        }
    )


def _judged(table: pd.DataFrame, failed: dict[str, str]) -> CheckResult:
    """Judge the largest differences, each with the probability that one of all is as large by chance."""
    findings = [Finding("verify", "fail", f"{name} could not be sampled: {why}", name) for name, why in failed.items()]
    for row in table.to_dict("records"):
        size = abs(row["in_mcse"])
        chance = min(1.0, len(table) * 2.0 * float(special.ndtr(-size))) if size == size else 0.0
        severity: Severity = "fail" if chance < _LIMITS[1] else "warn" if chance < _LIMITS[0] else "ok"
        what = f"{row['model']}: the {row['moment']} of {row['quantity']} is {row['found']:.6g}"
        message = f"{what}, {size:.1f} MCSE from {row['exact']:.6g}."
        remedy = "" if severity == "ok" else "Run the tests of bayesrun on this machine, and report this."
        findings.append(Finding("verify", severity, message, row["quantity"], size, None, remedy))
    by_model = table["in_mcse"].abs().groupby(table["model"]).max()
    metrics = {f"in_mcse_max/{name}": float(largest) for name, largest in by_model.items()}
    largest = {"verify_in_mcse_max": float(table["in_mcse"].abs().max()), "verify_moments": float(len(table))}
    return CheckResult(tuple(findings), {**largest, **metrics})


def _summary(judged: CheckResult) -> str:
    moments, largest = int(judged.metrics["verify_moments"]), judged.metrics["verify_in_mcse_max"]
    return (
        f"verdict: {verdict(judged.findings)} ({moments} means and sds, the largest difference is {largest:.1f} MCSE)"
    )


TASK = Task(do=verify, options=VerifySpec, takes_runs=False, launches=True)
