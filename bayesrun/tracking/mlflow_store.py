"""MLflow, as the tracker process talks to it: one `MlflowStore` per tracking URI.

Only `MlflowClient` is used: the fluent interface keeps the active run in global state, and patches libraries.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock

from bayesrun.lazy import mlflow
from bayesrun.locks import lock_beside, named_lock
from bayesrun.tracking.base import VIEW_KEY, sqlite_path
from bayesrun.tracking.entries import MODEL, MODEL_FILE, Entries
from bayesrun.tracking.mlflow_patches import create_database

T = TypeVar("T")

RUN_FOLDER = "run_folder"
"""Tag with the path of the run folder."""

_PARAMS_PER_CALL = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_NAME_LENGTH = 250
_DIGEST_LENGTH = 36
_OF_FOLDER = ("draws", "jobs")
"""Folders that are not uploaded: draws of a run without posterior, from which it is recovered, and jobs' files."""
_TRIES = 4
_SQLITE = b"SQLite format 3\0"
# errors caused by a concurrent writer: it holds the database, or made the same row (a data set's) first
_PASSING = ("database is locked", "UNIQUE constraint failed", "violates unique constraint")


_VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # not the one for language models
_COLUMNS = (
    "tags.`verdict`",
    *("metrics.`r_hat_max`", "metrics.`ess_bulk_min`", "metrics.`elpd_loo`", "metrics.`divergences`"),
)


