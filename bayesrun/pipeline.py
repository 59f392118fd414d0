"""A run from its parsed config to its tracked, judged posterior, top to bottom as in design part 1.

    data -> model -> preflight -> sample -> predict -> diagnose -> figures -> report -> track

`run` is that line; the functions below it are its steps, in the same order, and `OpenRun` is what a run leaves behind
however it ends. A failure before sampling leaves nothing behind. A later failure leaves a folder whose `status.json`
tells of it.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.base import CheckResult, verdict
from bayesrun.early_signals import hand_over
from bayesrun.engines.base import ENGINES, CompiledModel, Engine
from bayesrun.errors import BayesrunError, Problem, SamplingError, UserError, check
from bayesrun.live_runs import under_way
from bayesrun.logs import flush_to, logging_to_memory
from bayesrun.provenance import now, provenance
from bayesrun.redaction import redact, redact_override, redact_tree
from bayesrun.run_folder import RunFolder, as_output_error, check_place
from bayesrun.samplers.base import SAMPLERS
from bayesrun.samplers.chains import parallel_chains
from bayesrun.samplers.draw_store import DrawStore
from bayesrun.tracking.base import TRACKERS, DatasetInfo, RunCard, RunStatus, Tracker, flatten
from bayesrun.tracking.entries import MAX_SCALARS, clean_metrics
from bayesrun.tracking.none import NoTracker

if TYPE_CHECKING:
    from logging.handlers import MemoryHandler

    import arviz as az
    import pandas as pd
    import xarray as xr

    from bayesrun.data.design import FittedDesign
    from bayesrun.language.declaration import Declaration
    from bayesrun.predict.fitted_model import FittedModel
    from bayesrun.predict.new_rows import PreparedRows
    from bayesrun.samplers.base import Sampled

log = logging.getLogger("bayesrun")

_SMALL_FILES = 1_000_000  # bytes of a run's tables, log and figures


@dataclass(frozen=True)
class Job:
    """Where a run belongs, beside its config.

    Parameters
    ----------
    folder
        Where its run folder should be.
    name
        Its name in tracking.
    hydra
        Hydra's keys that place a run, for `config.yaml`.
    parent_run_id
        Run of the sweep that it is a job of.
    tags
        Further tags (of the sweep).
    """

    folder: Path
    name: str
    hydra: Mapping[str, Any] = field(default_factory=dict)
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """How a run ended: `status.json`, its folder, and its metrics."""

    status: Literal["finished", "partial", "failed"]
    verdict: str | None
    exit_status: int
    folder: Path | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Prepared:
    """What is ready before a run has a folder: the data, the model and what is known of both."""

    data: xr.Dataset | None
    data_digest: str | None
    model: CompiledModel
    imputation: list[str]
    rows: PreparedRows | None = None
    fitted: FittedModel | None = None


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
        check_place(job.folder, _least_bytes(config, prepared.model))
        hand_over()
        folder = RunFolder.claim(job.folder)
        with open_run(config, job, prepared, folder, memory) as opened:
            with _timed("sample"):
                sampled = _sample(config, prepared.model, opened)
            _conclude(config, prepared, sampled, opened, began)
    return opened.result(config)


def recover(config: RunConfig, folder: RunFolder) -> str:
    """Make the whole run folder of a run that died, from the draws that it had stored.

    Parameters
    ----------
    config
        The run's own config.
    folder
        Its folder.

    Returns
    -------
    str
        What was recovered.

    Raises
    ------
    UserError
        When the data or the config no longer are what they were.
    """
    from bayesrun.samplers.draw_store import read_draws
    from bayesrun.samplers.earlier import recovered

    stored = read_draws(folder.draws)
    if stored is None:
        return _nothing_stored(folder)
    began = time.perf_counter()
    prepared = prepare(config)
    sampled = recovered(stored, prepared.model.constrain)
    opened = OpenRun(NoTracker(), folder)
    _conclude(config, prepared, sampled, opened, began)
    _send(config, folder)
    chains, draws = next(iter(sampled.draws.values())).shape[:2]
    return f"recovered {chains * draws:,} draws of {chains} chains (status {opened.status}, verdict {opened.verdict})"


def _nothing_stored(folder: RunFolder) -> str:
    """Say of a run without draws that it failed, unless it ended well before it died."""
    if folder.status() in (None, "running"):
        folder.write_status("failed", None, "killed before the first draw was kept")
        return "was killed before the first draw was kept; run it again"
    return f"needs no recovery: it is {folder.status()}"


def _send(config: RunConfig, folder: RunFolder) -> None:
    """Send what was recovered to where the run is tracked; `task=sync` does it later where that fails."""
    try:
        TRACKERS.load(config.tracking.backend, "tracking.backend").upload(config.tracking, folder.path)
    except BayesrunError as error:
        log.warning("%s", error)


def _conclude(config: RunConfig, prepared: Prepared, sampled: Sampled, opened: OpenRun, began: float) -> None:
    """Make everything that follows from the draws, which are stored first: from here on nothing can lose them."""
    from bayesrun.report.progress import Waiting

    folder = opened.folder
    opened.reason, opened.steps = sampled.interrupted, dict(sampled.steps)
    with _timed("keep the draws"):
        _keep_draws(config, prepared, sampled, opened)
    with _timed("predict"), Waiting("predicting", config.sampler.progress):
        idata, missing = _posterior(config, prepared, sampled, opened)
        _predict_rows(config, folder, prepared, idata)
    with _timed("diagnose"):
        summary, result = _diagnose(config, sampled, folder, idata, missing)
    with _timed("store and draw"):
        _store_and_draw(config, folder, idata, summary, prepared)
    metrics = {**result.metrics, **_timings(sampled, result.metrics), **_scalars(summary)}
    opened.finish(result, {**metrics, "seconds_total": time.perf_counter() - began})
    if not sampled.died:  # draws of a chain that died, and that were cut off, are there alone
        opened.store.remove()
    _report(folder, summary, result, opened.tracker)


def _keep_draws(config: RunConfig, prepared: Prepared, sampled: Sampled, opened: OpenRun) -> None:
    """Write `posterior.nc` with the draws alone, before anything that may fail or be interrupted."""
    from bayesrun.predict.groups import Wanted, collect
    from bayesrun.samplers.draw_store import rows_of
    from bayesrun.samplers.earlier import layout_of

    if sampled.interrupted != "killed" and not opened.store.is_used:  # a method that makes all draws at its end
        layout = layout_of(sampled)
        for chain, file in opened.store.begin(layout).items():
            columns, stats = ({n: v[chain] for n, v in of.items()} for of in (sampled.draws, sampled.stats))
            file.append(rows_of(columns, stats, layout))
    idata, _ = collect(prepared.model, prepared.data, sampled, config.top.seed, Wanted())
    _store(config, opened.folder, idata)
    opened.has_draws = True


@contextmanager
def _timed(step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    log.debug("%s: %.2f s", step, time.perf_counter() - began)


def prepare(config: RunConfig) -> Prepared:
    """Load the data, build the model and check that it can be sampled; leaves nothing behind."""
    data, data_digest, imputation, design = load_data(config)
    declared = config.model_type.build(data, config.model)
    fitted = _fitted(config, declared, design, data_digest)
    rows = _rows_to_predict(config, fitted)
    for line in imputation:
        log.info(line)
    model = _compiled(config, declared)
    model.check_initial_point()
    check(SAMPLERS.load(config.sampler.method, "sampler.method").check(model, config.sampler))
    _log_model(model)
    return Prepared(data, data_digest, model, imputation, rows, fitted)


def _least_bytes(config: RunConfig, model: CompiledModel) -> int:
    """Estimate from below what the draws take on the disk: as float32, compressed by half.

    How many there will be is not known where a time limit ends the run.
    """
    if config.sampler.max_seconds is not None:
        return _SMALL_FILES
    kept = config.store.variables
    shapes = [s for name, s in model.variables.items() if name not in model.helpers and (kept is None or name in kept)]
    draws = config.sampler.chains * config.sampler.draws
    return _SMALL_FILES + 2 * draws * sum(math.prod(shape) for shape in shapes)


def engine_of(config: RunConfig) -> Engine:
    """Return the engine of a run, not yet set up."""
    return ENGINES.load(config.engine.name, "engine.name")


def build(config: RunConfig, data: Any) -> CompiledModel:
    """Build the model; what is wrong with its priors' expressions and shapes is told here at the latest."""
    return _compiled(config, config.model_type.build(data, config.model))


