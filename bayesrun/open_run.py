"""What a run leaves behind however it ends: its folder with status, log and provenance, and its run in tracking.

`open_run` surrounds everything that happens after a run has claimed its folder. When its block ends, by success, by an
error or by a signal, `status.json` says how, and tracking is closed.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.base import CheckResult, verdict
from bayesrun.engines.base import ENGINES, CompiledModel
from bayesrun.errors import BayesrunError
from bayesrun.invocation import command
from bayesrun.lazy import xr
from bayesrun.logs import flush_to, timed
from bayesrun.provenance import now, provenance
from bayesrun.redaction import redact, redact_override, redact_tree
from bayesrun.run_folder import Pictures, RunFolder, as_output_error, under_way
from bayesrun.samplers.draw_store import DrawStore
from bayesrun.samplers.monitors import Signals
from bayesrun.tracking.base import TRACKERS, DatasetInfo, RunCard, RunStatus, Tracker, flatten
from bayesrun.tracking.entries import clean_metrics

if TYPE_CHECKING:
    from logging.handlers import MemoryHandler


log = logging.getLogger("bayesrun")

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C, a fifth of the time
_SMALL_FILES = 1_000_000  # bytes of a run's tables, log and figures


@dataclass(frozen=True)
class PlaceOfRun:
    """Where a run belongs, besides its config.

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
    parent
        The run that this one extends: its `folder` and `run_id`.
    params
        Parameters for tracking that are not in the config.
    shows
        Whether the end of the run, its table or its error, is printed.
    command
        The command that makes this run, for `provenance.json`; None = that of this process. Empty where there is none:
        then it is the one that runs the folder again.
    table
        File with the rows of a data frame, which is moved into the run folder: the data of this run.
    """

    folder: Path
    name: str
    hydra: Mapping[str, Any] = field(default_factory=dict)
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: Mapping[str, str | None] | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    shows: bool = True
    command: Sequence[str] | None = None
    table: Path | None = None


@dataclass(frozen=True)
class RunResult:
    """How a run ended: `status.json`, its folder, and its metrics; what ended it early, and what was said of that."""

    status: Literal["finished", "partial", "failed"]
    verdict: str | None
    exit_status: int
    folder: Path | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    raised: BaseException | None = None
    told: str = ""


def least_bytes(config: RunConfig, model: CompiledModel) -> int:
    """Return a lower bound of what a run's files take on the disk: its draws as float32, compressed by half.

    How many draws there will be is not known where a time limit ends the run.
    """
    if config.sampler.max_seconds is not None:
        return _SMALL_FILES
    kept = config.store.variables
    shapes = [s for name, s in model.variables.items() if name not in model.helpers and (kept is None or name in kept)]
    draws = config.sampler.chains * config.sampler.draws
    return _SMALL_FILES + 2 * draws * sum(math.prod(shape) for shape in shapes)


@contextmanager
def open_run(
    config: RunConfig,
    job: PlaceOfRun,
    data: xr.Dataset | None,
    data_digest: str | None,
    folder: RunFolder,
    memory: MemoryHandler,
    signals: Signals,
) -> Iterator[OpenRun]:
    """Open a run. However the block ends, `status.json` is written and tracking is closed.

    Parameters
    ----------
    config, job
        What is run, and where it belongs.
    data, data_digest
        The prepared data and their digest; None for a model without data.
    folder
        The claimed run folder.
    memory
        The log so far, which goes into the folder.
    signals
        Held until the block begins, and ignored once it has ended.
    """
    flush_to(memory, folder.log)
    compiler = ENGINES.load(config.engine.name, "engine.name").compiler()
    record = provenance(config.plain, data_digest, compiler)
    if job.command is not None:
        again = [sys.executable, "-m", "bayesrun", f"--config-dir={folder.path}", "--config-name=config"]
        record["command_line"] = list(job.command or again)
    record["command_line"] = [redact_override(word) for word in record["command_line"]]
    if job.parent is not None:
        record["parent"] = dict(job.parent)
    write_config(config, job, folder)
    folder.write_json("provenance.json", record)
    folder.write_status("running")
    tracker = TRACKERS.load(config.tracking.backend, "tracking.backend").open(
        config.tracking, _card(config, job, dataset_of(data, data_digest), record, folder)
    )
    opened = OpenRun(tracker, folder, job.shows, record)
    with under_way(config.paths.outputs, folder.path):
        try:
            yield opened
        except (Exception, KeyboardInterrupt) as error:
            signals.ignore()
            reported = as_output_error(interrupt_behind(error) or error, folder.path)
            if opened.pictures is not None:
                opened.lose_pictures(reported)
            else:
                with suppress(OSError):  # the disk may be full
                    opened.fail(reported)
                    log.debug("the run failed", exc_info=True)
                _tell(reported, opened)
        finally:
            signals.ignore()
            if not opened.has_ended:  # a signal came between the block and here
                with suppress(OSError):
                    opened.fail(KeyboardInterrupt())
            opened.settle(config.top.report)
            opened.close()


def interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that surfaced as another error: a library in C calls Python, and reports what it likes."""
    while error is not None and type(error) is not KeyboardInterrupt:
        error = error.__cause__ or error.__context__
    return error  # type: ignore[return-value]


