"""`task=loo`: exact leave-one-out densities of the points that importance sampling gets wrong, by fits without each.

python -m bayesrun task=loo run=FOLDER

Points with a Pareto k above 0.7, after moment matching where the run has tried it, are left out in turn; all others
keep their densities. `task=compare` takes the folder that it writes in place of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bayesrun.config.run_config import parse_config
from bayesrun.diagnostics.base import GOOD_K, listed
from bayesrun.diagnostics.numerics.held_out_densities import path_density
from bayesrun.errors import fail
from bayesrun.jobs.blocks import Placement
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.predict.held_out import HeldOut
from bayesrun.schema import Section
from bayesrun.sweeps.elpd import read_loo
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.refits import GOOD_R_HAT, POINTWISE, Refitted, check_refit_keys, refitted
from bayesrun.tasks.task_run import TaskRun, as_markdown, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "loo.csv"
_SHOWN = 20
_ROUNDS = 5
"""Rounds of fits; each can halve the steps in the weight of a point."""


class LooTaskSpec(Section):
    """Options of the task.

    Parameters
    ----------
    max_refits
        Largest number of points that are left out in turn; with more, K-fold cross-validation costs less.
    """

    max_refits: Annotated[int, Field(ge=1, le=100_000)] = 50


def loo(request: TaskRequest) -> TaskEnd:
    """Repair the leave-one-out densities of a run, and return how that ended."""
    assert request.run is not None
    check_refit_keys(request, "loo")
    folder = request.run.folder.absolute()
    config = parse_config(request.config)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        model = refitted(config, folder)
        points = _of_run(folder, model)
        bad = points[points["pareto_k"] > GOOD_K]
        if bad.empty:
            print(f"nothing to do: the largest Pareto k is {points['pareto_k'].max():.2f}")
            return TaskEnd(0)
        most = request.options.max_refits
        if len(bad) > most:
            message = f"{len(bad)} points have a Pareto k above {GOOD_K}, more than loo.max_refits={most}"
            raise fail("loo.max_refits", message, f"cross-validate in folds: task=kfold run={folder}; or allow more")
        wanted = {row: _without(model, row, name) for row, name in zip(bad["row"], bad["likelihood"], strict=True)}
        if len(wanted) < len(bad):
            message = "several observations of one row have a large Pareto k"
            raise fail("run", message, f"leave out whole rows: task=kfold run={folder}")
        section = request.options.model_dump(mode="json")
        made = TaskRun("loo", [folder], config, section, "", model.data_digest, model.dataset())
        with open_task_run(made, memory) as own:
            repaired, gaps = _repaired(points, wanted, model, folder, Placement.of(request.config, own.path))
            table = repaired.loc[bad.index, ["point", "pareto_k", "before", "elpd", "mcse", "fits", "r_hat"]]
            whole = _metrics(repaired)
            own.write(POINTWISE, lambda path: repaired.drop(columns=["row", "likelihood"]).to_csv(path, index=False))
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_data("metrics.json", clean_metrics(whole))
            own.write_text("description.md", f"{_summary(whole)}\n\n{as_markdown(table)}")
    show_table(table.head(_SHOWN))
    print(f"\n{_summary(whole)}")
    for line in _doubts(table, gaps):
        print(line)
    print(f"folder: {own.path}")
    return TaskEnd(0, own.path)


def _of_run(folder: Path, model: Refitted) -> pd.DataFrame:
    """Return the run's own leave-one-out densities of all observed points, and how each was computed."""
    found = read_loo(folder)
    if found is None:
        raise fail("run", f"'{folder}' has no pointwise log likelihood", "keep it: diagnostics.log_likelihood=true")
    names, loo_i, matched, _ = found
    points = model.points().set_index("point", drop=False)
    unknown = [name for name in names if name not in points.index]
    if unknown:
        raise fail("run", f"its points {listed(unknown)} are not those of its data", "use a run made by this version")
    table = points.loc[names].reset_index(drop=True)
    method = np.where(np.isin(names, matched), "moment_matching", "psis")
    values = {"elpd": loo_i.elpd_i, "lppd": loo_i.lppd_i, "pareto_k": loo_i.judged_k, "method": method}
    return table.assign(before=loo_i.elpd_i, mcse=np.nan, fits=0, r_hat=np.nan, **values)


