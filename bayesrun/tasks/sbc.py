"""`task=sbc`: simulation-based calibration: whether a sampler finds what it should find in a model.

python -m bayesrun task=sbc model=eight_schools             parameters from the prior
python -m bayesrun task=sbc run=FOLDER                      parameters from the posterior of a run, data beside its own
python -m bayesrun task=sbc model=NAME sbc.fits=500 sampler.cores=4

Parameters are drawn, data are simulated with them, and the model is fitted to the data. The rank of each true value
among posterior draws is uniform if model, prior and sampler are right (Talts et al. 2018,
doi:10.48550/arXiv.1804.06788), and so is that of the log likelihood, which sees errors that parameters hide (Modrák et
al. 2023, doi:10.1214/23-BA1404). Bands of the ranks are simultaneous (Säilynoja et al. 2022,
doi:10.1007/s11222-022-10090-6).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from pydantic import Field, field_validator

from bayesrun.config.override_merge import Merged
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.diagnostics.base import CheckResult, Finding, Severity, listed, verdict
from bayesrun.diagnostics.calibration import judge_ranks
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError, VerdictError, check, fail
from bayesrun.finished_run import read_groups
from bayesrun.jobs.blocks import Placement, Work, make_fits
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.many_fits import FitCache, Fits, MakeFit
from bayesrun.open_run import dataset_of
from bayesrun.pipeline import compiled, load_data
from bayesrun.provenance import config_digest
from bayesrun.report.progress import CountLine
from bayesrun.samplers.base import SAMPLERS, NutsSpec
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.ranked_quantities import KEY, MOST_SCALARS, Quantities
from bayesrun.tasks.second_series import follows_itself, second_series, without_states
from bayesrun.tasks.simulated_fits import (
    Build,
    RankedFits,
    Simulated,
    builder_for,
    calibration_problems,
    simulate_posterior,
    simulate_prior,
    with_data,
    with_more_data,
    written_of,
)
from bayesrun.tasks.task_run import (
    TaskRun,
    as_markdown,
    check_data_of_run,
    check_keys_of_fit,
    key_of,
    open_task_run,
    show_table,
)
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "calibration.csv"
_DEFAULTS = {"draws": 500, "tune": 500, "chains": 1}
"""Of the fits, unless they are set: ranks need few draws, and the fits run side by side."""
_LIMITS = (0.05, 0.001)
_FEW_FITS = 20
_FITS_OF_A_JOB = 10
"""Of each process of a job, at least: one fit often takes less time than to import and to compile."""
_SHOWN = 12

log = logging.getLogger("bayesrun")


class SbcSpec(Section):
    """Options of `task=sbc`.

    Parameters
    ----------
    fits
        Number of data sets that are simulated and fitted.
    ranks
        Number of nearly independent posterior draws among which each true value is ranked.
    simulate
        Changes to `model` for the simulation alone: data that the fitted model should not explain.
    quantities
        Further quantities to rank, by name: expressions over the model's variables and the simulated data.
    """

    fits: Annotated[int, Field(ge=_FEW_FITS, le=100_000)] = 200
    ranks: Annotated[int, Field(ge=9, le=9999)] = 99
    simulate: dict[str, Any] = {}
    quantities: dict[str, str] = {}

    @field_validator("quantities", mode="before")
    @classmethod
    def _numbers_are_text(cls, value: Any) -> Any:
        return {k: str(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def sbc(request: TaskRequest) -> TaskEnd:
    """Calibrate a model and its sampler, and return how that ended."""
    from bayesrun.figures.rank_ecdf import draw_rank_ecdf  # Matplotlib

    options: SbcSpec = request.options
    if request.run is not None:
        check_keys_of_fit(request, "leave run out: task=sbc model=... calibrates a model with other keys")
        check(_simulated_otherwise(options))
    config = _with_defaults(parse_config(request.config), request)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        data, digest, _, _ = load_data(config)
        if request.run is not None:
            check_data_of_run(request.run.folder, digest)
        fits, notes = _prepared(config, options, request, data)
        parents = [request.run.folder] if request.run else []
        section = {**options.model_dump(mode="json", exclude_defaults=True), "fits": options.fits}
        dataset = None if data is None else dataset_of(data, digest)
        made = TaskRun("sbc", parents, config, section, "", digest, dataset)
        with open_task_run(made, memory) as own:
            cache = FitCache.of(config.paths.outputs, "sbc", _identity(config, digest, options, fits.simulated))
            work = Work(fits, partial(_again, request), _FITS_OF_A_JOB)
            with CountLine("fits", options.fits, config.sampler.progress) as line:
                place = Placement.of(request.config, own.path)
                done = make_fits(range(options.fits), work, cache, place, line.tell)
            if done.interrupted:
                again = f"the same command continues: {len(done.made)} of {options.fits} fits are done"
                raise KeyboardInterrupt(again)
            _check_enough(done, options.fits)
            ranks, table, judged = _judged(done, fits, options)
            notes = [*notes, *_notes(done, fits, options)]
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write("ranks.csv", lambda path: _with_numbers(ranks, done).to_csv(path, index=False))
            own.write_json("findings.json", [asdict(finding) for finding in judged.findings])
            own.write_data("metrics.json", clean_metrics(judged.metrics))
            own.write_text("description.md", "\n\n".join([_summary(judged), *notes, as_markdown(table)]))
            draw_rank_ecdf(config.model.name, ranks, options.ranks, table, own.figures / "rank_ecdf.png", _SHOWN)
    show_table(table.head(_SHOWN))
    if len(table) > _SHOWN:
        print(f"... and {len(table) - _SHOWN} more in {FILE}")
    for note in notes:
        print(note)
    print(f"\n{_summary(judged)}\nfolder: {own.path}")
    bad = verdict(judged.findings) == "fail" and config.diagnostics.fail_run
    return TaskEnd(VerdictError.exit_status if bad else 0, own.path)


# ---------------------------------------------------------------- what is fitted


def _again(request: TaskRequest) -> tuple[MakeFit, FitCache]:
    """Prepare the fits in another process; they are the same, whichever process makes them."""
    config = _with_defaults(parse_config(request.config), request)
    data, digest, _, _ = load_data(config)
    fits, _ = _prepared(config, request.options, request, data)
    return fits, FitCache.of(config.paths.outputs, "sbc", _identity(config, digest, request.options, fits.simulated))


def _with_defaults(config: RunConfig, request: TaskRequest) -> RunConfig:
    """Set the fits' own numbers of draws, unless they were given, in the command or in a config."""
    written = [key_of(override) for override in request.arguments.overrides]
    fields = NutsSpec.model_fields
    changed: dict[str, Any] = {
        key: value
        for key, value in _DEFAULTS.items()
        if f"sampler.{key}" not in written and getattr(config.sampler, key) == fields[key].default
    }
    # chains of a fit run in turn: the fits are made side by side
    sampler = config.sampler.model_copy(update={**changed, "cores": config.sampler.cores})
    return replace(config, sampler=sampler, plain={**config.plain, "sampler": sampler.model_dump(mode="json")})


