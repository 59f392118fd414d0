"""The config sections `data` and `predict`, parsed and cheaply checked. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from bayesrun.data.base import SOURCES, DataSpec, Source
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.schema import Section, parse


def parse_data(raw: Mapping[str, Any], directory: Path, problems: list[Problem]) -> DataSpec | None:
    """Parse the section `data` with its source's spec, and check what can be checked without reading.

    Parameters
    ----------
    raw
        What the user wrote, resolved to plain Python values.
    directory
        `paths.data`.
    problems
        Grows by every problem found, each with its key.

    Returns
    -------
    DataSpec or None
        The spec of the source's own class; None when it could not be parsed.
    """
    source = _source(raw.get("source"), problems)
    if source is None:
        return None
    before = len(problems)
    spec = parse(source.spec, raw, "data", problems)
    checked = spec or _what_is_right(source, raw, problems[before:])
    if checked is not None:
        problems += [*_shadowed(checked), *source.check(checked, directory)]
    return spec


class PredictSpec(Section):
    """What is predicted, and how.

    Parameters
    ----------
    data
        The data set of the new rows; `predict.data=NAME` chooses it. Null: nothing is predicted.
    interval
        Probability inside the intervals; null = `intervals`.
    new_levels
        Labels of a factor that the fit has not seen: `error`, or `population`, which draws their effects from the
        distribution of the groups.
    group_by
        Columns of the new rows: averages over the rows of each group are predicted, too.
    """

    data: SerializeAsAny[DataSpec] | None = None
    interval: Annotated[float, Field(gt=0, lt=1)] | None = None
    new_levels: Literal["error", "population"] = "error"
    group_by: list[str] = []

    @field_validator("group_by", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def parse_rows(raw: Any, directory: Path, problems: list[Problem]) -> PredictSpec:
    """Parse the section `predict`; the keys of its data set's problems begin with `predict.`.

    Parameters
    ----------
    raw
        What the config says; None is nothing to predict.
    directory
        Where relative data paths start.
    problems
        Grows by every problem found.
    """
    raw = {} if raw is None else raw
    options = {key: value for key, value in raw.items() if key != "data"} if isinstance(raw, Mapping) else raw
    spec = parse(PredictSpec, options, "predict", problems) or PredictSpec()
    given = raw.get("data") if isinstance(raw, Mapping) else None
    if given is None:
        return spec
    if not isinstance(given, Mapping):
        problems.append(Problem("predict.data", f"must be a data set (got {given!r})", "choose one: predict.data=NAME"))
        return spec
    found: list[Problem] = []
    rows = parse_data(given, directory, found)
    problems += [Problem(f"predict.{p.key}", p.message, p.hint) for p in found]
    return spec.model_copy(update={"data": rows})


def _what_is_right(source: Source, raw: Mapping[str, Any], found: list[Problem]) -> DataSpec | None:
    """Parse without the keys at fault, so that a missing file is reported beside a mistyped key, not after it."""
    faulty = {re.split(r"[.\[]", problem.key)[1] for problem in found}
    return parse(source.spec, {key: value for key, value in raw.items() if key not in faulty}, "data", [])


def _source(name: object, problems: list[Problem]) -> Source | None:
    if name is None:
        problems.append(Problem("data.source", "is required but missing", did_you_mean("", SOURCES.names())))
        return None
    try:
        return SOURCES.load(str(name), "data.source")
    except UserError as error:
        problems += error.problems
        return None


def _shadowed(spec: DataSpec) -> list[Problem]:
    """Find factors whose codes would have the name of the column that they are made of."""
    return [
        Problem(f"data.factors.{name}", f"the codes can't be called '{name}' like their column", "give them a new name")
        for name, column in spec.factors.items()
        if name == column
    ]
