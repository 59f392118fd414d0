"""The modifiers of a likelihood: weights, censoring, truncation. These checks do not need data.

weights:   w                                    # times its term of the log likelihood
censored:  {status: column, upper: column}      # none, left, right or interval, by row
censored:  {lower: expression, upper: expression}
truncated: {lower: expression, upper: expression}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bayesrun.errors import Problem, did_you_mean
from bayesrun.language.distributions import Parameter
from bayesrun.language.prior_checks import value_problems

MODIFIERS = ("weights", "censored", "truncated")
_KEYS = {"censored": ("status", "lower", "upper"), "truncated": ("lower", "upper")}
_EXAMPLES = {
    "censored": "write {status: column} or {lower: 0}",
    "truncated": "write {lower: 0}, {upper: 10} or both",
}
_ANY = Parameter("limit", "real")


def split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a likelihood into its distribution and its modifiers."""
    own = {name: given for name, given in body.items() if name not in MODIFIERS}
    return own, {name: body[name] for name in MODIFIERS if body.get(name) is not None}


def modifier_problems(key: str, modifiers: Mapping[str, Any]) -> Iterator[Problem]:
    """Find the errors in a likelihood's modifiers that can be detected without data.

    Parameters
    ----------
    key
        Config key of the likelihood.
    modifiers
        The second part of `split`.
    """
    for name, given in modifiers.items():
        where = f"{key}.{name}"
        if name == "weights":
            yield from value_problems(where, given, Parameter("weights", "nonnegative"))
        elif not isinstance(given, Mapping) or not given:
            yield Problem(where, f"must hold limits by name (got {given!r})", _EXAMPLES[name])
        else:
            yield from _limit_problems(where, name, given)


def _limit_problems(key: str, modifier: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    allowed = _KEYS[modifier]
    for name, value in given.items():
        if name not in allowed:
            yield Problem(f"{key}.{name}", f"{modifier} has no key '{name}'", did_you_mean(str(name), allowed))
        elif value is not None:
            yield from value_problems(f"{key}.{name}", value, _ANY)
    if given.get("status") is not None and given.get("lower") is not None:
        hint = "keep status for limits that differ by row, lower and upper for those of an instrument"
        yield Problem(f"{key}.lower", "status and lower exclude each other", hint)
    if all(limit is None for limit in given.values()):
        yield Problem(key, "holds no limit", _EXAMPLES[modifier])
    low, high = given.get("lower"), given.get("upper")
    if all(isinstance(limit, (int, float)) for limit in (low, high)) and not low < high:  # type: ignore[operator]
        yield Problem(f"{key}.upper", f"must be above lower (got lower {low}, upper {high})")
