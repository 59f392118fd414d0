"""JSON Schemas of YAML files: every shipped file is valid, and what the parser refuses is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from bayesrun.cli.schemas import kinds, schema_of
from bayesrun.config.resolvers import conf
from tests.composing import parsed

VALIDATORS = {kind: Draft7Validator(schema_of(kind)) for kind in kinds()}
FILES = sorted(conf().rglob("*.yaml"))


def kind_of(path: Path) -> str:
    group = path.relative_to(conf()).parts[0]
    return group if group in VALIDATORS else "config"


def problems(kind: str, text: str) -> list[str]:
    return [error.message for error in VALIDATORS[kind].iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("kind", kinds())
def test_it_is_a_schema_of_draft_7(kind: str) -> None:
    Draft7Validator.check_schema(VALIDATORS[kind].schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(conf()).as_posix())
def test_a_shipped_file_is_valid_until_a_key_is_mistyped(path: Path) -> None:
    raw = yaml.safe_load(path.read_text())
    validator = VALIDATORS[kind_of(path)]
    assert [error.message for error in validator.iter_errors(raw)] == []
    for key in raw or {}:
        mistyped = {name if name != key else f"{name}x": value for name, value in raw.items()}
        assert not validator.is_valid(mistyped), key


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("model", "{name: a, type: declarative, priors: {mu: {dist: Normal, mu: 0, sigma: 1}}}"),
        ("model", "{name: a, type: declarative, priors: {m: {dist: Cauchy, alpha: 0, beta: 5, lower: 0}}}"),
        ("model", "{name: a, type: declarative, priors: {k: {dist: Marginal, of: {dist: Bernoulli, p: 0.5}}}}"),
        (
            "model",
            "{name: a, type: declarative, likelihood: {y: {dist: HiddenMarkov, transition: t, observed: y,"
            " emission: [{dist: Normal, mu: m, sigma: 1}, {dist: Poisson, mu: r, observed: v}]}}}",
        ),
        ("model", "{name: a, type: regression, formula: y ~ x, options: {check_design: '${checks}'}}"),
        ("model", "{defaults: [regression], priors: {x: {dist: Normal, mu: 0, sigma: 1}}}"),
        ("model", "{name: a, type: regression, formula: y ~ x, priors: {sd: {g: {x: {dist: HalfNormal, sigma: 1}}}}}"),
        ("data", "{name: a, source: simulate, generator: ar, parameters: {size: 3}}"),
        ("data", "{name: a, source: csv, path: a.csv, missing: [NA, -99], drop_missing: {x: rows}}"),
        ("sampler", "{draws: '${n}'}"),
        ("config", "{seed: 1, sampler: {draws: 5}, model: {priors: {rate: {lam: 2}}}, predict: {group_by: g}}"),
    ],
)
def test_what_the_parser_takes_is_valid(kind: str, text: str) -> None:
    assert problems(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("model", "{name: a, type: declarative, priors: {mu: {dist: Normal, mu: 0, sigmaa: 1}}}"),
        ("model", "{name: a, type: declarative, priors: {mu: {dist: Norml, mu: 0}}}"),
        ("model", "{name: a, type: declarative, priors: {k: {dist: Marginal}}}"),
        ("model", "{name: a, type: declarative, likelihood: {y: {dist: Normal, mu: 0, sigma: 1, obs: y}}}"),
        ("model", "{name: a, type: linear_regression, formula: y ~ x}"),
        ("model", "{name: a, type: regression}"),
        ("model", "{type: declarative}"),
        ("model", "{name: a, type: declarativ}"),
        ("model", "{name: a, type: regression, formula: y ~ x, family: poison}"),
        ("model", "{name: a, type: regression, formula: y ~ x, figures: [tracee]}"),
        ("model", "{name: a, type: regression, formula: y ~ x, options: {linkk: log}}"),
        ("model", "{name: a, type: switchpoint, priors: {early: {dist: Exponential, lam: 1}}}"),
        ("model", "{name: a, type: arbitrary_deterministic, options: {function: modulo4}}"),
        ("data", "{name: a, source: csv, path: a.csv, sheet: b}"),
        ("data", "{name: a, source: csv}"),
        ("data", "{name: a, source: simulate, generator: ar, parameters: {sizee: 3}}"),
        ("sampler", "{method: nuts, draws: many}"),
        ("sampler", "{method: nuts, draws: 0}"),
        ("sampler", "{method: nuts, threshold: 0.5}"),
        ("diagnostics", "{thresholds: {r_hatt: [1, 2]}}"),
        ("diagnostics", "{checks: [r_hatt]}"),
        ("tracking", "{backend: mlfow}"),
        ("config", "{sampler: {draws: 5, treshold: 1}}"),
        ("config", "{sampler: {method: smc, target_accept: 1}}"),
        ("config", "{sed: 1}"),
    ],
)
def test_what_the_parser_refuses_is_not_valid(kind: str, text: str) -> None:
    assert problems(kind, text)


def _keys(schema: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, key in schema.get("properties", {}).items():
        yield f"{above}{name}", key


@pytest.mark.parametrize("kind", kinds())
def test_every_key_is_described(kind: str) -> None:
    schema = schema_of(kind)
    groups = {name: of for name, of in schema["$defs"].items() if name not in ("prior", "likelihood", "interpolation")}
    all_keys = [each for name, of in {kind: schema, **groups}.items() for each in _keys(of, f"{name}.")]
    of_generators = "Parameters"
    assert all_keys
    assert not [
        name
        for name, key in all_keys
        if not key.get("description") and not key.get("$ref") and of_generators not in name
    ]


def test_a_run_folder_s_config_is_valid_for_every_model() -> None:
    for path in (conf() / "model").rglob("*.yaml"):
        name = path.relative_to(conf() / "model").with_suffix("").as_posix()
        config = parsed(f"model={name}").plain
        assert [error.message for error in VALIDATORS["config"].iter_errors(config)] == [], name
