"""`task=kfold`: how well a finished run's model predicts rows that it has not seen, by fits without them.

python -m bayesrun task=kfold run=FOLDER                                          10 random folds
python -m bayesrun task=kfold run=FOLDER kfold.k=5 kfold.kind=stratified kfold.by=treated
python -m bayesrun task=kfold run=FOLDER kfold.by=school                          leave one group out
python -m bayesrun task=kfold run=FOLDER kfold.kind=future kfold.by=date          leave the future out

`task=compare` compares the folders that it writes, if all have the same folds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bayesrun.config.run_config import parse_config
from bayesrun.diagnostics.numerics.held_out_densities import FEW_DRAWS
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.jobs.blocks import Placement
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.many_fits import Fits
from bayesrun.predict.held_out import future_blocks, grouped_folds, held_out, random_folds, stratified_folds
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.refits import GOOD_R_HAT, POINTWISE, Refitted, check_refit_keys, log_density_of_run, refitted
from bayesrun.tasks.task_run import TaskRun, as_markdown, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

log = logging.getLogger("bayesrun")

FILE = "kfold.csv"
_FOLDS = 10
_MANY = 100
_SHOWN = 12


class KfoldSpec(Section):
    """Options of the task.

    Parameters
    ----------
    kind
        How rows are divided: `random`; `stratified` by the labels or numbers of a column; `grouped`, all rows of a
        group in one fold; `future`, each block predicted from what was before it. By default `grouped` with `by`, else
        `random`.
    k
        Number of folds; by default 10, and with `grouped` a fold for each group.
    by
        The column of labels, groups or times; times are by default the order of the rows.
    first
        Share of the times that every fit of `future` knows.
    """

    kind: Literal["random", "stratified", "grouped", "future"] | None = None
    k: Annotated[int, Field(ge=2, le=10_000)] | None = None
    by: str | None = None
    first: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def chosen_kind(self) -> str:
        """Return the kind, chosen by `by` where none is given."""
        return self.kind or ("grouped" if self.by else "random")


def kfold(request: TaskRequest) -> TaskEnd:
    """Cross-validate a run, and return how that ended."""
    assert request.run is not None
    options: KfoldSpec = request.options
    check_refit_keys(request, "kfold")
    _check_options(options)
    config = parse_config(request.config)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    folder = request.run.folder.absolute()
    with logging_to_memory() as memory:
        model = refitted(config, folder)
        folds = _folds(model, options)
        wanted = dict(enumerate(held_out(folds, options.chosen_kind() == "future")))
        section = {
            **options.model_dump(mode="json", exclude_none=True),
            "kind": options.chosen_kind(),
            "k": len(wanted),
        }
        made = TaskRun("kfold", [folder], config, section, options.by or "", model.data_digest, model.dataset())
        with open_task_run(made, memory) as own:
            fits = model.fit_all("kfold", wanted, folder, Placement.of(request.config, own.path))
            points = _pointwise(model, folds, fits)
            table = _by_fold(points, fits)
            metrics = _metrics(points, fits, log_density_of_run(folder))
            own.write(POINTWISE, lambda path: points.to_csv(path, index=False))
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_data("metrics.json", clean_metrics(metrics))
            own.write_text("description.md", f"{_summary(metrics, options)}\n\n{as_markdown(table)}")
    show_table(table.head(_SHOWN))
    if len(table) > _SHOWN:
        print(f"... and {len(table) - _SHOWN} more in {FILE}")
    print(f"\n{_summary(metrics, options)}")
    for line in [*_doubts(table), *_few_draws(points)]:
        print(line)
    print(f"folder: {own.path}")
    return TaskEnd(0, own.path)


def _check_options(options: KfoldSpec) -> None:
    kind, problems = options.chosen_kind(), []
    if kind in ("stratified", "grouped") and options.by is None:
        problems.append(Problem("kfold.by", f"is required for {kind} folds", "name a column: kfold.by=COLUMN"))
    if kind == "random" and options.by is not None:
        problems.append(Problem("kfold.by", "has no meaning for random folds", "use stratified, grouped or future"))
    check(problems)


def _folds(model: Refitted, options: KfoldSpec) -> NDArray[np.int64]:
    """Return the fold of each row; -1 for rows that are in every fit."""
    kind, seed = options.chosen_kind(), model.config.top.seed
    column = np.arange(model.rows) if options.by is None else _column(model, options.by)
    groups = len(np.unique(column.astype(str) if column.dtype == object else column))
    most = {"random": model.rows, "stratified": model.rows, "grouped": groups, "future": groups}[kind]
    k = options.k or (most if kind == "grouped" else min(_FOLDS, most))
    if k > most or k < 2:
        what = {"grouped": "groups", "future": "times"}.get(kind, "rows")
        raise fail("kfold.k", f"must be from 2 to the number of {what}, {most} (got {k})")
    if options.k is None and k > _MANY:
        message = f"'{options.by}' has {k} groups, and each would be a fit"
        raise fail(
            "kfold.k", message, f"put several groups into each fold: kfold.k={_FOLDS}, or ask for all: kfold.k={k}"
        )
    if kind == "random":
        return random_folds(model.rows, k, seed)
    if kind == "stratified":
        return stratified_folds(column, k, seed)
    if kind == "grouped":
        return grouped_folds(column, k, seed)
    rest = groups - int(np.ceil(options.first * groups))
    if k > rest:
        if options.k is not None:
            raise fail("kfold.k", f"must be at most {rest}, the number of times after kfold.first (got {k})")
        k = rest
    if k < 1:
        raise fail("kfold.first", "leaves no time to predict", "make it smaller")
    return future_blocks(column, k, options.first)


def _column(model: Refitted, name: str) -> NDArray[Any]:
    """Return a column of the run's data over its rows, or the labels of its rows."""
    data = model.data
    over = [str(n) for n, array in {**data.data_vars, **data.coords}.items() if array.dims == (model.dim,)]
    labels = {str(a.attrs["labels"]): str(n) for n, a in data.data_vars.items() if "labels" in a.attrs}
    found = labels.get(name, name)
    if found not in over:
        hint = did_you_mean(name, [*over, *labels]) or f"columns: {', '.join([*over, *labels])}"
        raise fail("kfold.by", f"there is no column '{name}' over the rows '{model.dim}'", hint)
    values = np.asarray(data[found].values)
    if pd.isna(values).any():
        raise fail("kfold.by", f"'{name}' has missing values", "choose a column without any")
    return values


