"""`task=hypothesis`: how probable statements about the quantities of a finished run are.

python -m bayesrun task=hypothesis run=last 'x > 0' 'x - z'
python -m bayesrun task=hypothesis run=FOLDER 'theta[Choate] > theta[Deerfield]' 'mu = 0' rope=[-0.1,0.1]

A statement is an expression over the posterior's variables and over the scalars that `summary.csv` names. One that
compares has a probability; a quantity has an estimate, and a share of draws in the region of practical equivalence; `=`
asks for the Savage-Dickey ratio of densities.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bayesrun.diagnostics.base import interval_columns
from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.diagnostics.numerics.hypotheses import (
    effective_draws,
    evidence_ratio,
    probability,
    ratio_of_odds,
    rope_decision,
    savage_dickey,
)
from bayesrun.diagnostics.summary import SAMPLE, label_texts, names_of
from bayesrun.errors import Problem, UserError, check, fail
from bayesrun.finished_run import read_groups
from bayesrun.language.evaluation_at_draws import evaluate_at_draws
from bayesrun.language.expressions import value_of
from bayesrun.language.grammar import Expression, parse, text_of
from bayesrun.language.scope import Scope
from bayesrun.language.values import Value, node_of, variable
from bayesrun.lazy import pd, xr
from bayesrun.logs import logging_to_memory
from bayesrun.schema import Section
from bayesrun.tasks.base import Task, TaskEnd, TaskRequest
from bayesrun.tasks.task_run import TaskRun, as_markdown, check_keys, config_of, open_task_run, show_table
from bayesrun.tracking.base import TRACKERS
from bayesrun.tracking.entries import clean_metrics

FILE = "hypotheses.csv"
_KEY = "hypothesis.statements"
_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@:-]*=(?!=)|~")
_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")
_ORDERED = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


class HypothesisSpec(Section):
    """Options of the task.

    Parameters
    ----------
    statements
        Expressions; on the command line they may be given without a key, `'x > 0'`.
    rope
        Region of practical equivalence of quantities (`x - z`), lower and upper end.
    """

    statements: Annotated[list[str], Field(max_length=1000)] = []
    rope: tuple[float, float] | None = None

    @field_validator("rope")
    @classmethod
    def _ordered(cls, rope: tuple[float, float] | None) -> tuple[float, float] | None:
        if rope is not None and not rope[0] < rope[1]:
            raise ValueError("must be [lower, upper] with lower < upper")
        return rope


@dataclass(frozen=True)
class _Statement:
    """A parsed statement: what is evaluated at every draw, and how.

    `kind` is `order` (a comparison of two sides, whose difference is evaluated), `point` (their equality),
    `condition` (any other statement that is true or false) or `quantity`.
    """

    text: str
    kind: str
    expression: Expression
    sign: float = 1.0
    strict: bool = True


class _Draws:
    """Draws of a group of `posterior.nc`, in which expressions are evaluated.

    Scalars have the names of `summary.csv`, in back-ticks.
    """

    def __init__(self, group: xr.Dataset) -> None:
        self._group = group
        self.chains, self.draws = group.sizes["chain"], group.sizes["draw"]
        self.scope = Scope()
        self._scalars: dict[str, tuple[str, int]] = {}
        for name, array in group.data_vars.items():
            dims = [str(dim) for dim in array.dims if dim not in SAMPLE]
            for dim in dims:
                self.scope.add_labels(dim, list(array[dim].values))
            self.scope.add(str(name), variable(str(name), dims, [array.sizes[dim] for dim in dims]))
            if dims:
                for place, scalar in enumerate(names_of(array, str(name))):
                    self._scalars[scalar] = (str(name), place)
                    self.scope.add(scalar, variable(scalar, (), ()))

    def quoted(self, text: str) -> str:
        """Put the names of scalars in back-ticks: their labels may hold anything."""
        for name in sorted(self._scalars, key=len, reverse=True):
            if name in text:
                parts = re.split(r"(`[^`]*`)", text)
                text = "".join(part if part[:1] == "`" else part.replace(name, f"`{name}`") for part in parts)
        return text

    def __call__(self, expression: Expression) -> tuple[NDArray[Any], list[str]]:
        """Evaluate at every draw; return the values (chain, draw, element) and the labels of the elements."""
        value = value_of(expression, self.scope)
        found = evaluate_at_draws([node_of(value)], self._values, {})[0]
        count = self.chains * self.draws
        flat = np.broadcast_to(found.reshape(len(found), -1), (count, int(np.prod(value.shape, dtype=int))))
        return flat.reshape(self.chains, self.draws, -1), self._labels(value)

    def _values(self, name: str) -> NDArray[Any]:
        owner, place = self._scalars.get(name, (name, None))
        array = self._group[owner].transpose(*SAMPLE, ...).values
        flat = array.reshape(self.chains * self.draws, *array.shape[2:])
        return flat if place is None else flat.reshape(len(flat), -1)[:, place]

    def _labels(self, value: Value) -> list[str]:
        axes = []
        for dim, size in zip(value.dims, value.shape, strict=True):
            labels = self.scope.labels(dim) if dim is not None else None
            axes.append(label_texts(np.asarray(labels)) if labels is not None else [str(i) for i in range(size)])
        texts = [""]
        for axis in axes:
            texts = [f"{before}, {label}" if before else label for before in texts for label in axis]
        return texts


def hypothesis(request: TaskRequest) -> TaskEnd:
    """Judge statements about a finished run, and return how that ended."""
    assert request.run is not None
    options: HypothesisSpec = request.options
    check_keys(request, ("hypothesis",))
    if not options.statements:
        raise fail(_KEY, "is required but missing", "give statements: task=hypothesis run=last 'x > 0' 'x - z'")
    folder = request.run.folder
    config = config_of(request, folder)
    TRACKERS.load(config.tracking.backend, "tracking.backend").warm(config.tracking)
    with logging_to_memory() as memory:
        groups = read_groups(folder, ("posterior", "prior"))
        if "posterior" not in groups:
            raise fail("run", f"'{folder}' has no posterior draws", "use a run that finished")
        table = _table(options, groups, config.top.intervals)
        section = options.model_dump(mode="json", exclude_none=True)
        made = TaskRun("hypothesis", [folder], config, section, "")
        with open_task_run(made, memory) as own:
            own.write(FILE, lambda path: table.to_csv(path, index=False))
            own.write_text("description.md", as_markdown(table))
            own.write_data("metrics.json", clean_metrics(_metrics(table)))
    show_table(table)
    print(f"\nfolder: {own.path}")
    return TaskEnd(0, own.path)


def _table(options: HypothesisSpec, groups: Mapping[str, xr.Dataset], interval: float) -> pd.DataFrame:
    """Return one row per statement and element."""
    posterior = _Draws(groups["posterior"])
    prior = _Draws(groups["prior"]) if "prior" in groups else None
    statements, problems = list[_Statement](), list[Problem]()
    for number, text in enumerate(options.statements):
        try:
            statements.append(_statement(text, posterior, f"{_KEY}[{number}]"))
        except UserError as error:
            problems += error.problems
    check(problems)
    rows = [row for one in statements for row in _rows(one, posterior, prior, interval, options.rope)]
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def _statement(text: str, posterior: _Draws, key: str) -> _Statement:
    expression = parse(posterior.quoted(_EQUALS.sub("==", text)), key)
    value_of(expression, posterior.scope)
    tree = expression.tree
    if not isinstance(tree, ast.Compare):
        return _Statement(text, "condition" if _is_condition(tree) else "quantity", expression)
    if len(tree.ops) > 1:
        return _Statement(text, "condition", expression)
    difference = parse(f"({text_of(tree.left)}) - ({text_of(tree.comparators[0])})", key)
    operator = tree.ops[0]
    if isinstance(operator, ast.Eq):
        return _Statement(text, "point", difference)
    if not isinstance(operator, _ORDERED):
        return _Statement(text, "condition", expression)
    sign = 1.0 if isinstance(operator, ast.Gt | ast.GtE) else -1.0
    return _Statement(text, "order", difference, sign, isinstance(operator, ast.Gt | ast.Lt))


def _is_condition(tree: ast.expr) -> bool:
    """Return whether an expression is true or false: built of comparisons by `and`, `or`, `not`, `&` and `|`."""
    negated = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not | ast.Invert)
    joined = isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitAnd | ast.BitOr)
    return negated or joined or isinstance(tree, ast.BoolOp)


def _rows(
    statement: _Statement, posterior: _Draws, prior: _Draws | None, interval: float, rope: tuple[float, float] | None
) -> Iterator[dict[str, Any]]:
    values, labels = posterior(statement.expression)
    before = _prior_values(statement, prior)
    for element, label in enumerate(labels):
        own, earlier = values[:, :, element], None if before is None else before[:, :, element]
        row: dict[str, Any] = {"statement": statement.text, "element": label or None}
        if statement.kind != "condition":
            row |= _described(own, interval)
        if statement.kind == "point":
            row |= _equality(own, earlier)
        else:
            row |= _probability(own, earlier, _test_of(statement))
        if statement.kind == "quantity" and rope is not None:
            low, high = (row[name] for name in interval_columns(interval))
            inside = (own >= rope[0]) & (own <= rope[1])
            row |= {"in_rope": float(inside.mean()), "decision": rope_decision(low, high, rope)}
        yield row


def _prior_values(statement: _Statement, prior: _Draws | None) -> NDArray[Any] | None:
    """Evaluate a statement at the prior draws; None where the run kept none of a variable."""
    if prior is None:
        return None
    try:
        return prior(statement.expression)[0]
    except UserError:
        return None


def _test_of(statement: _Statement) -> Callable[[NDArray[Any]], NDArray[np.bool_]]:
    if statement.kind == "condition":
        return lambda values: values > 0.5
    sign, strict = statement.sign, statement.strict
    return lambda values: np.asarray(sign * values > 0.0 if strict else sign * values >= 0.0)


def _described(values: NDArray[Any], interval: float) -> dict[str, float]:
    low, high = hdi(values.reshape(-1), interval)
    ends = interval_columns(interval)
    return {"mean": values.mean(), "sd": values.std(ddof=1), ends[0]: float(low), ends[1]: float(high)}


def _probability(
    values: NDArray[Any], earlier: NDArray[Any] | None, test: Callable[[NDArray[Any]], NDArray[np.bool_]]
) -> dict[str, float]:
    holds = test(values)
    constant = holds.all() or not holds.any()
    found = probability(holds, effective_draws(np.asarray(values if constant else holds, dtype=float)))
    row = {"probability": found.value, "mcse": found.mcse, "evidence_ratio": evidence_ratio(found.value)}
    if earlier is not None:
        before = probability(test(earlier), earlier.size)
        factor = ratio_of_odds(found, before)
        row |= {"prior_probability": before.value, "bayes_factor": factor.value, "bayes_factor_mcse": factor.mcse}
    return row


def _equality(values: NDArray[Any], earlier: NDArray[Any] | None) -> dict[str, Any]:
    if earlier is None:
        hint = "store.groups has to keep 'prior', and predictive.prior above 0 draws it"
        raise fail(_KEY, "the run has no prior draws, which a density ratio (=) needs", hint)
    ratio = savage_dickey(values, earlier, 0.0)
    if ratio is None:
        return {"note": "no density ratio: fewer than 10 effective draws of prior or posterior are near the point"}
    return {"bayes_factor": ratio.value, "bayes_factor_mcse": ratio.mcse}


def _metrics(table: pd.DataFrame) -> dict[str, float]:
    found = {}
    for row in table.to_dict("records"):
        name = row["statement"] + (f"[{row['element']}]" if isinstance(row.get("element"), str) else "")
        for kind in ("probability", "mean", "bayes_factor", "in_rope"):
            if row.get(kind) == row.get(kind) and row.get(kind) is not None:
                found[f"{kind}/{name}"] = float(row[kind])
    return found


def with_key(overrides: Sequence[str]) -> list[str]:
    """Gather words that are statements and no overrides below `hypothesis.statements`."""
    statements = [word for word in overrides if not _OVERRIDE.match(word)]
    rest = [word for word in overrides if _OVERRIDE.match(word)]
    return [*rest, f"{_KEY}={json.dumps(statements)}"] if statements else rest


TASK = Task(do=hypothesis, options=HypothesisSpec, needs_run=True, rewrite=with_key)
