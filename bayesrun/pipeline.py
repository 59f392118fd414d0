"""A run from its parsed config to its tracked posterior and verdict, top to bottom as in design part 1.

    data -> model -> preflight -> sample -> predict -> diagnose -> verdict -> figures -> report -> track

`run` is that line, and the functions below it are its steps in the same order. A failure before sampling leaves nothing
behind. A later failure leaves a folder whose `status.json` describes it (`open_run`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from bayesrun.config.run_config import RunConfig
from bayesrun.data.prepare import digest, load_fitted
from bayesrun.data.roles import settle
from bayesrun.diagnostics.base import CheckResult, Judged, judge, verdict
from bayesrun.engines.base import ENGINES, CompiledModel, Engine
from bayesrun.errors import BayesrunError, Problem, SamplingError, check, did_you_mean, fail
from bayesrun.extension import Extension, least_ess, next_draws, with_draws
from bayesrun.figures.base import Subject
from bayesrun.figures.early import EarlyFigures
from bayesrun.language.declaration import Declaration, has_initial_values
from bayesrun.language.statements import WrittenModel, written_model
from bayesrun.lazy import az, pd, xr
from bayesrun.logs import logging_to_memory, timed
from bayesrun.open_run import OpenRun, PlaceOfRun, RunResult, keep_table, least_bytes, open_run, write_config
from bayesrun.pictures import DRAWING, begin_figures, draw_pictures
from bayesrun.predict import new_rows
from bayesrun.predict.fitted_model import FittedModel, fitted_model, write_design
from bayesrun.predict.predictive_groups import Wanted, collect
from bayesrun.predict.tables import check_groups, write_predictions
from bayesrun.run_folder import RunFolder, check_place
from bayesrun.samplers.base import SAMPLERS, Monitor, Sampled
from bayesrun.samplers.draw_store import rows_of
from bayesrun.samplers.earlier import EarlierDraws, layout_of
from bayesrun.samplers.initial_points import settle_start
from bayesrun.samplers.monitors import MonitorGroup, Signals, TimeLimit, Tracked
from bayesrun.served_model import write_model
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import MAX_SCALARS

if TYPE_CHECKING:
    from bayesrun.data.design import FittedDesign
    from bayesrun.predict.new_rows import PreparedRows

log = logging.getLogger("bayesrun")

_MOST_OF_PRIORS = 10_000
"""Most scalars of a model whose priors are evaluated at each draw without being asked for."""


@dataclass
class PreparedRun:
    """What is ready before a run has a folder: the data, the model, and what is known of both."""

    data: xr.Dataset | None
    data_digest: str | None
    model: CompiledModel
    imputation: list[str]
    rows: PreparedRows | None = None
    fitted: FittedModel | None = None
    written: WrittenModel | None = None


AfterDraws = Callable[[RunFolder], Mapping[str, float]]
"""`(folder) -> metrics`: looks at a run's files when all are there, before its tracking is closed."""


def run(
    config: RunConfig, job: PlaceOfRun, extension: Extension | None = None, afterwards: AfterDraws | None = None
) -> RunResult:
    """Run one config from its data to its tracked posterior and verdict.

    Parameters
    ----------
    config
        The parsed config.
    job
        Where the run belongs.
    extension
        The run that it extends.
    afterwards
        What a task adds to the run once its posterior is judged.

    Returns
    -------
    RunResult
        How it ended. A failure of sampling is a result, not an exception.

    Raises
    ------
    UserError
        When the config or the data are wrong; nothing is left behind.
    """
    began = time.perf_counter()
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        prepared = prepare(config)
        if extension is not None:
            extension.check(config, prepared.model, prepared.data_digest)
        check_place(job.folder, least_bytes(config, prepared.model))
        with Signals(held=True) as signals:
            folder = RunFolder.claim(job.folder)
            if job.table is not None and prepared.data is not None:
                config = keep_table(config, job.table, folder)
                prepared.data = prepared.data.assign_attrs(origin=str(folder.path / job.table.name))
            with open_run(config, job, prepared.data, prepared.data_digest, folder, memory, signals) as opened:
                signals.release()
                _write_model(prepared, folder)
                with timed("sample"):
                    if extension is None:
                        sampled = _sample(config, prepared.model, opened)
                    else:
                        config, sampled = _extend(config, prepared, opened, extension)
                        write_config(config, job, folder)
                conclude(config, prepared, sampled, opened, began, afterwards)
    return opened.result(config)


