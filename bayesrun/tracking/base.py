"""What a tracker is, what it receives, and the config section `tracking` (design part 8).

A tracker gets values, never the config: a `RunCard` when a run opens, numbers while it samples, and at the end the
run folder, from which it reads the rest. No call to a tracker raises because the tracking server fails: what is
lost is logged once and noted in the folder's `tracking.json`; `task=sync run=FOLDER` uploads it later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from bayesrun.errors import fail
from bayesrun.redaction import redact, redact_tree, redact_value
from bayesrun.registry import Registry
from bayesrun.schema import Section

RUN_KEY = "bayesrun.uuid"
"""Tag with a random name of a run, by which it is found when its id was never received."""

VIEW_KEY = "bayesrun"
"""Name of the view of an experiment in MLflow's pages: its columns."""

RunStatus = Literal["finished", "partial", "failed", "interrupted"]


class TrackingSpec(Section):
    """Keys of `tracking`.

    Parameters
    ----------
    backend
        Registered tracker: `mlflow` or `none`.
    uri
        MLflow's store: a database (`sqlite:///...`, `postgresql://...`) or a server (`http://...`).
    artifacts
        Directory of new experiments' artifacts; null leaves the choice to the server.
    timeout
        Seconds that a run waits for its tracking server, in all.
    """

    backend: str = "mlflow"
    uri: str | None = None
    artifacts: str | None = None
    timeout: Annotated[float, Field(gt=0)] = 5.0


@dataclass(frozen=True)
class DatasetInfo:
    """The data set of a run: its name, SHA-256, where it comes from, and its rows."""

    name: str
    digest: str
    origin: str
    rows: int


@dataclass(frozen=True)
class RunCard:
    """What is known of a run before it samples.

    Parameters
    ----------
    experiment_name, run_name
        Where the run is listed, and as what.
    params
        The config, flat (see `flatten`).
    tags
        `model`, `data`, `config_digest`, `data_digest`, `git_commit`, ...
    parent_run_id
        Run of the sweep that this run is a job of.
    dataset
        Null for a model without data.
    run_id
        An earlier run to continue (the parent of a resumed sweep); null makes a new one.
    find
        Tags of an earlier run to continue, should there be one, whose id was never received.
    folder
        The run folder; null where the run has none.
    compared
        Params that runs of the experiment should be compared by (those that a sweep varies).
    """

    experiment_name: str
    run_name: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parent_run_id: str | None = None
    dataset: DatasetInfo | None = None
    run_id: str | None = None
    find: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    compared: Sequence[str] = ()


class Tracker(Protocol):
    """An open run. No method raises when the tracking server fails, and only `ready` and `close` may wait."""

    def ready(self) -> str | None:
        """Wait until the run is there with its params; return its id, or None when there is none."""

    def progress(self, step: int, progress: float, divergences_so_far: int) -> None:
        """Log that `step` draws are made, a share `progress` of all; the caller limits the rate."""

    def end_jobs(self) -> None:
        """End the children of this run that are still marked as running: their sweep has ended."""

    def drop_jobs(self, jobs: Sequence[str], keep: Collection[str] = ()) -> None:
        """Drop what other attempts left of this run's jobs, by their tag `job`, but for the runs `keep`."""

    def close(self, folder: Path, status: RunStatus) -> None:
        """Log what the run folder holds, upload it, and end the run."""

    def compare_hint(self) -> str | None:
        """Return the page to open, or the command to run, to compare this run with others; None if there is none."""


@dataclass(frozen=True)
class Pages:
    """The server of a store's pages, not started yet.

    Parameters
    ----------
    name
        What serves them.
    command
        Starts it.
    environment
        Variables that it needs: a store's address may hold a password, which all users of the machine could read on a
        command line.
    store
        What is shown, without credentials.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    store: str


def _no_pages(spec: TrackingSpec, host: str, port: int) -> Pages:
    raise fail("tracking.backend", f"'{spec.backend}' has no pages", "choose a store: tracking=mlflow")


def _fetch_nothing(spec: TrackingSpec, run_id: str, into: Path) -> Path:
    raise fail("run", f"tracking backend '{spec.backend}' keeps no runs", "give run=FOLDER")


def _upload_nothing(spec: TrackingSpec, folder: Path) -> str:
    return f"tracking backend '{spec.backend}' keeps no runs"


@dataclass(frozen=True)
class Backend:
    """A registered tracker.

    Parameters
    ----------
    open
        `(spec, card) -> Tracker`. Returns at once; whatever takes time goes on in the background.
    check
        `(spec) -> problems` of the section, as `(key below tracking, message, hint)`.
    warm
        `(spec)`: begin to load what `open` will need, in the background; leaves nothing behind.
    share
        `(spec)`: let this process and those that it will start load it once, while this process lives.
    fetch
        `(spec, run id, into) -> run folder` of a tracked run, downloaded into a folder unless it is on this host.
    upload
        `(spec, folder) -> what was done`: send what is missing of a run folder, and try once; raises `BayesrunError`.
    pages
        `(spec, host, port) -> Pages` of the store; raises `UserError` where there are none.
    """

    open: Callable[[TrackingSpec, RunCard], Tracker]
    check: Callable[[TrackingSpec], list[tuple[str, str, str]]] = lambda spec: []
    warm: Callable[[TrackingSpec], None] = lambda spec: None
    share: Callable[[TrackingSpec], None] = lambda spec: None
    fetch: Callable[[TrackingSpec, str, Path], Path] = _fetch_nothing
    upload: Callable[[TrackingSpec, Path], str] = _upload_nothing
    pages: Callable[[TrackingSpec, str, int], Pages] = _no_pages


TRACKERS: Registry[Backend] = Registry(
    "tracker",
    "bayesrun.tracking",
    "TRACKER",
    Backend,
    others=("entries", "mlflow_patches", "mlflow_store", "tracker_connection", "tracker_process", "tracking_record"),
)


def without_secrets(card: RunCard) -> RunCard:
    """Return a card without secrets in its texts."""
    tags = redact_tree(dict(card.tags), "tags")
    params = {key: str(redact_tree(value, key)) for key, value in card.params.items()}
    dataset = card.dataset and replace(card.dataset, origin=redact(card.dataset.origin))
    return replace(card, run_name=redact(card.run_name), tags=tags, params=params, dataset=dataset)


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is that of a server, not of a database."""
    return uri.startswith(("http:", "https:"))


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite URI; None for other stores and databases in memory."""
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if path and path != ":memory:" else None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Make the config flat for `RunCard.params`: dotted keys, lists and nulls as JSON, without secrets."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = redact_value(value if isinstance(value, str) else json.dumps(value, default=str))
    return flat