def _pointwise(model: Refitted, folds: NDArray[np.int64], fits: Fits) -> pd.DataFrame:
    """Return the density of each observed point that was predicted, by the fit that had not seen it."""
    points = model.points()
    columns = {name: np.full(len(points), np.nan) for name in ("elpd", "mcse", "deciding")}
    for fit in fits.made.values():
        found = np.isfinite(fit["elpd"])
        for name, values in columns.items():
            values[found] = fit[name][found]
    table = points.assign(fold=folds[points["row"]], **columns)
    kept = table[(table["fold"] >= 0) & table["observed"].notna()]
    lost = int(kept["elpd"].isna().sum())
    if lost:
        message = f"{lost} points have no density: their terms of the likelihood are not finite"
        raise fail("run", message, "compare by LOO: task=compare")
    return kept.drop(columns=["row", "likelihood"]).reset_index(drop=True)


def _by_fold(points: pd.DataFrame, fits: Fits) -> pd.DataFrame:
    of = points.groupby("fold")["elpd"]
    table = pd.DataFrame({"points": of.size(), "elpd": of.sum()}).reset_index()
    table["mcse"] = [float(fits.made[int(number)]["mcse_sum"]) for number in table["fold"]]
    table["r_hat_max"] = [float(fits.made[int(number)]["r_hat"]) for number in table["fold"]]
    table["divergences"] = [int(fits.made[int(number)]["divergences"]) for number in table["fold"]]
    return table


def _metrics(points: pd.DataFrame, fits: Fits, of_run: Mapping[str, float]) -> dict[str, float]:
    elpd = points["elpd"].to_numpy()
    found = {
        "elpd_kfold": float(elpd.sum()),
        "elpd_kfold_se": float(np.sqrt(len(elpd)) * elpd.std()),
        # points of a fold share their draws; folds do not
        "elpd_kfold_mcse": float(np.sqrt(sum(float(fit["mcse_sum"]) ** 2 for fit in fits.made.values()))),
        "kfold_few_draws": float((points["deciding"] < FEW_DRAWS).sum()),
    }
    if all(name in of_run for name in points["point"]):
        found["p_kfold"] = float(sum(of_run[name] for name in points["point"]) - elpd.sum())
    return found


def _summary(metrics: Mapping[str, float], options: KfoldSpec) -> str:
    error, simulation = metrics["elpd_kfold_se"], metrics["elpd_kfold_mcse"]
    return f"elpd_kfold {metrics['elpd_kfold']:.1f} (se {error:.1f}, Monte Carlo error {simulation:.2f})"


def _doubts(table: pd.DataFrame) -> list[str]:
    bad = table[table["r_hat_max"] > GOOD_R_HAT]
    if bad.empty:
        return []
    first = ", ".join(str(number) for number in bad["fold"][:5])
    return [
        f"R-hat is above {GOOD_R_HAT} in {len(bad)} fits (folds {first}): sample longer, sampler.tune, sampler.draws"
    ]


def _few_draws(points: pd.DataFrame) -> list[str]:
    """Name the points whose density rests on a few draws, so that its error is not known either."""
    few = points[points["deciding"] < FEW_DRAWS].sort_values("deciding")
    if few.empty:
        return []
    first = ", ".join(few["point"].astype(str).head(5))
    what = f"the densities of {len(few)} points rest on fewer than {FEW_DRAWS:.0f} draws ({first})"
    return [f"{what}: sample longer, sampler.draws; task=loo computes single points exactly"]


TASK = Task(do=kfold, options=KfoldSpec, needs_run=True, uses_config_of_run=True, launches=True)