# ---------------------------------------------------------------- data, model, preflight


def prepare(config: RunConfig) -> PreparedRun:
    """Load the data, build the model and check that it can be sampled; leaves nothing behind."""
    data, data_digest, imputation, design = read_data(config)
    if not config.model_type.build_checks:
        check(model_problems(config, data))
    declared = config.model_type.build(data, config.model)
    fitted = fitted_model_of(config, declared, design, data_digest)
    rows = rows_to_predict(config, fitted)
    for line in imputation:
        log.info(line)
    model = compiled(config, declared)
    settle_start(model, config.top.seed, has_initial_values(declared))
    check(SAMPLERS.load(config.sampler.method, "sampler.method").check(model, config.sampler))
    check(_unknown_expectations(config, model))
    check(_not_storable(model, data, data_digest))
    _log_model(model)
    return PreparedRun(data, data_digest, model, imputation, rows, fitted, _written(config, declared, data))


def _written(config: RunConfig, declared: Declaration, data: xr.Dataset | None) -> WrittenModel | None:
    """Write the model down for people; None for one that a plug-in's engine has built."""
    if not isinstance(declared, Declaration):
        return None
    try:
        own = config.model_type.statements
        return written_model(declared, data, None if own is None else own(config.model, data))
    except Exception:  # the formulas of a report must not cost a run
        log.debug("the model can't be written as formulas", exc_info=True)
        return None


def load_data(config: RunConfig) -> tuple[Any, str | None, list[str], FittedDesign | None]:
    """Load and prepare the data, checked against what the model needs; returns what `read_data` does."""
    data, data_digest, imputation, design = read_data(config)
    check(model_problems(config, data))
    return data, data_digest, imputation, design


def read_data(config: RunConfig) -> tuple[Any, str | None, list[str], FittedDesign | None]:
    """Load the data and handle missing values by role; also returns their digest, what is imputed, what was learned."""
    roles = config.model_type.roles(config.model)
    if config.data is None:
        if roles:
            names = ", ".join(role.variable for role in roles)
            raise fail(
                "data", f"the model needs data ({names}), but no data set is chosen", "choose a data set: data=NAME"
            )
        return None, None, [], None
    data, design = load_fitted(config.data, config.paths.data)
    uses = config.model_type.uses(config.model)
    data, imputation = settle(data, roles, config.data.drop_missing, uses)
    return data, digest(data), imputation, design


def model_problems(config: RunConfig, data: xr.Dataset | None) -> list[Problem]:
    """Find the problems of the model that its data alone show, before the engine is imported."""
    return [] if data is None else config.model_type.check(data, config.model)


def compiled(config: RunConfig, declared: Declaration) -> CompiledModel:
    """Compile the model; problems with its priors' expressions and shapes are reported here at the latest."""
    engine = engine_of(config)
    engine.set_up(config.engine.patches)
    engine.begin_run()
    return engine.compile(declared)


def engine_of(config: RunConfig) -> Engine:
    """Return the engine of a run, not yet set up."""
    return ENGINES.load(config.engine.name, "engine.name")


def fitted_model_of(
    config: RunConfig, declared: Declaration, design: FittedDesign | None, digest: str | None
) -> FittedModel | None:
    """Return what predictions need from the fit; None without data, or for a model that a plug-in has built."""
    if design is None or not isinstance(declared, Declaration):
        return None
    return fitted_model(declared, design, digest, getattr(config.model, "formula", None))


def rows_to_predict(config: RunConfig, fitted: FittedModel | None) -> PreparedRows | None:
    """Load the rows of `predict.data` before anything is sampled, so that problems with them are reported first."""
    if config.predict.data is None:
        return None

    if fitted is None:
        message = "the model explains no data, so there is nothing to predict"
        if config.data is not None:
            message = (
                f"models of type '{config.model.type}' are built by the engine itself, which can't predict new rows"
            )
        raise fail(new_rows.KEY, message)
    rows = new_rows.prepare_rows(config.model_type, config.model, fitted, config.predict, config.paths.data)
    check_groups(rows, config.predict.group_by)
    for note in rows.notes:
        log.info("%s: %s", new_rows.KEY, note)
    return rows


