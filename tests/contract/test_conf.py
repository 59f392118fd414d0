"""Contracts over every YAML below conf/: it composes and parses, lists every key, and opens with its command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import PathsSpec, PredictiveSpec, StoreSpec, TopSpec
from bayesrun.diagnostics.base import DiagnosticsSpec, Thresholds
from bayesrun.models.base import MODELS, ModelSpec
from bayesrun.samplers.base import SAMPLERS
from bayesrun.tracking.base import TrackingSpec
from tests.composing import composed, parsed, plain
from tests.conftest import ROOT

GROUPS = ("model", "sampler", "tracking", "diagnostics", "store", "paths", "experiment", "launcher", "sweeper", "data")
FILES = sorted(p for group in GROUPS for p in (conf() / group).rglob("*.yaml"))
MODELS_OF = sorted(
    p.relative_to(conf() / "model").with_suffix("").as_posix() for p in (conf() / "model").rglob("*.yaml")
)


def of(group: str) -> list[Path]:
    return sorted((conf() / group).rglob("*.yaml"))


def ids(path: Path) -> str:
    return path.relative_to(conf()).as_posix()


def section(path: Path) -> dict[str, Any]:
    return {k: v for k, v in (yaml.safe_load(path.read_text()) or {}).items() if k != "defaults"}


def commands(path: Path) -> list[list[str]]:
    """Read the commands of a file's header comment: the words after `python -m bayesrun`."""
    header = re.match(r"(?:#.*\n)*", path.read_text())
    assert header
    found = re.findall(r"(?:python -m )?bayesrun ((?:-m |model=|data=|experiment=|sampler=).*)", header.group())
    return [shlex.split(text) for text in found]


@pytest.mark.parametrize("name", MODELS_OF)
def test_every_model_composes_and_parses(name: str) -> None:
    config = parsed(f"model={name}")
    assert config.model.name
    assert config.plain["model"]["type"] in MODELS.names()


@pytest.mark.parametrize("path", of("model"), ids=ids)
def test_a_model_lists_every_key_of_its_type(path: Path) -> None:
    raw = section(path)
    spec = MODELS.load(raw["type"], "model.type").spec
    assert set(raw) == set(spec.model_fields)
    options = spec.model_fields["options"].default
    assert set(raw["options"] or {}) == set(type(options).model_fields)


@pytest.mark.parametrize("path", of("model"), ids=ids)
def test_a_model_is_named_after_its_file(path: Path) -> None:
    assert section(path)["name"] == "_".join(path.relative_to(conf() / "model").with_suffix("").parts)


@pytest.mark.parametrize("path", [*of("model"), *of("experiment"), *of("sampler")], ids=ids)
def test_a_header_says_what_it_is_and_its_command_runs(path: Path) -> None:
    assert path.read_text().startswith("#")
    choice = path.relative_to(conf() / path.relative_to(conf()).parts[0]).with_suffix("").as_posix()
    found = commands(path)
    if path.stem != "nuts":  # the default needs no command
        assert any(f"={choice}" in word for words in found for word in words), found
    for words in found:
        usable = [w for w in words if not w.startswith(("data=mine", "model.formula"))]
        composed(*usable)


@pytest.mark.parametrize("path", of("sampler"), ids=ids)
def test_a_sampler_lists_every_key_with_its_default(path: Path) -> None:
    raw, spec = section(path), SAMPLERS.load(path.stem, "sampler.method").spec
    assert set(raw) == set(spec.model_fields)
    assert spec(**{k: v for k, v in raw.items() if v is not None}) == spec()


SPECS = {"tracking": TrackingSpec, "diagnostics": DiagnosticsSpec, "store": StoreSpec, "paths": PathsSpec}


@pytest.mark.parametrize(("group", "spec"), SPECS.items())
def test_a_group_lists_every_key(group: str, spec: Any) -> None:
    for path in of(group):
        assert set(section(path)) == set(spec.model_fields), path


def test_defaults_in_yaml_are_those_of_the_code() -> None:
    assert DiagnosticsSpec(**section(conf() / "diagnostics/default.yaml")) == DiagnosticsSpec()
    assert set(section(conf() / "diagnostics/default.yaml")["thresholds"]) == set(Thresholds.model_fields)
    store = {k: v for k, v in section(conf() / "store/default.yaml").items() if v is not None}
    assert StoreSpec(**store) == StoreSpec()


def test_the_primary_config_lists_every_key_and_group() -> None:
    raw = section(conf() / "main.yaml")
    assert set(TopSpec.model_fields) <= set(raw)
    assert set(raw["predictive"]) == set(PredictiveSpec.model_fields)
    defaults = yaml.safe_load((conf() / "main.yaml").read_text())["defaults"]
    chosen = {next(iter(entry)) for entry in defaults if isinstance(entry, dict)}
    assert chosen == set(GROUPS) - {"data"}
    lines = (conf() / "main.yaml").read_text().split("\nhydra:")[0].splitlines()
    bare = [ln for ln in lines if ln.strip() and "#" not in ln and not ln.rstrip().endswith(":") and "_self_" not in ln]
    assert not bare, f"lines without a comment: {bare}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_file_ends_with_a_line_and_names_no_secret_host_or_python_path(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert "oc.env" not in text
    assert "_target_" not in text


@pytest.mark.parametrize("path", [p for p in of("model") if "/declarative/" not in ids(p)], ids=ids)
def test_every_key_can_be_overridden_without_a_plus(path: Path) -> None:
    raw = section(path)
    leaves = [f"model.options.{k}" for k in raw["options"] or {}] + [f"model.{k}" for k in raw if k != "options"]
    config = composed(f"model={path.stem}", *[f"{leaf}=null" for leaf in leaves if leaf not in ("model.name",)])
    assert plain(config, "model.figures") is None


def test_every_model_base_key_is_in_every_model() -> None:
    assert all(set(ModelSpec.model_fields) <= set(section(p)) for p in of("model"))


def test_the_shipped_commands_of_the_readme_compose() -> None:
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"^ *(?:uv run )?python -m bayesrun ([^#\n|`]*)", text, flags=re.M)
    assert found
    for words in map(shlex.split, found):
        if not any(
            w.startswith(("--config-dir", "--help", "--config-name", "--cfg"))
            or w in ("new", "my_configs")
            or "mine" in w
            for w in words
        ):
            composed(*words)
