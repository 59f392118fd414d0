"""`task=compare`: which of several finished runs predicts best, by cross-validation.

python -m bayesrun task=compare 'runs=[FOLDER,FOLDER]'
python -m bayesrun task=compare 'runs=[last,mlflow:RUN_ID,FOLDER]' 'compare.names=[linear,quadratic,spline]'

The runs must explain the same observations; their predictors may differ. Folders of `task=loo` and `task=kfold` can be
compared as well, the latter with one another if they have the same folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.errors import fail
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.open_run import read_config
from bayesrun.schema import Section
from bayesrun.sweeps.elpd import compare_folders
from bayesrun.sweeps.page import best
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import TaskRun, as_markdown, check_keys, config_of, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "compare.csv"


class CompareSpec(Section):
    """Options of the task.

    Parameters
    ----------
    names
        What the runs are called in the table, in their order; by default the names of their models, or of their
        folders where models have the same name.
    """

    names: list[str] = []


def compare(request: TaskRequest) -> TaskEnd:
    """Compare runs, and return how that ended."""
    check_keys(request, ("compare",))
    folders = [run.folder.absolute() for run in (request.run, *request.runs) if run]
    if len(folders) < 2:
        raise fail("runs", "needs two finished runs or more", "give 'runs=[FOLDER,FOLDER]'")
    named = _named(folders, request.options.names)
    config = config_of(request, folders[0])
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        table, reason = compare_folders(named, "run")
        if table is None:
            raise fail("runs", f"can't be compared: {reason}", "compare runs that explain the same observations")
        section = {"runs": {name: str(folder) for name, folder in named.items()}}
        with open_task_run(TaskRun("compare", folders, config, section, ""), memory) as own:
            own.write(FILE, lambda path: table.to_csv(path))
            own.write_text("description.md", f"{best(table)}\n\n{as_markdown(table.reset_index())}")
            own.write_data("metrics.json", clean_metrics(_metrics(table)))
    _show(table)
    print(f"\nfolder: {own.path}")
    return TaskEnd(0, own.path)


def _named(folders: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Name the runs."""
    if not names:
        models = [str((read_config(folder).get("model") or {}).get("name")) for folder in folders]
        alike = Counter(models)
        names = [folder.name if alike[model] > 1 else model for folder, model in zip(folders, models, strict=True)]
    if len(names) != len(folders):
        raise fail("compare.names", f"has {len(names)} names, and there are {len(folders)} runs", "name each run once")
    named = dict(zip(names, folders, strict=True))
    if len(named) < len(folders) or len(set(folders)) < len(folders):
        twice = next(name for name, count in Counter([*names, *map(str, folders)]).items() if count > 1)
        raise fail("runs", f"'{twice}' is named twice", "name each run once, with a name of its own")
    return named


def _metrics(table: pd.DataFrame) -> dict[str, float]:
    columns = (next(c for c in table.columns if c in ("elpd_loo", "elpd_kfold")), "elpd_diff", "dse", "weight")
    return {f"{column}/{name}": float(table.loc[name, column]) for column in columns for name in table.index}


def _show(table: pd.DataFrame) -> None:
    show_table(table.drop(columns="rank").dropna(axis="columns", how="all").reset_index())
    print(f"\n{best(table)}")
    doubtful = [str(name) for name in table.index if table.loc[name, "warning"]]
    if doubtful:
        print(
            f"Pareto k is above {GOOD_K} in {', '.join(doubtful)}, whose elpd_loo is unreliable: task=loo run=FOLDER."
        )


TASK = Task(do=compare, options=CompareSpec, takes_several=True)