def _unknown_expectations(config: RunConfig, model: CompiledModel) -> list[Problem]:
    """Find names of `diagnostics.expect` that the model does not explain."""
    known = list(model.reported.likelihoods)
    return [
        Problem(f"diagnostics.expect.{name}", "is not explained by the model", did_you_mean(name, known))
        for name in config.diagnostics.expect
        if name not in known
    ]


def _not_storable(model: CompiledModel, data: xr.Dataset | None, digest: str | None) -> list[Problem]:
    """Find what `posterior.nc` can't hold: after sampling, the draws could not be kept as they should."""
    from bayesrun.report.store import what_can_not_be_stored

    return what_can_not_be_stored(model, data, digest)


def _log_model(model: CompiledModel) -> None:
    coords, dims = model.labels()
    for name, of in dims.items():
        log.debug("dims of %s: %s", name, ", ".join(of))
    for name, values in coords.items():
        shown = ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
        log.debug("coords of %s: %d (%s)", name, len(values), shown)


# ---------------------------------------------------------------- sample


def _sample(config: RunConfig, model: CompiledModel, opened: OpenRun, earlier: EarlierDraws | None = None) -> Sampled:
    """Sample the model; with `earlier` draws, continue their chains."""
    from bayesrun.report.progress import ProgressLine

    spec = config.sampler
    with ProgressLine(spec.steps(), spec.progress) as line:
        monitors: list[Monitor] = [
            line,
            Tracked(spec.steps(), opened.tracker.progress),
            *([TimeLimit(spec.max_seconds)] if spec.max_seconds else []),
        ]
        try:
            sampler = SAMPLERS.load(spec.method, "sampler.method")
            monitor = MonitorGroup(monitors, opened.tracker.ready)
            if earlier is None:
                store = (opened.store,) if sampler.keeps_draws else ()
                sampled = sampler.sample(model, spec, config.top.seed, monitor, *store)
            else:
                assert sampler.extend is not None
                sampled = sampler.extend(model, spec, config.top.seed, monitor, opened.store, earlier)
        except BayesrunError:
            raise
        except Exception as error:
            log.debug("sampling failed", exc_info=True)
            raise SamplingError(f"sampling failed: {type(error).__name__}: {error}") from error
    if sampled.interrupted:
        log.warning("sampling ended early (%s): the draws so far are kept", sampled.interrupted)
    return sampled


def _extend(
    config: RunConfig, prepared: PreparedRun, opened: OpenRun, extension: Extension
) -> tuple[RunConfig, Sampled]:
    """Add draws to those of an earlier run, in rounds where an effective sample size must be reached.

    Returns
    -------
    config : RunConfig
        With the draws that were made in all.
    sampled : Sampled
        All draws.
    """
    from bayesrun.diagnostics.summary import summarise

    earlier, wanted, most = extension.earlier, extension.until_ess, extension.max_draws
    while True:
        sampled = extension.total_seconds(_sample(config, prepared.model, opened, earlier))
        if wanted is None or sampled.interrupted or sampled.died:
            return config, sampled
        idata, _ = collect(prepared.model, prepared.data, sampled, config.top.seed, Wanted())
        ess, draws = least_ess(summarise(idata, config.top.intervals)), config.sampler.draws
        log.info("%s draws per chain: the smallest ESS is %s", f"{draws:,}", f"{ess:,.0f}")
        if ess >= wanted or draws >= most:
            if ess < wanted:
                bound = f"{most:,} draws per chain (extend.max_draws)"
                log.warning("until_ess=%d is not reached with %s: the smallest ESS is %.0f", wanted, bound, ess)
            return config, sampled
        config = with_draws(config, next_draws(draws, ess, wanted, most))
        earlier = EarlierDraws.of_sampled(sampled, opened.store)
        extension = replace(extension, seconds_sample=sampled.seconds_sample)


# ---------------------------------------------------------------- what follows from the draws


