"""The config section `predict`: a second data set, whose rows the fitted model predicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny

from bayesrun.data._parse import parse_data
from bayesrun.data.base import DataSpec
from bayesrun.errors import Problem
from bayesrun.schema import Section


class PredictSpec(Section):
    """`data`: the data set of the new rows; `predict.data=NAME` chooses it."""

    data: SerializeAsAny[DataSpec]


def parse_rows(raw: Any, directory: Path, problems: list[Problem]) -> PredictSpec | None:
    """Parse the section; the faults of its data set bear `predict.` before their keys.

    Parameters
    ----------
    raw
        What the config says; None is nothing to predict.
    directory
        Where relative data paths start.
    problems
        Grows by every problem found.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or set(raw) != {"data"} or not isinstance(raw["data"], Mapping):
        problems.append(Problem("predict", f"must hold a data set (got {raw!r})", "choose one with predict.data=NAME"))
        return None
    found: list[Problem] = []
    spec = parse_data(raw["data"], directory, found)
    problems += [Problem(f"predict.{p.key}", p.message, p.hint) for p in found]
    return None if spec is None else PredictSpec(data=spec)
