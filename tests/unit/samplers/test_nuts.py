"""When NUTS samples a model a second time, in smaller steps."""

from __future__ import annotations

import numpy as np
import pytest

from bayesrun.samplers.base import NutsSpec, Sampled
from bayesrun.samplers.nuts import is_worth_repeating


def sampled(diverging: int, interrupted: str | None = None) -> Sampled:
    flags = np.zeros((4, 1000), dtype=bool)
    flags.flat[:diverging] = True
    return Sampled({}, {"diverging": flags}, {}, 1.0, 1.0, interrupted=interrupted)  # type: ignore[arg-type]


@pytest.mark.parametrize(("diverging", "expected"), [(0, False), (1, True), (40, True), (41, False), (4000, False)])
def test_a_handful_of_divergences_is_worth_another(diverging: int, expected: bool) -> None:
    assert is_worth_repeating(NutsSpec(), sampled(diverging)) is expected


@pytest.mark.parametrize("settings", [{"target_accept": 0.9}, {"init": "adapt_diag"}])
def test_what_the_user_chose_stays(settings: dict[str, object]) -> None:
    assert not is_worth_repeating(NutsSpec.model_validate(settings), sampled(3))


def test_an_interrupted_run_is_not_repeated() -> None:
    assert not is_worth_repeating(NutsSpec(), sampled(3, "max_seconds"))


def test_a_sampler_without_divergences_is_not_repeated() -> None:
    assert not is_worth_repeating(NutsSpec(), Sampled({}, {}, {}, 1.0, 1.0))