def conclude(
    config: RunConfig,
    prepared: PreparedRun,
    sampled: Sampled,
    opened: OpenRun,
    began: float,
    afterwards: AfterDraws | None = None,
) -> None:
    """Make everything that follows from the draws: the verdict first, which is stored and shown, and then pictures.

    The draws are stored before anything else, so that nothing can lose them.

    Parameters
    ----------
    config, prepared
        What is run, and what was ready before sampling.
    sampled
        The draws.
    opened
        The open run, whose folder is filled.
    began
        When the run began, by `time.perf_counter`.
    afterwards
        What a task adds to the run.
    """
    folder = opened.folder
    opened.reason, opened.steps = sampled.interrupted, dict(sampled.steps)
    with timed("keep the draws"):
        idata = _keep_draws(config, prepared, sampled, opened)
    with begin_figures(config, folder, idata) as early:
        del idata  # it may be large, and has been handed over
        _judge(config, prepared, sampled, opened, began, afterwards, early)


def _judge(
    config: RunConfig,
    prepared: PreparedRun,
    sampled: Sampled,
    opened: OpenRun,
    began: float,
    afterwards: AfterDraws | None,
    early: EarlyFigures,
) -> None:
    """Predict, diagnose, store and show, and then draw what is not drawn yet (`conclude`)."""
    from bayesrun.report.console import show
    from bayesrun.report.progress import Waiting

    folder = opened.folder
    with timed("predict"), Waiting("predicting", config.sampler.progress):
        idata, missing = _posterior(config, prepared, sampled, opened)
        _predict_rows(config, folder, prepared, idata)
    with timed("diagnose"):
        summary, result = _diagnose(config, prepared.model, sampled, folder, idata, missing)
    with timed("store"):
        _store(config, folder, idata)
        _write_model(prepared, folder)
        _keep_state(config, prepared.model, sampled, opened)
    if config.store.model and prepared.fitted is not None and prepared.data is not None:
        with timed("write the model"):
            write_model(config, prepared.data, prepared.fitted, folder)
    metrics = {**result.metrics, **_timings(sampled, result.metrics), **_scalars(summary)}
    metrics |= afterwards(folder) if afterwards else {}
    opened.finish(result, {**metrics, "seconds_total": time.perf_counter() - began})
    if sampled.died:  # its draws, later than those of the other chains, are in the store alone
        opened.store.trim()
    else:
        opened.store.remove()
    log.debug("verdict: %s", verdict(result.findings))
    if opened.shows:
        show(summary, result.findings, verdict(result.findings), folder.path, opened.tracker.compare_hint())
    with timed("draw"), Waiting("drawing figures", config.sampler.progress, DRAWING if opened.shows else ""):
        subject = Subject(idata, summary, config.plain["model"], config.top.intervals)
        draw_pictures(config, subject, folder, prepared.written, prepared.model.graph, early)


def _keep_draws(config: RunConfig, prepared: PreparedRun, sampled: Sampled, opened: OpenRun) -> az.InferenceData:
    """Write `posterior.nc` with the draws alone, before anything that may fail or be interrupted; return them."""
    if sampled.interrupted != "killed" and not opened.store.is_used:  # a method that makes all draws at its end
        layout = layout_of(sampled)
        for chain, file in opened.store.begin(layout).items():
            columns, stats = ({n: v[chain] for n, v in of.items()} for of in (sampled.draws, sampled.stats))
            file.append(rows_of(columns, stats, layout))
    idata, _ = collect(prepared.model, prepared.data, sampled, config.top.seed, Wanted())
    _store(config, opened.folder, idata)
    opened.has_draws = True
    return idata


def _keep_state(config: RunConfig, model: CompiledModel, sampled: Sampled, opened: OpenRun) -> None:
    """Keep what a longer run continues from: states, and draws that `posterior.nc` leaves out to stay small."""
    if SAMPLERS.load(config.sampler.method, "sampler.method").extend is not None:
        draws, most = sampled.draws, config.store.float32_above
        helpers = {n: draws[n] for n in model.helpers if n in draws and draws[n].size <= most}
        opened.store.keep_states(opened.folder.state, sampled, helpers)