def _compiled(config: RunConfig, declared: Declaration) -> CompiledModel:
    engine = engine_of(config)
    engine.set_up(config.engine.patches)
    engine.begin_run()
    return engine.compile(declared)


def load_data(config: RunConfig) -> tuple[Any, str | None, list[str], FittedDesign | None]:
    """Load and settle the data, checked against what the model needs; returns what `read_data` does."""
    data, data_digest, imputation, design = read_data(config)
    check(model_problems(config, data))
    return data, data_digest, imputation, design


def read_data(config: RunConfig) -> tuple[Any, str | None, list[str], FittedDesign | None]:
    """Load the data and settle missing values by role; returns also their digest, what is imputed, what was learned."""
    from bayesrun.data import prepare as data_sets

    roles = config.model_type.roles(config.model)
    if config.data is None:
        if roles:
            names = ", ".join(role.variable for role in roles)
            raise UserError([_no_data(names)])
        return None, None, [], None
    data, design = data_sets.load_fitted(config.data, config.paths.data)
    uses = config.model_type.uses(config.model)
    data, imputation = data_sets.settle(data, roles, config.data.drop_missing, uses)
    return data, data_sets.digest(data), imputation, design


def model_problems(config: RunConfig, data: xr.Dataset | None) -> list[Problem]:
    """Find what is wrong with the model and can be told from its data alone, before PyMC3 is imported."""
    return [] if data is None else config.model_type.check(data, config.model)


