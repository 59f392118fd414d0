"""The run folder and the tracked run of a task that works on finished runs; both name their parents."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from logging.handlers import MemoryHandler
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from omegaconf import OmegaConf

from bayesrun.config.compose import placing_keys
from bayesrun.config.resolvers import conf, run_name
from bayesrun.config.run_config import REGISTRIES, RunConfig, parse_config
from bayesrun.diagnostics.base import SEVERITIES
from bayesrun.errors import Problem, check, fail
from bayesrun.lazy import pd
from bayesrun.logs import flush_to
from bayesrun.open_run import PlaceOfRun, read_config
from bayesrun.processes import process_label
from bayesrun.provenance import config_digest, now
from bayesrun.redaction import redact, redact_override, redact_tree
from bayesrun.registry import load_plugins
from bayesrun.run_folder import RunFolder, under_way
from bayesrun.samplers.monitors import Signals
from bayesrun.tasks.base import TaskRequest
from bayesrun.tracking.base import TRACKERS, DatasetInfo, RunCard, RunStatus, flatten
from bayesrun.tracking.tracking_record import read_record

OF_RUN = ("seed", "intervals", "name", "experiment_name", "tags", "engine")
"""Keys that keep the finished run's values unless the command sets them."""
_OF_COMMAND = ("tracking", "paths")
_OF_FIT = ("model", "data", "plugins")
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class TaskRun:
    """What a task's own run is.

    Parameters
    ----------
    task
        Name of the task.
    parents
        Folders of the finished runs that it works on; none for a task that works on a config.
    config
        The first parent's config with what the command changes, or the command's own.
    section
        What the task was asked to do: the section of its name in `config.yaml`, and its params in tracking.
    label
        What tells this run of the task from others; part of the folder's name.
    data_digest, dataset
        The data that the task reads itself; None where it reads only the posterior.
    """

    task: str
    parents: Sequence[Path]
    config: RunConfig
    section: Mapping[str, Any]
    label: str
    data_digest: str | None = None
    dataset: DatasetInfo | None = None
    parent_run_ids: Sequence[str | None] = field(init=False)

    def __post_init__(self) -> None:
        records = [read_record(folder) for folder in self.parents]
        object.__setattr__(self, "parent_run_ids", [getattr(record, "run_id", None) for record in records])


def config_of(request: TaskRequest, folder: Path, sections: Sequence[str] = ()) -> RunConfig:
    """Parse a finished run's config with what the command changes, without its data, which may no longer exist.

    Parameters
    ----------
    request
        The command's request; its own config is composed without regard to the run.
    folder
        Folder of the finished run.
    sections
        Sections of the run that the command may change key by key.
    """
    stored = read_config(folder)
    keys = [*sections, *_OF_COMMAND, *OF_RUN]
    given: Any = OmegaConf.to_container(OmegaConf.masked_copy(request.config, keys), resolve=False)
    written = [key_of(override) for override in request.arguments.overrides]
    changed = {}
    for section in sections:
        own_keys = {key for key in given[section] if _is_written(f"{section}.{key}", written)}
        changed[section] = {**(stored.get(section) or {}), **{key: given[section][key] for key in own_keys}}
    own = {key: given[key] for key in OF_RUN if _is_written(key, written)}
    own_task = (RunFolder(folder).read_json("status.json") or {}).get("task")  # its options are no key of a run
    left_out = {"data", "hydra", *({own_task} - set(given))}
    kept = {key: value for key, value in stored.items() if key not in left_out}
    plain = {**kept, **own, **{key: given[key] for key in _OF_COMMAND}, **changed, "data": None}
    check(load_plugins(list(plain.get("plugins") or []), REGISTRIES))
    return parse_config(OmegaConf.create(plain))


def check_data_of_run(folder: Path, digest: str | None) -> None:
    """Refuse data that are not those of a finished run.

    Parameters
    ----------
    folder
        Folder of the finished run.
    digest
        Digest of the data as they are now.

    Raises
    ------
    UserError
        When the run had others.
    """
    before = RunFolder(folder).read_json("provenance.json").get("data_digest")
    if before != digest:
        message = f"the data are not those of the run: their digest was {str(before)[:12]}, and is {str(digest)[:12]}"
        raise fail("data", message, "restore the data, or start a new run")


def check_keys(request: TaskRequest, sections: Sequence[str]) -> None:
    """Refuse keys that belong to the finished run.

    Parameters
    ----------
    request
        The command's request.
    sections
        Further sections that the command may set.
    """
    allowed = (*sections, *_OF_COMMAND, *OF_RUN)
    keys = [key_of(override) for override in request.arguments.overrides]
    wrong = [key for key in keys if key.partition(".")[0] not in (*allowed, "hydra")]
    check([Problem(key, "belongs to the run, which is finished", f"allowed: {', '.join(allowed)}") for key in wrong])


def check_keys_of_fit(request: TaskRequest, hint: str) -> None:
    """Refuse keys that decided a finished run's model and data.

    Parameters
    ----------
    request
        The command's request.
    hint
        What to do.
    """
    keys = [key_of(override) for override in request.arguments.overrides]
    wrong = [key for key in keys if key.partition(".")[0] in _OF_FIT and key != "model.figures"]
    check([Problem(key, "belongs to the run, which is finished", hint) for key in wrong])


