"""`task=predict`: predict new rows from a finished run, without sampling.

python -m bayesrun task=predict run=FOLDER predict.data=NAME              from a run folder
python -m bayesrun task=predict run=last predict.data=NAME                from the run that was started last
python -m bayesrun task=predict run=mlflow:RUN_ID predict.data=NAME       from a tracked run

The numbers are those that predicting right after the fit gives. They go into a run folder of their own, which names
its parent, and into a tracked run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from bayesrun.config.resolvers import run_name
from bayesrun.config.run_config import REGISTRIES, RunConfig, parse_config
from bayesrun.data.prepare import digest
from bayesrun.engines.base import ENGINES
from bayesrun.errors import Problem, check, fail
from bayesrun.lazy import xr
from bayesrun.logs import flush_to, logging_to_memory
from bayesrun.open_run import read_config
from bayesrun.predict.fitted_model import read_design
from bayesrun.predict.new_rows import PreparedRows, prepare_rows
from bayesrun.predict.tables import check_groups, write_predictions
from bayesrun.provenance import config_digest, now
from bayesrun.redaction import redact, redact_override, redact_tree
from bayesrun.registry import load_plugins
from bayesrun.run_folder import RunFolder
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tracking.base import TRACKERS, DatasetInfo, RunCard, RunStatus, flatten
from bayesrun.tracking.tracking_record import read_record

if TYPE_CHECKING:
    from numpy.typing import NDArray


log = logging.getLogger("bayesrun")

_OF_RUN = ("seed", "intervals", "name", "experiment_name", "tags", "engine")
"""Keys that keep the run's values unless the command sets them."""
_OF_COMMAND = ("predict", "tracking", "paths")


def predict(request: TaskRequest) -> int:
    """Predict the rows of `predict.data` from the finished run, and return the exit status."""
    assert request.run is not None
    _check_overrides(request.arguments.overrides)
    folder = request.run.folder
    config = _config(request, folder)
    if config.predict.data is None:
        raise fail("predict.data", "is required but missing", "choose the new rows: predict.data=NAME")
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        fitted = read_design(folder, getattr(config.model, "formula", None))
        rows = prepare_rows(config.model_type, config.model, fitted, config.predict, config.paths.data)
        check_groups(rows, config.predict.group_by)
        for note in rows.notes:
            log.info("predict.data: %s", note)
        draws = _draws(folder, [n for n, q in fitted.quantities.items() if rows.dim not in q.dims])
        own = RunFolder.claim(_place(config))
        flush_to(memory, own.log)
        with _open(config, folder, rows, own):
            interval, seed = config.top.intervals, config.top.seed
            engine = _Engine(config)
            write_predictions(config.predict, interval, seed, rows, fitted, draws, engine, own)
        print(own.path)
    return 0


class _Engine:
    """The run's engine, imported when NumPy can't draw from a distribution."""

    def __init__(self, config: RunConfig) -> None:
        self._spec = config.engine

    def draw(
        self, distribution: str, parameters: Mapping[str, NDArray[Any]], shape: tuple[int, ...], seed: int
    ) -> NDArray[Any]:
        """Draw from a distribution without a model."""
        engine = ENGINES.load(self._spec.name, "engine.name")
        engine.set_up(self._spec.patches)
        return engine.draw(distribution, parameters, shape, seed)


def _check_overrides(overrides: Sequence[str]) -> None:
    """Refuse keys that would change the fit; keys of sampling and checks have no effect."""
    keys = [_key(override) for override in overrides]
    of_fit = [key for key in keys if key.partition(".")[0] in ("model", "data") and key != "model.figures"]
    hint = f"allowed: {', '.join((*_OF_COMMAND, *_OF_RUN))}"
    check([Problem(key, "belongs to the fit, which is done", hint) for key in of_fit])
    idle = [key for key in keys if key.partition(".")[0] not in (*_OF_COMMAND, *_OF_RUN, "hydra")]
    if idle:
        log.debug("without effect on predictions: %s", ", ".join(idle))


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _config(request: TaskRequest, folder: Path) -> RunConfig:
    """Parse the run's config with what the command changes, without its data, which may no longer exist."""
    stored = read_config(folder)
    given: Any = OmegaConf.to_container(OmegaConf.masked_copy(request.config, [*_OF_COMMAND, *_OF_RUN]), resolve=False)
    written = [_key(override) for override in request.arguments.overrides]
    said = {
        key
        for key in given["predict"]
        if any(w == f"predict.{key}" or w.startswith(f"predict.{key}.") for w in written)
    }
    rows = {**(stored.get("predict") or {}), **{key: given["predict"][key] for key in said}}
    own = {key: given[key] for key in _OF_RUN if any(w == key or w.startswith(f"{key}.") for w in written)}
    kept = {key: value for key, value in stored.items() if key not in ("data", "hydra")}
    plain = {**kept, **own, "tracking": given["tracking"], "paths": given["paths"], "predict": rows, "data": None}
    check(load_plugins(list(plain.get("plugins") or []), REGISTRIES))
    return parse_config(OmegaConf.create(plain))


