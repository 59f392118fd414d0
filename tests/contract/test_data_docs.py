"""The examples of docs/data.md are valid configs, and it lists every key and source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bayesrun.data.base import SOURCES
from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.errors import Problem

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


@pytest.mark.parametrize("raw", EXAMPLES, ids=lambda raw: raw["name"])
def test_an_example_is_a_good_config(raw):
    problems: list[Problem] = []
    spec = parse_data(raw, ROOT / "data", problems)
    assert all("no file" in p.message for p in problems)
    if not problems and raw["source"] != "sql":
        assert load(spec, ROOT / "data").attrs["rows"] > 0


def test_every_source_has_an_example_and_every_key_is_named():
    assert {raw["source"] for raw in EXAMPLES} == set(SOURCES.names())
    for name in SOURCES.names():
        for key in SOURCES.load(name, "data.source").spec.model_fields:
            assert f"`{key}`" in TEXT or f"\n{key}: " in TEXT, key
