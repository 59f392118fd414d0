"""The points of a sweep: from overrides with several values to jobs that are known to be valid.

`expand` lists them (product, `sweep.zip`, `sweep.seeds`); `preflight` checks them all before the first draw.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.jobs.local_workers import in_worker
from bayesrun.logs import logging_to_memory
from bayesrun.pipeline import compiled, fitted_model_of, model_problems, read_data, rows_to_predict
from bayesrun.redaction import redact_tree
from bayesrun.samplers.base import SAMPLERS
from bayesrun.sweeps.base import KEYS, Point, SweepSpec, setting_of

MAX_JOBS = 10_000
"""Largest number of jobs of a sweep."""
_ENDLESS = 10**12
"""Number of values from which on a message says only that there are more."""

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
    check(unreadable_params(params))
    fixed, swept = _split([*(f"{k}={v}" for k, v in params.items()), *overrides])
    groups = _groups(swept, spec.zip)
    _check_number(groups, swept, spec)
    repeats = _repeats(spec, seed, swept)
    points: list[Point] = []
    for choices in itertools.product(*(_rows(group, swept) for group in groups)):
        chosen = tuple(itertools.chain(*choices))
        for own_seed in repeats:
            points.append(_point(len(points), fixed, chosen, own_seed))
    return points


def unreadable_params(params: Mapping[str, str]) -> list[Problem]:
    """Return the problems of `hydra.sweeper.params` whose values can't be read as those of an override."""
    problems = []
    for key, value in params.items():
        try:
            OverridesParser.create().parse_overrides([f"{key}={value}"])
        except OverrideParseException:
            message = f"'{value}' can't be read as the values of a sweep"
            problems.append(Problem(f"hydra.sweeper.params.{key}", message, "write 'a,b,c', or 'range(0,10)'"))
    return problems


def has_several_values(override: str) -> bool:
    """Return whether an override is swept."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return bool(parsed.is_sweep_override())


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Split the overrides into those with one value and those with several; a later one replaces an earlier."""
    fixed: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    problems: list[Problem] = []
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None  # `model=glob(*)` lists a group's files
    for override in OverridesParser.create(loader).parse_overrides(list(overrides)):
        written = override.get_key_element()
        key = written.lstrip("+")
        if key.lstrip("~").split(".")[0] in KEYS:
            continue
        fixed.pop(key, None), swept.pop(key, None)
        if not override.is_sweep_override():
            fixed[key] = override.input_line or f"{written}={override.get_value_element_as_str()}"
        elif _length(override) > MAX_JOBS:
            count = _length(override)
            shown = f"{count:,}" if count < _ENDLESS else f"more than {_ENDLESS:,}"
            message = f"has {shown} values; a sweep may have {MAX_JOBS:,} jobs"
            problems.append(Problem(key, message, "give fewer values: a larger step, or sweeper=optuna"))
        elif override.is_discrete_sweep():
            swept[key] = [f"{written}={value}" for value in override.sweep_string_iterator()]
            if not swept[key]:
                problems.append(Problem(key, f"'{override.input_line or written}' has no values", "give at least one"))
        else:
            message = f"'{(override.input_line or written).lstrip('+')}' has no list of values"
            problems.append(Problem(key, message, "write key=a,b,c, or choose sweeper=optuna for intervals"))
    check(problems)
    return list(fixed.values()), swept


def _length(override: Override) -> int:
    """Count the values of a range without listing them; others are as long as what was written."""
    value = override.value()
    if not isinstance(value, RangeSweep) or value.start is None or value.stop is None or not value.step:
        return 0
    try:
        count = (value.stop - value.start) / value.step
    except OverflowError:  # whole numbers of hundreds of digits
        return _ENDLESS if (value.stop > value.start) == (value.step > 0) else 0
    return max(0, math.ceil(min(count, _ENDLESS)))


def _check_number(groups: Sequence[Sequence[str]], swept: Mapping[str, list[str]], spec: SweepSpec) -> None:
    jobs = math.prod(len(swept[group[0]]) for group in groups) * spec.seeds
    if jobs > MAX_JOBS:
        message = f"the values make {jobs:,} jobs; a sweep may have {MAX_JOBS:,}"
        raise fail("sweep", message, "give fewer values, or move keys together: sweep.zip")


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
        raise fail("sweep.seeds", "seed is swept already", "leave out one of the two")
    return [seed + i for i in range(spec.seeds)]


def _point(number: int, fixed: Sequence[str], chosen: _Choice, seed: int | None) -> Point:
    pairs = dict(override.split("=", 1) for override in chosen)
    swept = {key.lstrip("+"): str(redact_tree(value, key.lstrip("+"))) for key, value in pairs.items()}
    own = () if seed is None else (f"seed={seed}",)
    return Point(number, (*fixed, *chosen, *own), swept, setting_of(swept), seed)


@dataclass(frozen=True)
class Checked:
    """A point with its parsed config and the digest of its prepared data."""

    point: Point
    config: RunConfig
    data_digest: str | None