def _prepared(config: RunConfig, options: SbcSpec, request: TaskRequest, data: Any) -> tuple[RankedFits, list[str]]:
    """Simulate all data, and decide how the model of each is made; also returns what should be said of that."""
    declared = config.model_type.build(data, config.model)
    check(calibration_problems(declared))
    model = compiled(config, declared)
    check(SAMPLERS.load(config.sampler.method, "sampler.method").check(model, config.sampler))
    written, seed = written_of(declared), config.top.seed
    if request.run is not None:
        groups = read_groups(request.run.folder, ("posterior",))
        if "posterior" not in groups:
            raise fail("run", f"'{request.run.folder}' has no posterior draws", "use a run that finished")
        posterior = {str(n): a.transpose("chain", "draw", ...).values for n, a in groups["posterior"].items()}
        posterior = without_states(written, posterior)
        simulated = simulate_posterior(model.reported, posterior, options.fits, seed)
        again = second_series(config, data) if follows_itself(written) else partial(with_more_data, written)
        build: Build = again
        notes = ["Parameters are those of the run's posterior; each fit has the run's data and new ones."]
        build({name: values[0] for name, values in simulated.data.items()})  # refuses what can't be fitted so
    else:
        simulated = simulate_prior(_simulating(config, options, data, model), options.fits, seed)
        _check_same(simulated, model.reported)
        example = {name: values[0] for name, values in simulated.data.items()}
        as_data = builder_for(config, data, declared, example)
        if as_data is None:
            with_data(written, example)  # refuses what can't be fitted so, before anything is
        build, notes = as_data or partial(with_data, written), []
        if as_data is None and declared.reported is not None:
            notes = [
                "The model was fitted as it is written: the form in which it is usually sampled depends on the data."
            ]
    asked = Quantities(model.reported, simulated.truth, options.quantities, config, data)
    _check_quantities(asked, simulated)
    return RankedFits(_in_turn(config), simulated, build, model.reported, asked, options.ranks, seed), notes