def _is_written(key: str, written: Sequence[str]) -> bool:
    return any(one == key or one.startswith(f"{key}.") for one in written)


def _place(config: RunConfig) -> Path:
    """Return where the task's run folder should be."""
    assert config.predict.data is not None
    name = run_name(config.top.name, f"{config.model.name}_predict", f"data={config.predict.data.name}")
    began = datetime.now()
    return (config.paths.outputs / "runs" / began.strftime("%Y-%m-%d") / f"{began:%H-%M-%S}_{name}").absolute()


def _draws(folder: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read posterior draws (chain, draw, ...) of variables; those that were not stored are left out."""
    path = folder / "posterior.nc"
    if not path.is_file():
        raise fail("run", f"'{folder}' has no posterior.nc", "predict from a run that finished")
    with xr.open_dataset(path, group="posterior", engine="netcdf4", decode_times=False) as stored:
        # NetCDF can't hold every name: the attribute has the one that the model knows
        own = {str(array.attrs.get("name", name)): array for name, array in stored.data_vars.items()}
        found = {name: own[name].values for name in names if name in own}
    if not found:
        raise fail("run", f"'{path}' has no draws that predictions need", "keep them: store.variables, store.exclude")
    return found


@contextmanager
def _open(config: RunConfig, parent: Path, rows: PreparedRows, own: RunFolder) -> Iterator[None]:
    """Open the task's run folder and its tracked run; however the block ends, both are closed."""
    record = read_record(parent)
    parent_id = record.run_id if record is not None else None
    names = {"folder": str(parent.absolute()), "run_id": parent_id}
    began = {"seed": config.top.seed, "started": now(), "parent": names, "data_digest": digest(rows.data)}
    command = [redact_override(word) for word in [sys.executable, *sys.argv]]
    own.write_text("config.yaml", yaml.safe_dump(redact_tree(config.plain), sort_keys=False, allow_unicode=True))
    own.write_json("provenance.json", {**began, "command_line": command, "config_digest": config_digest(config.plain)})
    _write_status(own, "running", names)
    tracker = TRACKERS.load(config.tracking.backend, "tracking.backend").open(
        config.tracking, _card(config, rows, own, names)
    )
    status: RunStatus = "failed"
    try:
        yield
        status = "finished"
        _write_status(own, status, names)
    except BaseException as error:
        _write_status(own, status, names, redact(f"{type(error).__name__}: {error}"))
        raise
    finally:
        tracker.close(own.path, status)


def _write_status(own: RunFolder, status: str, parent: Mapping[str, Any], error: str | None = None) -> None:
    content = {"status": status, "verdict": None, "error": error, "task": "predict", "parent": parent["folder"]}
    own.write_json("status.json", content)


def _card(config: RunConfig, rows: PreparedRows, own: RunFolder, parent: Mapping[str, Any]) -> RunCard:
    name = str(rows.data.attrs.get("name", ""))
    given = {k: str(v) for k, v in config.top.tags.items() if v is not None}
    tags = {"task": "predict", "model": config.model.name, "data": name, "parent_folder": parent["folder"], **given}
    return RunCard(
        experiment_name=config.top.experiment_name,
        run_name=own.path.name,
        params=flatten(redact_tree({"predict": config.plain["predict"], "seed": config.top.seed})),
        tags={
            **tags,
            "run_folder": str(own.path.absolute()),
            **{k: str(v) for k, v in config.top.tags.items() if v is not None},
        },
        parent_run_id=parent["run_id"],
        dataset=DatasetInfo(name, digest(rows.data), str(rows.data.attrs.get("origin", "")), rows.data.sizes[rows.dim]),
        folder=str(own.path.absolute()),
    )


TASK = Task(do=predict, options=None, needs_run=True)
