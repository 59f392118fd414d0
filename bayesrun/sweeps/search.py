"""A search for the setting that optimizes a metric (`sweeper=optuna`): the sweeper chooses the points one by one.

Its points are not known beforehand, but the ends of intervals and ranges and the values of choices are. These are
checked before the first job, as the points of any sweep are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.errors import Problem, check, fail
from bayesrun.redaction import redact_tree
from bayesrun.sweeps.base import KEYS, Goal, Point, SweepSpec, setting_of
from bayesrun.sweeps.job import JobTask, NoSuchMetricError
from bayesrun.sweeps.points import unreadable_params

log = logging.getLogger("bayesrun.sweeps")

_SWEEPER_LOG = "hydra_plugins.hydra_optuna_sweeper"


@dataclass(frozen=True)
class Space:
    """Where a search looks.

    Parameters
    ----------
    fixed
        Overrides that all jobs share.
    values
        For each searched key, as it was written, the values that must be allowed: ends, or all choices.
    """

    fixed: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    def corners(self) -> list[Point]:
        """Return points that hold each of the values at least once: other keys stay at their first value."""
        first = {key: values[0] for key, values in self.values.items()}
        others = [first | {key: value} for key, values in self.values.items() for value in values[1:]]
        return [self._point(number, chosen) for number, chosen in enumerate([first, *others])]

    def _point(self, number: int, chosen: Mapping[str, str]) -> Point:
        named = {key.lstrip("+"): str(redact_tree(value, key.lstrip("+"))) for key, value in chosen.items()}
        overrides = (*self.fixed, *(f"{key}={value}" for key, value in chosen.items()))
        return Point(number, overrides, named, setting_of(named))


def search_space(overrides: Sequence[str], params: Mapping[str, str]) -> Space:
    """Read where to search.

    Parameters
    ----------
    overrides
        The command line's overrides.
    params
        `hydra.sweeper.params` of an experiment, likewise; the command line wins.

    Raises
    ------
    UserError
        When nothing is searched, or a range has no end.
    """
    fixed: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    check(unreadable_params(params))
    for override in OverridesParser.create().parse_overrides([*(f"{k}={v}" for k, v in params.items()), *overrides]):
        written = override.get_key_element()
        if written.lstrip("+~").split(".")[0] in KEYS:
            continue
        fixed.pop(written, None), values.pop(written, None)
        if override.is_sweep_override():
            values[written] = _bounds(override, problems)
        else:
            fixed[written] = override.input_line or f"{written}={override.get_value_element_as_str()}"
    check(problems)
    if not values:
        hint = "give a key several values: 'KEY=interval(0.1,4)', KEY=a,b,c or 'KEY=range(1,9)'"
        raise fail("hydra.sweeper", "sweeper=optuna has nothing to search", hint)
    return Space(tuple(fixed.values()), values)


def _bounds(override: Override, problems: list[Problem]) -> tuple[str, ...]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        if not value.start < value.end:
            message = f"interval({value.start},{value.end}) is empty"
            problems.append(Problem(override.get_key_element().lstrip("+"), message, "give the smaller end first"))
        return str(value.start), str(value.end)
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None  # Hydra's grammar has no other range
        if not value.start < value.stop:
            problems.append(Problem(override.get_key_element().lstrip("+"), "the range is empty", "write range(1,9)"))
        try:
            last = value.start + max(0, -(-(value.stop - value.start) // value.step) - 1) * value.step
        except OverflowError:  # whole numbers of hundreds of digits
            last = value.stop
        return tuple(dict.fromkeys((str(value.start), str(last))))
    return tuple(dict.fromkeys(str(text) for text in override.sweep_string_iterator()))


def goal_of(spec: SweepSpec, sweeper: Any) -> Goal:
    """Return what a search optimizes."""
    return Goal(spec.metric, str(sweeper.direction) != "minimize")


def search(hydra: HydraParts, task: JobTask, overrides: Sequence[str]) -> None:
    """Let the sweeper run its jobs; one that fails is a failed trial, and the search continues."""
    import optuna  # an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger(_SWEEPER_LOG).setLevel(logging.CRITICAL)  # each job's own line reports how it ended
    try:
        hydra.sweeper(task).sweep(arguments=list(overrides))
    except NoSuchMetricError as error:  # the answer still reports what the jobs found
        print(f"error: {error}", file=sys.stderr)
    except ValueError:  # no trial has a value, so none is best: the answer reports it
        log.debug("the search has no best trial", exc_info=True)
