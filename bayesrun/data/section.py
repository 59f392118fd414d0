"""The config sections `data` and `predict`, parsed and checked cheaply. Imports no heavy packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from bayesrun.data.base import SOURCES, DataSpec, Source
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.schema import Section, parse

# not the name of a file, as in 'data.csv' or folder/data.csv
_DATA_KEY = re.compile(r"""(?<![\w./'"`])data\.(?=[a-z])""")


def parse_data(raw: Mapping[str, Any], directory: Path, problems: list[Problem]) -> DataSpec | None:
    """Parse the section `data` with the spec of its source, and check it without reading the data.

    Parameters
    ----------
    raw
        Config of the user, resolved to plain Python values.
    directory
        `paths.data`.
    problems
        List to which every problem is added, with its key.

    Returns
    -------
    DataSpec or None
        An instance of the spec class of the source; None when it could not be parsed.
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
    """What to predict, and how.

    Parameters
    ----------
    data
        The data set of the new rows; `predict.data=NAME` or `predict.data=FILE` selects it. Null: nothing is predicted.
    interval
        Probability inside the intervals; null = `intervals`.
    new_levels
        Labels of a factor that do not occur in the fit: `error`, or `population`, which draws their effects from the
        population distribution of the groups.
    group_by
        Columns of the new rows; averages over the rows of each group are also predicted.
    """

    data: SerializeAsAny[DataSpec] | None = None
    interval: Annotated[float, Field(gt=0, lt=1)] | None = None
    new_levels: Literal["error", "population"] = "error"
    group_by: list[str] = []

    @field_validator("group_by", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def parse_rows(raw: Any, directory: Path, problems: list[Problem]) -> PredictSpec:
    """Parse the section `predict`; the keys of problems in its data set begin with `predict.`.

    Parameters
    ----------
    raw
        Value in the config; None means that nothing is predicted.
    directory
        Base folder of relative data paths.
    problems
        List to which every problem is added.
    """
    raw = {} if raw is None else raw
    options = {key: value for key, value in raw.items() if key != "data"} if isinstance(raw, Mapping) else raw
    spec = parse(PredictSpec, options, "predict", problems) or PredictSpec()
    given = raw.get("data") if isinstance(raw, Mapping) else None
    if given is None:
        return spec
    if not isinstance(given, Mapping):
        hint = "choose one: predict.data=NAME, or predict.data=FILE"
        problems.append(Problem("predict.data", f"must be a data set (got {given!r})", hint))
        return spec
    found: list[Problem] = []
    rows = parse_data(given, directory, found)
    problems += map(of_new_rows, found)
    return spec.model_copy(update={"data": rows})


def of_new_rows(problem: Problem) -> Problem:
    """Return a problem of a data set as that of `predict.data`: its key, and the keys that its texts name."""
    key = f"predict.{problem.key}" if re.match(r"data\b", problem.key) else problem.key
    message, hint = (_DATA_KEY.sub(r"predict.\g<0>", text) for text in (problem.message, problem.hint))
    return Problem(key, message, hint)


def _what_is_right(source: Source, raw: Mapping[str, Any], found: list[Problem]) -> DataSpec | None:
    """Parse without the invalid keys, so that a missing file and a mistyped key are reported together."""
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
    """Find factors whose codes would have the name of their column of labels."""
    return [
        Problem(f"data.factors.{name}", f"the codes can't be called '{name}' like their column", "give them a new name")
        for name, column in spec.factors.items()
        if name == column
    ]
