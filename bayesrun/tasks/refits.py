"""Fits of a finished run's model without some of its rows, and what they predict for the rows that were held out.

The fits are made side by side, kept one by one and resumed (`bayesrun.many_fits`). They share the compiled functions:
only the weights of the rows, 1 or 0, differ (`bayesrun.predict.held_out`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.numerics.convergence import statistics
from bayesrun.diagnostics.numerics.held_out_densities import deciding_draws, mean_density, sum_error
from bayesrun.diagnostics.numerics.psis import log_mean_exp
from bayesrun.diagnostics.predictive_accuracy import by_point, observed_terms
from bayesrun.diagnostics.summary import names_of
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, SamplingError, check, fail
from bayesrun.finished_run import read_groups
from bayesrun.jobs.blocks import Placement, Work, make_fits
from bayesrun.language.declaration import Declaration, has_initial_values
from bayesrun.lazy import pd, xr
from bayesrun.many_fits import Fit, FitCache, Fits, MakeFit
from bayesrun.open_run import dataset_of
from bayesrun.pipeline import compiled, read_data
from bayesrun.predict.held_out import HeldOut, by_rows, holding_out, rows_of
from bayesrun.report.progress import CountLine
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.base import SAMPLERS
from bayesrun.samplers.initial_points import settle_start
from bayesrun.samplers.monitors import MonitorGroup
from bayesrun.tasks.base import TaskRequest
from bayesrun.tasks.task_run import check_data_of_run, key_of
from bayesrun.tracking.base import DatasetInfo

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

POINTWISE = "pointwise.csv"
"""Table of a run folder: expected log predictive density of each point without it, with what decided it."""
GOOD_R_HAT = 1.05
"""Largest R-hat of a fit that is not pointed out."""
_DECIDING = ("model", "seed", "engine", "plugins")
_INTERVAL = 0.94
_FORM = 3
"""What a kept fit holds: fits of an earlier form are made again."""


@dataclass(frozen=True)
class Refitted:
    """A finished run's model, ready to be fitted without some rows.

    Parameters
    ----------
    config
        The run's config.
    data, data_digest
        Its data, which are those of the run.
    declared
        Its model.
    full
        The same, compiled.
    dim, rows
        The dim of its rows, and their number.
    names
        Its likelihoods.
    """

    config: RunConfig
    data: xr.Dataset
    data_digest: str
    declared: Declaration
    full: CompiledModel
    dim: str
    rows: int
    names: list[str]

    def points(self) -> pd.DataFrame:
        """Return all observed points, in the order of `task=compare`: `point`, `row`, `likelihood`, `observed`."""
        coords, dims = self.full.reported.labels()
        parts = []
        for name in self.names:
            values = np.asarray(self.full.reported.observed_data()[name], dtype=float)
            over = list(dims[name])
            array = xr.DataArray(values, dims=over, coords={dim: coords[dim] for dim in over if dim in coords})
            row = np.broadcast_to(np.arange(self.rows).reshape(-1, *(1,) * (values.ndim - 1)), values.shape)
            columns = {"point": names_of(array, name), "row": row.ravel(), "likelihood": name}
            parts.append(pd.DataFrame({**columns, "observed": values.ravel()}))
        return pd.concat(parts, ignore_index=True)

    def dataset(self) -> DatasetInfo | None:
        """Describe the data for tracking."""
        return dataset_of(self.data, self.data_digest)

    def fit(self, one: HeldOut, number: int) -> Fit:
        """Fit the model without rows, and predict them.

        Returns
        -------
        dict
            `elpd`, `mcse` and `deciding`, the number of deciding draws, (point) of all points, NaN where not predicted;
            `mcse_sum` of the sum of these densities; `r_hat`, `divergences`; and of a single predicted point its
            `terms` (1, chain, draw).
        """
        seed = int(np.random.SeedSequence([self.config.top.seed, 5, number]).generate_state(1)[0] >> 1)
        declared = holding_out(self.declared, one.weights(), one.likelihood)
        model = compiled(self.config, declared)
        settle_start(model, seed, has_initial_values(declared))
        sampler, spec = SAMPLERS.load(self.config.sampler.method, "sampler.method"), self.config.sampler
        sampled = sampler.sample(model, spec.model_copy(update={"cores": 1}), seed, MonitorGroup([]))
        sampled.require_whole()
        draws = model.recover(sampled.draws, seed)
        terms = self.full.reported.log_likelihood(self.names, draws)
        found = [_densities(terms[name], one.predicted & (one.likelihood in (None, name))) for name in self.names]
        elpd, mcse, deciding, chosen = (np.concatenate(part) for part in zip(*found, strict=True))
        diverging = sampled.stats.get("diverging", np.zeros(1))
        return {
            "elpd": elpd,
            "mcse": mcse,
            "deciding": deciding,
            "mcse_sum": np.array(sum_error(chosen) if len(chosen) else 0.0),
            **({"terms": chosen} if len(chosen) == 1 else {}),
            "r_hat": np.array(_largest_r_hat(sampled.draws)),
            "divergences": np.array(int(np.sum(diverging))),
        }

    def _numbered(self, wanted: Mapping[int, HeldOut], number: int) -> Fit:
        return self.fit(wanted[number], number)

    def fits_of(self, task: str, wanted: Mapping[int, HeldOut]) -> tuple[MakeFit, FitCache]:
        """Return what makes fits by their numbers, and the cache in which they are kept.

        Parameters
        ----------
        task
            Name of the task, of which the cache is.
        wanted
            What each fit leaves out, by its number.
        """
        plain = self.config.plain
        sampler = {key: value for key, value in plain["sampler"].items() if key not in ("cores", "progress")}
        deciding = {key: plain.get(key) for key in _DECIDING}
        rows = {number: _digest(one) for number, one in wanted.items()}
        identity = {**deciding, "fit": _FORM, "sampler": sampler, "data": self.data_digest, "held_out": rows}
        return partial(self._numbered, wanted), FitCache.of(self.config.paths.outputs, task, identity)

    def fit_all(self, task: str, wanted: Mapping[int, HeldOut], folder: Path, place: Placement) -> Fits:
        """Make the fits that are not there yet.

        Parameters
        ----------
        task
            Name of the task, of which the cache is.
        wanted
            What each leaves out, by its number.
        folder
            Folder of the finished run.
        place
            Where the fits are made.

        Raises
        ------
        KeyboardInterrupt
            When it was interrupted; what is done is kept.
        SamplingError
            When fits have failed; the same command makes only these again.
        """
        fit, cache = self.fits_of(task, wanted)
        work = Work(fit, partial(_fits_in_job, self.config, folder, task, wanted))
        with CountLine("fits", len(wanted), self.config.sampler.progress) as line:
            made = make_fits(list(wanted), work, cache, place, line.tell)
        if made.interrupted:
            raise KeyboardInterrupt(f"{len(made.made)} of {len(wanted)} fits are done: the same command continues")
        if made.failed:
            number, reason = next(iter(made.failed.items()))
            text = f"{len(made.failed)} of {len(wanted)} fits have failed; fit {number}: {reason}"
            raise SamplingError(f"{text}\nthe same command makes only these again")
        return made


def _fits_in_job(config: RunConfig, folder: Path, task: str, wanted: Mapping[int, HeldOut]) -> tuple[MakeFit, FitCache]:
    """Prepare the fits in another process."""
    return refitted(config, folder).fits_of(task, wanted)


def refitted(config: RunConfig, folder: Path) -> Refitted:
    """Read the data of a finished run again, and make its model.

    Raises
    ------
    UserError
        When the run has not finished, its data have changed, or none of its rows can be held out.
    """
    run = RunFolder(folder.absolute())
    if run.status() != "finished" or not run.posterior.is_file():
        raise fail("run", f"'{run.path}' is no finished run with draws", "give one that is: run=FOLDER")
    if config.sampler.method == "prior":
        raise fail("run", "has draws from the prior, which no observation has changed", "use a run with a posterior")
    data, now, _, _ = read_data(config)
    if data is None or now is None:
        raise fail("run", "the model has no data", "there is nothing to hold out")
    check_data_of_run(run.path, now)
    declared = config.model_type.build(data, config.model)
    if not isinstance(declared, Declaration):
        raise fail("model.type", "builds its model by the engine itself, whose rows can't be weighted")
    declared = by_rows(declared)
    dim, rows = rows_of(declared)
    full = compiled(config, declared)
    names = list(full.reported.likelihoods)
    for name in names:
        distribution = full.reported.without_pointwise_terms(name)
        if distribution is not None:
            raise fail("run", f"'{name}' is {distribution}, which has no pointwise terms", "its rows can't be held out")
    return Refitted(config, data, now, declared, full, dim, rows, names)


_FREE = ("sampler", "seed", "tracking", "paths", "name", "tags", "experiment_name", "launcher", "cluster", "hydra")


def check_refit_keys(request: TaskRequest, task: str) -> None:
    """Refuse keys that belong to the run, in whose config the command's keys are written."""
    keys = [key_of(override) for override in request.arguments.overrides]
    wrong = [key for key in keys if key.partition(".")[0] not in (task, *_FREE)]
    check(
        [
            Problem(key, "belongs to the run, which is finished", f"allowed: {', '.join((task, *_FREE))}")
            for key in wrong
        ]
    )


