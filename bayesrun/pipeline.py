"""A run from its parsed config to its folder, top to bottom as in design part 1.

    data -> model -> preflight -> sample -> diagnose -> figures -> report -> track

What fails before sampling leaves nothing behind. What fails later leaves a folder whose `status.json` says so.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bayesrun.config import RunConfig
from bayesrun.diagnostics.base import CheckResult, verdict
from bayesrun.engines.base import ENGINES, CompiledModel, Engine
from bayesrun.errors import BayesrunError, Problem, SamplingError, UserError, check
from bayesrun.logs import logging_to_memory
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.base import SAMPLERS
from bayesrun.samplers.chains import parallel_chains
from bayesrun.session import Job, Prepared, RunResult, Session, session
from bayesrun.tracking._entries import MAX_SCALARS
from bayesrun.tracking.base import TRACKERS, Tracker

if TYPE_CHECKING:
    import arviz as az
    import pandas as pd
    import xarray as xr

    from bayesrun.samplers.base import Sampled

log = logging.getLogger("bayesrun")


def run(config: RunConfig, job: Job) -> RunResult:
    """Run one config from its data to its tracked, judged posterior.

    Parameters
    ----------
    config
        The parsed config.
    job
        Where the run belongs.

    Returns
    -------
    RunResult
        How it ended. A failure of sampling is a result, not an exception.

    Raises
    ------
    UserError
        When config or data are at fault; nothing is left behind.
    """
    began = time.perf_counter()
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        prepared = prepare(config)
        folder = RunFolder.claim(job.folder)
        with session(config, job, prepared, folder, memory) as opened:
            with _timed("sample"):
                sampled = _sample(config, prepared.model, opened.tracker)
            opened.reason, opened.steps = sampled.interrupted, dict(sampled.steps)
            with _timed("predict"):
                idata, missing = _posterior(config, prepared, sampled, opened)
            with _timed("diagnose"):
                summary, result = _diagnose(config, folder, idata, missing)
            with _timed("store and draw"):
                _store_and_draw(config, folder, idata, summary, prepared)
            metrics = {**result.metrics, **_timings(sampled, result.metrics), **_scalars(summary)}
            opened.finish(result, {**metrics, "seconds_total": time.perf_counter() - began})
            _say(config, folder, summary, result)
    return opened.result(config)


@contextmanager
def _timed(step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    log.debug("%s: %.2f s", step, time.perf_counter() - began)


def prepare(config: RunConfig) -> Prepared:
    """Load the data, build the model and check that it can be sampled; leaves nothing behind."""
    data, data_digest, imputation = load_data(config)
    rows = _rows_to_predict(config, data)
    for line in imputation:
        log.info(line)
    from bayesrun.models.base import build_model

    engine = engine_of(config)
    engine.set_up(config.engine.patches)
    engine.begin_run()
    with engine.building():
        built = build_model(config.model_type, data, config.model)
    model = engine.compile(built)
    model.check_initial_point()
    check(SAMPLERS.load(config.sampler.method, "sampler.method").check(model, config.sampler))
    _log_model(model)
    return Prepared(data, data_digest, model, imputation, rows)


def engine_of(config: RunConfig) -> Engine:
    """Return the engine of a run, not yet set up."""
    return ENGINES.load(config.engine.name, "engine.name")


def load_data(config: RunConfig) -> tuple[Any, str | None, list[str]]:
    """Load and settle the data, checked against what the model needs; returns also their digest and what is imputed."""
    from bayesrun.data import _prepare as data_sets

    roles = config.model_type.roles(config.model)
    if config.data is None:
        if roles:
            names = ", ".join(role.variable for role in roles)
            raise UserError([_no_data(names)])
        return None, None, []
    data = data_sets.load(config.data, config.paths.data)
    data, imputation = data_sets.settle(data, roles, config.data.drop_missing)
    check(config.model_type.check(data, config.model))
    return data, data_sets.digest(data), imputation


def _no_data(names: str) -> Any:

    return Problem("data", f"the model needs data ({names}), and there are none", "choose a data set: data=NAME")


def _log_model(model: CompiledModel) -> None:
    coords, dims = model.labels()
    for name, of in dims.items():
        log.debug("dims of %s: %s", name, ", ".join(of))
    for name, values in coords.items():
        shown = ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
        log.debug("coords of %s: %d (%s)", name, len(values), shown)


def _sample(config: RunConfig, model: CompiledModel, tracker: Tracker) -> Sampled:
    from bayesrun.report.progress import ProgressLine
    from bayesrun.samplers.base import Monitor
    from bayesrun.samplers.monitors import Several, TimeLimit, Tracked

    spec = config.sampler
    with ProgressLine(spec.steps(), spec.progress) as line:
        monitors: list[Monitor] = [
            line,
            Tracked(spec.steps(), tracker.progress),
            *([TimeLimit(spec.max_seconds)] if spec.max_seconds else []),
        ]
        try:
            sampled = SAMPLERS.load(spec.method, "sampler.method").sample(
                model, spec, config.top.seed, Several(monitors, tracker.ready)
            )
        except BayesrunError:
            raise
        except Exception as error:
            log.debug("sampling failed", exc_info=True)
            raise SamplingError(f"sampling failed: {type(error).__name__}: {error}") from error
    if sampled.interrupted:
        log.warning("sampling ended early (%s): the draws so far are kept", sampled.interrupted)
    return sampled


def _posterior(
    config: RunConfig, prepared: Prepared, sampled: Sampled, opened: Session
) -> tuple[az.InferenceData, dict[str, str]]:
    """Collect all groups; on Ctrl-C only what takes no time, so that the draws are not lost."""
    from bayesrun.predict.groups import Wanted, collect

    wanted = Wanted(
        prior=config.predictive.prior,
        posterior=config.predictive.posterior,
        log_likelihood=_largest(config),
        log_prior=config.diagnostics.prior_sensitivity,
    )
    try:
        return collect(prepared.model, prepared.data, sampled, config.top.seed, wanted)
    except KeyboardInterrupt:
        opened.reason = "interrupt"
        log.warning("interrupted while predicting: the draws are kept, predictions are not")
        return collect(prepared.model, prepared.data, sampled, config.top.seed, Wanted())


def _largest(config: RunConfig) -> int:
    keep = config.diagnostics.log_likelihood
    return config.diagnostics.log_likelihood_max if keep == "auto" else sys.maxsize if keep else 0


def _store(config: RunConfig, folder: RunFolder, idata: az.InferenceData) -> None:
    from bayesrun.report.store import save

    store = config.store
    save(idata, folder, store.variables, store.exclude, store.groups, store.float32_above, store.compression)


def _rows_to_predict(config: RunConfig, fitted: Any) -> xr.Dataset | None:
    """Load the rows of `predict.data` before anything is sampled, so that what is wrong with them is told first."""
    if config.predict is None:
        return None
    from bayesrun.data import _prepare as data_sets
    from bayesrun.predict import new_rows

    observed = [role.variable for role in config.model_type.roles(config.model) if role.kind == "observed"]
    if fitted is None or not observed:
        raise UserError([Problem(new_rows.KEY, "the model explains no data, so there is nothing to predict")])
    new = data_sets.load(config.predict.data, config.paths.data)
    rows = new_rows.like_fitted(new, fitted, config.predict.data.factors, observed)
    check(new_rows.row_problems(config.model_type, config.model, rows))
    return rows


def _predict_rows(config: RunConfig, folder: RunFolder, rows: xr.Dataset | None, idata: az.InferenceData) -> None:
    if rows is None or config.predict is None:
        return
    from bayesrun.predict.new_rows import predictions

    draws = {str(name): array.values for name, array in idata.posterior.data_vars.items()}
    table = predictions(engine_of(config), config.model_type, config.model, rows, draws, config.top.seed)
    folder.write("predictions.csv", lambda path: table.to_csv(path, index=False))
    log.info("predictions.csv: %d values for the rows of '%s'", len(table), config.predict.data.name)


def _diagnose(
    config: RunConfig, folder: RunFolder, idata: az.InferenceData, missing: Mapping[str, str]
) -> tuple[pd.DataFrame, CheckResult]:
    from bayesrun.diagnostics._judge import judge
    from bayesrun.diagnostics._summary import summarise
    from bayesrun.diagnostics.base import Judged

    summary = summarise(idata)
    folder.write("summary.csv", summary.to_csv)
    depth = getattr(config.sampler, "max_treedepth", 10)
    method = SAMPLERS.load(config.sampler.method, "sampler.method").judged_as or config.sampler.method
    result = judge(Judged(idata, summary, method, config.diagnostics, depth, missing))
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


def _store_and_draw(
    config: RunConfig, folder: RunFolder, idata: az.InferenceData, summary: pd.DataFrame, prepared: Prepared
) -> None:
    """Write what is left; figures take longest, and are drawn beside the rest."""
    from bayesrun.figures._save import draw_all
    from bayesrun.figures.base import Subject
    from bayesrun.report.graph import write_graph

    def store() -> None:
        _store(config, folder, idata)
        _predict_rows(config, folder, prepared.rows, idata)
        write_graph(prepared.model.graph(), folder)

    subject = Subject(idata, summary, config.plain["model"])
    draw_all(config.model.figures, subject, folder.figures, parallel_chains(config.sampler), meanwhile=store)


def _say(config: RunConfig, folder: RunFolder, summary: pd.DataFrame, result: CheckResult) -> None:
    from bayesrun.report.console import show

    show(summary, result.findings, verdict(result.findings), folder.path, _ui(config))


def _ui(config: RunConfig) -> str | None:
    tracking = config.tracking
    if tracking.backend != "mlflow" or tracking.uri is None:
        return None
    if tracking.uri.startswith("http"):
        return tracking.uri
    return f"mlflow ui --backend-store-uri {tracking.uri}"