@dataclass(frozen=True)
class MlflowStore:
    """An open MLflow store.

    Parameters
    ----------
    client
        The `MlflowClient`.
    artifacts
        Absolute location of new experiments' artifacts; None leaves it to the server.
    uri
        The tracking URI.
    beat
        Called after each call that the store answered.
    """

    client: Any
    artifacts: str | None
    uri: str
    beat: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, uri: str, artifacts: str | None, beat: Callable[[], None]) -> MlflowStore:
        """Connect to a store; a database must be there (`create_local_database`)."""
        return cls(mlflow.tracking.MlflowClient(uri), artifacts, uri, beat)

    def experiment(self, name: str, compared: Sequence[str] = ()) -> str:
        """Return the id of an experiment, which is created if it does not exist, and restored if it was deleted.

        Parameters
        ----------
        name
            Its name.
        compared
            Params that its runs should be compared by, as columns of MLflow's table.
        """
        with _lock_of(self.uri):
            found = self.client.get_experiment_by_name(name)
            self.beat()
            if found is None:
                return self._create_experiment(name, compared)
            for tag, value in _missing_tags(found.tags, compared).items():
                self.client.set_experiment_tag(found.experiment_id, tag, value)
            if found.lifecycle_stage != "active":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def _create_experiment(self, name: str, compared: Sequence[str]) -> str:
        tags = {**_EXPERIMENT_TAGS, _VIEW: _view(compared)}
        try:
            made = str(self.client.create_experiment(name, artifact_location=self.artifacts, tags=tags))
            self.beat()
            return made
        except Exception:  # another host may have been quicker: its experiment is used
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def start(self, card: Mapping[str, Any], own_tags: Mapping[str, str]) -> tuple[str, str, bool]:
        """Make the run of a card, or continue an earlier one; return its id, experiment, and whether it is new."""
        experiment = self.experiment(card["experiment_name"], card["compared"])
        tags = {k: v[:_TAG_LENGTH] for k, v in {**card["tags"], **own_tags}.items()}
        if card["parent_run_id"]:
            tags["mlflow.parentRunId"] = card["parent_run_id"]
        earlier = card["run_id"] or self._found(experiment, card["find"])
        if earlier:
            self.client.update_run(earlier, status="RUNNING")
            self._log_tags(earlier, tags)
            return earlier, experiment, False
        made = self.client.create_run(experiment, tags=tags, run_name=card["run_name"])
        self.beat()
        return str(made.info.run_id), experiment, True

    def _found(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """Return the latest run of an experiment that has some tags."""
        if not tags:
            return None
        # a filter can't hold a value with a quote: it is compared here
        tests = {name: "LIKE '%'" if "'" in value else f"= '{value}'" for name, value in tags.items()}
        filters = " and ".join(f"tags.`{name}` {test}" for name, test in tests.items())
        found = self.client.search_runs([experiment], filters, max_results=1000)
        return next((str(run.info.run_id) for run in found if tags.items() <= run.data.tags.items()), None)

    def describe(self, run_id: str, card: Mapping[str, Any], is_new: bool) -> None:
        """Log a card's params and data set."""
        # those that a reopened run has already may not change
        with contextlib.nullcontext() if is_new else contextlib.suppress(Exception):
            self._log_params(run_id, card["params"])
        if card["dataset"] and is_new:
            inputs = [_dataset_input(card["dataset"])]
            self._patiently(lambda: self.client.log_inputs(run_id, inputs))

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        rows = [mlflow.entities.Param(k[:_NAME_LENGTH], v[:_PARAM_LENGTH]) for k, v in params.items()]
        for start in range(0, len(rows), _PARAMS_PER_CALL):
            batch = rows[start : start + _PARAMS_PER_CALL]
            self._patiently(partial(self.client.log_batch, run_id, params=batch))

    def _log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        rows = [mlflow.entities.RunTag(k, v[:_TAG_LENGTH]) for k, v in tags.items()]
        self._patiently(lambda: self.client.log_batch(run_id, tags=rows))

    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0, model_id: str | None = None) -> None:
        """Log numbers in one call, of a run or of its model."""
        now = int(time.time() * 1000)
        rows = [mlflow.entities.Metric(k, v, now, step, model_id=model_id, run_id=run_id) for k, v in values.items()]
        self._patiently(lambda: self.client.log_batch(run_id, metrics=rows))

    def finish(self, run_id: str, entries: Entries, folder: Path, state: str) -> None:
        """Log a run's entries, upload its folder and end it; the run ends also where the upload fails."""
        try:
            self._log_tags(run_id, entries.tags)
            if entries.metrics:
                self.metrics(run_id, entries.metrics)
            has_model = (folder / MODEL / MODEL_FILE).is_file()
            self._upload(run_id, folder, {MODEL} if has_model else set())
            self.beat()
            if has_model:
                self._upload_model(run_id, folder / MODEL, entries)
        finally:
            self.end(run_id, state)

    def end(self, run_id: str, state: str, tags: Mapping[str, str] | None = None) -> None:
        """Set a run's final state (`FINISHED`, `KILLED`, `FAILED`)."""
        if tags:
            self._log_tags(run_id, tags)
        self._patiently(lambda: self.client.set_terminated(run_id, state))

    def _upload(self, run_id: str, folder: Path, without: Collection[str]) -> None:
        paths = [path for path in folder.iterdir() if path.name not in without]
        if any((path / "status.json").is_file() for path in paths):
            # a sweep's folder: what the jobs hold are the artifacts of their own runs
            paths = [path for path in paths if path.name == "figures" or (path.is_file() and path.name[0] != ".")]
        for path in paths:
            if path.is_file():
                self.client.log_artifact(run_id, str(path))
            elif path.name not in _OF_FOLDER:
                self.client.log_artifacts(run_id, str(path), path.name)

    def _upload_model(self, run_id: str, folder: Path, entries: Entries) -> None:
        """Log a run's model: MLflow lists it beside those of other runs, with the run's verdict and first metrics.

        `runs:/RUN_ID/model` is it. A server before MLflow 3 has no such list: there it is an artifact of the run.
        """
        try:
            model_id = self._logged_model(run_id, entries.tags.get("verdict", ""))
        except Exception:
            self.client.log_artifacts(run_id, str(folder), MODEL)
            return
        self.client.log_model_artifacts(model_id, str(folder))
        with tempfile.TemporaryDirectory() as scratch:  # its description with the id, from which the registry finds it
            described = (folder / MODEL_FILE).read_text(encoding="utf-8")
            path = Path(scratch) / MODEL_FILE
            path.write_text(f"{described}model_id: {model_id}\nrun_id: {run_id}\n", encoding="utf-8")
            self.client.log_model_artifact(model_id, str(path))
        self._patiently(lambda: self.client.finalize_logged_model(model_id, "READY"))
        shown = {name: value for name, value in entries.metrics.items() if f"metrics.`{name}`" in _COLUMNS}
        if shown:
            self.metrics(run_id, shown, model_id=model_id)

    def _logged_model(self, run_id: str, verdict: str) -> str:
        """Return the id of a run's model, which an earlier upload may have made."""
        experiment = self.client.get_run(run_id).info.experiment_id
        found = self.client.search_logged_models([experiment], f"source_run_id = '{run_id}' and name = '{MODEL}'")
        if found:
            return str(found[0].model_id)
        tags = {"verdict": verdict}
        model = self._patiently(
            lambda: self.client.create_logged_model(experiment, MODEL, source_run_id=run_id, tags=tags)
        )
        self._patiently(
            lambda: self.client.log_outputs(run_id, [mlflow.entities.LoggedModelOutput(model.model_id, step=0)])
        )
        return str(model.model_id)

    def folder(self, run_id: str, into: Path) -> Path:
        """Return a run's folder: where it was made if that is still there, else its artifacts, downloaded."""
        made = self.client.get_run(run_id).data.tags.get(RUN_FOLDER)
        if made and (Path(made) / "status.json").is_file():
            return Path(made)
        if not (into / "status.json").is_file():
            into.mkdir(parents=True, exist_ok=True)
            self.client.download_artifacts(run_id, "", str(into))
        return into

    def upload_file(self, run_id: str, path: Path) -> None:
        """Upload one file of a run."""
        self.client.log_artifact(run_id, str(path))

    def running(self, experiment: str) -> list[Any]:
        """Return the runs of an experiment that are marked as running."""
        return list(self.client.search_runs([experiment], "attributes.status = 'RUNNING'"))

    def is_running(self, run_id: str) -> bool:
        """Return whether a run is marked as running at present."""
        return bool(self.client.get_run(run_id).info.status == "RUNNING")

    def drop_children(self, experiment: str, parent: str, jobs: Collection[str], keep: Collection[str]) -> None:
        """Delete the runs below a parent that are tagged with one of some job numbers, but for those to keep."""
        for run in self.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=1000):
            if run.data.tags.get("job") in jobs and run.info.run_id not in keep:
                self._patiently(partial(self.client.delete_run, run.info.run_id))

    def _patiently(self, call: Callable[[], T]) -> T:
        """Try again what failed because of other writers."""
        for attempt in range(_TRIES):
            try:
                answer = call()
                self.beat()
                return answer
            except Exception as error:
                if attempt == _TRIES - 1 or not any(sign in str(error) for sign in _PASSING):
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")


