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
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from bayesrun.config.run_config import RunConfig
from bayesrun.data.prepare import read_columns, read_fitted_columns
from bayesrun.data.section import parse_data
from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.finished_run import LateEngine, draws_for, rows_of_frame
from bayesrun.language.declaration import Declaration
from bayesrun.language.grammar import parse
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.open_run import read_config
from bayesrun.predict.counterfactuals import Comparison, Effect, Expected, Kind, Question, effects
from bayesrun.predict.fitted_model import FittedModel, read_design
from bayesrun.predict.forward import Forecast
from bayesrun.predict.new_groups import POPULATION, column_labels, group_effects, grouping_columns, with_new_groups
from bayesrun.predict.new_rows import ORDERED, forecasts
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import TaskRun, as_markdown, check_keys, config_of, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "effects.csv"
Groups = Literal["known", "none", "population", "marginal"]


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
        Effects of groups: `known` ones of each row, `none` (all 0), `population` (those of a new group), or `marginal`
        (averaged over many new groups).
    parameter
        A parameter of the outcome's distribution in place of its expected value.
    data
        The rows to average over: a data set's name, a file or a section `data`; null = those of the fit.
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
    groups: Groups = "known"
    parameter: str | None = None
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
        rows = _rows(config, folder, fitted, options)
        found = effects(question, rows, column_labels(fitted), _predictor(config, fitted, folder, options))
        table = _table(found, config.top.intervals, question)
        section = options.model_dump(mode="json", exclude_none=True)
        with open_task_run(TaskRun("effects", [folder], config, section, options.of or ""), memory) as own:
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_text("description.md", as_markdown(table))
            own.write_data("metrics.json", clean_metrics(_metrics(table)))
            if options.figure:
                _draw(found, question, config, options.parameter, own.figures / "effects.png")
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


def _rows(config: RunConfig, folder: Path, fitted: FittedModel, options: EffectsSpec) -> pd.DataFrame:
    """Read the rows to average over; rows with missing predictors are left out, which is said."""
    problems: list[Problem] = []
    raw = options.data or read_config(folder).get("data")
    if raw is None:
        raise fail("run", "the model has no data", "there are no rows to predict")
    spec = parse_data(raw, config.paths.data, problems)
    check(problems)
    assert spec is not None
    kind, roles = config.model_type, config.model_type.roles(config.model)
    uses = kind.uses(config.model)
    if options.data is None:
        frame, derived, digest = read_fitted_columns(spec, config.paths.data, roles, uses)
        if digest != fitted.data_digest:
            hint = "restore them, or name the rows to average over: effects.data=NAME"
            raise fail("data", "the data have changed since the run, so the rows of the fit are not known", hint)
        frame = frame.assign(**{name: derived[name] for name in _kept_as_derived(spec.derive, derived, options)})
    else:
        frame = read_columns(spec, config.paths.data)
    observed = {role.variable for role in roles if role.kind == "observed"}
    reads = fitted.data.reads({role.variable for role in roles if role.kind == "predictor"} | uses)
    kept = frame.dropna(subset=[name for name in frame.columns if reads(name) and name not in observed])
    if len(kept) < len(frame):
        print(f"{len(frame) - len(kept)} of {len(frame)} rows have missing values and are left out")
    if kept.empty:
        raise fail("effects.data", "there is no row without missing values", "choose columns: data.columns")
    return kept.reset_index(drop=True)


def _kept_as_derived(derive: Mapping[str, str], derived: pd.DataFrame, options: EffectsSpec) -> list[str]:
    """Return the derived columns that are not computed anew: those asked for, and those of earlier rows."""
    asked = {options.of, *options.at}
    found: list[str] = []
    for name, text in derive.items():
        of_kept = parse(text, f"data.derive.{name}").names & set(found)
        if name in derived and (name in asked or of_kept or ORDERED.search(text)):
            found.append(name)
    return found


