"""An open run: its folder, its log and its tracking, and what it must leave behind however it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from bayesrun.config import RunConfig
from bayesrun.data._url import without_passwords
from bayesrun.diagnostics.base import CheckResult, verdict
from bayesrun.engines.base import ENGINES, CompiledModel
from bayesrun.errors import BayesrunError
from bayesrun.logs import flush_to
from bayesrun.provenance import now, provenance
from bayesrun.run_folder import RunFolder
from bayesrun.tracking._entries import clean_metrics
from bayesrun.tracking.base import TRACKERS, DatasetInfo, RunCard, RunStatus, Tracker, flatten

if TYPE_CHECKING:
    from logging.handlers import MemoryHandler

    import xarray as xr

log = logging.getLogger("bayesrun")


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
    rows: xr.Dataset | None = None


class Session:
    """An open run: what it must leave behind however it ends."""

    def __init__(self, tracker: Tracker, folder: RunFolder) -> None:
        self.tracker, self.folder = tracker, folder
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
        self.status, self.error = "failed", f"{type(error).__name__}: {error}"
        self.exit_status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 4)
        self.folder.write_status("failed", None, self.error)

    def close(self) -> None:
        """Hand the folder to the tracker."""
        status: RunStatus = "interrupted" if self.exit_status == 130 else self.status
        self.tracker.close(self.folder.path, status)

    def result(self, config: RunConfig) -> RunResult:
        """Return how the run ended."""
        exit_status = self.exit_status
        if exit_status == 0 and self.verdict == "fail" and config.diagnostics.fail_run:
            exit_status = 3
        return RunResult(self.status, self.verdict, exit_status, self.folder.path, self.metrics, self.error)


@contextmanager
def session(
    config: RunConfig, job: Job, prepared: Prepared, folder: RunFolder, memory: MemoryHandler
) -> Iterator[Session]:
    """Open a run; however its block ends, `status.json` is written and tracking is closed.

    Parameters
    ----------
    config, job, prepared
        What is run, where it belongs, and what is ready.
    folder
        The claimed run folder.
    memory
        The log so far, which goes into the folder.
    """
    from bayesrun.samplers.monitors import terminate_as_interrupt

    flush_to(memory, folder.log)
    record = provenance(config.plain, prepared.data_digest, ENGINES.load(config.engine.name, "engine.name").compiler())
    record["command_line"] = [without_passwords(word) for word in record["command_line"]]
    folder.write_text("config.yaml", _config_text(config, job))
    folder.write_json("provenance.json", record)
    folder.write_status("running")
    tracker = TRACKERS.load(config.tracking.backend, "tracking.backend").open(
        config.tracking, _card(config, job, prepared, record)
    )
    opened = Session(tracker, folder)
    try:
        with terminate_as_interrupt():
            yield opened
    except (Exception, KeyboardInterrupt) as error:
        opened.fail(error)
        log.debug("the run failed", exc_info=True)
        _tell(error, folder)
    finally:
        folder.write_json("provenance.json", {**record, "ended": now(), "steps": opened.steps})
        opened.close()


def _tell(error: BaseException, folder: RunFolder) -> None:
    text = str(error) if isinstance(error, BayesrunError) else f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted before the first draw was kept"
    log.error("%s\nsee %s", text, folder.log)


def _config_text(config: RunConfig, job: Job) -> str:
    content = {**config.plain, "hydra": dict(job.hydra)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _card(config: RunConfig, job: Job, prepared: Prepared, record: Mapping[str, Any]) -> RunCard:
    tags = {
        "model": config.model.name,
        "data": config.data.name if config.data else "none",
        "config_digest": record["config_digest"],
        "data_digest": prepared.data_digest,
        "git_commit": record["git_commit"],
        **{k: v for k, v in config.top.tags.items()},
        **job.tags,
    }
    return RunCard(
        experiment_name=config.top.experiment_name,
        run_name=job.name,
        params=flatten(config.plain),
        tags={k: str(v) for k, v in tags.items() if v is not None},
        parent_run_id=job.parent_run_id,
        dataset=_dataset(prepared),
    )


def _dataset(prepared: Prepared) -> DatasetInfo | None:
    if prepared.data is None or prepared.data_digest is None:
        return None
    attrs = prepared.data.attrs
    return DatasetInfo(
        str(attrs.get("name", "")), prepared.data_digest, str(attrs.get("origin", "")), int(attrs.get("rows", 0))
    )