def _view(compared: Sequence[str]) -> str:
    """Return the state of MLflow's table of runs that its pages read: the columns that are shown."""
    return json.dumps({"selectedColumns": [*_COLUMNS, *(f"params.`{name}`" for name in compared)]})


def _missing_tags(tags: Mapping[str, str], compared: Sequence[str]) -> dict[str, str]:
    """Return the tags that an experiment lacks; a user's own choice stays, a sweep shows the keys that it varies."""
    missing = {name: value for name, value in _EXPERIMENT_TAGS.items() if name not in tags}
    view = _view(compared)
    return {**missing, **({_VIEW: view} if _VIEW not in tags or (compared and tags[_VIEW] != view) else {})}


def create_local_database(uri: str, artifacts: str | None) -> None:
    """Create the SQLite database of a URI if it is not there; one process does so, the others wait for it.

    Raises
    ------
    OSError
        When its file can't be a database. MLflow would try again for a minute.
    """
    path = sqlite_path(uri)
    if path is not None:
        _check_database(path)
        with _lock_of(uri):
            create_database(path, artifacts)


def _check_database(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder, not a database")
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            tempfile.TemporaryFile(dir=folder).close()  # what a folder such as /proc allows is not what it takes
        except OSError as error:
            raise PermissionError(f"'{path}' can't be made in '{folder}': {error.strerror}") from None
    elif path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) != _SQLITE:
                raise OSError(f"'{path}' is not an SQLite database")


def _lock_of(uri: str) -> BaseFileLock:
    """Return the lock of a store: beside an SQLite database, in the user's runtime folder for others."""
    database = sqlite_path(uri)
    return named_lock(uri) if database is None else lock_beside(database)


def _dataset_input(dataset: Mapping[str, Any]) -> Any:
    entity = mlflow.entities.Dataset(
        name=dataset["name"][:500],
        digest=dataset["digest"][:_DIGEST_LENGTH],
        source_type="local",
        source=str({"origin": dataset["origin"]}),
        profile=f'{{"num_rows": {dataset["rows"]}}}',
    )
    return mlflow.entities.DatasetInput(entity, [mlflow.entities.InputTag("mlflow.data.context", "training")])