def write_report_of(folder: RunFolder) -> bool:
    """Write `report.html`, and return whether it is there; if the page can't be made, the run still counts."""
    from bayesrun.report.run_page import write_report

    try:
        with timed("report"):
            write_report(folder)
        return True
    except Exception as error:
        log.debug("no report", exc_info=True)
        log.warning("report.html could not be written: %s", error)
        return False


class OpenRun:
    """An open run: its folder, its log and its tracking, and what it leaves behind however it ends."""

    def __init__(
        self, tracker: Tracker, folder: RunFolder, shows: bool = True, record: Mapping[str, Any] | None = None
    ) -> None:
        self.tracker, self.folder, self.shows, self._record = tracker, folder, shows, record
        self.store = DrawStore(folder.draws)
        self.has_draws = False
        self.reason: str | None = None
        self.steps: dict[str, str] = {}
        self.status: Literal["finished", "partial", "failed"] = "failed"
        self.verdict: str | None = None
        self.error: str | None = None
        self.raised: BaseException | None = None
        self.told = ""
        self.metrics: dict[str, float] = {}
        self.exit_status = 4
        self.pictures: Pictures | None = None

    @property
    def has_ended(self) -> bool:
        """Whether `status.json` says how the run has ended, as far as the disk takes it."""
        return self.error is not None or self.pictures is not None

    def finish(self, result: CheckResult, metrics: Mapping[str, float]) -> None:
        """Write the verdict of a run that has a posterior: from here on it is complete but for pictures."""
        self.metrics = clean_metrics(metrics)
        self.verdict = verdict(result.findings)
        self.status = "partial" if self.reason else "finished"
        self.exit_status = 130 if self.reason == "interrupt" else 0
        self.folder.write_data("metrics.json", self.metrics)
        self._write_provenance()
        self.pictures = "pending"
        self.folder.write_status(self.status, self.verdict, pictures=self.pictures)

    def lose_pictures(self, error: BaseException) -> None:
        """Note what has ended the drawing: its command may be interrupted, the run has its verdict."""
        self.pictures = "interrupted"
        if isinstance(error, KeyboardInterrupt):
            self.exit_status = 130
        with suppress(OSError):
            self.folder.write_pictures(self.pictures)
            self.folder.remove_unfinished()
        log.debug("figures are missing", exc_info=True)
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else redact(f"{type(error).__name__}: {error}")
        remedy = command("task=figures", f"run={self.folder.path}")
        said = f"{how}: the run is complete but for its figures; this draws them: {remedy}"
        log.warning(said, extra={"only_in_file": not self.shows})

    def settle(self, report: bool) -> None:
        """Write what says how the run has ended, and its report, whose place is printed once it can be opened."""
        if self.pictures is None:
            self._write_provenance()
        if report and write_report_of(self.folder) and self.shows and self.verdict:
            print(f"report: {self.folder.path / 'report.html'}", flush=True)
        if self.pictures == "pending":
            with suppress(OSError):
                self.folder.write_pictures("drawn")

    def _write_provenance(self) -> None:
        if self._record is not None:
            with suppress(OSError):
                self.folder.write_json("provenance.json", {**self._record, "ended": now(), "steps": self.steps})

    def fail(self, error: BaseException) -> None:
        """Write the error to `status.json`."""
        is_stored = self.store.stored() is not None
        with suppress(OSError):
            self.store.trim() if is_stored else self.store.remove()
        self.has_draws = self.has_draws or is_stored
        self.status, self.error = "partial" if self.has_draws else "failed", redact(f"{type(error).__name__}: {error}")
        self.exit_status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 4)
        self.folder.write_status(self.status, None, self.error)

    def close(self) -> None:
        """Hand the folder to the tracker; a failed run is marked as failed there, even where draws were kept."""
        interrupted = self.exit_status == 130 and self.pictures != "interrupted"
        status: RunStatus = "interrupted" if interrupted else "failed" if self.error else self.status
        self.tracker.close(self.folder.path, status)

    def result(self, config: RunConfig) -> RunResult:
        """Return how the run ended."""
        exit_status = self.exit_status
        if exit_status == 0 and self.verdict == "fail" and config.diagnostics.fail_run:
            exit_status = 3
        folder, ended = self.folder.path, (self.error, self.raised, self.told)
        return RunResult(self.status, self.verdict, exit_status, folder, self.metrics, *ended)


