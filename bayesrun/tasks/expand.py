"""`task=expand`: print the declarative model that is equivalent to a regression.

python -m bayesrun task=expand model=NAME                      the YAML, on the standard output
python -m bayesrun task=expand model=NAME expand.folder=DIR    where model, data and columns are written
python -m bayesrun task=expand run=FOLDER                      the model of a finished run

The model names columns of the design. They are written beside it, so that it runs as it is:

python -m bayesrun --config-dir DIR model=NAME_expanded
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bayesrun.config.run_config import parse_config
from bayesrun.errors import fail
from bayesrun.invocation import command
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.pipeline import read_data
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskRequest

if TYPE_CHECKING:
    from bayesrun.models.regression.expansion import Expansion


class ExpandOptions(Section):
    """Options of the task.

    Parameters
    ----------
    folder
        Where the model, its data set and the columns are written; null = `expanded/NAME` below the outputs folder.
    """

    folder: str | None = None


def expand(request: TaskRequest) -> int:
    """Print the model, write it with its data, and return the exit status."""
    config = parse_config(request.config)
    if not isinstance(config.model, RegressionSpec):
        hint = "a declarative model is one already; other types are written in Python"
        raise fail("model.type", f"'{config.model.type}' is not a regression; only regressions can be expanded", hint)
    data = read_data(config)[0]
    assert data is not None  # a regression has a response
    expansion = expansion_of(data, config.model)
    given = request.options.folder
    folder = Path(given) if given else config.paths.outputs / "expanded" / config.model.name
    name = _write(expansion, folder.absolute())
    print(_text(dict(expansion.model)), end="")
    print(f"run it with: {command('--config-dir', str(folder), f'model={name}')}", file=sys.stderr)
    return 0


def _write(expansion: Expansion, folder: Path) -> str:
    """Write model, data set and columns, and return the name of the first two."""
    name = f"{expansion.model['name']}_expanded"
    for group in ("model", "data"):
        (folder / group).mkdir(parents=True, exist_ok=True)
    columns = expansion.columns.copy()
    dim = str(columns.attrs.get("dim", "obs"))
    columns.attrs = {}
    columns.to_netcdf(folder / f"{name}.nc", engine="netcdf4")
    data = {"name": name, "source": "netcdf", "path": str(folder / f"{name}.nc"), "dim": dim}
    (folder / "data" / f"{name}.yaml").write_text(_text(data), encoding="utf-8")
    model = {"defaults": [{"/data@_global_.data": name}, "_self_"], **expansion.model, "name": name}
    (folder / "model" / f"{name}.yaml").write_text(_text(model), encoding="utf-8")
    return name


def _text(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


TASK = Task(do=expand, options=ExpandOptions, uses_config_of_run=True)