def _no_data(names: str) -> Problem:
    return Problem("data", f"the model needs data ({names}), and there are none", "choose a data set: data=NAME")


def _fitted(
    config: RunConfig, declared: Declaration, design: FittedDesign | None, digest: str | None
) -> FittedModel | None:
    """Return what the fit teaches about new rows; None for a model without data, or one that a plug-in has built."""
    from bayesrun.language.declaration import Declaration
    from bayesrun.predict.fitted_model import fitted_model

    if design is None or not isinstance(declared, Declaration):
        return None
    return fitted_model(declared, design, digest, getattr(config.model, "formula", None))


def _rows_to_predict(config: RunConfig, fitted: FittedModel | None) -> PreparedRows | None:
    """Load the rows of `predict.data` before anything is sampled, so that what is wrong with them is told first."""
    if config.predict.data is None:
        return None
    from bayesrun.predict import new_rows
    from bayesrun.predict.tables import check_groups

    if fitted is None:
        message = "the model explains no data, so there is nothing to predict"
        if config.data is not None:
            message = (
                f"models of type '{config.model.type}' are built by the engine itself, which can't predict new rows"
            )
        raise UserError([Problem(new_rows.KEY, message)])
    rows = new_rows.prepare_rows(config.model_type, config.model, fitted, config.predict, config.paths.data)
    check_groups(rows, config.predict.group_by)
    for note in rows.notes:
        log.info("%s: %s", new_rows.KEY, note)
    return rows


def _log_model(model: CompiledModel) -> None:
    coords, dims = model.labels()
    for name, of in dims.items():
        log.debug("dims of %s: %s", name, ", ".join(of))
    for name, values in coords.items():
        shown = ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
        log.debug("coords of %s: %d (%s)", name, len(values), shown)