def _tell(error: BaseException, opened: OpenRun) -> None:
    text = str(error) if isinstance(error, BayesrunError) else f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted" if opened.has_draws else "interrupted before the first draw was kept"
    if opened.has_draws:
        remedy = command("task=recover", f"run={opened.folder.path}")
        text += f"\nthe draws are kept; this makes everything else from them: {remedy}"
    opened.raised, opened.told = error, redact(f"{text}\nsee {opened.folder.log}")
    log.error(opened.told, extra={"only_in_file": not opened.shows})


def keep_table(config: RunConfig, table: Path, folder: RunFolder) -> RunConfig:
    """Move the rows of a data frame into the run folder; return the config that reads them there."""
    assert config.data is not None
    path = folder.path / table.name
    shutil.move(table, path)
    plain = {**config.plain, "data": {**config.plain["data"], "path": str(path)}}
    return replace(config, data=config.data.model_copy(update={"path": str(path)}), plain=plain)


def write_config(config: RunConfig, job: PlaceOfRun, folder: RunFolder) -> None:
    """Write `config.yaml`, from which the run can be run again."""
    content = {**redact_tree(config.plain), "hydra": dict(job.hydra)}
    folder.write_text("config.yaml", yaml.dump(content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=120))


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """Return the findings of a run that are not `ok`; none where it has no posterior."""
    path = folder / "findings.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [finding for finding in found if finding["severity"] != "ok"]


def read_config(folder: Path) -> dict[str, Any]:
    """Return the stored `config.yaml` of a run as plain values."""
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    stored: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return stored


def _card(
    config: RunConfig, job: PlaceOfRun, dataset: DatasetInfo | None, record: Mapping[str, Any], folder: RunFolder
) -> RunCard:
    tags = {
        "model": config.model.name,
        "data": config.data.name if config.data else "none",
        "config_digest": record["config_digest"],
        "data_digest": record["data_digest"],
        "git_commit": record["git_commit"],
        "run_folder": str(folder.path.absolute()),
        **{k: v for k, v in config.top.tags.items()},
        **job.tags,
    }
    return RunCard(
        experiment_name=config.top.experiment_name,
        run_name=job.name,
        params={**flatten(redact_tree(config.plain)), **job.params},
        tags={k: str(v) for k, v in tags.items() if v is not None},
        parent_run_id=job.parent_run_id,
        dataset=dataset,
        folder=str(folder.path.absolute()),
    )


def dataset_of(data: xr.Dataset | None, digest: str | None) -> DatasetInfo | None:
    """Describe the prepared data for tracking; None for a model without data."""
    if data is None or digest is None:
        return None
    attrs = data.attrs
    return DatasetInfo(str(attrs.get("name", "")), digest, str(attrs.get("origin", "")), int(attrs.get("rows", 0)))