def _predictor(
    config: RunConfig, fitted: FittedModel, folder: Path, options: EffectsSpec
) -> Callable[[pd.DataFrame], Expected]:
    """Return a function that predicts expected values of rows at every draw."""
    engine, groups = LateEngine(config.engine), options.groups
    of_groups = group_effects(fitted)
    if groups == "none" and not of_groups:
        hint = "leave it out; groups of other models than regressions: effects.groups=population, or marginal"
        raise fail("effects.groups", "is 'none', and this is no regression with group effects", hint)

    draws = draws_for(fitted, folder)
    if groups == "none":
        draws = {name: np.zeros_like(v) if name in of_groups else v for name, v in draws.items()}
    new = groups in ("population", "marginal")

    def declared_with(frame: pd.DataFrame, column: str) -> Declaration:
        changed = with_new_groups(frame, [column], fitted, np.zeros(len(frame), dtype=np.int64))
        return rows_of_frame(config, fitted, changed, "population").declared

    def expected(frame: pd.DataFrame) -> Expected:
        count = len(frame)
        if new:
            columns = grouping_columns(fitted, partial(declared_with, frame.iloc[:1]))
            _check_groups(groups, columns, config)
            repeats = -(-POPULATION // count) if groups == "marginal" else 1
            frame = pd.concat([frame] * repeats, ignore_index=True)
            number = np.arange(len(frame)) % (POPULATION if groups == "marginal" else 1)
            frame = with_new_groups(frame, columns, fitted, number)
        rows = rows_of_frame(config, fitted, frame, "population" if new else "error")
        parts: dict[tuple[str, Any], list[NDArray[Any]]] = {}
        for _, found in forecasts(rows, fitted, draws, config.top.seed, engine.draw):
            for key, values in _values(found, rows.levels, rows.dim, options.parameter):
                parts.setdefault(key, []).append(values)
        if not parts:
            raise fail("run", "none of its likelihoods is over the rows of the data", "there is nothing to predict")
        whole = {key: np.concatenate(values, axis=1) for key, values in parts.items()}
        return {key: values.reshape(len(values), -1, count).mean(axis=1) for key, values in whole.items()}

    return expected


def _check_groups(groups: Groups, columns: Sequence[str], config: RunConfig) -> None:
    """Refuse new groups where there are none, and where their labels are numbers that predict by themselves."""
    if not columns:
        raise fail("effects.groups", f"is '{groups}', and the model has no groups", "leave it out")
    roles = config.model_type.roles(config.model)
    numbers = {role.variable for role in roles if role.kind == "predictor" and role.domain != "any"} & {*columns}
    if numbers:
        message = f"is '{groups}', and '{min(numbers)}' is a number of the model, which new groups do not have"
        raise fail("effects.groups", message, "use effects.groups=none, or known")


def _values(
    found: Mapping[str, Forecast], levels: Mapping[str, Sequence[Any]], dim: str, parameter: str | None
) -> Iterator[tuple[tuple[str, Any], NDArray[Any]]]:
    """Yield expected values, probabilities of levels, or a parameter, (draw, row)."""
    if parameter is not None and not any(parameter in forecast.parameters for forecast in found.values()):
        known = dict.fromkeys(name for forecast in found.values() for name in forecast.parameters)
        message = f"no outcome has a parameter '{parameter}' for each row"
        raise fail("effects.parameter", message, did_you_mean(parameter, known) or f"allowed: {', '.join(known)}")
    for name, forecast in found.items():
        if forecast.dims[:1] != (dim,) or (parameter is not None and parameter not in forecast.parameters):
            continue
        if parameter is not None:
            yield from _by_column(name, forecast, forecast.parameters[parameter])
        elif forecast.shares is not None and forecast.dims == (dim,):
            labels = levels.get(name) or range(forecast.shares.shape[-1])
            for place, level in enumerate(labels):
                yield (name, level), forecast.shares[:, :, place]
        elif forecast.expected is None:
            message = f"'{name}' has no expected values: its distribution, or what limits it, has none"
            raise fail("effects", message, "predict new observations: task=predict")
        else:
            yield from _by_column(name, forecast, forecast.expected)


def _by_column(name: str, forecast: Forecast, values: NDArray[Any]) -> Iterator[tuple[tuple[str, Any], NDArray[Any]]]:
    """Yield values (draw, row) of an outcome, or of each of the outcomes beside each other in a row."""
    if values.ndim == 2:
        yield (name, None), values
    elif values.ndim == 3:
        for place, label in enumerate(forecast.labels[forecast.dims[1]]):
            yield (name, label), values[:, :, place]


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


def _draw(found: Sequence[Effect], question: Question, config: RunConfig, parameter: str | None, path: Path) -> None:
    from bayesrun.figures.estimated_effects import EstimatedEffect, draw_effects  # Matplotlib

    path.parent.mkdir(exist_ok=True)
    kind = question.comparison.replace("_", " ") if question.kind == "comparisons" else question.kind.rstrip("s")
    of = f" of {question.of}" if question.of else ""
    estimates = [EstimatedEffect(effect.labels, effect.draws) for effect in found]
    title = f"{config.model.name} · {question.kind}{of}"
    outcome = f" of {parameter}" if parameter else ""
    draw_effects(title, f"average {kind}{outcome}", estimates, config.top.intervals, _neutral(question), path)


def _metrics(table: pd.DataFrame) -> dict[str, float]:
    names = [
        column for column in table.columns if column not in ("mean", "sd") and not column.startswith(("hdi", "ab"))
    ]
    return {f"mean/{', '.join(str(row[name]) for name in names)}": row["mean"] for row in table.to_dict("records")}


TASK = Task(do=run, options=EffectsSpec, needs_run=True)