def key_of(override: str) -> str:
    """Return the key of an override."""
    return override.partition("=")[0].lstrip("+~")


def _is_written(key: str, written: Sequence[str]) -> bool:
    return any(one == key or one.startswith(f"{key}.") for one in written)


@contextmanager
def open_task_run(made: TaskRun, memory: MemoryHandler) -> Iterator[RunFolder]:
    """Open a task's run folder and its tracked run; however the block ends, both are closed.

    Parameters
    ----------
    made
        What the run is.
    memory
        The log so far, which goes into the folder.

    Yields
    ------
    RunFolder
        The claimed folder, which the block fills.
    """
    config = made.config
    with Signals(held=True) as signals:
        own = RunFolder.claim(place_of(config, _name(made)))
        flush_to(memory, own.log)
        parents = [
            {"folder": str(folder.absolute()), "run_id": run_id}
            for folder, run_id in zip(made.parents, made.parent_run_ids, strict=True)
        ]
        _write_beginning(made, own, parents)
        _write_status(made, own, "running")
        tracker = TRACKERS.load(config.tracking.backend, "tracking.backend").open(config.tracking, _card(made, own))
        status: RunStatus = "failed"
        try:
            with under_way(config.paths.outputs, own.path):
                try:
                    signals.release()
                    yield own
                finally:
                    signals.ignore()
            status = "finished"
            _write_status(made, own, status)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            _write_status(made, own, "failed", redact(f"{type(error).__name__}: {error}"))
            raise
        finally:
            tracker.close(own.path, status)


def place_of(config: RunConfig, name: str) -> Path:
    """Return where a task's run folder should be, as other runs are placed."""
    began = datetime.now()
    return (config.paths.outputs / "runs" / began.strftime("%Y-%m-%d") / f"{began:%H-%M-%S}_{name}").absolute()


def job_of(
    task: str, config: RunConfig, parent: Path, label: str = "", params: Mapping[str, str] = _NO_PARAMS
) -> PlaceOfRun:
    """Return where a run that a task samples belongs; it names its parent.

    Parameters
    ----------
    task
        Name of the task.
    config
        The run's config.
    parent
        Folder of the finished run.
    label
        What tells this run of the task from others.
    params
        Parameters for tracking that are not in the config.
    """
    name = run_name(config.top.name, f"{config.model.name}_{task}", label)
    names = {"folder": str(parent), "run_id": getattr(read_record(parent), "run_id", None)}
    return PlaceOfRun(
        place_of(config, name),
        name,
        placing_keys(conf()),
        parent_run_id=names["run_id"],
        tags={"task": task, "parent_folder": str(parent)},
        parent=names,
        params=params,
    )


def _name(made: TaskRun) -> str:
    return run_name(made.config.top.name, f"{made.config.model.name}_{made.task}", made.label)


def _write_beginning(made: TaskRun, own: RunFolder, parents: list[dict[str, str | None]]) -> None:
    plain = {**made.config.plain, made.task: dict(made.section)}
    own.write_text("config.yaml", yaml.safe_dump(redact_tree(plain), sort_keys=False, allow_unicode=True))
    record = {
        "seed": made.config.top.seed,
        "started": now(),
        "parent": parents[0] if parents else None,
        "data_digest": made.data_digest,
        "command_line": [redact_override(word) for word in [sys.executable, *sys.argv]],
        "config_digest": config_digest(plain),
    }
    own.write_json("provenance.json", {**record, **({"parents": parents} if len(parents) > 1 else {})})


def _write_status(made: TaskRun, own: RunFolder, status: str, error: str | None = None) -> None:
    parent = str(made.parents[0].absolute()) if made.parents else None
    found = own.read_json("findings.json") or []
    graded = max((one["severity"] for one in found), key=SEVERITIES.index, default=None)
    content = {"status": status, "verdict": graded, "error": error, "task": made.task, "parent": parent}
    process = {"process": process_label(os.getpid())} if status == "running" else {}
    own.write_json("status.json", {**content, **process})


def _card(made: TaskRun, own: RunFolder) -> RunCard:
    config = made.config
    given = {k: str(v) for k, v in config.top.tags.items() if v is not None}
    names = {"task": made.task, "model": config.model.name}
    names |= {"parent_folder": str(made.parents[0].absolute())} if made.parents else {}
    data = {"data": made.dataset.name} if made.dataset else {}
    return RunCard(
        experiment_name=config.top.experiment_name,
        run_name=own.path.name,
        params=flatten(redact_tree({made.task: dict(made.section), "seed": config.top.seed})),
        tags={**names, **data, "run_folder": str(own.path.absolute()), **given},
        parent_run_id=made.parent_run_ids[0] if made.parent_run_ids else None,
        dataset=made.dataset,
        folder=str(own.path.absolute()),
    )


def as_markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown, for the tracked run's description."""
    cells = [[_short(cell) for cell in row] for row in table.itertuples(index=False)]
    lines = [list(table.columns), ["---"] * len(table.columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(cell: Any) -> str:
    if isinstance(cell, str):
        return cell.replace("|", r"\|")
    return "" if cell is None or cell != cell else f"{cell:.4g}"


def show_table(table: pd.DataFrame) -> None:
    """Print a table on the console."""
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_colwidth", 60):
        print(table.to_string(index=False, na_rep="", float_format=lambda number: f"{number:.4g}"))
