"""The points of a sweep: product, zip and seeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesrun.errors import UserError
from bayesrun.sweeps.base import SweepSpec
from bayesrun.sweeps.points import expand

A, B = "model.priors.a.lam", "model.priors.b.lam"


def settings(overrides, params=None, **spec):
    return [p.setting for p in expand(overrides, params or {}, SweepSpec(**spec), 8927)]


def test_the_product_has_its_last_key_moving_fastest():
    assert settings([f"{A}=1,2", "seed=3", f"{B}=x,y"]) == [
        "a.lam=1, b.lam=x",
        "a.lam=1, b.lam=y",
        "a.lam=2, b.lam=x",
        "a.lam=2, b.lam=y",
    ]


def test_every_point_has_the_fixed_overrides_and_its_own():
    points = expand(["model=switchpoint", f"++{A}=1,2"], {}, SweepSpec(), 1)
    assert points[1].overrides == ("model=switchpoint", f"++{A}=2")
    assert points[1].swept == {A: "2"}


def test_keys_that_move_together():
    assert settings([f"{A}=1,2", "c=0,1", f"{B}=3,4"], zip=[[A, B]]) == [
        "a.lam=1, b.lam=3, c=0",
        "a.lam=1, b.lam=3, c=1",
        "a.lam=2, b.lam=4, c=0",
        "a.lam=2, b.lam=4, c=1",
    ]


def test_seeds_repeat_each_setting_under_one_name():
    points = expand([f"{A}=1,2"], {}, SweepSpec(seeds=3), 100)
    assert [p.seed for p in points] == [100, 101, 102, 100, 101, 102]
    assert points[4].overrides[-1] == "seed=101"
    assert len({p.setting for p in points}) == 2
    assert [p.number for p in points] == list(range(6))


def test_an_experiment_s_params_are_swept_and_the_command_line_wins():
    assert settings([f"{A}=7"], {A: "1,2", B: "range(0,3)"}) == ["b.lam=0", "b.lam=1", "b.lam=2"]


def test_the_sweep_s_own_keys_are_not_handed_to_the_jobs():
    points = expand([f"{A}=1,2", "sweep.seeds=1", "resume=x", "force=true", "fail_fast=true"], {}, SweepSpec(), 1)
    assert points[0].overrides == (f"{A}=1",)


def test_choices_and_quoted_lists_are_values():
    assert settings(["data=mine,other"]) == ["data=mine", "data=other"]
    assert settings(["model.figures=[a,b],[c]"]) == ["model.figures=[a,b]", "model.figures=[c]"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"zip": [[A, "model.priors.c.lam"]]}, "is not swept"),
        ({"zip": [[A, B]]}, "equally many"),
        ({"zip": [[A], [A]]}, "named twice"),
        ({"seeds": 2}, "seed is swept already"),
    ],
)
def test_what_can_not_be_is_said(spec, said):
    overrides = [f"{A}=1,2", f"{B}=1,2,3", *(["seed=1,2"] if "seeds" in spec else [])]
    with pytest.raises(UserError, match=said):
        settings(overrides, **spec)


def test_an_interval_needs_optuna():
    with pytest.raises(UserError, match="optuna"):
        settings([f"{A}=interval(0,1)"])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
def test_as_many_points_as_the_product_and_none_twice(sizes, seeds):
    overrides = [f"k{i}=" + ",".join(map(str, range(n + 1))) for i, n in enumerate(sizes)]
    points = expand(overrides, {}, SweepSpec(seeds=seeds), 1)
    expected = seeds
    for n in sizes:
        expected *= n + 1
    assert len(points) == expected
    assert len({p.overrides for p in points}) == expected
