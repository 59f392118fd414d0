"""`task=effects`: what predictors do to the outcome of a finished run, without sampling.

python -m bayesrun task=effects run=last                                                expected values
python -m bayesrun task=effects run=last effects.of=x                                   per unit of x, or between levels
python -m bayesrun task=effects run=last effects.of=x effects.kind=slopes effects.by=group
python -m bayesrun task=effects run=last effects.of=treated effects.comparison=odds_ratio 'effects.at={age: [20, 60]}'
python -m bayesrun task=effects run=last 'effects.at={age: [20, 30, 40]}' effects.by=region effects.figure=true

Averages are over the rows of the fit, which are read again, or over those of `effects.data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from bayesrun.config.run_config import RunConfig
from bayesrun.data.prepare import read_columns
from bayesrun.data.section import parse_data
from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.errors import Problem, check, fail
from bayesrun.finished_run import LateEngine, draws_for, rows_of_frame
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.open_run import read_config
from bayesrun.predict.counterfactuals import Comparison, Effect, Expected, Kind, Question, effects
from bayesrun.predict.fitted_model import FittedModel, read_design
from bayesrun.predict.forward import Forecast
from bayesrun.predict.new_rows import forecasts
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import TaskRun, as_markdown, check_keys, config_of, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "effects.csv"


class EffectsSpec(Section):
    """Options of the task.

    Parameters
    ----------
    kind
        `predictions` (expected values), `comparisons` or `slopes`; by default `predictions` without `of`, and
        `comparisons` with it.
    of
        The predictor that is changed, by its name in the data.
    values
        Values that are compared, the reference first; by default the levels of a factor, or `x` and `x + 1`.
    comparison
        `difference`, `ratio` or `odds_ratio` of the averages.
    at
        Values to which predictors are set, `{x: [0, 1]}`; all combinations.
    by
        Columns whose groups are averaged separately.
    typical
        One row with means and most frequent labels in place of all rows.
    groups
        Effects of groups: `known` ones of each row, `none` (all 0), or `population` (those of a new group).
    data
        A section `data` with the rows to average over; null = those of the fit.
    figure
        Whether to draw `effects.png`.
    """

    kind: Kind | None = None
    of: str | None = None
    values: list[Any] = []
    comparison: Comparison = "difference"
    at: dict[str, list[Any]] = {}
    by: list[str] = []
    typical: bool = False
    groups: Literal["known", "none", "population"] = "known"
    data: dict[str, Any] | None = None
    figure: bool = False

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("at", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return {k: v if isinstance(v, list) else [v] for k, v in value.items()} if isinstance(value, Mapping) else value

    def question(self) -> Question:
        """Return what is asked."""
        kind = self.kind or ("predictions" if self.of is None else "comparisons")
        return Question(kind, self.of, self.values, self.comparison, self.at, self.by, self.typical)


def run(request: TaskRequest) -> TaskEnd:
    """Answer a question about predictors, and return how that ended."""
    assert request.run is not None
    options: EffectsSpec = request.options
    check_keys(request, ("effects",))
    question = options.question()
    _check_question(question)
    folder = request.run.folder
    config = config_of(request, folder)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        fitted = read_design(folder, getattr(config.model, "formula", None))
        rows = _rows(config, folder, options)
        levels = {name: list(found) for name, found in fitted.data.levels.items()}
        found = effects(question, rows, levels, _predictor(config, fitted, folder, options.groups))
        table = _table(found, config.top.intervals, question)
        section = options.model_dump(mode="json", exclude_none=True)
        with open_task_run(TaskRun("effects", [folder], config, section, options.of or ""), memory) as own:
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_text("description.md", as_markdown(table))
            own.write_json("metrics.json", clean_metrics(_metrics(table)))
            if options.figure:
                _draw(found, question, config, own.figures / "effects.png")
    show_table(table)
    print(f"\nfolder: {own.path}")
    return TaskEnd(0, own.path)


def _check_question(question: Question) -> None:
    problems = []
    if question.kind != "predictions" and question.of is None:
        problems.append(Problem("effects.of", f"is required for {question.kind}", "name a predictor: effects.of=x"))
    if question.kind == "predictions" and question.of is not None:
        hint = "use comparisons or slopes, or set the predictor: 'effects.at={x: [0, 1]}'"
        problems.append(Problem("effects.of", "has no meaning for predictions", hint))
    if question.of is not None and question.of in question.at:
        problems.append(
            Problem("effects.at", f"sets '{question.of}', which effects.of changes", "leave one of them out")
        )
    check(problems)


def _rows(config: RunConfig, folder: Path, options: EffectsSpec) -> pd.DataFrame:
    """Read the rows to average over; rows with missing predictors are left out, which is said."""
    problems: list[Problem] = []
    raw = options.data or read_config(folder).get("data")
    if raw is None:
        raise fail("run", "the model has no data", "there are no rows to predict")
    spec = parse_data(raw, config.paths.data, problems)
    check(problems)
    assert spec is not None
    frame = read_columns(spec, config.paths.data)
    observed = {role.variable for role in config.model_type.roles(config.model) if role.kind == "observed"}
    kept = frame.dropna(subset=[name for name in frame.columns if name not in observed])
    if len(kept) < len(frame):
        print(f"{len(frame) - len(kept)} of {len(frame)} rows have missing values and are left out")
    if kept.empty:
        raise fail("effects.data", "there is no row without missing values", "choose columns: data.columns")
    return kept.reset_index(drop=True)


def _predictor(config: RunConfig, fitted: FittedModel, folder: Path, groups: str) -> Callable[[pd.DataFrame], Expected]:
    """Return a function that predicts expected values of rows at every draw."""
    engine = LateEngine(config.engine)
    of_groups = _group_effects(fitted)
    if groups != "known" and not of_groups:
        raise fail("effects.groups", f"is '{groups}', and the model has no group effects", "leave it out")

    draws = draws_for(fitted, folder)
    if groups == "none":
        draws = {name: np.zeros_like(v) if name in of_groups else v for name, v in draws.items()}

    def expected(frame: pd.DataFrame) -> Expected:
        if groups == "population":
            frame = _with_new_groups(frame, fitted)
        rows = rows_of_frame(config, fitted, frame, "population" if groups == "population" else "error")
        parts: dict[tuple[str, Any], list[NDArray[Any]]] = {}
        for _, found in forecasts(rows, fitted, draws, config.top.seed, engine.draw):
            for key, values in _values(found, rows.levels, rows.dim):
                parts.setdefault(key, []).append(values)
        return {key: np.concatenate(values, axis=1) for key, values in parts.items()}

    return expected


def _values(
    found: Mapping[str, Forecast], levels: Mapping[str, Sequence[Any]], dim: str
) -> Iterator[tuple[tuple[str, Any], NDArray[Any]]]:
    """Yield expected values, or probabilities of levels, (draw, row)."""
    for name, forecast in found.items():
        if forecast.dims != (dim,):
            continue
        if forecast.shares is not None:
            labels = levels.get(name) or range(forecast.shares.shape[-1])
            for place, level in enumerate(labels):
                yield (name, level), forecast.shares[:, :, place]
        elif forecast.expected is None:
            message = f"'{name}' has no expected values: its distribution, or what limits it, has none"
            raise fail("effects", message, "predict new observations: task=predict")
        else:
            yield (name, None), forecast.expected


def _group_effects(fitted: FittedModel) -> dict[str, str]:
    """Return the group effects of a regression, and the column of each grouping."""
    return {n: str(q.dims[0]) for n, q in fitted.quantities.items() if n.startswith("r_") and len(q.dims) == 2}


def _with_new_groups(frame: pd.DataFrame, fitted: FittedModel) -> pd.DataFrame:
    """Let every row belong to a group that the fit has not seen."""
    changed = {}
    for column in set(_group_effects(fitted).values()):
        if column not in frame.columns:
            message = f"'{column}' is not a column of the data, so a new group can't be added to it"
            raise fail("effects.groups", message, "use effects.groups=none, or known")
        numbers = frame[column].dtype.kind in "iuf"
        changed[column] = frame[column].max() + 1 if numbers else "(a new group)"
    return frame.assign(**changed)


def _table(found: Sequence[Effect], interval: float, question: Question) -> pd.DataFrame:
    ends = interval_columns(interval)
    rows = []
    for effect in found:
        low, high = hdi(effect.draws, interval)
        spread = effect.draws.std(ddof=1) if len(effect.draws) > 1 else 0.0
        row = {**effect.labels, "mean": effect.draws.mean(), "sd": spread, ends[0]: float(low), ends[1]: float(high)}
        neutral = _neutral(question)
        if neutral is not None:
            row[f"above_{neutral:g}"] = float((effect.draws > neutral).mean())
        rows.append(row)
    return pd.DataFrame(rows)


def _neutral(question: Question) -> float | None:
    """Return the value of no effect; None for predictions."""
    if question.kind == "predictions":
        return None
    return 0.0 if question.kind == "slopes" or question.comparison == "difference" else 1.0


def _draw(found: Sequence[Effect], question: Question, config: RunConfig, path: Path) -> None:
    from bayesrun.figures.estimated_effects import Estimate, draw_effects  # Matplotlib

    path.parent.mkdir(exist_ok=True)
    kind = question.comparison.replace("_", " ") if question.kind == "comparisons" else question.kind.rstrip("s")
    of = f" of {question.of}" if question.of else ""
    estimates = [Estimate(effect.labels, effect.draws) for effect in found]
    title = f"{config.model.name} · {question.kind}{of}"
    draw_effects(title, f"average {kind}", estimates, config.top.intervals, _neutral(question), path)


def _metrics(table: pd.DataFrame) -> dict[str, float]:
    names = [
        column for column in table.columns if column not in ("mean", "sd") and not column.startswith(("hdi", "ab"))
    ]
    return {f"mean/{', '.join(str(row[name]) for name in names)}": row["mean"] for row in table.to_dict("records")}


TASK = Task(do=run, options=EffectsSpec, needs_run=True)
