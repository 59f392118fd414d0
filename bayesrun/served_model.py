"""Each fit as an MLflow model: `model/` in the run folder, which predicts the rows of a data frame.

The folder is written without MLflow: a file `MLmodel`, what predictions need of the run, and a link to its posterior.
MLflow then loads it by `_load_pyfunc`, from the run folder or from a tracked run:

    mlflow models serve --env-manager local -m runs:/RUN_ID/model
    mlflow.pyfunc.load_model("runs:/RUN_ID/model").predict(frame)
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bayesrun.config.run_config import RunConfig
from bayesrun.data.section import PredictSpec, parse_data
from bayesrun.diagnostics.base import interval_columns
from bayesrun.errors import Problem, UserError
from bayesrun.finished_run import predict_frame
from bayesrun.lazy import pd, xr
from bayesrun.predict.fitted_model import ARRAYS, DESIGN, FittedModel
from bayesrun.predict.new_rows import prepare_rows
from bayesrun.predict.tables import QUANTILES
from bayesrun.run_folder import RunFolder
from bayesrun.tracking.entries import MODEL, MODEL_FILE
from bayesrun.version import __version__

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("bayesrun")

_FLAVOR = "python_function"
_NEEDED = ("config.yaml", DESIGN, ARRAYS, "posterior.nc")
_EXAMPLE = "input_example.json"
_EXAMPLE_ROWS = 3
_TYPES = {"f": "double", "i": "long", "u": "long", "b": "boolean", "M": "datetime"}
_PARAMS = (("interval", "double"), ("new_levels", "string"), ("seed", "long"))
"""What may be set with each request (`params`): as the keys of `predict`, and the seed."""


def write_model(config: RunConfig, data: xr.Dataset, fitted: FittedModel, folder: RunFolder) -> None:
    """Write the model of a run whose posterior is stored, if it can predict new rows.

    Parameters
    ----------
    config
        The run's config.
    data
        The fitted rows, of which some are the example.
    fitted
        What the fit has learned.
    folder
        The run folder.
    """
    example = _example(config, data, fitted)
    reason = _why_not(config, fitted, example)
    if reason:
        log.debug("no model: %s", reason)
        return
    place = RunFolder(folder.path / MODEL)
    place.path.mkdir(exist_ok=True)
    for name in _NEEDED:
        if (folder.path / name).is_file():
            _link(folder.path / name, place.path / name)
    place.write_data(_EXAMPLE, {"columns": list(example), "data": json.loads(example.to_json(orient="values"))})
    place.write_text("requirements.txt", f"bayesrun=={__version__}\n")
    place.write_text(MODEL_FILE, yaml.safe_dump(_description(config, example), sort_keys=False, allow_unicode=True))


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; on a disk that has no such links it is copied."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _example(config: RunConfig, data: xr.Dataset, fitted: FittedModel) -> pandas.DataFrame:
    """Return the first whole rows of the columns that new rows may have, as they were read."""
    design = fitted.data
    observed = {role.variable for role in config.model_type.roles(config.model) if role.kind == "observed"}
    codes = {column: name for name, column in design.factors.items()}
    columns: dict[str, Any] = {}
    for name in design.kinds:
        if name in codes and codes[name] in data:
            columns[name] = design.levels[name][data[codes[name]].values.astype(int)]
        elif name in data.variables and data[name].dims == (design.dim,) and name not in (*observed, design.dim):
            columns[name] = data[name].values
    return pd.DataFrame(columns).dropna().head(_EXAMPLE_ROWS).reset_index(drop=True)


def _why_not(config: RunConfig, fitted: FittedModel, example: pandas.DataFrame) -> str:
    """Return why the rows of the example can't be predicted; empty if they can."""
    if not len(example.columns) or not len(example):
        return "there are no rows of predictors"
    shown = example.copy()
    for column in [name for name, of in example.items() if of.dtype.kind == "M"]:
        shown[column] = example[column].astype(str)
    section = {"name": "example", "source": "inline", "values": shown.to_dict(orient="list")}
    problems: list[Problem] = []
    rows = parse_data(section, Path(), problems)
    if rows is None or problems:
        return "; ".join(problem.message for problem in problems)
    try:
        prepare_rows(config.model_type, config.model, fitted, PredictSpec(data=rows), Path())
    except UserError as error:
        return "; ".join(problem.message for problem in error.problems)
    return ""


def _description(config: RunConfig, example: pandas.DataFrame) -> Mapping[str, Any]:
    inputs = [
        {"type": _TYPES.get(of.dtype.kind, "string"), "name": name, "required": False} for name, of in example.items()
    ]
    prob = config.predict.interval or config.top.intervals
    numbers = ["mean", "sd", *interval_columns(prob), *(f"q{100 * share:g}%" for share in QUANTILES)]
    outputs = [
        *({"type": "string", "name": name, "required": True} for name in ("kind", "variable")),
        *({"type": "double", "name": name, "required": True} for name in numbers),
    ]
    params = [{"name": name, "type": kind, "default": None, "shape": None} for name, kind in _PARAMS]
    return {
        "flavors": {
            _FLAVOR: {
                "loader_module": __name__,
                "data": ".",
                "env": {"virtualenv": "requirements.txt"},
                "python_version": platform.python_version(),
            }
        },
        "model_uuid": uuid.uuid4().hex,
        "utc_time_created": datetime.now(timezone.utc).replace(tzinfo=None).isoformat(sep=" "),
        "metadata": {"model": config.model.name, "bayesrun": __version__},
        "saved_input_example_info": {
            "artifact_path": _EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
            "serving_input_path": None,
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": json.dumps(params)},
    }


class ServedModel:
    """What MLflow loads: predicts rows from the files of a run.

    Parameters
    ----------
    folder
        The model's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def predict(self, frame: pandas.DataFrame, params: Mapping[str, Any] | None = None) -> pandas.DataFrame:
        """Return the table of `task=predict` for new rows: mean, sd, interval and quantiles of each.

        Parameters
        ----------
        frame
            The new rows.
        params
            `interval`, `new_levels` and `seed`; those that are not given, or None, are the run's.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return predict_frame(self._folder, frame, **given).table.reset_index(drop=True)


def _load_pyfunc(path: str) -> ServedModel:
    """Load the model of a folder; called by MLflow."""
    return ServedModel(Path(path))