def _check_quantities(asked: Quantities, simulated: Simulated) -> None:
    """Compute the first true values, so that a quantity which is not a number is refused before any fit."""
    if not asked.asked:
        return
    try:
        for number in range(_FEW_FITS):
            data = {name: values[number] for name, values in simulated.data.items()}
            asked.of({name: values[number : number + 1] for name, values in simulated.truth.items()}, 1, data)
    except SamplingError as error:
        raise fail(KEY, str(error), "limit it to values that all draws can have") from error


def _simulated_otherwise(options: SbcSpec) -> list[Problem]:
    """Refuse another simulation than that of a run's posterior, whose parameters it would not have."""
    message = "has no meaning with run=..., whose posterior decides what is simulated"
    return [Problem("sbc.simulate", message, "leave it out, or run")] if options.simulate else []


def _in_turn(config: RunConfig) -> RunConfig:
    return replace(config, sampler=config.sampler.model_copy(update={"cores": 1}))


def _simulating(config: RunConfig, options: SbcSpec, data: Any, model: CompiledModel) -> CompiledModel:
    """Return the model that simulates: the fitted one, unless `sbc.simulate` changes it."""
    if not options.simulate:
        return model.reported
    merged = Merged(OmegaConf.create({"model": config.plain["model"]}))
    merged.file(OmegaConf.create({"model": options.simulate}))
    changed = parse_config(OmegaConf.create({**config.plain, "model": OmegaConf.to_container(merged.config.model)}))
    declared = changed.model_type.build(data, changed.model)
    check(calibration_problems(declared))
    return compiled(changed, declared).reported


def _check_same(simulated: Simulated, model: CompiledModel) -> None:
    """Refuse simulated data of other likelihoods than the fitted model's."""
    for name, shape in model.likelihoods.items():
        if name not in simulated.data or simulated.data[name].shape[1:] != shape:
            raise fail("sbc.simulate", f"simulates no data '{name}' of shape {shape}", "keep the likelihood's name")


def _identity(config: RunConfig, digest: str | None, options: SbcSpec, simulated: Simulated) -> Mapping[str, Any]:
    """Return what decides a fit, given its number; the numbers themselves where they come from a run."""
    first = {name: values[:_FEW_FITS] for name, values in {**simulated.truth, **simulated.data}.items()}
    values = hashlib.sha256()
    for name in sorted(first):
        values.update(name.encode() + np.ascontiguousarray(first[name]).tobytes())
    chosen = {"ranks": options.ranks, "simulate": options.simulate}
    chosen |= {"quantities": options.quantities} if options.quantities else {}
    return {"config": config_digest(config.plain), "data": digest, **chosen, "simulated": values.hexdigest()}


# ---------------------------------------------------------------- what is found


def _check_enough(done: Fits, wanted: int) -> None:
    if len(done.made) < _FEW_FITS:
        reasons = sorted(set(done.failed.values()))
        raise SamplingError(f"{len(done.failed)} of {wanted} fits failed: {'; '.join(reasons[:3])}")


def _judged(done: Fits, fits: RankedFits, options: SbcSpec) -> tuple[pd.DataFrame, pd.DataFrame, CheckResult]:
    """Return ranks (fit, quantity), the table of all quantities, and findings with metrics."""
    arrays = {name: np.stack([fit[name] for fit in done.made.values()]) for name in ("rank", "truth", "mean", "sd")}
    names = fits.names
    moving = np.ptp(arrays["truth"], axis=0) > 0
    asked = {names.index(name) for name in fits.quantities.asked}
    kept = [place for place in _distinct(arrays["rank"], options.ranks, asked) if moving[place]]
    ranks = pd.DataFrame({names[place]: arrays["rank"][:, place] for place in kept})
    ess = np.stack([fit["ess"] for fit in done.made.values()])
    found = judge_ranks(arrays["rank"][:, kept], options.ranks)
    prior_sd, posterior_sd = arrays["truth"].std(axis=0, ddof=1)[kept], np.median(arrays["sd"], axis=0)[kept]
    table = pd.DataFrame(
        {
            "quantity": list(ranks),
            "p_value": [one.p_value for one in found],
            "p_adjusted": [one.p_adjusted for one in found],
            "mean_rank": [one.mean for one in found],
            "spread": [one.spread for one in found],
            "reading": [one.reading if one.p_adjusted < _LIMITS[0] else "" for one in found],
            "shrinkage": 1.0 - np.minimum(1.0, posterior_sd / prior_sd) ** 2,
            "ess_min": [_least(ess[:, place]) for place in kept],
        }
    ).sort_values(["p_value", "quantity"], kind="stable")
    return ranks, table, CheckResult(tuple(_findings(table, done, options.fits)), _metrics(table, done, ess))