def _sample(config: RunConfig, model: CompiledModel, opened: OpenRun) -> Sampled:
    from bayesrun.report.progress import ProgressLine
    from bayesrun.samplers.base import Monitor
    from bayesrun.samplers.monitors import Several, TimeLimit, Tracked

    spec = config.sampler
    with ProgressLine(spec.steps(), spec.progress) as line:
        monitors: list[Monitor] = [
            line,
            Tracked(spec.steps(), opened.tracker.progress),
            *([TimeLimit(spec.max_seconds)] if spec.max_seconds else []),
        ]
        try:
            sampler = SAMPLERS.load(spec.method, "sampler.method")
            told = Several(monitors, opened.tracker.ready)
            store = (opened.store,) if sampler.keeps_draws else ()
            sampled = sampler.sample(model, spec, config.top.seed, told, *store)
        except BayesrunError:
            raise
        except Exception as error:
            log.debug("sampling failed", exc_info=True)
            raise SamplingError(f"sampling failed: {type(error).__name__}: {error}") from error
    if sampled.interrupted:
        log.warning("sampling ended early (%s): the draws so far are kept", sampled.interrupted)
    return sampled


def _posterior(
    config: RunConfig, prepared: Prepared, sampled: Sampled, opened: OpenRun
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


def _predict_rows(config: RunConfig, folder: RunFolder, prepared: Prepared, idata: az.InferenceData) -> None:
    """Write what later predictions need, and the tables of the rows of `predict.data`."""
    from bayesrun.predict.fitted_model import write_design
    from bayesrun.predict.tables import write_predictions
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
    config: RunConfig, sampled: Sampled, folder: RunFolder, idata: az.InferenceData, missing: Mapping[str, str]
) -> tuple[pd.DataFrame, CheckResult]:
    from bayesrun.diagnostics.base import Judged
    from bayesrun.diagnostics.judge import judge
    from bayesrun.diagnostics.summary import summarise

    summary = summarise(idata, config.top.intervals)
    folder.write("summary.csv", summary.to_csv)
    depth = getattr(config.sampler, "max_treedepth", 10)
    method = SAMPLERS.load(config.sampler.method, "sampler.method").judged_as or config.sampler.method
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


def _store(config: RunConfig, folder: RunFolder, idata: az.InferenceData) -> None:
    from bayesrun.report.store import save

    store = config.store
    save(idata, folder, store.variables, store.exclude, store.groups, store.float32_above, store.compression)


def _store_and_draw(
    config: RunConfig, folder: RunFolder, idata: az.InferenceData, summary: pd.DataFrame, prepared: Prepared
) -> None:
    """Write what is left; figures take longest, and are drawn beside the rest."""
    from bayesrun.figures.base import Subject
    from bayesrun.figures.drawing import draw_all
    from bayesrun.report.model_graph import write_graph

    def store() -> None:
        _store(config, folder, idata)
        write_graph(prepared.model.graph(), folder, config.plain["model"])

    subject = Subject(idata, summary, config.plain["model"], config.top.intervals)
    draw_all(config.model.figures, subject, folder.figures, parallel_chains(config.sampler), meanwhile=store)


def _report(folder: RunFolder, summary: pd.DataFrame, result: CheckResult, tracker: Tracker) -> None:
    from bayesrun.report.console import show

    show(summary, result.findings, verdict(result.findings), folder.path, tracker.compare_hint())


class OpenRun:
    """An open run: its folder, its log and its tracking, and what it leaves behind however it ends."""

    def __init__(self, tracker: Tracker, folder: RunFolder) -> None:
        self.tracker, self.folder = tracker, folder
        self.store = DrawStore(folder.draws)
        self.has_draws = False
        self.reason: str | None = None
        self.steps: dict[str, str] = {}
        self.status: Literal["finished", "partial", "failed"] = "failed"
        self.verdict: str | None = None
        self.error: str | None = None
        self.metrics: dict[str, float] = {}
        self.exit_status = 4

    def finish(self, result: CheckResult, metrics: Mapping[str, float]) -> None:
        """Write the last files of a run that has a posterior."""
        self.metrics = clean_metrics(metrics)
        self.verdict = verdict(result.findings)
        self.status = "partial" if self.reason else "finished"
        self.exit_status = 130 if self.reason == "interrupt" else 0
        self.folder.write_json("metrics.json", self.metrics)
        self.folder.write_status(self.status, self.verdict)

    def fail(self, error: BaseException) -> None:
        """Write what went wrong."""
        self.has_draws = self.has_draws or self.store.stored() is not None
        self.status, self.error = "partial" if self.has_draws else "failed", redact(f"{type(error).__name__}: {error}")
        self.exit_status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 4)
        self.folder.write_status(self.status, None, self.error)

    def close(self) -> None:
        """Hand the folder to the tracker; a run that failed is failed there, though its draws are kept."""
        status: RunStatus = "interrupted" if self.exit_status == 130 else "failed" if self.error else self.status
        self.tracker.close(self.folder.path, status)

    def result(self, config: RunConfig) -> RunResult:
        """Return how the run ended."""
        exit_status = self.exit_status
        if exit_status == 0 and self.verdict == "fail" and config.diagnostics.fail_run:
            exit_status = 3
        return RunResult(self.status, self.verdict, exit_status, self.folder.path, self.metrics, self.error)


