"""What a finished run's folder gives: its posterior, and predictions for the rows of a data frame."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from bayesrun.config.run_config import REGISTRIES, RunConfig, parse_config
from bayesrun.data.frames import as_pandas, data_of, write_table
from bayesrun.data.section import parse_rows
from bayesrun.engines.base import ENGINES
from bayesrun.errors import Problem, check, fail
from bayesrun.lazy import az, pd, xr
from bayesrun.open_run import read_config
from bayesrun.predict.fitted_model import FittedModel, read_design
from bayesrun.predict.new_rows import KEY, PreparedRows, prepare_rows
from bayesrun.predict.tables import check_groups, predicted_tables
from bayesrun.registry import load_plugins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.engines.base import EngineSpec

log = logging.getLogger("bayesrun")

NewLevels = Literal["error", "population"]


class LateEngine:
    """A run's engine, imported when NumPy can't draw from a distribution."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec

    def draw(
        self, distribution: str, parameters: Mapping[str, NDArray[Any]], shape: tuple[int, ...], seed: int
    ) -> NDArray[Any]:
        """Draw from a distribution without a model."""
        engine = ENGINES.load(self._spec.name, "engine.name")
        engine.set_up(self._spec.patches)
        return engine.draw(distribution, parameters, shape, seed)


@dataclass(frozen=True)
class Predictions:
    """Predictions for new rows: the content of `predictions.csv` and, with groups, `predictions_by_group.csv`."""

    table: pd.DataFrame
    by_group: pd.DataFrame | None = None


def predict_frame(
    folder: Path,
    frame: Any,
    interval: float | None = None,
    new_levels: NewLevels = "error",
    group_by: Sequence[str] = (),
    seed: int | None = None,
) -> Predictions:
    """Predict the rows of a data frame from a finished run; the numbers are those of `task=predict`.

    Parameters
    ----------
    folder
        The run folder.
    frame
        The new rows, with the columns that the fit's predictors have.
    interval, new_levels, group_by
        As the keys of `predict`.
    seed
        Of the predictions; None = the run's.

    Raises
    ------
    UserError
        For every problem with the rows, by column and row.
    """
    table = as_pandas(frame, KEY)
    config = _config(folder, {"interval": interval, "new_levels": new_levels, "group_by": list(group_by)}, seed)
    fitted = read_design(folder, getattr(config.model, "formula", None))
    rows = rows_of_frame(config, fitted, table, new_levels)
    check_groups(rows, config.predict.group_by)
    for note in rows.notes:
        log.info("%s: %s", KEY, note)
    draws, engine = draws_for(fitted, folder), LateEngine(config.engine)
    top = config.top
    return Predictions(*predicted_tables(config.predict, top.intervals, top.seed, rows, fitted, draws, engine))


def rows_of_frame(
    config: RunConfig, fitted: FittedModel, table: pd.DataFrame, new_levels: NewLevels = "error"
) -> PreparedRows:
    """Prepare the rows of a data frame for prediction, transformed as in the fit.

    Parameters
    ----------
    config
        The finished run's config.
    fitted
        What its fit has learned.
    table
        The rows.
    new_levels
        As `predict.new_levels`.
    """
    with tempfile.TemporaryDirectory(prefix="bayesrun_") as place:
        data = {**data_of(table, write_table(table, Path(place), KEY)), "levels": {}}  # levels are those of the fit
        problems: list[Problem] = []
        predict = parse_rows({"data": data, "new_levels": new_levels}, config.paths.data, problems)
        check(problems)
        return prepare_rows(config.model_type, config.model, fitted, predict, config.paths.data)


def _config(folder: Path, predict: Mapping[str, Any], seed: int | None) -> RunConfig:
    """Parse the run's config without its data, which may no longer exist, and without its tracking."""
    stored = read_config(folder)
    kept = {key: value for key, value in stored.items() if key != "hydra"}
    own = {} if seed is None else {"seed": seed}
    plain = {**kept, **own, "data": None, "tracking": {"backend": "none"}, "predict": dict(predict)}
    check(load_plugins(list(plain.get("plugins") or []), REGISTRIES))
    return parse_config(OmegaConf.create(plain))


def draws_for(fitted: FittedModel, folder: Path) -> dict[str, NDArray[Any]]:
    """Read the posterior draws (chain, draw, ...) that predictions of new rows need; those not stored are left out.

    Raises
    ------
    UserError
        When the run has no posterior, or none of these draws.
    """
    names = [name for name, of in fitted.quantities.items() if fitted.model.rows not in of.dims]
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


def read_posterior(folder: Path) -> az.InferenceData:
    """Read `posterior.nc`, variables and dims under the names that the model gave them.

    Raises
    ------
    UserError
        When the run has none.
    """
    path = folder / "posterior.nc"
    if not path.is_file():
        raise fail("run", f"'{folder}' has no posterior.nc", "a run that failed before its first draw has none")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loo group is not defined", UserWarning)  # our own, of repaired densities
        stored = az.from_netcdf(str(path))
        return az.InferenceData(**{group: _with_own_names(stored[group]) for group in stored.groups()})


def read_groups(folder: Path, names: Sequence[str]) -> dict[str, xr.Dataset]:
    """Open some groups of `posterior.nc`, as `read_posterior` reads all; those that were not stored are left out."""
    path = folder / "posterior.nc"
    if not path.is_file():
        raise fail("run", f"'{folder}' has no posterior.nc", "use a run that finished")
    found = {}
    for name in names:
        try:
            found[name] = _with_own_names(xr.open_dataset(path, group=name, engine="netcdf4"))
        except OSError:
            continue
    return found


def _with_own_names(group: xr.Dataset) -> xr.Dataset:
    own = {name: str(array.attrs["name"]) for name, array in group.variables.items() if "name" in array.attrs}
    return group.rename({stored: name for stored, name in own.items() if stored != name})
