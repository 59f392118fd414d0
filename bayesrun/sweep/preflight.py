"""Every job of a sweep composed, parsed and checked against its data before the first draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bayesrun.config.run_config import RunConfig
from bayesrun.errors import Problem, UserError, check
from bayesrun.pipeline import load_data
from bayesrun.sweep.base import Point

Compose = Callable[[Sequence[str]], tuple[RunConfig, Sequence[str]]]
"""Overrides of one job to its parsed config, and to the overrides as Hydra takes them; raises `UserError`."""


@dataclass(frozen=True)
class Checked:
    """A point with its parsed config and the digest of its prepared data."""

    point: Point
    config: RunConfig
    data_digest: str | None


def preflight(points: Sequence[Point], compose: Compose) -> list[Checked]:
    """Check all points of a sweep.

    Parameters
    ----------
    points
        The points.
    compose
        Makes the parsed config of a point.

    Returns
    -------
    list of Checked
        One a point.

    Raises
    ------
    UserError
        With the problems of all points, each once, with the settings that have it.
    """
    checked: list[Checked] = []
    faults: dict[Problem, list[Point]] = {}
    digests: dict[str, str | None] = {}
    for point in points:
        try:
            config, overrides = compose(point.overrides)
            taken = replace(point, overrides=tuple(overrides))
            checked.append(Checked(taken, config, _data_digest(config, digests)))
        except UserError as error:
            for problem in error.problems:
                faults.setdefault(problem, []).append(point)
    check([_told(problem, at, len(points)) for problem, at in faults.items()])
    return checked


def _data_digest(config: RunConfig, known: dict[str, str | None]) -> str | None:
    """Load the data as the run will; once for all jobs that ask the same of the same data."""
    key = json.dumps([_of(config.plain, "data"), _of(config.plain, "model")], sort_keys=True, default=str)
    if key not in known:
        known[key] = load_data(config)[1]
    return known[key]


def _of(plain: Mapping[str, object], name: str) -> object:
    part = plain.get(name)
    # priors do not touch the data
    return {k: v for k, v in part.items() if k != "priors"} if isinstance(part, Mapping) else part


def _told(problem: Problem, at: Sequence[Point], total: int) -> Problem:
    if len(at) == total:
        return problem
    shown = "; ".join(dict.fromkeys(point.setting for point in at[:3])) + ("; ..." if len(at) > 3 else "")
    return Problem(problem.key, f"{problem.message} (in {len(at)} of {total} jobs: {shown})", problem.hint)
