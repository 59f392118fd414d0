"""The points of a sweep: from overrides with several values to jobs that are known to be in order.

`expand` lists them (product, `sweep.zip`, `sweep.seeds`); `preflight` checks them all before the first draw.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from bayesrun.config.run_config import RunConfig
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.pipeline import load_data
from bayesrun.sweep.base import KEYS, Point, SweepSpec, setting_of

_Choice = tuple[str, ...]

Compose = Callable[[Sequence[str]], tuple[RunConfig, Sequence[str]]]
"""Overrides of one job to its parsed config, and to the overrides as Hydra takes them; raises `UserError`."""


def expand(overrides: Sequence[str], params: Mapping[str, str], spec: SweepSpec, seed: int) -> list[Point]:
    """List the points of a sweep.

    Parameters
    ----------
    overrides
        The command line's overrides; those with several values are swept.
    params
        `hydra.sweeper.params` of an experiment, likewise; the command line wins.
    spec
        The section `sweep`.
    seed
        The config's seed; repeats of a setting get this one, the next one, ...

    Returns
    -------
    list of Point
        In the order of the product, the last key moving fastest; repeats of a setting side by side.

    Raises
    ------
    UserError
        When `sweep.zip` names keys that can't move together, or a range has no end.
    """
    fixed, swept = _split([*(f"{k}={v}" for k, v in params.items()), *overrides])
    groups = _groups(swept, spec.zip)
    repeats = _repeats(spec, seed, swept)
    points: list[Point] = []
    for choices in itertools.product(*(_rows(group, swept) for group in groups)):
        chosen = tuple(itertools.chain(*choices))
        for own_seed in repeats:
            points.append(_point(len(points), fixed, chosen, own_seed))
    return points


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Part the overrides into those with one value and those with several; a later one replaces an earlier."""
    fixed: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if key.lstrip("+~").split(".")[0] in KEYS:
            continue
        fixed.pop(key, None), swept.pop(key, None)
        if override.is_sweep_override():
            swept[key] = _values(override, key)
        else:
            fixed[key] = override.input_line or f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), swept


def _values(override: Override, key: str) -> list[str]:
    if not override.is_discrete_sweep():
        message = f"'{override.input_line}' has no list of values"
        raise fail(key, message, "write key=a,b,c, or choose sweeper=optuna for intervals")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _groups(swept: Mapping[str, list[str]], zipped: Sequence[Sequence[str]]) -> list[list[str]]:
    """List the keys that move together, in the order in which they were given."""
    problems: list[Problem] = []
    for index, group in enumerate(zipped):
        problems += _zip_problems(f"sweep.zip[{index}]", group, swept)
    named = [key for group in zipped for key in group]
    twice = sorted({key for key in named if named.count(key) > 1})
    problems += [Problem("sweep.zip", f"'{key}' is named twice", "a key moves with one group") for key in twice]
    check(problems)
    first = {group[0]: list(group) for group in zipped if group}
    rest = {key: [key] for key in swept if key not in named}
    return [({**first, **rest})[key] for key in swept if key in first or key in rest]


def _zip_problems(where: str, group: Sequence[str], swept: Mapping[str, list[str]]) -> list[Problem]:
    unknown = [key for key in group if key not in swept]
    if unknown:
        hint = did_you_mean(unknown[0], swept)
        return [Problem(where, f"'{key}' is not swept", hint) for key in unknown]
    lengths = {key: len(swept[key]) for key in group}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        return [Problem(where, f"keys that move together need equally many values: {said}")]
    return []


def _rows(group: Sequence[str], swept: Mapping[str, list[str]]) -> list[_Choice]:
    return list(zip(*(swept[key] for key in group), strict=True))


def _repeats(spec: SweepSpec, seed: int, swept: Mapping[str, list[str]]) -> list[int | None]:
    if spec.seeds == 1:
        return [None]
    if "seed" in swept:
        raise fail("sweep.seeds", "seed is swept already", "leave out one of both")
    return [seed + i for i in range(spec.seeds)]


def _point(number: int, fixed: Sequence[str], chosen: _Choice, seed: int | None) -> Point:
    pairs = dict(override.split("=", 1) for override in chosen)
    swept = {key.lstrip("+"): value for key, value in pairs.items()}
    own = () if seed is None else (f"seed={seed}",)
    return Point(number, (*fixed, *chosen, *own), swept, setting_of(swept), seed)


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