def _posterior(
    config: RunConfig, prepared: PreparedRun, sampled: Sampled, opened: OpenRun
) -> tuple[az.InferenceData, dict[str, str]]:
    """Collect all groups; on Ctrl-C only what takes no time, so that the draws are not lost."""
    sensitivity = config.diagnostics.prior_sensitivity
    wanted = Wanted(
        prior=config.predictive.prior,
        posterior=config.predictive.posterior,
        log_likelihood=_largest(config),
        log_prior=_MOST_OF_PRIORS if sensitivity == "auto" else sys.maxsize if sensitivity else 0,
    )
    try:
        return collect(prepared.model, prepared.data, sampled, config.top.seed, wanted, opened.folder.path)
    except KeyboardInterrupt:
        opened.reason = "interrupt"
        log.warning("interrupted while predicting: the draws are kept, predictions are not")
        return collect(prepared.model, prepared.data, sampled, config.top.seed, Wanted())


def _largest(config: RunConfig) -> int:
    keep = config.diagnostics.log_likelihood
    return config.diagnostics.log_likelihood_max if keep == "auto" else sys.maxsize if keep else 0


def _predict_rows(config: RunConfig, folder: RunFolder, prepared: PreparedRun, idata: az.InferenceData) -> None:
    """Write what later predictions need, and the tables of the rows of `predict.data`."""
    from bayesrun.report.store import as_stored

    if prepared.fitted is None:
        return
    write_design(prepared.fitted, folder)
    if prepared.rows is None:
        return
    draws = {name: as_stored(array, config.store.float32_above) for name, array in idata.posterior.data_vars.items()}
    predict, top = config.predict, config.top
    rows, engine = prepared.rows, engine_of(config)
    try:
        write_predictions(predict, top.intervals, top.seed, rows, prepared.fitted, draws, engine, folder)
    except Exception as error:  # the posterior is worth more than its predictions, which task=predict can make again
        log.debug("no predictions", exc_info=True)
        log.error("the rows of predict.data could not be predicted: %s", error)


def _diagnose(
    config: RunConfig,
    model: CompiledModel,
    sampled: Sampled,
    folder: RunFolder,
    idata: az.InferenceData,
    missing: Mapping[str, str],
) -> tuple[pd.DataFrame, CheckResult]:
    from bayesrun.diagnostics.summary import summarise
    from bayesrun.predict.loo_repair import repair_loo  # ArviZ and SciPy, which a check of the config does without

    summary = summarise(idata, config.top.intervals)
    folder.write("summary.csv", summary.to_csv)
    depth = getattr(config.sampler, "max_treedepth", 10)
    method = SAMPLERS.load(config.sampler.method, "sampler.method").judged_as or config.sampler.method
    if config.diagnostics.loo.repair == "auto" and method == "nuts":
        repair_loo(model, sampled, idata, summary)
    result = judge(
        Judged(
            idata,
            summary,
            method,
            config.diagnostics,
            depth,
            missing,
            config.plain["model"],
            config.plain["sampler"],
            sampled.died,
            sampled.interrupted == "killed",
            str(folder.path),
            sampled.changes,
        )
    )
    folder.write_json("findings.json", [asdict(finding) for finding in result.findings])
    return summary, result


def _timings(sampled: Sampled, metrics: Mapping[str, float]) -> dict[str, float]:
    timings = {"seconds_compile": sampled.seconds_compile, "seconds_sample": sampled.seconds_sample}
    if "ess_bulk_min" in metrics and sampled.seconds_sample > 0:
        timings["ess_per_second"] = metrics["ess_bulk_min"] / sampled.seconds_sample
    return timings


def _scalars(summary: pd.DataFrame) -> dict[str, float]:
    rows = summary.head(MAX_SCALARS)
    return {f"{kind}/{name}": float(value) for kind in ("mean", "sd") for name, value in rows[kind].items()}


def _write_model(prepared: PreparedRun, folder: RunFolder) -> None:
    """Write the model as it is written: before sampling, so that a run that fails has it too."""
    if prepared.written is not None:
        folder.write_json("model.json", prepared.written.plain())


def _store(config: RunConfig, folder: RunFolder, idata: az.InferenceData) -> None:
    from bayesrun.report.store import save

    store = config.store
    save(idata, folder, store.variables, store.exclude, store.groups, store.float32_above, store.compression)
