"""Errors report every problem once, and carry their exit status."""

from __future__ import annotations

import pytest

from bayesrun.errors import BayesrunError, Problem, SamplingError, UserError, VerdictError, check, did_you_mean, fail


def test_exit_statuses_are_those_of_the_design() -> None:
    assert [e.exit_status for e in (UserError, SamplingError, VerdictError)] == [1, 4, 3]
    assert all(issubclass(e, BayesrunError) for e in (UserError, SamplingError, VerdictError))


def test_a_user_error_tells_each_problem_once_in_order() -> None:
    one, two = Problem("a.b", "is wrong", "mend it"), Problem("", "no key")
    error = UserError([one, two, one])
    assert error.problems == (one, two)
    assert str(error).splitlines() == [
        "2 problems in the config or the data:",
        "  - a.b: is wrong",
        "    mend it",
        "  - no key",
    ]
    assert str(UserError([two])).startswith("1 problem in")


def test_check_raises_only_when_there_is_something() -> None:
    check([])
    with pytest.raises(UserError) as caught:
        check([Problem("a", "b")])
    assert caught.value.problems == fail("a", "b").problems


@pytest.mark.parametrize(
    ("got", "allowed", "said"),
    [
        ("swichpoint", ["glm", "switchpoint"], "did you mean 'switchpoint'? allowed: glm, switchpoint"),
        ("zzz", ["b", "a"], "allowed: a, b"),
        ("x", [], "none is allowed here"),
    ],
)
def test_did_you_mean(got: str, allowed: list[str], said: str) -> None:
    assert did_you_mean(got, allowed) == said