def log_density_of_run(folder: Path) -> dict[str, float]:
    """Return the log predictive density of each point under the run that has seen it, by the point's name."""
    group = read_groups(folder, ("log_likelihood",))
    found = observed_terms(group)
    if found is None:
        return {}
    density = np.concatenate([log_mean_exp(block) for block in by_point(found[0])])
    return dict(zip(map(str, found[0]["point"].values), density.tolist(), strict=True))


def _densities(terms: NDArray[Any], predicted: Rows) -> tuple[Floats, Floats, Floats, Floats]:
    """Return log densities, errors and numbers of deciding draws (point,), NaN if not predicted; and terms of others.

    The terms are over (point, chain, draw).
    """
    chains, draws, rows = terms.shape[:3]
    values = np.moveaxis(terms.reshape(chains, draws, rows, -1), (0, 1), (2, 3)).astype(float)
    chosen = np.ascontiguousarray(values[predicted].reshape(-1, chains, draws))
    elpd, mcse, deciding = (np.full((rows, values.shape[1]), np.nan) for _ in range(3))
    if chosen.size:
        found = (*mean_density(chosen), deciding_draws(chosen))
        elpd[predicted], mcse[predicted], deciding[predicted] = (of.reshape(-1, values.shape[1]) for of in found)
    has_terms = ~np.isnan(chosen).any(axis=(1, 2))  # rows that are not observed have none
    return elpd.ravel(), mcse.ravel(), deciding.ravel(), chosen[has_terms]


def _largest_r_hat(draws: Mapping[str, NDArray[Any]]) -> float:
    arrays = [values.reshape(*values.shape[:2], -1) for values in draws.values()]
    every = np.moveaxis(np.concatenate(arrays, axis=2).astype(float), 2, 0)
    moving = np.ptp(every, axis=(1, 2)) > 0
    r_hats = statistics(np.ascontiguousarray(every[moving]), _INTERVAL)[:, -1] if moving.any() else np.ones(1)
    return float(np.nanmax(r_hats)) if np.isfinite(r_hats).any() else float("nan")


def _digest(one: HeldOut) -> str:
    rows = np.packbits([one.left_out, one.predicted]).tobytes()
    return hashlib.sha256(rows + f"{one.likelihood or ''} {one.weight}".encode()).hexdigest()[:16]


__all__ = ["GOOD_R_HAT", "POINTWISE", "Refitted", "check_refit_keys", "log_density_of_run", "refitted"]