def preflight(
    points: Sequence[Point],
    compose: Compose,
    known: Sequence[Problem] = (),
    numbered: bool = True,
    tell: Callable[[int], object] = lambda done: None,
) -> list[Checked]:
    """Check all points of a sweep: keys, names, dims and domains, each against the data of its point.

    Parameters
    ----------
    points
        The points.
    compose
        Makes the parsed config of a point.
    known
        Problems that were found already; they are raised with the others.
    numbered
        Whether the points are the jobs of the sweep, so that problems name their numbers.
    tell
        Called with the number of points that are checked.

    Returns
    -------
    list of Checked
        One per point.

    Raises
    ------
    UserError
        With the problems of all points, each once, with the settings that have it.
    """
    faults: dict[Problem, list[Point]] = {problem: list(points) for problem in known}
    data = _DataSets()
    checked = []
    for done, point in enumerate(points):
        tell(done)
        if (one := _check_point(point, compose, data, faults)) is not None:
            checked.append(one)
    _raise_all(faults, len(points), numbered)  # cheap checks come first
    kinds = _kinds_of_models(checked)
    built = [[c.config.plain for c in kind] for kind in kinds]
    found = in_worker(build_problems, built) if built else []
    for one, problems in zip(itertools.chain(*kinds), itertools.chain(*found), strict=True):
        for problem in problems:
            faults.setdefault(problem, []).append(one.point)
    _raise_all(faults, len(points), numbered)
    return checked


def _raise_all(faults: Mapping[Problem, Sequence[Point]], total: int, numbered: bool) -> None:
    check([_with_settings(problem, at, total, numbered) for problem, at in faults.items()])


class _DataSets:
    """Data as runs will load them: once for all points that use the same data in the same way."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, str | None]] = {}

    def get(self, config: RunConfig) -> tuple[Any, str | None]:
        # how missing values are handled depends on what the model uses
        used = [repr(config.model_type.roles(config.model)), sorted(config.model_type.uses(config.model))]
        key = json.dumps([config.plain.get("data"), used], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = read_data(config)[:2]
        return self._known[key]


def _check_point(point: Point, compose: Compose, data: _DataSets, faults: dict[Problem, list[Point]]) -> Checked | None:
    try:
        config, overrides = compose(point.overrides)
        values, digest = data.get(config)
        check(model_problems(config, values))
    except UserError as error:
        for problem in error.problems:
            faults.setdefault(problem, []).append(point)
        return None
    return Checked(replace(point, overrides=tuple(overrides)), config, digest)


def _kinds_of_models(checked: Sequence[Checked]) -> list[list[Checked]]:
    """Gather the points whose models differ in numbers only, where there is more to check than numbers.

    A number's domain is checked without a model. Expressions, lists, dims, shapes and initial values of priors, the
    variables of `sampler.step`, and the rows of `predict.data` are checked completely only by building the model: once
    per kind.
    """
    kinds: dict[str, list[Checked]] = {}
    for point in checked:
        plain = point.config.plain
        priors = {name: _without_numbers(prior) for name, prior in plain["model"]["priors"].items()}
        step = (plain["sampler"] or {}).get("step")
        predict = plain["predict"] if point.config.predict.data is not None else None
        if step or predict or any(len(prior) > 1 for prior in priors.values()):
            kind = [{**plain["model"], "priors": priors, "figures": None}, plain["data"], step, predict]
            kinds.setdefault(json.dumps(kind, sort_keys=True, default=str), []).append(point)
    return list(kinds.values())


def _without_numbers(prior: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out parameters that are numbers, unless an initial value must be in the support that they define."""
    if prior.get("initval") is not None:
        return prior
    return {k: v for k, v in prior.items() if v is not None and (k == "shape" or not isinstance(v, int | float))}


def build_problems(kinds: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[list[Problem]]]:
    """Find what only building a model shows: for the first of each kind, and for the others if that one has problems.

    Parameters
    ----------
    kinds
        Resolved configs as plain values (`RunConfig.plain`), kind by kind; they go to another process.

    Returns
    -------
    list of list of list of Problem
        The problems of each.
    """
    with logging_to_memory():  # libraries' messages on import belong to a run's log
        return [_problems_of_kind(kind) for kind in kinds]


def _problems_of_kind(kind: Sequence[Mapping[str, Any]]) -> list[list[Problem]]:
    first = _build_problems(kind[0])
    return [first, *(_build_problems(plain) if first else [] for plain in kind[1:])]


def _build_problems(plain: Mapping[str, Any]) -> list[Problem]:
    try:
        config = parse_config(OmegaConf.create(dict(plain)))
        data, digest, _, design = read_data(config)
        declared = config.model_type.build(data, config.model)
        rows_to_predict(config, fitted_model_of(config, declared, design, digest))
        model = compiled(config, declared)
        return list(SAMPLERS.load(config.sampler.method, "sampler.method").check(model, config.sampler))
    except UserError as error:
        return list(error.problems)


def _with_settings(problem: Problem, at: Sequence[Point], total: int, numbered: bool) -> Problem:
    """Say which settings have a problem, unless all have it."""
    if len(at) == total:
        return problem
    shown = "; ".join(dict.fromkeys(point.setting for point in at[:3])) + ("; ..." if len(at) > 3 else "")
    if not numbered:
        return Problem(problem.key, problem.message, "\n    ".join(filter(None, [problem.hint, f"at {shown}"])))
    jobs = ", ".join(str(point.number + 1) for point in at[:3]) + (", ..." if len(at) > 3 else "")
    where = f"job {jobs} of {total}" if len(at) == 1 else f"jobs {jobs} of {total}"
    return Problem(problem.key, problem.message, "\n    ".join(filter(None, [problem.hint, f"in {where}: {shown}"])))
