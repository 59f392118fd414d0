"""A section of the config: unknown keys are reported with the nearest name, null means empty, all errors at once."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from bayesrun.errors import Problem, fail
from bayesrun.schema import Section, join, parse


class Inner(Section):
    depth: int = 1


class Outer(Section):
    width: int
    names: list[str] = Field(default=[])
    table: dict[str, int] = Field(default={})
    chosen: str | None = "a"
    inner: Inner = Inner()
    items: list[Inner] = Field(default=[])
    many: list[str] = Field(default=["x"], min_length=1)

    @field_validator("chosen")
    @classmethod
    def _short(cls, value: str | None) -> str | None:
        if value and len(value) > 3:
            raise ValueError("'chosen' must be short")
        return value


def faults(raw: dict) -> dict[str, Problem]:
    problems: list[Problem] = []
    assert parse(Outer, raw, "a.b", problems) is None
    return {p.key: p for p in problems}


def test_what_is_right_is_parsed_and_frozen() -> None:
    problems: list[Problem] = []
    outer = parse(Outer, {"width": 2, "inner": {"depth": 3}}, "a.b", problems)
    assert not problems
    assert outer is not None
    assert (outer.width, outer.inner.depth, outer.names) == (2, 3, [])
    with pytest.raises(ValidationError):
        outer.width = 3


def test_null_is_empty_for_mappings_lists_and_sections_only() -> None:
    problems: list[Problem] = []
    raw = {"width": 2, "names": None, "table": None, "inner": None, "chosen": None, "many": None}
    outer = parse(Outer, raw, "", problems)
    assert not problems
    assert outer is not None
    assert (outer.names, outer.table, outer.inner, outer.chosen, outer.many) == ([], {}, Inner(), None, ["x"])


def test_an_unknown_key_is_told_with_the_nearest_name() -> None:
    found = faults({"width": 1, "namse": []})
    assert "did you mean 'names'?" in found["a.b.namse"].hint


def test_an_unknown_key_below_is_told_with_the_names_that_are_allowed_there() -> None:
    found = faults({"width": 1, "inner": {"deep": 1}})
    assert found["a.b.inner.deep"].message == "unknown key 'deep'"
    assert "depth" in found["a.b.inner.deep"].hint
    assert "width" not in found["a.b.inner.deep"].hint


def test_all_faults_at_once_each_with_what_was_got() -> None:
    found = faults({"names": "x", "table": {"q": "r"}, "items": [{}, {"depth": []}], "chosen": "much too long"})
    assert set(found) == {"a.b.width", "a.b.names", "a.b.table.q", "a.b.items[1].depth", "a.b.chosen"}
    assert found["a.b.width"].message == "is required but missing"
    assert "'r'" in found["a.b.table.q"].message
    assert found["a.b.chosen"].message.startswith("'chosen' must be short")


def test_a_user_error_from_a_validator_keeps_its_own_problems() -> None:
    class Raising(Section):
        x: int = 0

        @field_validator("x")
        @classmethod
        def _no(cls, value: int) -> int:
            raise fail("elsewhere", "is wrong")

    problems: list[Problem] = []
    assert parse(Raising, {"x": 1}, "k", problems) is None
    assert problems == [Problem("elsewhere", "is wrong")]


def test_join() -> None:
    assert join("a", ("b", 0, "c")) == "a.b[0].c"
    assert join("", ("b", "c")) == "b.c"
    assert join("a", ()) == "a"


def test_messages_say_what_a_value_must_be() -> None:
    class Settings(Section):
        draws: int = Field(default=1, ge=1)
        accept: float = Field(default=0.8, gt=0, lt=1)
        progress: bool = False
        form: Literal["centred", "whitened"] = "centred"

    problems: list[Problem] = []
    assert parse(Settings, {"draws": "many", "accept": 1, "progress": 3, "form": "x"}, "s", problems) is None
    assert parse(Settings, {"draws": 0}, "s", problems) is None
    assert [p.message for p in problems] == [
        "must be a whole number (got 'many')",
        "must be below 1.0 (got 1)",
        "must be true or false (got 3)",
        "must be 'centred' or 'whitened' (got 'x')",
        "must be at least 1 (got 0)",
    ]
