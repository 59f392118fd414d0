"""Where a search looks: the ends and values that are checked before its first job."""

from __future__ import annotations

import pytest

from bayesrun.errors import UserError
from bayesrun.sweeps.base import Goal, Record
from bayesrun.sweeps.conclusion import best_setting
from bayesrun.sweeps.search import search_space
from bayesrun.sweeps.table import SweptSetting

A = "model.priors.a.lam"


def test_every_end_and_choice_is_at_a_corner() -> None:
    searched = [f"{A}=interval(0.1,4)", "data=x,y,z", "seed=range(1,9,step=3)"]
    space = search_space([*searched, "name=n", "sweep.metric=m"], {})
    assert space.fixed == ("name=n",)
    assert space.values == {A: ("0.1", "4.0"), "data": ("x", "y", "z"), "seed": ("1", "7")}
    first, *others = space.corners()
    assert first.overrides == ("name=n", f"{A}=0.1", "data=x", "seed=1")
    assert [point.setting for point in others] == [
        "a.lam=4.0, data=x, seed=1",
        "a.lam=0.1, data=y, seed=1",
        "a.lam=0.1, data=z, seed=1",
        "a.lam=0.1, data=x, seed=7",
    ]


def test_an_experiment_s_space_is_read_and_the_command_line_wins() -> None:
    space = search_space([f"{A}=2"], {A: "interval(1,3)", "seed": "range(0,2)"})
    assert space.fixed == (f"{A}=2",)
    assert space.values == {"seed": ("0", "1")}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["seed=1"], "nothing to search"),
        ([f"{A}=interval(4,1)"], r"interval\(4.0,1.0\) is empty"),
        (["seed=range(5,5)"], "the range is empty"),
    ],
)
def test_a_space_without_points_is_told(overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        search_space(overrides, {})


@pytest.mark.parametrize(
    ("maximize", "best"),
    [
        (True, "highest m of 3 jobs is 5, at 'b'; next is 2, at 'a'"),
        (False, "lowest m of 3 jobs is 2, at 'a'; next is 5, at 'b'"),
    ],
)
def test_the_best_setting_is_named(maximize: bool, best: str) -> None:
    metrics = {"a": {"m": 2.0}, "b": {"m": 5.0}, "c": {}}
    records = [Record(number, name, {}, metrics=metrics[name]) for number, name in enumerate(metrics)]
    settings = [SweptSetting(record.setting, (record,), (), {}) for record in records]
    assert best in best_setting(settings, Goal("m", maximize))
    assert best_setting(settings, Goal("other")) == "There is no best setting: no job has the metric other."