@contextmanager
def open_run(
    config: RunConfig, job: Job, prepared: Prepared, folder: RunFolder, memory: MemoryHandler
) -> Iterator[OpenRun]:
    """Open a run. However the block ends, `status.json` is written and tracking is closed.

    Parameters
    ----------
    config, job, prepared
        What is run, where it belongs, and what is ready.
    folder
        The claimed run folder.
    memory
        The log so far, which goes into the folder.
    """
    from bayesrun.samplers.monitors import Signals

    flush_to(memory, folder.log)
    record = provenance(config.plain, prepared.data_digest, engine_of(config).compiler())
    record["command_line"] = [redact_override(word) for word in record["command_line"]]
    folder.write_text("config.yaml", _config_text(config, job))
    folder.write_json("provenance.json", record)
    folder.write_status("running")
    tracker = TRACKERS.load(config.tracking.backend, "tracking.backend").open(
        config.tracking, _card(config, job, prepared, record, folder)
    )
    opened = OpenRun(tracker, folder)
    signals = Signals()
    try:
        with under_way(config.paths.outputs, folder.path):
            yield opened
    except (Exception, KeyboardInterrupt) as error:
        signals.ignore()
        told = as_output_error(error, folder.path)
        with suppress(OSError):  # it may be the disk that is full
            opened.fail(told)
            log.debug("the run failed", exc_info=True)
        _tell(told, opened)
    finally:
        signals.ignore()
        with suppress(OSError):
            folder.write_json("provenance.json", {**record, "ended": now(), "steps": opened.steps})
        opened.close()
        signals.restore()


def _tell(error: BaseException, opened: OpenRun) -> None:
    text = str(error) if isinstance(error, BayesrunError) else f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted" if opened.has_draws else "interrupted before the first draw was kept"
    if opened.has_draws:
        remedy = f"python -m bayesrun task=recover run={opened.folder.path}"
        text += f"\nthe draws are kept; this makes everything else of them: {remedy}"
    log.error("%s\nsee %s", text, opened.folder.log)


def _config_text(config: RunConfig, job: Job) -> str:
    content = {**redact_tree(config.plain), "hydra": dict(job.hydra)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _card(config: RunConfig, job: Job, prepared: Prepared, record: Mapping[str, Any], folder: RunFolder) -> RunCard:
    tags = {
        "model": config.model.name,
        "data": config.data.name if config.data else "none",
        "config_digest": record["config_digest"],
        "data_digest": prepared.data_digest,
        "git_commit": record["git_commit"],
        "run_folder": str(folder.path.absolute()),
        **{k: v for k, v in config.top.tags.items()},
        **job.tags,
    }
    return RunCard(
        experiment_name=config.top.experiment_name,
        run_name=job.name,
        params=flatten(redact_tree(config.plain)),
        tags={k: str(v) for k, v in tags.items() if v is not None},
        parent_run_id=job.parent_run_id,
        dataset=_dataset(prepared),
        folder=str(folder.path.absolute()),
    )


def _dataset(prepared: Prepared) -> DatasetInfo | None:
    if prepared.data is None or prepared.data_digest is None:
        return None
    attrs = prepared.data.attrs
    return DatasetInfo(
        str(attrs.get("name", "")), prepared.data_digest, str(attrs.get("origin", "")), int(attrs.get("rows", 0))
    )