def _without(model: Refitted, row: int, likelihood: str) -> HeldOut:
    mask = np.arange(model.rows) == row
    return HeldOut(mask, mask, likelihood)


def _repaired(
    points: pd.DataFrame, wanted: Mapping[int, HeldOut], model: Refitted, folder: Path, where: Placement
) -> tuple[pd.DataFrame, list[str]]:
    """Put the densities that follow from the fits without them in the place of those of bad points.

    Where the posterior without a point has too little in common with the one that has it, the model is also fitted with
    a part of the point's weight, half way first.

    Returns
    -------
    tuple
        The points, and the names of those for which even that was not enough.
    """
    found = read_loo(folder)
    assert found is not None
    table, names, terms = points.copy(), found[0], found[3]
    at = {row: int(np.flatnonzero((points["row"] == row) & (points["pareto_k"] > GOOD_K))[0]) for row in wanted}
    own = {row: terms.isel(point=names.index(str(points.loc[place, "point"]))) for row, place in at.items()}
    paths = {row: {1.0: np.asarray(one.transpose("chain", "draw").values, float)} for row, one in own.items()}
    r_hats = dict.fromkeys(wanted, 0.0)
    missing = {row: [0.0] for row in wanted}
    for _ in range(_ROUNDS):
        asked = {
            row + int(weight * 2**_ROUNDS) * model.rows: (row, weight) for row in missing for weight in missing[row]
        }
        without = {n: replace(wanted[row], weight=weight) for n, (row, weight) in asked.items()}
        fits = model.fit_all("loo", without, folder, where)
        for number, (row, weight) in asked.items():
            paths[row][weight] = fits.made[number]["terms"][0]
            r_hats[row] = max(r_hats[row], float(fits.made[number]["r_hat"]))
        densities = {row: path_density(path) for row, path in paths.items()}
        missing = {row: [0.5 * sum(gap) for gap in one.gaps] for row, one in densities.items() if one.gaps}
        if not missing:
            break
    for row, place in at.items():
        one = densities[row]
        values: dict[str, Any] = {
            "elpd": one.log_density,
            "mcse": one.mcse,
            "fits": len(paths[row]) - 1,
            "r_hat": r_hats[row],
        }
        for column, value in {**values, "method": "refit"}.items():
            table.loc[place, column] = value
    return table, [str(points.loc[at[row], "point"]) for row in missing]


def _doubts(table: pd.DataFrame, gaps: list[str]) -> list[str]:
    found = []
    bad = table[table["r_hat"] > GOOD_R_HAT]
    if len(bad):
        which = listed(list(bad["point"]))
        found.append(f"R-hat is above {GOOD_R_HAT} in fits without {which}: sample longer, sampler.tune, sampler.draws")
    if gaps:
        found.append(f"too few draws decide the densities of {listed(gaps)}: sample longer, sampler.draws")
    return found


def _metrics(points: pd.DataFrame) -> dict[str, float]:
    elpd = points["elpd"].to_numpy()
    return {
        "elpd_loo": float(elpd.sum()),
        "elpd_loo_se": float(np.sqrt(len(elpd)) * elpd.std()),
        "p_loo": float(points["lppd"].sum() - elpd.sum()),
        "refits": float((points["method"] == "refit").sum()),
        "elpd_loo_before": float(points["before"].sum()),
    }


def _summary(metrics: dict[str, float]) -> str:
    refits, before = int(metrics["refits"]), metrics["elpd_loo_before"]
    after = f"elpd_loo {metrics['elpd_loo']:.1f} (se {metrics['elpd_loo_se']:.1f})"
    return f"{after}, with {refits} points left out exactly; it was {before:.1f}"


TASK = Task(do=loo, options=LooTaskSpec, needs_run=True, uses_config_of_run=True, launches=True)