def _distinct(ranks: NDArray[np.int64], among: int, asked: Collection[int]) -> list[int]:
    """Return the quantities (columns) whose ranks no earlier one has, as a monotone function has; and all asked for."""
    seen, kept = set[bytes](), []
    for place, column in enumerate(ranks.T):
        if column.tobytes() not in seen or place in asked:
            kept.append(place)
        seen |= {column.tobytes(), (among - column).tobytes()}
    return kept


def _least(ess: NDArray[np.float64]) -> float:
    return float(np.nanmin(ess)) if np.isfinite(ess).any() else float("nan")


def _findings(table: pd.DataFrame, done: Fits, wanted: int) -> list[Finding]:
    findings = []
    for row in table.to_dict("records"):
        severity: Severity = (
            "fail" if row["p_adjusted"] < _LIMITS[1] else "warn" if row["p_adjusted"] < _LIMITS[0] else "ok"
        )
        message = f"The ranks of {row['quantity']} are uniform."
        if severity != "ok":
            message = f"The ranks of {row['quantity']} are not uniform: {row['reading']}."
        remedy = "" if severity == "ok" else _remedy(row["reading"])
        findings.append(Finding("sbc", severity, message, row["quantity"], row["p_adjusted"], _LIMITS[0], remedy))
    if done.failed:
        share, reason = len(done.failed) / wanted, next(iter(done.failed.values()))
        severity = "fail" if share > 0.2 else "warn" if share > 0.02 else "ok"
        message = f"{len(done.failed)} of {wanted} fits failed, such as: {reason}"
        findings.append(Finding("sbc_failed_fits", severity, message, None, share, 0.02, "Narrow the priors."))
    return findings


def _remedy(reading: str) -> str:
    if "narrow" in reading:
        return "Sample longer (sampler.tune, sampler.draws) or in smaller steps (sampler.target_accept=0.95)."
    return "Compare prior and likelihood with what simulates the data, and try another sampler."


def _metrics(table: pd.DataFrame, done: Fits, ess: NDArray[np.float64]) -> dict[str, float]:
    diverged = [float(fit["divergences"] > 0) for fit in done.made.values()]
    return {
        "sbc_fits": float(len(done.made)),
        "sbc_failed_fits": float(len(done.failed)),
        "sbc_reused_fits": float(done.reused),
        "sbc_quantities": float(len(table)),
        "sbc_p_adjusted_min": float(table["p_adjusted"].min()),
        "sbc_diverging_fits": float(np.mean(diverged)),
        "sbc_ess_min": _least(ess),
    }


def _notes(done: Fits, fits: RankedFits, options: SbcSpec) -> list[str]:
    """Return what limits the answer."""
    notes, made = [], done.made.values()
    short = sum(bool(np.nanmin(fit["ess"], initial=np.inf) < options.ranks) for fit in made)
    if short:
        share = f"{short} of {len(done.made)} fits have an ESS below {options.ranks}, also with more draws"
        notes.append(f"{share}: their ranks are of correlated draws. Set sampler.draws higher, or sbc.ranks lower.")
    diverged = sum(bool(fit["divergences"] > 0) for fit in made)
    if diverged:
        notes.append(f"{diverged} of {len(done.made)} fits have divergences.")
    if done.failed:
        reasons = sorted(set(done.failed.values()))
        notes.append(f"{len(done.failed)} fits failed and count for nothing: {listed(reasons, 3)}")
    if fits.quantities.total > len(fits.quantities.scalars):
        ranked, total = len(fits.quantities.scalars), f"{fits.quantities.total:,}"
        notes.append(
            f"{ranked} of {total} scalars are ranked, evenly spread over each variable (limit {MOST_SCALARS})."
        )
    if done.reused:
        notes.append(f"{done.reused} fits were made before.")
    return notes


def _with_numbers(ranks: pd.DataFrame, done: Fits) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({"fit": list(done.made)}), ranks], axis=1)


def _summary(judged: CheckResult) -> str:
    found = verdict(judged.findings)
    of, fits = int(judged.metrics["sbc_quantities"]), int(judged.metrics["sbc_fits"])
    wrong = [f.variable for f in judged.findings if f.severity != "ok" and f.variable]
    least = f"smallest adjusted p-value {judged.metrics['sbc_p_adjusted_min']:.2g}"
    if not wrong:
        return f"verdict: {found} ({fits} fits: the ranks of all {of} quantities are uniform, {least})"
    return (
        f"verdict: {found} ({fits} fits: the ranks of {len(wrong)} of {of} are not uniform: {listed(wrong)}; {least})"
    )


TASK = Task(do=sbc, options=SbcSpec, uses_config_of_run=True, launches=True)
